//go:build !race

package subscription

// raced says that the race detector watches.
const raced = false
