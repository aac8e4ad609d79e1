package limits

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestASettingChangesOnlyWhatItNames(t *testing.T) {
	t.Parallel()
	want := Default()
	for i := range want.Limits {
		switch want.Limits[i].Name {
		case "login.address":
			want.Limits[i].Rates = []Rate{{60, time.Minute}, {600, 2 * time.Hour}}
		case "api.address":
			want.Limits[i].Rates = nil
		}
	}
	want.Login.Free, want.Login.Max = 9, 30*time.Second
	got, err := Parse(" login.address = 60/m + 600/2h,api.address=off ,, login.delay=9/30s")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := Parse(""); err != nil || !cmp.Equal(got, Default()) {
		t.Errorf("nothing set: got %v, %v", got, err)
	}
}

func TestOneRateForAllTakesExceptions(t *testing.T) {
	t.Parallel()
	s, err := Parse("*=5/1s,api.address=7/1m")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Limits {
		want := "5/1s"
		if l.Name == "api.address" {
			want = "7/1m"
		}
		if len(l.Rates) != 1 || l.Rates[0].String() != want {
			t.Errorf("%s: got %v, want %s", l.Name, l.Rates, want)
		}
	}
	if s.Login != Default().Login {
		t.Error("it changed the delay, which is no rate")
	}
}

func TestEveryFaultOfASettingIsNamed(t *testing.T) {
	t.Parallel()
	_, err := Parse("logins=1/1m,login.address=many,api.address=0/1m,api.principal=1/0s,register.address=5/1m,register.address=6/1m," +
		"verify.address=1/25h,login.delay=1/1m+2/1m,refresh.session=1,password.principal=1000001/1h")
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{
		`"logins" is no limit; there are login.address, `, "login.address: write QUOTA/WINDOW", "api.address: a quota is 1 to",
		"api.principal: a window is 1s to 24h", "register.address is given twice", "verify.address: a window", "login.delay takes one pair",
		"refresh.session: write", "password.principal: a quota",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("it does not say %q:\n%v", part, err)
		}
	}
}
