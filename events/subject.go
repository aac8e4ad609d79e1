package events

import "github.com/google/uuid"

// SubjectEvent is the closed set of facts the stream of a data subject may hold. The stream's id is the subject's.
type SubjectEvent interface{ subject() }

// Subject lists the events of a person as the owner of personal data, whatever else they are here.
var Subject = []Type{
	Define[SubjectForgotten]("subject.forgotten"),
}

// SubjectForgotten says that the key of the subject's personal data was destroyed, in the transaction that appended
// this. Whoever keeps anything about the subject drops it when it comes to this event.
type SubjectForgotten struct {
	SubjectID uuid.UUID `json:"subject_id"`
}

func (SubjectForgotten) subject() {}
