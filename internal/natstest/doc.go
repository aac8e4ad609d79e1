// Package natstest runs real NATS servers with JetStream in the test process, on free ports and in temporary directories.
//
// A server may be stopped and started again on the same port and store, as one that is restarted. No program that is
// shipped imports this package, so the server is not linked into one.
package natstest
