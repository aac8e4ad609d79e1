// Package watchtest is for tests that watch something go on beside them: a server, another goroutine, another process.
package watchtest
