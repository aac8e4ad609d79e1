package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-platform/atlas/events"
	"github.com/atlas-platform/atlas/eventstore"
	"github.com/atlas-platform/atlas/eventstore/chain"
	"github.com/atlas-platform/atlas/eventstore/sealing"
	"github.com/atlas-platform/atlas/internal/fault"
	"github.com/atlas-platform/atlas/internal/logtest"
	"github.com/atlas-platform/atlas/internal/postgres"
	"github.com/atlas-platform/atlas/internal/postgres/pgtest"
)

var discard = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { pgtest.Main(m) }

// side is a log to export from or import into.
type side struct {
	url   string
	pool  *pgxpool.Pool
	keys  *sealing.Keys
	store *eventstore.Store

	master string
}

func newSide(t testing.TB, master string) *side {
	t.Helper()
	return openSide(t, pgtest.NewDatabase(t, eventstore.Migrations(), sealing.Migrations(), chain.Migrations(), Migrations()), master)
}

func openSide(t testing.TB, url, master string) *side {
	t.Helper()
	ctx := context.Background()
	pool, err := postgres.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	m, err := sealing.ParseMaster(master)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sealing.New(ctx, pool, m)
	if err != nil {
		t.Fatal(err)
	}
	return &side{url: url, pool: pool, keys: keys, store: eventstore.New(pool, logtest.Vocabulary(t), keys), master: master}
}

func (s *side) log() *Log { return &Log{Pool: s.pool, Store: s.store, Sealer: s.keys} }

func (s *side) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (s *side) number(t testing.TB, sql string) (n int64) {
	t.Helper()
	if err := s.pool.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

var (
	ann = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000001")
	bob = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000002")
	eve = uuid.MustParse("0197f2f0-7c00-7000-8000-000000000003")
)

// fill appends documents' streams of four events each, round robin, some by users who are signed up, and forgets eve.
// Some positions are burned on the way.
func fill(t testing.TB, s *side, documents int) []eventstore.Stream {
	t.Helper()
	ctx := eventstore.WithMetadata(context.Background(), eventstore.Metadata{
		Actor: ann, CorrelationID: uuid.New(), RequestID: "request-1", Client: eventstore.Client{Address: "192.0.2.7", UserAgent: "Käse/1.0 \"x\""},
	})
	add := func(stream eventstore.Stream, all ...events.Event) {
		t.Helper()
		if _, err := s.store.Append(ctx, eventstore.Write{Stream: stream, Expect: eventstore.AnyVersion, Events: all}); err != nil {
			t.Fatal(err)
		}
	}
	for i, user := range []uuid.UUID{ann, bob, eve} {
		add(eventstore.NewStream("user", user), events.UserRegistered{UserID: user, Email: fmt.Sprintf("%d@example.com", i),
			Name: "N", PasswordHash: "hash", Roles: []string{"user"}})
	}
	var streams []eventstore.Stream
	for i := range documents {
		streams = append(streams, eventstore.NewStream("document", uuid.Must(uuid.NewV7())))
		owner := []uuid.UUID{ann, bob, eve}[i%3]
		add(streams[i], events.DocumentCreated{OwnerID: owner, Title: "Title ☃ \\ \"" + strconv.Itoa(i), Body: strings.Repeat("body\n", i%40),
			Tags: []string{"<&>", "é"}, ContentType: "text/markdown"})
		if i%7 == 0 {
			s.exec(t, `SELECT nextval('atlas.events_position')`)
		}
	}
	for _, stream := range streams {
		add(stream, events.DocumentArchived{}, events.DocumentRestored{})
	}
	for i, stream := range streams {
		add(stream, events.DocumentRevised{OwnerID: []uuid.UUID{ann, bob, eve}[i%3], Title: "again"})
	}
	if _, err := s.keys.Secret(context.Background(), "email"); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `UPDATE atlas.subject_keys SET wrapped = NULL, forgotten_at = now() WHERE subject = $1`, eve)
	return streams
}

