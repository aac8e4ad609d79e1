// Package auth holds who is signed in: passwords, access and refresh tokens, their keys, and what has been revoked.
package auth
