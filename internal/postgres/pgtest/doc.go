// Package pgtest gives tests a real PostgreSQL, at about the price of a mock.
//
// One throw-away server serves all tests of a process. It starts when the first test asks for it, in a temporary
// directory (in memory where there is enough of it), without fsync, on a Unix socket; it is gone, directory included, when Main returns. If the test process is
// killed, the kernel ends the server with it (on Linux), and the next test process removes the directory.
//
// Every test gets databases of its own, copied from a template that holds the migrated schema, so tests may run in
// parallel and need not clean up. A database is dropped when its test ends, whoever is still connected.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestAppend(t *testing.T) {
//		t.Parallel()
//		pool := pgtest.NewPool(t, eventstore.Migrations)
//		…
//	}
//
// Tests that must kill or restart the server take one of their own with StartServer.
//
// It works as root, where the server runs as an unprivileged user, and as a normal user. Without PostgreSQL on the
// machine tests fail and say how to install it; they do not skip.
//
// The shared server is the one variable of this package: between TestMain and a test, Go offers no other way to pass it.
package pgtest
