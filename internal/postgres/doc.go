// Package postgres runs, reaches and migrates PostgreSQL.
package postgres
