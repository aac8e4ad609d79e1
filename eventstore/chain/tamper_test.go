package chain_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/atlas-platform/atlas/eventstore/chain"
)

// TestVerifyNamesWhatWasTamperedWith changes one sealed log of three streams in every way, each on a copy, and wants the
// first thing found to be that.
func TestVerifyNamesWhatWasTamperedWith(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		do     string // {p} is the second event of the second stream, {q} the event after it, {b} the burned position before {p}
		kind   chain.Kind
		says   string
		at     string // the position it names
		others int64  // further findings
	}{
		{name: "data", do: `UPDATE atlas.events SET data = data || '{"x": 1}' WHERE position = {p}`, kind: chain.EventChanged, says: "data differs", at: "p"},
		{name: "metadata", do: `UPDATE atlas.events SET metadata = metadata - 'request_id' WHERE position = {p}`, kind: chain.EventChanged, says: "metadata differs", at: "p"},
		{name: "ciphertext", do: `UPDATE atlas.events SET sealed = sealed || '\x00' WHERE position = {p} - 1`, kind: chain.EventChanged, says: "sealed differs", at: "p-1"},
		{name: "ciphertext removed", do: `UPDATE atlas.events SET sealed = NULL WHERE position = {p} - 1`, kind: chain.EventChanged, says: "sealed differs", at: "p-1"},
		{name: "empty secret for none", do: `UPDATE atlas.events SET secret = '' WHERE position = {p}`, kind: chain.EventChanged, says: "secret differs", at: "p"},
		{name: "type", do: `UPDATE atlas.events SET type = 'document.restored' WHERE position = {p}`, kind: chain.EventChanged, says: "type differs", at: "p"},
		{name: "schema version", do: `UPDATE atlas.events SET schema_version = 9 WHERE position = {p}`, kind: chain.EventChanged, says: "schema_version differs", at: "p"},
		{name: "time by a microsecond", do: `UPDATE atlas.events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = {p}`, kind: chain.EventChanged, says: "recorded_at differs", at: "p"},
		{name: "time without end", do: `UPDATE atlas.events SET recorded_at = 'infinity' WHERE position = {p}`, kind: chain.EventChanged, says: "recorded_at differs", at: "p"},
		{name: "id", do: `UPDATE atlas.events SET id = gen_random_uuid() WHERE position = {p}`, kind: chain.EventChanged, says: "id differs", at: "p"},
		{name: "subject", do: `UPDATE atlas.events SET subject = gen_random_uuid() WHERE position = {p}`, kind: chain.EventChanged, says: "subject differs", at: "p"},
		{name: "version", do: `UPDATE atlas.events SET version = 7 WHERE position = {p}`, kind: chain.EventChanged, says: "version is 7 now", at: "p"},
		{name: "stream", do: `UPDATE atlas.events SET stream = 'document-x' WHERE position = {p}`, kind: chain.EventChanged, says: `stream is "document-x" now`, at: "p"},
		{name: "position", do: `UPDATE atlas.events SET position = {b} WHERE position = {p}`, kind: chain.EventInserted, at: "b", others: 1},
		{name: "removed", do: `DELETE FROM atlas.events WHERE position = {p}`, kind: chain.EventRemoved, says: "it was there", at: "p"},
		{name: "inserted at a burned position", do: `INSERT INTO atlas.events SELECT {b}, version + 5, recorded_at, gen_random_uuid(), subject, schema_version, stream, type, data, metadata, sealed, secret
			FROM atlas.events WHERE position = {p}`, kind: chain.EventInserted, says: `of type "document.archived"`, at: "b"},
		{name: "inserted before the first", do: `INSERT INTO atlas.events SELECT 0, 1, recorded_at, gen_random_uuid(), subject, schema_version, 'document-x', type, data, metadata, sealed, secret
			FROM atlas.events WHERE position = {p}`, kind: chain.EventInserted, at: "0"},
		{name: "swapped", do: `
			UPDATE atlas.events SET position = {b} WHERE position = {p};
			UPDATE atlas.events SET position = {p} WHERE position = {q};
			UPDATE atlas.events SET position = {q} WHERE position = {b}`, kind: chain.EventChanged, says: "version is 3 now, id differs", at: "p", others: 1},
		{name: "the end cut off", do: `DELETE FROM atlas.events WHERE position > {p}`, kind: chain.EventRemoved, at: "q", others: 3},
		{name: "a digest changed along", do: `
			UPDATE atlas.events SET data = '{"x": 1}' WHERE position = {p};
			UPDATE atlas.chain_blocks SET entries = overlay(entries PLACING sha256('x') FROM 70) WHERE number = 3`, kind: chain.BlockChanged, says: "does not give its head", others: 1},
		{name: "entries that are none", do: `UPDATE atlas.chain_blocks SET entries = 'x' WHERE number = 2`, kind: chain.BlockChanged, others: 1},
		{name: "a head", do: `UPDATE atlas.chain_blocks SET head = sha256('x') WHERE number = 2`, kind: chain.BlockChanged, others: 1},
		{name: "a block removed", do: `DELETE FROM atlas.chain_blocks WHERE number = 2`, kind: chain.BlockMissing, says: "blocks 2 to 2 are gone"},
		{name: "the first block removed", do: `DELETE FROM atlas.chain_blocks WHERE number = 1`, kind: chain.BlockMissing, says: "blocks 1 to 1 are gone"},
		{name: "a block removed and the rest renumbered", do: `
			DELETE FROM atlas.chain_blocks WHERE number = 2;
			UPDATE atlas.chain_blocks SET number = number - 1 WHERE number = 3;
			UPDATE atlas.chain_blocks SET number = number - 1 WHERE number = 4`, kind: chain.BlockChanged, others: 3},
		{name: "the chain's beginning removed", do: `DELETE FROM atlas.chains`, kind: chain.ChainUnknown, others: 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			_, first := l.write(t, 3)
			burned := l.burn(t, 1)
			stream, last := l.write(t, 3)
			l.write(t, 3)
			l.seal(t, 2)
			p := last - 1
			if first+1 != burned || burned+3 != last {
				t.Fatalf("positions %d, %d, %d are not as the statements want them", first, burned, last)
			}
			for _, statement := range strings.Split(c.do, ";") {
				l.tamper(t, strings.NewReplacer("{p}", fmt.Sprint(p), "{q}", fmt.Sprint(p+1), "{b}", fmt.Sprint(burned)).Replace(statement))
			}
			r := l.verify(t)
			if r.Found != 1+c.others {
				t.Errorf("%d findings, want %d: %v", r.Found, 1+c.others, r.Findings)
			}
			if r.Found == 0 {
				return
			}
			f := r.Findings[0]
			at := map[string]int64{"p": p, "p-1": p - 1, "q": p + 1, "b": burned}[c.at]
			if f.Kind != c.kind || f.Position != at || !strings.Contains(f.Detail, c.says) {
				t.Errorf("first found %s, want %q at position %d that says %q", f, c.kind, at, c.says)
			}
			if c.at == "p" && (f.Stream != stream.String() || f.Version != 2) {
				t.Errorf("it names %s version %d, want %s version 2", f.Stream, f.Version, stream)
			}
		})
	}
}

