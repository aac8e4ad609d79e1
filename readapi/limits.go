package readapi

import (
	"context"
	"net/http"

	"github.com/atlas-platform/atlas/internal/httpapi"
	"github.com/atlas-platform/atlas/internal/limits"
)

// Limits tells what callers are held to.
type Limits interface {
	Settings() limits.Settings
	Refused() map[string]uint64
	Shared() (configured, now bool)
}

// limitations registers the endpoint that shows the limits.
func (s *Server) limitations(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		ID: "read-limits", Method: http.MethodGet, Path: "/v1/admin/limits", Tag: "Administration",
		Summary:     "Read the limits that callers are held to",
		Description: "As the node that answers holds them: the defaults, as ATLAS_LIMITS changes them. How often each has refused is this node's count since its start.",
		Access:      httpapi.Admin,
	}, s.readLimits)
}

type limitRate struct {
	Quota  int `json:"quota" doc:"How often in each window; all of it may be used at once"`
	Window int `json:"window_seconds"`
}

type limitState struct {
	Name    string      `json:"name"`
	About   string      `json:"about" doc:"What is counted, and by whom"`
	Rates   []limitRate `json:"rates" nullable:"false" doc:"All of them hold; none means that the limit is switched off"`
	Refused uint64      `json:"refused" doc:"How often, since the process started"`
}

type delayState struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Free    int    `json:"free_failures"`
	Longest int    `json:"longest_wait_seconds" doc:"0 means that it is switched off"`
	Refused uint64 `json:"refused" doc:"How often, since the process started"`
}

type limitStates struct {
	Body struct {
		CountedIn string       `json:"counted_in" enum:"memory,redis,memory_while_redis_is_away" doc:"memory: each node counts for itself"`
		Limits    []limitState `json:"limits" nullable:"false"`
		Delays    []delayState `json:"delays" nullable:"false"`
	}
}

func (s *Server) readLimits(context.Context, *struct{}) (*limitStates, error) {
	settings, refused := s.Limits.Settings(), s.Limits.Refused()
	out := &limitStates{}
	out.Body.CountedIn = "memory"
	if configured, now := s.Limits.Shared(); now {
		out.Body.CountedIn = "redis"
	} else if configured {
		out.Body.CountedIn = "memory_while_redis_is_away"
	}
	for _, l := range settings.Limits {
		state := limitState{Name: l.Name, About: l.About, Rates: []limitRate{}, Refused: refused[l.Name]}
		for _, r := range l.Rates {
			state.Rates = append(state.Rates, limitRate{Quota: r.Quota, Window: limits.Seconds(r.Window)})
		}
		out.Body.Limits = append(out.Body.Limits, state)
	}
	b := settings.Login
	out.Body.Delays = []delayState{{b.Name, b.About, b.Free, limits.Seconds(b.Max), refused[b.Name]}}
	return out, nil
}
