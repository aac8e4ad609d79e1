package main_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/atlas-platform/atlas/internal/watchtest"
)

// TestOperatorsLookAfterSubscriptions uses the commands beside a server whose worker has sent a mail.
func TestOperatorsLookAfterSubscriptions(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	settings := []string{"ATLAS_DATA_DIR=" + dir}
	p := serve(t, settings...)
	signUp(t, p.url(), "ann@example.com")
	mails := func() int {
		files, err := filepath.Glob(filepath.Join(dir, "mail", "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	watchtest.Eventually(t, patience, "the welcome mail is written", func() bool { return mails() == 1 })
	prints := func(what string, args ...string) {
		t.Helper()
		if o := atlas(t, settings, append([]string{"subscriptions"}, args...)...); o.code != 0 || !strings.Contains(o.stdout, what) {
			t.Errorf("%v: got %+v, want %q", args, o, what)
		}
	}
	prints("welcome", "list")
	prints("types: user.registered", "show", "welcome")
	prints("goes on after beginning", "reset", "welcome", "--to", "beginning")
	prints("goes on after now", "reset", "welcome", "--to", "now")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{1, "no subscription", []string{"reset", "nosuch", "--to", "now"}},
		{1, "no parked message", []string{"retry", "welcome", "--all"}},
		{2, "--position", []string{"discard", "welcome"}},
		{2, "beginning", []string{"reset", "welcome"}},
	} {
		atlas(t, settings, append([]string{"subscriptions"}, c.args...)...).wants(t, c.code, c.says)
	}
	if n := mails(); n != 1 {
		t.Errorf("%d mails were written, want 1: a reset sends none again", n)
	}
}
