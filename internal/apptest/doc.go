// Package apptest gives tests an Atlas of their own: its whole API over real HTTP, on a log in a fresh database, with read
// tables that follow it. Two users, Ann and Bob, are signed up and signed in.
//
// Scenario is one call and what must come back and be in the log afterwards: Run makes scenarios subtests, Do makes one a
// step of a longer story. Whatever the scenario is about, its answer is held against the OpenAPI document, and what it
// appended must say who did it.
//
// Nothing follows the log for what is revoked until a test calls Revoke: a story can take place before the news arrives.
//
// The package of the test needs a TestMain that calls pgtest.Main.
package apptest
