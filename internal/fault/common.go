package fault

// The faults that several rooms raise. Each keeps its one code; a room gives it a name of its own.
var (
	ErrNotFound    = New(NotFound, "not_found", "there is nothing here, or not for this caller")
	ErrValidation  = New(Invalid, "validation_failed", "some fields break a rule; errors names each of them")
	ErrBusy        = New(Unavailable, "busy", "the service is busy; try again shortly")
	ErrNewer       = New(Unavailable, "written_by_newer_release", "a newer release has written what this node cannot read; a node of that release can")
	ErrDetached    = New(Unavailable, "part_detached", "this is in a part of the log that was taken out of the database; it can be had when that is attached again")
	ErrUnavailable = New(Unavailable, "dependency_unavailable", "the database cannot be reached; try again in a moment")
)
