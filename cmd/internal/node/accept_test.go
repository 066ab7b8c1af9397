package node

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// emptyMirror is the mirror of an empty repository, whose state the test signs.
func emptyMirror(t *testing.T) (*mirror, keys.Signer) {
	t.Helper()
	key := keys.FromSeed([32]byte{67})
	home := newHome(t.TempDir(), t.TempDir(), func(string) string { return "" })
	m, err := openMirror(t.Context(), home, refs.Address{Publisher: key.ID(), Name: "tools"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.create(t.Context(), refs.SHA1); err != nil {
		t.Fatal(err)
	}
	return m, key
}

// signedState is a snapshot of these refs, without packs, with a record; both say
// what they say at that number and seq.
func signedState(t *testing.T, m *mirror, key keys.Signer, number uint64, seq int64, list ...refs.Ref) *state {
	t.Helper()
	st := &state{Snapshot: &refs.Snapshot{Repository: m.addr, Number: number, Time: time.Unix(int64(number), 0).UTC(), ObjectFormat: refs.SHA1, Refs: list}}
	if number > 1 {
		st.Snapshot.Previous = []refs.Link{{Number: number - 1}}
	}
	var err error
	if st.Note, err = refs.Sign(st.Snapshot, key); err != nil {
		t.Fatal(err)
	}
	st.Compressed = refs.Compress(st.Note)
	st.Record = &refs.Record{Number: number, Snapshot: refs.DigestOf(st.Note), Signed: time.Unix(seq, 0).UTC(), Expires: time.Unix(seq+1000, 0).UTC()}
	value, err := st.Record.Format()
	if err != nil {
		t.Fatal(err)
	}
	if st.Item, err = announce.SignItem(key, m.addr.Salt(), seq, value); err != nil {
		t.Fatal(err)
	}
	st.Pins = ownPins(m.addr, st)
	return st
}

// TestA2AcceptNeverGoesBack accepts states in an order that two operations at
// once could bring about.
func TestA2AcceptNeverGoesBack(t *testing.T) {
	m, key := emptyMirror(t)
	first, second := signedState(t, m, key, 1, 10), signedState(t, m, key, 2, 20)
	accept := func(st *state) error { return m.accept(t.Context(), st, nil, nil) }
	if err := errors.Join(accept(first), accept(second)); err != nil {
		t.Fatal(err)
	}
	for _, old := range []*state{first, signedState(t, m, key, 1, 30), signedState(t, m, key, 3, 15)} {
		if err := accept(old); !errors.Is(err, errOvertaken) {
			t.Errorf("accept of number %d, seq %d after number 2, seq 20 = %v, want errOvertaken", old.Snapshot.Number, old.Item.Seq, err)
		}
	}
	// A decision about the same snapshot, made before the keeper renewed it.
	if err := m.replaceItem(t.Context(), signedState(t, m, key, 2, 40).Item); err != nil {
		t.Fatal(err)
	}
	if err := accept(second); err != nil {
		t.Errorf("accept of the same snapshot with the record before = %v", err)
	}
	if err := m.load(); err != nil { // what is on disk
		t.Fatal(err)
	}
	if got := m.current(); got.Snapshot.Number != 2 || got.Item.Seq != 40 || got.Pins.Seq != 40 || got.Pins.Value != received(m.addr, got).ValueDigest() {
		t.Errorf("number %d, seq %d, pinned %d; want 2, 40, 40", got.Snapshot.Number, got.Item.Seq, got.Pins.Seq)
	}
}

// TestA2RenewalDuringAcceptance has the keeper renew a record while the next
// snapshot is accepted. Whichever comes first, the next snapshot stays.
func TestA2RenewalDuringAcceptance(t *testing.T) {
	m, key := emptyMirror(t)
	for n := range uint64(10) {
		if err := m.accept(t.Context(), signedState(t, m, key, n+1, int64(n)*10+1), nil, nil); err != nil {
			t.Fatal(err)
		}
		renewal, next := signedState(t, m, key, n+1, int64(n)*10+5), signedState(t, m, key, n+2, int64(n)*10+9)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := m.replaceItem(t.Context(), renewal.Item); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := m.accept(t.Context(), next, nil, nil); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if got := m.current(); got.Snapshot.Number != n+2 || got.Pins.Number != n+2 {
			t.Fatalf("number %d, pinned %d, want %d", got.Snapshot.Number, got.Pins.Number, n+2)
		}
	}
}

// TestRenewalFinishesAnAcceptance lets the keeper come upon a mirror whose
// acceptance failed half-way: it is finished, not undone.
func TestRenewalFinishesAnAcceptance(t *testing.T) {
	m, key := emptyMirror(t)
	first, second := signedState(t, m, key, 1, 10), signedState(t, m, key, 2, 20)
	if err := m.accept(t.Context(), first, nil, nil); err != nil {
		t.Fatal(err)
	}
	undo := inTheWay(t, m.path("pins"))
	if err := m.accept(t.Context(), second, nil, nil); err == nil {
		t.Fatal("the acceptance did not fail")
	}
	undo()
	if err := m.replaceItem(t.Context(), signedState(t, m, key, 1, 15).Item); err != nil {
		t.Fatal(err)
	}
	if got := m.current().Snapshot.Number; got != 2 {
		t.Errorf("number %d, want 2", got)
	}
}

// inTheWay puts a folder where a file should be, so that it cannot be replaced.
func inTheWay(t *testing.T, path string) (undo func()) {
	t.Helper()
	aside := path + ".aside"
	if err := errors.Join(os.Rename(path, aside), os.MkdirAll(filepath.Join(path, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.RemoveAll(path), os.Rename(aside, path)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestA5EvidenceIsBounded has a publisher sign two records again and again.
func TestA5EvidenceIsBounded(t *testing.T) {
	m, key := emptyMirror(t)
	f := &fetching{node: &Node{home: Home{Data: t.TempDir()}}, mirror: m, progress: func(Progress) {}}
	for seq := range int64(maxEvidence) {
		item := signedState(t, m, key, 1, seq+1).Item
		split := &announce.EquivocationError{Equivocation: announce.Equivocation{A: item, B: item}}
		if err := f.keepEvidence(split); err != split {
			t.Fatalf("keepEvidence = %v, want what it was given", err)
		}
	}
	kept, err := filepath.Glob(filepath.Join(f.node.home.Data, "evidence", "*", "*", "*"))
	if err != nil || len(kept) != maxEvidence {
		t.Errorf("%d statements are kept (%v), want %d", len(kept), err, maxEvidence)
	}
}

// TestRecoverWhatGitRefuses opens a mirror whose acceptance git will never let
// finish, as older versions could begin: the state before is whole, and stays.
func TestRecoverWhatGitRefuses(t *testing.T) {
	m, key := emptyMirror(t)
	out, err := exec.Command("git", "-C", m.dir, "hash-object", "-w", "-t", "tree", os.DevNull).Output()
	if err != nil {
		t.Fatal(err)
	}
	tree := refs.Ref{Name: "refs/heads/tree", OID: refs.OID(strings.TrimSpace(string(out)))}
	if err := m.accept(t.Context(), signedState(t, m, key, 1, 10), nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.accept(t.Context(), signedState(t, m, key, 2, 20, tree), nil, nil); err == nil {
		t.Fatal("a branch on a tree was accepted")
	}
	if err := m.recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.load(); err != nil {
		t.Fatal(err)
	}
	if got := m.current(); got.Snapshot.Number != 1 {
		t.Errorf("number %d, want the 1 of before", got.Snapshot.Number)
	}
	if err := m.recover(t.Context()); err != nil {
		t.Error(err)
	}
}
