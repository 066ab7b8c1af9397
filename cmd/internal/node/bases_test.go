package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// TestReadersOfRewoundBranches publishes nine times, over a branch that goes
// aside, is deleted and comes back, with a reader joining at each number; the
// eighth publication makes a level. Every reader must get to the ninth.
func TestReadersOfRewoundBranches(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	work.git("config", "core.compression", "0")
	url := alice.publish(work).URL
	var readers []*person
	join := func() {
		p := newPerson(t, net)
		p.trustPublisherWithRewind(url)
		p.start()
		p.fetch(url)
		readers = append(readers, p)
	}
	join()
	var aside refs.OID
	for i := 2; i <= 9; i++ {
		switch i {
		case 2:
			work.git("checkout", "-q", "-b", "topic")
			aside = work.commit("")
		case 3: // aside
			work.git("reset", "-q", "--hard", "main")
			work.commit("")
		case 4:
			work.git("checkout", "-q", "main")
			work.git("branch", "-q", "-D", "topic")
			work.commit("")
		case 5: // back to what it was at number 2
			work.git("branch", "topic", string(aside))
		default:
			work.commit("")
		}
		alice.publish(work)
		join()
	}
	for i, p := range readers {
		got := p.fetch(url)
		if got.Number != 9 || !slices.Equal(got.Refs, work.refs()) {
			t.Errorf("reader who joined at %d: number %d, want 9 with all refs", i+1, got.Number)
		}
		fsck(t, got.Mirror)
	}
}

// TestPublishWithoutBases: a file gitpeer/bases that cannot be read, written or
// replaced costs levels of packs, and no publication fails for it.
func TestPublishWithoutBases(t *testing.T) {
	alice, work := publisher(t, loopback(t), 1)
	url := alice.publish(work).URL
	file := filepath.Join(alice.home.Mirror(mustAddress(t, url)), "gitpeer", "bases")
	if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	work.commit("")
	if got := alice.publish(work); got.Number != 2 || got.Stored == 0 {
		t.Errorf("Publish = %+v, want number 2 in the DHT", got)
	}
	if err := errors.Join(os.RemoveAll(file), os.WriteFile(file, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	work.commit("")
	if got := alice.publish(work); got.Number != 3 {
		t.Errorf("Publish = %+v, want number 3", got)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), `{"number":3,`) {
		t.Errorf("the file is %q, %v, want it written anew", text, err)
	}
}

// FuzzBases reads any file: what is taken can be written and read again, to the
// byte, and has nothing in it that git would take for something else than an object.
func FuzzBases(f *testing.F) {
	one, two := refs.OID(strings.Repeat("1", 40)), refs.OID(strings.Repeat("2", 40))
	for _, b := range []bases{{}, {0: {}}, {1: {one}, 8: {two, one}, 9: {two}}} {
		text, err := b.format(9)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`null`))
	f.Add([]byte(`{"number":1,"tips":["--all"],"sets":{"1":"AQ=="}}`))
	f.Add([]byte(`{"number":1,"tips":["` + one + `","` + one + `"],"sets":{"1":"Aw=="}}`))
	f.Add([]byte(`{"number":1,"tips":["` + one + `"],"sets":{"1":"AgA="}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		stored, err := parseBases(text)
		if err != nil {
			return
		}
		b, err := stored.bases()
		if err != nil {
			return
		}
		for from, oids := range b {
			for _, oid := range oids {
				if _, err := refs.ParseOID(string(oid), refs.SHA1); err != nil && len(oid) != refs.SHA256.HexLen() {
					t.Errorf("%d has tip %q: %v", from, oid, err)
				}
			}
		}
		first, err := b.format(stored.Number)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseBases(first)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.bases()
		if err != nil || again.Number != stored.Number || !equalBases(got, b) {
			t.Fatalf("bases(format(%v)) = %v, %v", b, got, err)
		}
		if second, err := got.format(again.Number); err != nil || !bytes.Equal(first, second) {
			t.Errorf("format gives %s, %v, and before it gave %s", second, err, first)
		}
	})
}
