package testnet_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/testnet"
)

// Eight liars, a bucket full, sit nearer to the target than any honest node. An honest reader
// finds the newest item all the same, and everybody lives.
func TestHostileNodes(t *testing.T) {
	other, err := announce.SignItem(keys.FromSeed([32]byte{9}), salt, 99, []byte("1:x"))
	if err != nil {
		t.Fatal(err)
	}
	const liars = 8
	for _, c := range []struct {
		name    string
		behave  testnet.Behaviour
		invalid int // answers that a reader must mark as such
		old     int // answers with seq 1
	}{
		{"old seq", testnet.Holds(item(t, 1)), 0, liars},
		{"forged seq", testnet.ForgesSeq(item(t, 2)), liars, 0},
		{"missing seq", testnet.OmitsSeq(item(t, 2)), 0, 0}, // dropped by the guard
		{"wrong key", testnet.Substitutes(item(t, 1), other), liars, 0},
		{"garbage", testnet.Garbage(), 0, 0},
		{"mute", testnet.Mute(), 0, 0},
		{"inventing nodes", testnet.Invents(), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := testnet.New(t, testnet.Options{Nodes: 30, Latency: 20 * time.Millisecond})
				publisher, reader := net.Join(), net.Join()
				if err := net.AddHostile(target(), liars, c.behave); err != nil {
					t.Fatal(err)
				}
				if got := put(t, publisher, 2); got < 8 {
					t.Errorf("stored on %d nodes, want 8 at least", got)
				}
				if got := len(net.Holders(target(), 2)); got < 8 {
					t.Errorf("%d honest nodes hold the item, want 8 at least", got)
				}
				l := mustFind(t, reader, 2)
				invalid, old := 0, 0
				for _, a := range l.Answers {
					if a.Invalid {
						invalid++
					}
					if a.Item != nil && a.Item.Seq == 1 {
						old++
					}
				}
				if invalid != c.invalid || old != c.old {
					t.Errorf("%d invalid and %d old answers, want %d and %d", invalid, old, c.invalid, c.old)
				}
				if l.Took > 10*time.Second {
					t.Errorf("the lookup took %v, want below 10s", l.Took)
				}
			})
		})
	}
}

// Nodes that answer at once with ever nearer ones cannot keep a walk going
// for ever.
func TestEndlessNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 30})
		publisher, reader := net.Join(), net.Join()
		put(t, publisher, 2)
		if err := net.AddFarm(target(), 1000); err != nil {
			t.Fatal(err)
		}
		l, err := reader.Lookup(t.Context(), signer().ID(), salt)
		if err != nil {
			t.Fatal(err)
		}
		if l.Asked < 100 || l.Asked > 300 {
			t.Errorf("the walk asked %d nodes, want it to follow the lure, and 300 at most", l.Asked)
		}
		if !slices.ContainsFunc(l.Answers, func(a announce.Answer) bool { return a.Item != nil }) {
			t.Error("the item was not found")
		}
	})
}
