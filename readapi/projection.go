package readapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Workshop tells how projections are doing, and has them worked on.
type Workshop interface {
	Find(name string) (engine.ID, error)
	Overview(ctx context.Context) ([]engine.Overview, error)
	Ask(ctx context.Context, kind engine.Kind, id engine.ID, o engine.Options) (engine.Job, error)
	Cancel(ctx context.Context, id engine.ID) error
}

// projections registers the endpoints of projections, which are for admins.
func (s *Server) projections(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "list-projections", Method: http.MethodGet, Path: "/v1/admin/projections", Tag: "Administration",
		Summary: "See how far each projection has come, and what is done to it", Access: httpapi.Admin,
		Errors: []*fault.Fault{eventstore.ErrUnavailable},
	}, s.listProjections)
	for kind, summary := range map[engine.Kind]string{
		engine.KindRebuild:  "Fold the log into a read table anew, beside the one that is read",
		engine.KindRollback: "Take the last rebuild of a read table back",
		engine.KindVerify:   "Compare a read table with a fold of the log",
	} {
		httpapi.Register(api, httpapi.Operation{
			ID: string(kind) + "-projection", Method: http.MethodPost, Path: "/v1/admin/projections/{name}/" + string(kind), Tag: "Administration",
			Summary: summary, Description: "A process with the role projector does it. The list says how it goes, and what came of it.",
			Access: httpapi.Admin, StepUp: kind != engine.KindVerify, Status: http.StatusAccepted,
			Errors: []*fault.Fault{engine.ErrUnknown, engine.ErrNotRebuildable, engine.ErrBusy, engine.ErrNoGeneration, engine.ErrForeign, eventstore.ErrUnavailable},
		}, func(ctx context.Context, in *workRequest) (*workAnswer, error) { return s.work(ctx, kind, in) })
	}
	httpapi.Register(api, httpapi.Operation{
		ID: "cancel-projection-job", Method: http.MethodPost, Path: "/v1/admin/projections/{name}/cancel", Tag: "Administration",
		Summary: "Cancel what is being done to a read table", Access: httpapi.Admin, Status: http.StatusNoContent,
		Errors: []*fault.Fault{engine.ErrUnknown, engine.ErrNoJob, eventstore.ErrUnavailable},
	}, s.cancelWork)
}

// ProjectionStatus is one version of a projection.
type ProjectionStatus struct {
	Name     string         `json:"name"`
	Version  int            `json:"version"`
	Position int64          `json:"position" doc:"How far it has come in the log"`
	Lag      int64          `json:"lag" doc:"Positions between it and the newest event"`
	MovedAt  time.Time      `json:"moved_at"`
	Parked   int64          `json:"parked" doc:"Keys whose events cannot be folded"`
	Error    string         `json:"error,omitempty" doc:"Why it stands still"`
	Delay    *ProjectionLag `json:"delay,omitempty" doc:"Of the version that is read"`
	Job      *ProjectionJob `json:"job,omitempty" doc:"What is done to it, or was last"`
}

// ProjectionLag is how far a projection is behind the log, and why.
type ProjectionLag struct {
	Events   int64      `json:"events" doc:"That it has not folded"`
	Seconds  float64    `json:"seconds" doc:"How long the oldest of them has been waiting"`
	Cause    string     `json:"cause" doc:"What keeps it from moving, or what its rows lack; empty where nothing is known"`
	Node     string     `json:"node" doc:"The process that moves it; empty if none does"`
	Attempts int        `json:"attempts" doc:"How often it has failed in a row"`
	Since    *time.Time `json:"failing_since" nullable:"true" doc:"null while it does not fail"`
}

// lags returns the lag of each version that is read.
func (s *Server) lags(ctx context.Context) (map[engine.ID]*ProjectionLag, error) {
	all, err := s.Desk.Lags(ctx)
	if err != nil {
		return nil, err
	}
	lags := map[engine.ID]*ProjectionLag{}
	for _, l := range all {
		lags[l.ID] = &ProjectionLag{Events: l.Events, Seconds: l.Behind.Seconds(), Cause: l.Cause, Node: l.Node, Attempts: l.Attempts, Since: l.Since}
	}
	return lags, nil
}