func export(t testing.TB, s *side) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := (Export{Log: s.log(), Keys: s.keys, WithKeys: true}).Write(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func imported(t testing.TB, s *side, file []byte, change ...func(*Import)) Imported {
	t.Helper()
	im := Import{Pool: s.pool, Keys: s.keys, Chunk: 37}
	for _, c := range change {
		c(&im)
	}
	got, err := im.Run(context.Background(), bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// table returns every row of a query as text.
func table(t testing.TB, s *side, sql string) string {
	t.Helper()
	rows, err := s.pool.Query(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

const (
	wholeEvents  = `SELECT e::text FROM atlas.events e ORDER BY position`
	wholeStreams = `SELECT s::text FROM atlas.streams s ORDER BY stream`
	wholeKeys    = `SELECT k::text FROM atlas.subject_keys k ORDER BY subject`
	butPositions = `SELECT (version, recorded_at, id, subject, schema_version, stream, type, data, metadata, sealed, secret)::text
		FROM atlas.events ORDER BY position`
)

func requireSame(t testing.TB, from, to *side, queries ...string) {
	t.Helper()
	for _, q := range queries {
		if diff := cmp.Diff(strings.Split(table(t, from, q), "\n"), strings.Split(table(t, to, q), "\n")); diff != "" {
			t.Errorf("%s differs (-from +to):\n%s", q, diff)
		}
	}
}

func TestAnImportedLogIsTheLogThatWasExported(t *testing.T) {
	t.Parallel()
	ctx, master := context.Background(), sealing.GenerateMaster()
	from, to := newSide(t, master), newSide(t, master)
	streams := fill(t, from, 60)
	if _, err := to.keys.Secret(ctx, "email"); err != nil { // as if it had been served from already
		t.Fatal(err)
	}
	file := export(t, from)
	got := imported(t, to, file)
	if want := from.number(t, `SELECT count(*) FROM atlas.events`); got.Events != want || got.Resumed != 0 {
		t.Errorf("imported %+v, want %d events", got, want)
	}
	requireSame(t, from, to, wholeEvents, wholeStreams, wholeKeys)
	if a, b := from.number(t, `SELECT atlas.horizon()`), to.number(t, `SELECT atlas.horizon()`); a != b {
		t.Errorf("the horizon is %d, want %d", b, a)
	}
	const broken = `SELECT count(*) FROM atlas.chains WHERE reason LIKE 'import of the file with SHA-256 %'`
	if n := to.number(t, broken); n != 1 {
		t.Errorf("%d chains begin with the import, want 1", n)
	}
	fresh := openSide(t, to.url, master)
	for i, stream := range streams {
		a, errA := from.store.LoadWithSecrets(ctx, stream, 1)
		b, errB := fresh.store.LoadWithSecrets(ctx, stream, 1)
		if err := errors.Join(errA, errB); err != nil || len(a) != 4 || len(b) != 4 {
			t.Fatalf("%s: %d and %d events, %v", stream, len(a), len(b), err)
		}
		ea, _ := a[0].Event()
		eb, err := b[0].Event()
		if diff := cmp.Diff(ea, eb); i%3 != 2 && diff != "" || err != nil || b[0].Erased != (i%3 == 2) {
			t.Errorf("%s: %v, erased %v\n%s", stream, err, b[0].Erased, diff)
		}
		if b[0].Metadata.Client.Address != "192.0.2.7" {
			t.Errorf("%s: the client does not open: %+v", stream, b[0].Metadata)
		}
	}
	a, _ := from.keys.Secret(ctx, "email")
	if b, err := fresh.keys.Secret(ctx, "email"); err != nil || !bytes.Equal(a, b) {
		t.Errorf("the e-mail secret did not come along: %v", err)
	}
	if err := fresh.keys.Seal(ctx, []*eventstore.Envelope{{Subject: eve, Bound: "x", Plain: []byte("{}")}}); !errors.Is(err, sealing.ErrForgotten) {
		t.Errorf("a forgotten subject came back: %v", err)
	}
	o, err := fresh.store.Append(ctx, eventstore.Write{Stream: streams[0], Expect: 4, Events: []events.Event{events.DocumentArchived{}}})
	if err != nil || o.Position() <= from.number(t, `SELECT last_value FROM atlas.events_position`) {
		t.Errorf("append after the import: position %d, %v", o.Position(), err)
	}
}

func TestAnImportOverPartsMakesThem(t *testing.T) {
	t.Parallel()
	master := sealing.GenerateMaster()
	from, to := newSide(t, master), newSide(t, master)
	fill(t, from, 5)
	from.exec(t, `SELECT setval('atlas.events_position', 7 * 33554432::bigint - 20)`)
	if _, err := from.store.Append(context.Background(), eventstore.Write{Stream: eventstore.NewStream("document", uuid.New()),
		Events: slices.Repeat([]events.Event{events.DocumentArchived{}}, 50)}); err != nil {
		t.Fatal(err)
	}
	imported(t, to, export(t, from))
	requireSame(t, from, to, wholeEvents, wholeStreams)
}

func TestUnknownTypesAndNewerSchemasAreImportedAsTheyAre(t *testing.T) {
	t.Parallel()
	master := sealing.GenerateMaster()
	from, to := newSide(t, master), newSide(t, master)
	fill(t, from, 1)
	from.exec(t, `INSERT INTO atlas.streams VALUES ('ghost-0197f2f0-7c00-7000-8000-000000000009', 1, 1000, 1000, '2030-01-01')`)
	from.exec(t, `INSERT INTO atlas.events VALUES (1000, 1, '2030-01-01', gen_random_uuid(), NULL, 77,
		'ghost-0197f2f0-7c00-7000-8000-000000000009', 'ghost.seen', '{"n": 12345678901234567890.10, "u": "\u2028 <é>"}', '{}', NULL, NULL)`)
	from.exec(t, `SELECT setval('atlas.events_position', 1000)`)
	imported(t, to, export(t, from))
	requireSame(t, from, to, wholeEvents, wholeStreams)
}

func TestAppendingDrawsNewPositionsAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	ctx, master := context.Background(), sealing.GenerateMaster()
	from, to := newSide(t, master), newSide(t, master)
	fill(t, from, 40)
	file := export(t, from)
	own := eventstore.NewStream("document", uuid.New())
	if _, err := to.store.Append(ctx, eventstore.Write{Stream: own, Events: []events.Event{events.DocumentArchived{}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := (Import{Pool: to.pool, Keys: to.keys}).Run(ctx, bytes.NewReader(file)); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("into a log with events: got %v, want ErrNotEmpty", err)
	}
	if n := to.number(t, `SELECT count(*) FROM atlas.events`) + to.number(t, `SELECT count(*) FROM atlas.imports`); n != 1 {
		t.Errorf("the refused import left something")
	}
	appendTo := func(im *Import) { im.Append = true }
	imported(t, to, file, appendTo)
	to.exec(t, `ALTER TABLE atlas.events DISABLE TRIGGER USER; ALTER TABLE atlas.events_0 DISABLE TRIGGER USER;
		DELETE FROM atlas.events WHERE position = 1; DELETE FROM atlas.streams WHERE stream = '`+own.String()+`'`)
	requireSame(t, from, to, butPositions, wholeKeys)
	const wrong = `SELECT count(*) FROM atlas.streams s JOIN (SELECT stream, max(version) v, min(position) f, max(position) l, max(recorded_at) t
		FROM atlas.events GROUP BY stream) e USING (stream) WHERE (s.version, s.first_position, s.last_position, s.last_time) <> (v, f, l, t)`
	if n := to.number(t, wrong); n != 0 {
		t.Errorf("%d streams' rows do not fit their events", n)
	}
	if got := imported(t, to, file, appendTo); got.Before.IsZero() || got.Events != 0 {
		t.Errorf("the same file twice: got %+v, want it to say so and do nothing", got)
	}

	// What the exported log has recorded since goes on where the first file ended.
	last := from.number(t, `SELECT last_value FROM atlas.events_position`)
	stream := eventstore.NewStream("user", ann)
	if _, err := from.store.Append(ctx, eventstore.Write{Stream: stream, Expect: 1, Events: []events.Event{events.UserNameChanged{UserID: ann, Name: "A"}}}); err != nil {
		t.Fatal(err)
	}
	var rest bytes.Buffer
	if _, err := (Export{Log: from.log(), Keys: from.keys, From: last + 1, WithKeys: true}).Write(ctx, &rest); err != nil {
		t.Fatal(err)
	}
	if got := imported(t, to, rest.Bytes(), appendTo); got.Events != 1 {
		t.Errorf("imported %+v, want 1 event", got)
	}
	requireSame(t, from, to, butPositions)
	_, err := (Import{Pool: newSide(t, master).pool, Keys: to.keys}).Run(ctx, bytes.NewReader(rest.Bytes()))
	if e := (*LineError)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "begins before") {
		t.Errorf("a later part into an empty log: got %v", err)
	}
}

func TestAWrongMasterKeyImportsNothing(t *testing.T) {
	t.Parallel()
	from, to := newSide(t, sealing.GenerateMaster()), newSide(t, sealing.GenerateMaster())
	fill(t, from, 3)
	_, err := (Import{Pool: to.pool, Keys: to.keys}).Run(context.Background(), bytes.NewReader(export(t, from)))
	if e := (*LineError)(nil); !errors.As(err, &e) || e.Line != 2 || !strings.Contains(err.Error(), "master key") {
		t.Errorf("got %v, want line 2 to be refused for its master key", err)
	}
	if n := to.number(t, `SELECT (SELECT count(*) FROM atlas.subject_keys) + (SELECT count(*) FROM atlas.imports)`); n != 0 {
		t.Error("the refused import left something")
	}
}

func TestOtherKeysInUseAreNotOverwritten(t *testing.T) {
	t.Parallel()
	ctx, master := context.Background(), sealing.GenerateMaster()
	from, to := newSide(t, master), newSide(t, master)
	fill(t, from, 3)
	if err := to.keys.Seal(ctx, []*eventstore.Envelope{{Subject: bob, Bound: "x", Plain: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	_, err := (Import{Pool: to.pool, Keys: to.keys, Append: true}).Run(ctx, bytes.NewReader(export(t, from)))
	if !errors.Is(err, sealing.ErrOtherKey) || !strings.Contains(err.Error(), bob.String()) {
		t.Errorf("got %v, want ErrOtherKey that names bob", err)
	}
	if n := to.number(t, `SELECT count(*) FROM atlas.events`); n != 0 {
		t.Errorf("%d events were imported whose sealed values would not open", n)
	}
}

// garbage is ways to damage a file. Those that make the sum wrong alone are told from those that seal the damage.
func garbage(file []byte) map[string][]byte {
	split := bytes.SplitAfter(file, []byte("\n"))
	lines := split[:len(split)-1]
	first := 1
	for !isEvent(lines[first]) {
		first++
	}
	edit := func(f func(lines [][]byte) [][]byte) []byte {
		copied := make([][]byte, len(lines))
		for i := range lines {
			copied[i] = bytes.Clone(lines[i])
		}
		return resum(f(copied))
	}
	at := first + len(lines[first:])/2
	sub := func(i int, old, new string) func([][]byte) [][]byte {
		return func(l [][]byte) [][]byte {
			l[i] = bytes.Replace(l[i], []byte(old), []byte(new), 1)
			return l
		}
	}
	flipped := bytes.Clone(file)
	flipped[bytes.Index(flipped, lines[at])+bytes.Index(lines[at], []byte(`"id":"`))+8] ^= 1
	return map[string][]byte{
		"empty":                 {},
		"no header":             bytes.Join(lines[1:], nil),
		"cut off in a line":     file[:len(file)*2/3],
		"cut off after a line":  bytes.Join(lines[:at], nil),
		"without its last line": bytes.Join(lines[:len(lines)-1], nil),
		"a flipped byte":        flipped,
		"something after it":    append(bytes.Clone(file), lines[at]...),
		"reordered lines": edit(func(l [][]byte) [][]byte {
			l[at], l[at+1] = l[at+1], l[at]
			return l
		}),
		"a missing line":         edit(func(l [][]byte) [][]byte { return append(l[:at], l[at+1:]...) }),
		"a line twice":           edit(func(l [][]byte) [][]byte { l[at+1] = l[at]; return l }),
		"broken JSON":            edit(sub(at, `"data":{`, `"data":{{`)),
		"unknown format version": edit(sub(0, `"version":1`, `"version":2`)),
		"unknown format":         edit(sub(0, `"atlas-events"`, `"other-events"`)),
		"unknown field":          edit(sub(at, `"data":`, `"date":`)),
		"field twice":            edit(sub(at, `"data":`, `"schema_version":1,"data":`)),
		"a version jump": edit(func(l [][]byte) [][]byte {
			i := len(l) - 2
			l[i] = bytes.Replace(l[i], []byte(`"version":4`), []byte(`"version":5`), 1)
			return l
		}),
		"NUL":            edit(sub(at, `"data":{`, `"data":{"x":"\u0000",`)),
		"half a pair":    edit(sub(at, `"data":{`, `"data":{"x":"\ud800",`)),
		"a huge number":  edit(sub(at, `"data":{`, `"data":{"x":1e999999,`)),
		"bad metadata":   edit(sub(at, `"metadata":{`, `"metadata":{"actor":"nobody",`)),
		"bad stream":     edit(sub(at, `"stream":"document-`, `"stream":"Document-`)),
		"bad ciphertext": edit(sub(len(lines)-2, `"sealed":"`, `"sealed":"?`)),
		"an id twice": edit(func(l [][]byte) [][]byte {
			id := `"id":"`
			i, j := bytes.Index(l[at], []byte(id)), bytes.Index(l[at+1], []byte(id))
			copy(l[at+1][j:j+42], l[at][i:i+42])
			return l
		}),
		"backwards in time": edit(func(l [][]byte) [][]byte {
			i := len(l) - 2
			j := bytes.Index(l[i], []byte(`"recorded_at":"20`))
			copy(l[i][j+17:], "1")
			return l
		}),
	}
}

// resum writes the trailer anew, so that nothing but the content is wrong.
func resum(lines [][]byte) []byte {
	var out bytes.Buffer
	w := newWriter(&out)
	for _, line := range lines[:len(lines)-1] {
		x, _ := parseExtra(line)
		switch {
		case isEvent(line):
			w.counts.Events++
		case x.Key != nil:
			w.counts.Keys++
		case x.Secret != nil:
			w.counts.Secrets++
		}
		if err := w.write(line); err != nil {
			panic(err)
		}
	}
	if err := w.finish(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func TestGarbageIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	master := sealing.GenerateMaster()
	from, to := newSide(t, master), newSide(t, master)
	fill(t, from, 40)
	file := export(t, from)
	const state = `SELECT (SELECT count(*) FROM atlas.events), (SELECT count(*) FROM atlas.streams), (SELECT count(*) FROM atlas.imports),
		(SELECT count(*) FROM atlas.subject_keys), last_value FROM atlas.events_position`
	for name, damaged := range garbage(file) {
		_, err := (Import{Pool: to.pool, Keys: to.keys, Chunk: 10}).Run(context.Background(), bytes.NewReader(damaged))
		t.Logf("%s: %v", name, err)
		e := (*LineError)(nil)
		if err == nil || !errors.As(err, &e) && !errors.Is(err, errCutOff) && name != "empty" {
			t.Errorf("%s: got %v, want a line of the file or that it is cut off", name, err)
		}
		rows := make([]int64, 5)
		if err := to.pool.QueryRow(context.Background(), state).Scan(&rows[0], &rows[1], &rows[2], &rows[3], &rows[4]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int64{0, 0, 0, 0, 0}, rows); diff != "" {
			t.Fatalf("%s: it was written to the log:\n%s", name, diff)
		}
	}
	if !bytes.Equal(resum(bytes.SplitAfter(file[:len(file)-1], []byte("\n"))), file) {
		t.Error("summing a sound file anew changes it: the damage above is not the only one")
	}
	imported(t, to, file)
	requireSame(t, from, to, wholeEvents, wholeStreams)
}

// TestImporter is no test: it is the process that others kill.
func TestImporter(t *testing.T) {
	url := os.Getenv("TRANSFER_IMPORT_URL")
	if url == "" {
		t.Skip("run by another test")
	}
	file, err := os.Open(os.Getenv("TRANSFER_IMPORT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	s := openSide(t, url, os.Getenv("TRANSFER_IMPORT_MASTER"))
	im := Import{Pool: s.pool, Keys: s.keys, Chunk: 25, Append: os.Getenv("TRANSFER_IMPORT_APPEND") != ""}
	im.committed = func(n int) { fmt.Println("chunk", n) }
	if _, err := im.Run(context.Background(), file); err != nil {
		t.Fatal(err)
	}
	fmt.Println("finished")
}

// importUntil runs an import in another process and kills it a random moment after a chunk; true tells that it finished.
func importUntil(t *testing.T, chunk int, delay time.Duration, environ ...string) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestImporter$")
	cmd.Env = append(os.Environ(), environ...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	finished := false
	var said strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := out.Read(buffer)
		said.Write(buffer[:n])
		finished = finished || strings.Contains(said.String(), "finished\n")
		if chunk > 0 && strings.Count(said.String(), "chunk ") >= chunk {
			time.Sleep(delay)
			cmd.Process.Kill()
			chunk = 0
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
		t.Fatalf("import: %v\n%s", err, said.String())
	}
	return finished
}

func TestAKilledImportGoesOnAfterItsLastChunkWhileReadersFollow(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "append"} {
		t.Run("positions "+mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			master := sealing.GenerateMaster()
			from, to := newSide(t, master), newSide(t, master)
			fill(t, from, 250)
			path := filepath.Join(t.TempDir(), "export.ndjson")
			if err := os.WriteFile(path, export(t, from), 0o600); err != nil {
				t.Fatal(err)
			}
			to.exec(t, `SELECT nextval('atlas.events_position') FROM generate_series(1, 40)`) // by appends that failed
			seen := follow(t, ctx, to)
			environ := []string{"TRANSFER_IMPORT_URL=" + to.url, "TRANSFER_IMPORT_FILE=" + path,
				"TRANSFER_IMPORT_MASTER=" + master, "TRANSFER_IMPORT_APPEND=" + mode}
			kills := 0
			for tries := 0; ; tries++ {
				chunk := 1 + rand.IntN(12)
				if tries > 8 {
					chunk = 0
				}
				if importUntil(t, chunk, time.Duration(rand.IntN(8000))*time.Microsecond, environ...) {
					break
				}
				kills++
				if mode == "" {
					_, err := to.store.Append(ctx, eventstore.Write{Stream: eventstore.NewStream("document", uuid.New()), Events: []events.Event{events.DocumentArchived{}}})
					if err == nil || !strings.Contains(err.Error(), "import") {
						t.Errorf("append into a half-imported log: got %v, want a refusal", err)
					}
				}
			}
			t.Logf("%d kills", kills)
			if kills == 0 {
				t.Error("nothing was killed")
			}
			if mode == "" {
				requireSame(t, from, to, wholeEvents, wholeStreams)
			}
			requireSame(t, from, to, butPositions, wholeKeys)
			if _, err := to.store.Append(ctx, eventstore.Write{Stream: eventstore.NewStream("user", uuid.New()), Events: []events.Event{events.DocumentArchived{}}}); err != nil {
				t.Errorf("append after the import: %v", err)
			}
			got := <-seen
			if diff := cmp.Diff(strings.Split(table(t, to, `SELECT e.position::text FROM atlas.events e ORDER BY e.position`), "\n"), got); diff != "" {
				t.Errorf("a reader that followed saw otherwise (-log +seen):\n%s", diff)
			}
		})
	}
}

// follow reads the log as it grows, until an event of a stream user without a UserRegistered comes, the last.
func follow(t *testing.T, ctx context.Context, s *side) <-chan []string {
	t.Helper()
	waker := eventstore.NewWaker(s.store, discard)
	tail := eventstore.NewTail(s.store, waker, discard)
	go tail.Run(ctx)
	reader := tail.From(0, eventstore.Filter{})
	done := make(chan []string, 1)
	go func() {
		var seen []string
		defer func() { done <- seen }()
		for {
			b, err := reader.Next(ctx, 100)
			if err != nil {
				t.Errorf("follow: %v", err)
				return
			}
			for _, r := range b.Events {
				seen = append(seen, strconv.FormatInt(r.Position, 10))
				if r.Stream.Category == "user" && r.Type == "document.archived" {
					return
				}
			}
		}
	}()
	return done
}

func TestALogIsClosedOnlyWhileItIsImportedInto(t *testing.T) {
	t.Parallel()
	ctx, master := context.Background(), sealing.GenerateMaster()
	from, to := newSide(t, master), newSide(t, master)
	fill(t, from, 20)
	file := export(t, from)
	stopped, cancel := context.WithCancel(ctx)
	_, err := (Import{Pool: to.pool, Keys: to.keys, Chunk: 10, committed: func(n int) {
		if n == 3 {
			cancel()
		}
	}}).Run(stopped, bytes.NewReader(file))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want it cancelled", err)
	}
	add := func() error {
		_, err := to.store.Append(ctx, eventstore.Write{Stream: eventstore.NewStream("document", uuid.New()), Events: []events.Event{events.DocumentArchived{}}})
		return err
	}
	if o, f, ok := fault.Of(add()); !ok || f != eventstore.ErrImporting || o.RetryAfter() == 0 {
		t.Errorf("an append between the chunks: got %v, want ErrImporting, to be tried again later", f)
	}
	other := export(t, newSide(t, master))
	if _, err := (Import{Pool: to.pool, Keys: to.keys}).Run(ctx, bytes.NewReader(other)); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("another file meanwhile: got %v", err)
	}
	if _, err := Abandon(ctx, to.pool); err != nil {
		t.Fatal(err)
	}
	if err := add(); err != nil {
		t.Errorf("append after it was abandoned: %v", err)
	}
	if n := to.number(t, `SELECT count(*) FROM atlas.events`); n != 31 {
		t.Errorf("%d events, want the 30 of three chunks and one", n)
	}
	if _, err := Abandon(ctx, to.pool); !errors.Is(err, ErrNoImport) {
		t.Errorf("abandoned twice: got %v", err)
	}
	if _, err := (Import{Pool: to.pool, Keys: to.keys}).Run(ctx, bytes.NewReader(file)); err == nil || !strings.Contains(err.Error(), "abandoned") {
		t.Errorf("the abandoned file again: got %v", err)
	}
}

func TestACutOffExportGoesOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newSide(t, sealing.GenerateMaster())
	fill(t, s, 30)
	whole := export(t, s)
	fill2 := eventstore.NewStream("document", uuid.New())
	for i, at := range []int{bytes.IndexByte(whole, '\n') + 1, 700, 1500, len(whole) / 2, len(whole) - 30, len(whole)} {
		if _, err := s.store.Append(ctx, eventstore.Write{Stream: fill2, Expect: int64(i), Events: []events.Event{events.DocumentArchived{}}}); err != nil {
			t.Fatal(err) // which the file, begun before, must not hold
		}
		path := filepath.Join(t.TempDir(), "export.ndjson")
		if err := os.WriteFile(path, whole[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (Export{Log: s.log(), Keys: s.keys}).Resume(ctx, file)
		file.Close()
		got, _ := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, whole) {
			t.Errorf("cut off at %d: %v, %d bytes, want the %d as before", at, err, len(got), len(whole))
		}
	}
}

func TestReadChoosesAndUnsealsOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newSide(t, sealing.GenerateMaster())
	streams := fill(t, s, 9)
	s = openSide(t, s.url, s.master) // which has no key in its cache
	read := func(q Query) []string {
		t.Helper()
		var out bytes.Buffer
		if err := s.log().Read(ctx, &out, q); err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	}
	if got := read(Query{}); len(got) != 3+9*4 {
		t.Errorf("%d events, want %d", len(got), 3+9*4)
	}
	if got := read(Query{Stream: &streams[0]}); len(got) != 4 || !strings.Contains(got[3], `"version":4`) {
		t.Errorf("stream: %q", got)
	}
	if got := read(Query{Filter: eventstore.Filter{Types: []string{"document.archived"}}, Limit: 5}); len(got) != 5 {
		t.Errorf("%d events, want 5", len(got))
	}
	if got := read(Query{Filter: eventstore.Filter{Categories: []string{"user"}}}); len(got) != 3 {
		t.Errorf("%d events, want 3", len(got))
	}
	if got := read(Query{From: 2, To: 3}); len(got) != 2 || !strings.HasPrefix(got[0], `{"position":2,`) {
		t.Errorf("range: %q", got)
	}
	closed, open := strings.Join(read(Query{}), "\n"), strings.Join(read(Query{Unseal: true}), "\n")
	if strings.Contains(closed, "0@example.com") || strings.Contains(closed, "sealed_data") || strings.Contains(closed+open, `"secret"`) {
		t.Error("what is sealed or secret shows")
	}
	if !strings.Contains(open, `"sealed_data":{"email":"0@example.com"`) && !strings.Contains(open, `0@example.com`) {
		t.Error("what is sealed was not opened")
	}
	if strings.Contains(open, "2@example.com") || strings.Count(open, `"erased":true`) != 1+2*3 {
		t.Errorf("the forgotten subject's values: %d read as erased, want %d", strings.Count(open, `"erased":true`), 1+2*3)
	}
	if strings.Contains(open, "hash") {
		t.Error("a secret was opened")
	}
}

// TestTheHashOfAKeyIsNotPrintedAndIsExported appends a key's events: what is printed has no hash, whatever is opened, and what is
// exported has it, since nobody could sign in with the key otherwise.
func TestTheHashOfAKeyIsNotPrintedAndIsExported(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newSide(t, sealing.GenerateMaster())
	key := eventstore.NewStream("apikey", uuid.Must(uuid.NewV7()))
	made := events.APIKeyCreated{OwnerID: ann, Name: "laptop", Scopes: []string{"documents:read"}, Hash: "digest-1"}
	if _, err := s.store.Append(ctx, eventstore.Write{Stream: key, Events: []events.Event{made, events.APIKeyRotated{OwnerID: ann, Hash: "digest-2", Generation: 2}}}); err != nil {
		t.Fatal(err)
	}
	for _, q := range []Query{{}, {Unseal: true}, {Stream: &key, Unseal: true}} {
		var out bytes.Buffer
		if err := s.log().Read(ctx, &out, q); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); strings.Contains(got, "digest-") || !strings.Contains(got, "documents:read") || !strings.Contains(got, `"generation":2`) {
			t.Errorf("%+v prints %s", q, got)
		}
	}
	if file := string(export(t, s)); strings.Count(file, "digest-") != 2 {
		t.Errorf("the export lacks a hash:\n%s", file)
	}
}
