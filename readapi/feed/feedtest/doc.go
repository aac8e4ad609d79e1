// Package feedtest reads feeds of events in tests, over real HTTP, as the WHATWG's specification of Server-Sent Events has
// it.
package feedtest
