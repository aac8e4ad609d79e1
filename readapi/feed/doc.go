// Package feed hands the log to programs outside as Server-Sent Events: a response that does not end.
//
// # Promises
//
//   - A feed brings every event that its filter chooses, once, in the order of the log. Whoever goes on after the last id
//     they got, on this node or another, misses nothing and gets nothing twice.
//   - The id of an event is its place (eventstore.Place). An id alone, without data, says how far the feed has come where
//     nothing was for it: so a filter that chooses nothing for a million events makes nobody look at them again.
//   - A place of another log, or of what a restore lost, is refused by name when a feed is opened, and ends one that is open.
//   - A reader who is too slow costs nobody but themselves: one batch of half a mebibyte, or one event where that is larger,
//     and the text of the event on its way are in memory for them, and nothing is read ahead. What they do not take within
//     Patience ends their feed, and they go on after the last id. Feeds that have caught up are served from the tail's
//     memory; those behind read for themselves, few at a time. So a node's connections to its database do not grow with
//     its feeds.
//   - The text of an event is made once for all feeds that send it at about the same time and see the same of it, and goes
//     when the last of them has sent it.
//   - A feed ends as soon as its context does: see httpapi.Operation.Held. Where it still can, it says why, and when to come
//     again; a reader who does not take what is on its way is cut off after a second.
//   - What is personal is looked up again before it is sent: it is left out of what is sent after its subject was forgotten.
//
// # Failure
//
// While the log cannot be read a feed stays open and silent but for its heartbeats, and goes on when it can, unless its
// credential cannot be told from a revoked one by then (five seconds). An event that cannot be shown ends the feed with
// "internal": it is never passed over.
package feed
