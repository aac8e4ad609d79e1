package readapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/projections/engine"
)

// Desk is where an operator sees to projections.
type Desk interface {
	Lags(ctx context.Context) ([]engine.Lag, error)
	Parked(ctx context.Context, name, after string, limit int) ([]engine.Parked, error)
	Retry(ctx context.Context, name string, which engine.Choice) (engine.Retried, error)
}

// parked registers the endpoints of rows that wait for an event.
func (s *Server) parked(api *httpapi.API, cursors httpapi.Cursors) {
	httpapi.Register(api, httpapi.Operation{
		ID: "list-parked-keys", Method: http.MethodGet, Path: "/v1/admin/projections/{name}/parked", Tag: "Administration",
		Summary:     "List the rows of a view that wait for an event that could not be folded",
		Description: "By their keys. Later events of a key wait in order behind the one that failed.",
		Access:      httpapi.Admin, Errors: []*fault.Fault{engine.ErrUnknown},
	}, func(ctx context.Context, in *listParkedRequest) (*parkedList, error) {
		return s.listParked(ctx, cursors, in)
	})
	httpapi.Register(api, httpapi.Operation{
		ID: "retry-parked-keys", Method: http.MethodPost, Path: "/v1/admin/projections/{name}/retry", Tag: "Administration",
		Summary:     "Fold what waits for parked keys again",
		Description: "Of one key, of those with an error, or of all where neither is given. Repeating it does no harm.",
		Access:      httpapi.Admin, Status: http.StatusOK, Timeout: time.Minute, Errors: []*fault.Fault{engine.ErrUnknown},
	}, s.retryParked)
}

type listParkedRequest struct {
	httpapi.Paging
	Name string `path:"name"`
}

type parkedKey struct {
	Key      json.RawMessage `json:"key" doc:"The row's key columns"`
	Position int64           `json:"position" doc:"Of the event that failed"`
	Error    string          `json:"error"`
	Attempts int             `json:"attempts"`
	Since    time.Time       `json:"since" doc:"When it failed first"`
	FailedAt time.Time       `json:"failed_at" doc:"When it failed last"`
	NextAt   time.Time       `json:"next_at" doc:"When it is tried again by itself"`
	Waiting  int64           `json:"waiting" doc:"Events that wait, the one that failed among them"`
}

type parkedList struct {
	Body httpapi.Page[parkedKey]
}

func (s *Server) listParked(ctx context.Context, cursors httpapi.Cursors, in *listParkedRequest) (*parkedList, error) {
	after, purpose := "", "parked/"+in.Name
	if in.Cursor != "" {
		var err error
		if after, err = httpapi.DecodeCursor[string](cursors, purpose, in.Cursor); err != nil {
			return nil, err
		}
	}
	all, err := s.Desk.Parked(ctx, in.Name, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	keys := make([]parkedKey, len(all))
	for i, p := range all {
		keys[i] = parkedKey{
			Key: json.RawMessage(p.Key), Position: p.Position, Error: p.Error, Attempts: p.Attempts,
			Since: p.Since, FailedAt: p.FailedAt, NextAt: p.NextAt, Waiting: p.Waiting,
		}
	}
	next := func(last parkedKey) string { return httpapi.EncodeCursor(cursors, purpose, string(last.Key)) }
	return &parkedList{Body: httpapi.NewPage(keys, in.Limit, next)}, nil
}

type retryParkedRequest struct {
	Name string `path:"name"`
	Body *struct {
		Key   map[string]any `json:"key,omitempty" doc:"Only the row with this key, as it is listed"`
		Error string         `json:"error,omitempty" maxLength:"1000" doc:"Only those whose error contains this"`
	}
}

type retriedKeys struct {
	Body struct {
		Healed int `json:"healed" doc:"Rows that lack nothing any more"`
		Failed int `json:"failed" doc:"Rows whose event has failed again"`
	}
}

func (s *Server) retryParked(ctx context.Context, in *retryParkedRequest) (*retriedKeys, error) {
	var which engine.Choice
	if in.Body != nil {
		which.Error = in.Body.Error
		if in.Body.Key != nil {
			key, err := json.Marshal(in.Body.Key)
			if err != nil {
				return nil, err
			}
			which.Key = string(key)
		}
	}
	done, err := s.Desk.Retry(ctx, in.Name, which)
	if err != nil {
		return nil, err
	}
	out := &retriedKeys{}
	out.Body.Healed, out.Body.Failed = done.Healed, done.Failed
	return out, nil
}
