// Package recipe keeps docs/aggregate.md honest: its test builds Atlas with exactly the files and lines that the page
// names, runs the tests that the page gives, uses the new aggregate over HTTP, and gives the page's commands.
package recipe