// TestOnlyExportedHeadsTellOfAConsistentRewrite has the attacker change an event and let the chain be made anew.
func TestOnlyExportedHeadsTellOfAConsistentRewrite(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 5)
	_, last := l.write(t, 5)
	l.seal(t, 2)
	heads := l.heads(t)
	l.tamper(t, `UPDATE atlas.events SET data = '{"x": 1}' WHERE position = `+fmt.Sprint(last), `DELETE FROM atlas.chain_blocks WHERE last_position >= `+fmt.Sprint(last))
	l.seal(t, 2)
	wantSound(t, l.verify(t), 10)
	r := l.verifyWith(t, heads)
	if r.Found != 1 || r.Findings[0].Kind != chain.HeadDiffers || r.Findings[0].Block != 5 {
		t.Errorf("findings %v, want that block 5 is not what was exported", r.Findings)
	}
}

func TestOnlyExportedHeadsTellThatTheEndIsGoneWithItsBlocks(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 5)
	_, last := l.write(t, 5)
	l.seal(t, 2)
	heads := l.heads(t)
	l.tamper(t, `DELETE FROM atlas.events WHERE position >= `+fmt.Sprint(last-1), `DELETE FROM atlas.chain_blocks WHERE last_position >= `+fmt.Sprint(last))
	wantSound(t, l.verify(t), 8)
	r := l.verifyWith(t, heads)
	if r.Found != 1 || r.Findings[0].Kind != chain.HeadGone || r.Findings[0].Block != 5 {
		t.Errorf("findings %v, want that block 5 is gone", r.Findings)
	}
}

