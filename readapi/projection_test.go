package readapi_test

import (
	"slices"
	"testing"
	"time"

	"github.com/atlas-platform/atlas/internal/apptest"
	"github.com/atlas-platform/atlas/internal/watchtest"
)

// projection is one as it is listed.
type projection struct {
	Name     string
	Version  int
	Position int64
	Lag      int64
	Job      *struct {
		Kind, State, Error string
		Done, Total        int64
		Result             *struct{ Rows, Different int64 }
	}
}

func TestAdminsHaveReadTablesWorkedOnAndSeeHowItGoes(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	admin := a.AdminToken(t, ann)
	a.CatchUp(t)
	const all = "/v1/admin/projections"
	users := func() projection {
		listed := apptest.Read[struct{ Data []projection }](t, a.Do(t, apptest.Scenario{Call: "GET " + all, Token: admin, Status: 200})).Data
		return listed[slices.IndexFunc(listed, func(p projection) bool { return p.Name == "users" })]
	}
	if p := users(); p.Version == 0 || p.Position == 0 || p.Lag != 0 || p.Job != nil {
		t.Errorf("got %+v, want it to have caught up", p)
	}
	for _, path := range []string{"/rebuild", "/verify?all=true", "/rollback"} {
		a.Do(t, apptest.Scenario{Call: "POST " + all + "/users" + path, Token: admin, Status: 202})
		var p projection
		watchtest.Eventually(t, time.Minute, path+" ends", func() bool {
			p = users()
			return p.Job.State != "waiting" && p.Job.State != "running"
		})
		if p.Job.State != "done" || p.Job.Error != "" {
			t.Errorf("%s: got %+v, want it done", path, *p.Job)
		}
		if r := p.Job.Result; path == "/verify?all=true" && (r == nil || r.Rows != 2 || r.Different != 0) {
			t.Errorf("%s: got the result %+v, want two rows alike", path, r)
		}
	}
	for call, want := range map[string]struct {
		status int
		code   string
		field  []string
	}{
		"/nosuch/rebuild":            {404, "projection_unknown", nil},
		"/sessions/rollback":         {404, "projection_generation_missing", nil},
		"/users/cancel":              {404, "projection_job_missing", nil},
		"/users/verify?sample=0":     {400, "invalid_parameter", []string{"sample too_small"}},
		"/users/rebuild?max_load=-1": {400, "invalid_parameter", []string{"max_load too_small"}},
	} {
		a.Do(t, apptest.Scenario{Call: "POST " + all + call, Token: admin, Status: want.status, Code: want.code, Fields: want.field})
	}
	a.Do(t, apptest.Scenario{Call: "GET " + all, As: bob, Status: 403, Code: "permission_denied"})
	a.Do(t, apptest.Scenario{Call: "POST " + all + "/users/rebuild", As: bob, Status: 403, Code: "permission_denied"})
}
