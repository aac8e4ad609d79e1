// Package apitest runs scenarios against an API over real HTTP: one call each, and what must come back. Every problem is
// also checked for being complete, so that no scenario needs to.
package apitest