func TestAnExportedHeadThatWasChangedIsNotTrusted(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 2)
	l.seal(t, 2)
	heads := l.heads(t)
	stranger, err := chain.NewSigner(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	forged := &log{Log: l.Log, signer: stranger}
	for name, exported := range map[string][]byte{
		"another position": bytes.Replace(heads, []byte(`"last":2`), []byte(`"last":3`), 1),
		"another key":      forged.heads(t),
	} {
		r := l.verifyWith(t, exported)
		if r.Found != 1 || r.Findings[0].Kind != chain.HeadUntrusted {
			t.Errorf("%s: findings %v, want that the head is not trusted", name, r.Findings)
		}
	}
	for _, broken := range []string{"{", `{"block": 1}`, "not JSON"} {
		r := l.verify(t)
		if err := r.VerifyHeads(context.Background(), l.Pool, strings.NewReader(broken+"\n"), l.signer.Public()); err == nil {
			t.Errorf("%q was taken for exported heads", broken)
		}
	}
	logged := `{"level":"INFO","msg":"chain head","chain_head":` + strings.TrimSpace(string(heads)) + "}\n" + `{"level":"INFO","msg":"serving"}` + "\n"
	if r := l.verifyWith(t, []byte(logged)); r.Heads != 1 || r.Found != 0 {
		t.Errorf("%d heads were found in a server's log, findings %v; want 1 and none", r.Heads, r.Findings)
	}
}

func TestVerifyFromABlockBelievesThoseBefore(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	_, last := l.write(t, 6)
	l.seal(t, 2)
	l.tamper(t, `UPDATE atlas.events SET data = '{"x": 1}' WHERE position = `+fmt.Sprint(last-5))
	r, err := chain.Verify(context.Background(), l.Pool, chain.Options{From: 2})
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, r, 4)
	if _, err := chain.Verify(context.Background(), l.Pool, chain.Options{From: 9}); err == nil {
		t.Error("a block that is not there was started from")
	}
}

func TestTheDatabaseRefusesToChangeTheChain(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 2)
	l.seal(t, 2)
	for _, table := range []string{"chains", "chain_blocks"} {
		for _, change := range []string{`DELETE FROM atlas.%s`, `UPDATE atlas.%s SET number = 7`, `TRUNCATE atlas.%s CASCADE`} {
			if _, err := l.Pool.Exec(context.Background(), fmt.Sprintf(change, table)); err == nil || !strings.Contains(err.Error(), "AT002") {
				t.Errorf("%s: got %v, want it refused", fmt.Sprintf(change, table), err)
			}
		}
	}
}

func TestABlockIsAddedOnlyAsTheNextOne(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 4)
	l.seal(t, 2)
	const q = `SELECT atlas.seal_block($1, (SELECT id FROM atlas.chains), $2, $3, 1, now(), '', 'x', 'x')`
	for _, b := range [][3]int64{{2, 4, 5}, {4, 4, 5}, {3, 3, 5}, {1, -1, 5}} {
		var added bool
		if err := l.Pool.QueryRow(context.Background(), q, b[0], b[1], b[2]).Scan(&added); err != nil || added {
			t.Errorf("block %d after position %d: added %t (%v)", b[0], b[1], added, err)
		}
	}
}