// ProjectionJob is what is done to a projection beside its running.
type ProjectionJob struct {
	Kind        string          `json:"kind" enum:"rebuild,rollback,verify"`
	State       string          `json:"state" enum:"waiting,running,done,failed,cancelled"`
	Phase       string          `json:"phase"`
	Done        int64           `json:"done" doc:"Of total, in this phase"`
	Total       int64           `json:"total"`
	Events      int64           `json:"events" doc:"Folded so far"`
	Rate        float64         `json:"rate" doc:"Of done, per second"`
	SecondsLeft *float64        `json:"seconds_left,omitempty" doc:"In this phase, at this rate"`
	MadeAt      time.Time       `json:"made_at"`
	EndedAt     *time.Time      `json:"ended_at,omitempty"`
	Error       string          `json:"error,omitempty"`
	Result      json.RawMessage `json:"result,omitempty" doc:"What was compared, and what differs"`
}

func projectionJob(j engine.Job) *ProjectionJob {
	out := &ProjectionJob{
		Kind: string(j.Kind), State: j.State, Phase: j.Phase, Done: j.Done, Total: j.Total, Events: j.Events, Rate: j.Rate,
		MadeAt: j.MadeAt.UTC(), EndedAt: j.EndedAt, Error: j.Error, Result: j.Result,
	}
	if left, known := j.Left(); known && !j.Ended() {
		seconds := left.Seconds()
		out.SecondsLeft = &seconds
	}
	return out
}

type projectionList struct {
	Body struct {
		Data []ProjectionStatus `json:"data" nullable:"false"`
	}
}

func (s *Server) listProjections(ctx context.Context, _ *struct{}) (*projectionList, error) {
	all, err := s.Workshop.Overview(ctx)
	if err != nil {
		return nil, err
	}
	lags, err := s.lags(ctx)
	if err != nil {
		return nil, err
	}
	out := &projectionList{}
	out.Body.Data = []ProjectionStatus{}
	for _, p := range all {
		one := ProjectionStatus{
			Name: p.ID.Name, Version: p.ID.Version, Position: p.Position, Lag: p.Lag, MovedAt: p.MovedAt.UTC(), Parked: p.Parked, Error: p.Error,
			Delay: lags[p.ID],
		}
		if p.Job != nil {
			one.Job = projectionJob(*p.Job)
		}
		out.Body.Data = append(out.Body.Data, one)
	}
	return out, nil
}

type workRequest struct {
	Name    string `path:"name"`
	MaxLoad int    `query:"max_load" minimum:"1" maximum:"100" default:"100" doc:"Work so many per cent of the time"`
	Sample  int    `query:"sample" minimum:"1" default:"100" doc:"Compare about so many rows with the log"`
	All     bool   `query:"all" doc:"Compare every row"`
	Repair  bool   `query:"repair" doc:"Make the rows that differ what the log says"`
}

type workAnswer struct {
	Body *ProjectionJob
}

func (s *Server) work(ctx context.Context, kind engine.Kind, in *workRequest) (*workAnswer, error) {
	id, err := s.Workshop.Find(in.Name)
	if err != nil {
		return nil, err
	}
	o := engine.Options{MaxLoad: in.MaxLoad, Sample: in.Sample, Repair: in.Repair}
	if in.All {
		o.Sample = -1
	}
	j, err := s.Workshop.Ask(ctx, kind, id, o)
	if err != nil {
		return nil, err
	}
	return &workAnswer{Body: projectionJob(j)}, nil
}

type cancelRequest struct {
	Name string `path:"name"`
}

func (s *Server) cancelWork(ctx context.Context, in *cancelRequest) (*struct{}, error) {
	id, err := s.Workshop.Find(in.Name)
	if err != nil {
		return nil, err
	}
	return nil, s.Workshop.Cancel(ctx, id)
}
