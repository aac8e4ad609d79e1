// Package logtest gives tests a log of their own: a fresh database, sealed with a fresh master key, with a tail running.
//
// The package of the test needs a TestMain that calls pgtest.Main.
package logtest
