// Package telemetry is what an operator sees of a running Atlas: its log and its metrics.
//
// Neither holds secrets or personal data: those who log say what happened to which id, never to whom. The number of
// label values of every metric is bounded by what the code declares, not by what callers send.
package telemetry