func TestForgettingAPersonBreaksNothing(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	stream, _ := l.write(t, 3)
	l.seal(t, 2)
	if _, err := l.Pool.Exec(context.Background(), `UPDATE atlas.subject_keys SET wrapped = NULL, forgotten_at = now() WHERE subject = $1`, ann); err != nil {
		t.Fatal(err)
	}
	recorded, err := l.Node(t).Store.Load(context.Background(), stream, 1)
	if err != nil || !recorded[0].Erased {
		t.Fatalf("the person is not forgotten: %v, %v", recorded, err)
	}
	wantSound(t, l.verifyWith(t, l.heads(t)), 3)
}

// TestAPartThatIsNotAttachedIsReported moves the log into its second part and takes the first away.
func TestAPartThatIsNotAttachedIsReported(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 3)
	l.tamper(t, `SELECT setval('atlas.events_position', 33554431)`, `SELECT atlas.ensure_parts()`)
	l.write(t, 2)
	l.seal(t, 4)
	wantSound(t, l.verify(t), 5)
	l.tamper(t, `ALTER TABLE atlas.events DETACH PARTITION atlas.events_0`)
	r := l.verify(t)
	wantSound(t, r, 2)
	if want := (chain.Missing{After: -1, Last: 33554431, Events: 3}); len(r.Unattached) != 1 || r.Unattached[0] != want {
		t.Errorf("unattached %+v, want %+v", r.Unattached, want)
	}
	l.tamper(t, `ALTER TABLE atlas.events ATTACH PARTITION atlas.events_0 FOR VALUES FROM (0) TO (33554432)`)
	wantSound(t, l.verify(t), 5)
}

// TestADigestIsWhatTheDocumentationSays computes one in SQL.
func TestADigestIsWhatTheDocumentationSays(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 1)
	l.seal(t, 1)
	const q = `
		WITH fields AS (
			SELECT f.ordinal, f.bytes
			FROM atlas.events e, unnest(ARRAY[
				int8send(e.position), convert_to(e.stream, 'UTF8'), int8send(e.version), uuid_send(e.id),
				convert_to(e.type, 'UTF8'), int8send(e.schema_version),
				int8send(((extract(epoch FROM e.recorded_at) - extract(epoch FROM timestamptz '2000-01-01 00:00 UTC')) * 1000000)::bigint),
				uuid_send(e.subject), convert_to(e.data::text, 'UTF8'), convert_to(e.metadata::text, 'UTF8'), e.sealed, e.secret
			]) WITH ORDINALITY AS f (bytes, ordinal)
		), digest AS (
			SELECT sha256('atlas event 1\000'::bytea || string_agg(
				CASE WHEN bytes IS NULL THEN '\xffffffffffffffff' ELSE int8send(octet_length(bytes)) || bytes END, '' ORDER BY ordinal)) AS bytes
			FROM fields
		)
		SELECT position(d.bytes IN b.entries) FROM digest d, atlas.chain_blocks b`
	var at int
	if err := l.Pool.QueryRow(context.Background(), q).Scan(&at); err != nil {
		t.Fatal(err)
	}
	if want := 24 + len("document-") + len(uuid.Nil.String()) + 1; at != want {
		t.Errorf("the digest is at byte %d of the block's entries, want %d", at, want)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.write(t, 500)
	l.seal(t, 300)
	l.tamper(t, `DELETE FROM atlas.events`)
	r := l.verify(t)
	if r.Found != 500 || len(r.Findings) != 100 || r.Findings[0].Position != 1 {
		t.Errorf("%d found, %d listed from position %d; want 500, 100, 1", r.Found, len(r.Findings), r.Findings[0].Position)
	}
}
