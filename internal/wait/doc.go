// Package wait has a loop rest in a way that ends with its context: no sleep outlives the shutdown it would delay, and no
// timer outlives the sleep.
package wait
