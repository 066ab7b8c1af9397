package node

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// guardedNode is a node that has nothing but a log.
func guardedNode() (*Node, *bytes.Buffer) {
	log := &bytes.Buffer{} // a Handler writes one record at a time
	return &Node{log: slog.New(slog.NewTextHandler(log, nil))}, log
}

// wantPanic checks that a panic became an internal error, and that the log says where.
func wantPanic(t *testing.T, err error, log *bytes.Buffer) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != trust.Internal {
		t.Errorf("error %v, want one of code %d", err, trust.Internal)
	}
	if text := log.String(); !strings.Contains(text, "panic") || !strings.Contains(text, ".go:") {
		t.Errorf("the log says %q, want the panic and its stack", text)
	}
}

// TestPanicWhilePreparing: a panic in any of the goroutines of a publication ends
// that publication, not the node.
func TestPanicWhilePreparing(t *testing.T) {
	oid := refs.OID(strings.Repeat("1", 40))
	main := []refs.Ref{{Name: "refs/heads/main", OID: oid}}
	hostile := func(Progress) { panic("injected") }
	for _, c := range []struct {
		name string
		p    publication // without a mirror: whatever needs one panics
		list []refs.Ref
	}{
		{"preflight", publication{progress: hostile}, nil},
		{"warn", publication{looked: &look{}, progress: hostile, was: &state{Snapshot: &refs.Snapshot{Refs: []refs.Ref{{Name: "refs/tags/gone", OID: oid}}}}}, nil},
		{"makePacks", publication{looked: &look{}, was: &state{Snapshot: &refs.Snapshot{Number: 1, Packs: []refs.Pack{{To: 1}}}}}, nil},
		{"findSigners", publication{looked: &look{}}, main},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log *bytes.Buffer
			c.p.node, log = guardedNode()
			_, err := c.p.prepare(t.Context(), nil, c.list)
			wantPanic(t, err, log)
		})
	}
}

// TestPanicWhileFetching: a panic over what comes in ends that fetch.
func TestPanicWhileFetching(t *testing.T) {
	pack := refs.Pack{To: 1, Objects: 1, Inflated: 1, Bytes: 64}
	for name, w := range map[string]*way{
		"open":      {},
		"indexNext": {came: &attachedPack{line: pack}},
	} {
		t.Run(name, func(t *testing.T) {
			n, log := guardedNode()
			s := &swarmFetch{f: &fetching{node: n}}
			wantPanic(t, s.followAll(t.Context(), nil, w, []refs.Pack{pack}), log) // no snapshot
		})
	}
}

// TestPanicOfAWitness: whom nobody could hear is no voice for anything.
func TestPanicOfAWitness(t *testing.T) {
	ids := make([]keys.ID, 2)
	for i := range ids {
		key, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		copy(ids[i][:], key)
	}
	a := refs.Address{Publisher: ids[0], Name: "tools"}
	policy, err := trust.Parse(fmt.Sprintf("[gitpeer]\n\tversion = 1\n[publisher \"a\"]\n\tkey = %s\n[publisher \"b\"]\n\tkey = %s\n"+
		"[repo \"tools\"]\n\turl = %s\n\tpublishers = b\n"+
		"[rule \"tools\"]\n\trepo = tools\n\tref = refs/*\n\tmode = publisher\n\ttags = any\n\tquorum = 2\n", ids[0], ids[1], a), nil)
	if err != nil {
		t.Fatal(err)
	}
	n, log := guardedNode() // without mirrors: hearing a witness panics
	f := &fetching{node: n, policy: policy, progress: func(Progress) {}}
	_, err = f.witnesses(t.Context(), &refs.Snapshot{Repository: a, Refs: []refs.Ref{{Name: "refs/heads/main"}}})
	wantPanic(t, err, log)
}
