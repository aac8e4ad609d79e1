// Package recipe keeps docs/aggregate.md honest: its test builds Atlas with exactly the files and lines that the page
// names, and uses the new aggregate over HTTP.
package recipe
