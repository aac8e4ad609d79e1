package httpapi

import (
	"cmp"
	"maps"
	"slices"

	"github.com/atlas-platform/atlas/internal/fault"
)

// addFaults takes faults into the catalogue. One code with two meanings is a mistake that no request must find first.
func (a *API) addFaults(faults ...*fault.Fault) {
	for _, f := range faults {
		if known, taken := a.faults[f.Code()]; taken && known != f {
			panic("httpapi: two faults have the code " + f.Code())
		}
		a.faults[f.Code()] = f
	}
}

// Catalogue returns every fault that any operation may answer with, by code.
func (a *API) Catalogue() []*fault.Fault {
	return slices.SortedFunc(maps.Values(a.faults), func(f, g *fault.Fault) int { return cmp.Compare(f.Code(), g.Code()) })
}

// faultsOf returns every fault that the operation may answer with, by status and code: its own, and those of the steps
// that its declaration implies.
func (a *API) faultsOf(op Operation) []*fault.Fault {
	faults := slices.Concat(op.Errors, []*fault.Fault{ErrNotAcceptable, ErrInternal, ErrBusy, ErrNewer, ErrDetached, ErrTimeout, ErrInvalidParameter})
	if a.config.Limits != nil {
		faults = append(faults, ErrRateLimited)
	}
	if op.Access != Anyone {
		faults = append(append(faults, ErrUnauthenticated, ErrPermissionDenied), a.config.AuthErrors...)
	}
	if op.Scope != "" {
		faults = append(faults, ErrScopeMissing)
	}
	if op.StepUp {
		faults = append(faults, a.config.StepUpErrors...)
	}
	if op.Held {
		faults = append(faults, ErrDraining)
	}
	if op.mutates() {
		faults = append(faults, ErrMalformedJSON, ErrValidation, ErrUnsupportedMedia, ErrBodyTooLarge, ErrIncompleteBody)
	}
	slices.SortFunc(faults, func(f, g *fault.Fault) int {
		return cmp.Or(cmp.Compare(Status(f.Kind()), Status(g.Kind())), cmp.Compare(f.Code(), g.Code()))
	})
	return slices.Compact(faults)
}
