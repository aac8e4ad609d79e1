// Package postgres runs, reaches and migrates PostgreSQL; it knows nothing of what is stored there.
//
// # The private server
//
// Start runs a PostgreSQL of Atlas's own in a data directory, with the programs found on the machine, so that a fresh
// clone needs no database and no settings. What it promises:
//
//   - What was committed stays committed, whatever is killed or loses power: fsync, full page writes and synchronous
//     commit are on, pages carry checksums.
//   - There is no TCP port. The socket is in a directory that only the server's user (and root) may enter. Its path as
//     clients use it is short enough on every system: for a long one they go through a link in a private directory below
//     the temporary one.
//   - One data directory has one Atlas: the second gets ErrInUse, with the first one's process id, at once. The lock
//     ends with its process, so there is no lock file to remove by hand.
//   - If the server dies, a supervisor starts it again, at once and then with growing pauses, for as long as Atlas runs.
//     Backends that outlive their server are told to quit first, so a runaway query cannot hold the restart back.
//   - If Atlas is killed, the kernel stops the server (Linux); where it does not, the next Start does. A pid file that
//     names an unrelated process is told from a server's and does no harm.
//   - A cluster is built aside and renamed when whole; an interrupted start leaves nothing that the next one trips over.
//   - A new PostgreSQL on the machine is used for new clusters only. An existing one is served by the version that made
//     it, or refused with ErrOtherMajor.
//   - When a start fails, the error ends with the last lines of the server's log, postgres/server.log. That log holds no
//     statements, no parameters and no details of violated keys.
//
// # Root
//
// PostgreSQL refuses to run as root. For root, Start runs it as the cluster's owner, or, for a new cluster, as the user
// postgres or else nobody. Atlas's data directory is often where such a user may not walk: /root/atlas/.atlas lies below
// a 0700 home. Three ways out were rejected: loosening permissions of directories that are not ours, a cluster in
// some other place (which is then forgotten by backups and by rm -r .atlas), and a server with extra capabilities. Instead
// the server inherits the opened directory as a descriptor and is told that its data is /proc/self/fd/3. The kernel
// checks permissions on the directory itself, not on the way to it; everything else PostgreSQL does relative to it, its
// socket included. So the data stays where it was asked for and nobody's permissions change. Two consequences: SHOW
// data_directory says /proc/self/fd/3, and pg_ctl does not work on a directory that its user cannot reach.
//
// The directory around data and socket stays root's: the server's user cannot plant a link there for root to follow.
//
// # Connections
//
// Connect sets up every session alike (UTC, READ COMMITTED, keepalives by which both ends notice a vanished peer) and
// keeps passwords out of errors. Through a pooler in transaction mode LISTEN hears nothing, and Migrate, whose lock is its
// session's, must not go: a database that is up to date takes no lock.
//
// IsConnectionLost tells failures worth a retry from those that are not. After one, whether the statement under way took
// effect is unknown; the caller has to find out.
//
// # Migrations
//
// A MigrationSet is one room's schema; its applied versions are kept in a table of its own, so rooms are versioned apart.
// Migrations are forward only, numbered from 1 without gaps, and never edited once released. Any number of nodes may
// call Migrate at once: it holds an advisory lock on the session that migrates. Every file runs in a transaction unless
// it says NO TRANSACTION; a failed one leaves nothing and is tried again by the next call.
//
// A database that is ahead of the binary is no error. In a rolling deploy the new version migrates while old nodes
// still run and restart; an old one that refused to start would turn a deploy into an outage. The price is a rule: a
// migration must leave the schema usable by the release before it.
//
// # Two roles
//
// The application may have a role of its own, beside the one that owns the schemas. The owner migrates, and then Grant gives
// the application what each set says it needs. It is given again each time, not once: a migration that replaces a
// function takes its marks away, and between that commit and the grant's, a moment later, running applications are
// refused it. A migration that replaces a function which acts as its owner should therefore say so itself.
//
// Migrate as a role that is not the owner changes nothing: it finds the database up to date, or says ErrOutdated.
package postgres
