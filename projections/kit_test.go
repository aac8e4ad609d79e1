package projections_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
	"github.com/atlas-platform/atlas/projections/engine/foldtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var (
	ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	bob = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002")
	id  = uuid.MustParse("0197f2f0-7c00-7000-8000-00000000000a") // of the stream whose events are folded
)

// at is when the nth event was recorded.
func at(n int) time.Time { return foldtest.At(n) }
