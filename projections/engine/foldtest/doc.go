// Package foldtest tests the folds of a view without a database: given these events, the view has these rows.
//
//	func TestAStruckNoteIsGone(t *testing.T) {
//		foldtest.Of(t, projections.Notes).
//			Given(note, events.NoteWritten{OwnerID: ann, Text: "Call Ann"}, events.NoteStruck{OwnerID: ann}).
//			ThenNothing()
//	}
//
// # What a claim holds
//
// The engine may cut a log anywhere: one event at a time as they come, thousands in a rebuild, the same ones again after a
// crash, one row's alone in a verification, many rows' at once. A fold that sees nothing but its row and its event gives
// the same rows each time, and a claim folds its events all these ways and fails where one of them gives others:
//
//   - all at once; one by one, the rows stored and read back in between; in batches: of every size where the events are
//     few, of random ones where they are more. Then the failure names the batches and a seed, and FOLDTEST_SEED repeats it.
//   - every batch twice from the same rows, as after a transaction that was rolled back.
//   - each row by itself, one after another and then all of them beside one another. Run tests with -race, and folds
//     that share something without a lock are named.
//   - at different times: the clock that folds see stands still within a batch, and days pass between them.
//   - where a person is forgotten: at every moment at which their key may go, from before the first event was read (a
//     rebuild) to after the last one that came before the log says so. Their rows must go, and not come back.
//
// An event is shared by all views of a process. A fold that changes what it was given fails the claim, and so does one that
// keeps a slice of an event in a row and appends to it later: it must copy the slice first (slices.Clone).
//
// Rows are compared as JSON, which is how they are stored. Secret fields of events read as zero, as they do for every fold.
//
// # What it cannot tell
//
// What only the database knows is found when Atlas starts, or by its first event: whether the table has the columns of the
// row, and takes its values. A fold that asks the outside, a file or a service, and gets the same answer each time passes.
// What a claim holds, it holds for its events: give it those that could go wrong.
package foldtest
