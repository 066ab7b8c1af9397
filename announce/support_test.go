package announce_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/announce/dhttest"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

var (
	writer = netip.MustParseAddr("192.0.2.1")
	reader = netip.MustParseAddr("192.0.2.2")
)

func signer() keys.Signer { return keys.FromSeed([32]byte{1}) }

func tools() refs.Address { return refs.Address{Publisher: signer().ID(), Name: "tools"} }

func target() announce.Target { return announce.Target(tools().Target()) }

// record returns the record of snapshot n, without times.
func record(n uint64) refs.Record {
	return refs.Record{Number: n, InfoHash: refs.InfoHash{byte(n)}, Snapshot: refs.Digest{byte(n)}}
}

// item signs the record of snapshot n, valid for a week from t on.
func item(t testing.TB, n uint64, seq int64, at time.Time) *announce.Item {
	t.Helper()
	r := record(n)
	r.Signed, r.Expires = at, at.Add(announce.DefaultLife)
	return itemOf(t, r, seq)
}

func itemOf(t testing.TB, r refs.Record, seq int64) *announce.Item {
	t.Helper()
	value, err := r.Format()
	if err != nil {
		t.Fatal(err)
	}
	i, err := announce.SignItem(signer(), tools().Salt(), seq, value)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// publication says snapshot n now.
func publication(n uint64, last *announce.Item) announce.Publication {
	return announce.Publication{Name: "tools", Record: record(n), Last: last, Now: time.Now()}
}

func mustPublish(t *testing.T, d announce.DHT, p announce.Publication) *announce.Published {
	t.Helper()
	published, err := announce.Publish(t.Context(), d, signer(), p)
	if err != nil {
		t.Fatalf("Publish(%d) = %v", p.Record.Number, err)
	}
	return published
}

func resolve(t *testing.T, d announce.DHT, floor announce.Floor) (*announce.Resolution, error) {
	t.Helper()
	return announce.Resolve(t.Context(), d, tools(), floor, time.Now())
}

func mustResolve(t *testing.T, d announce.DHT, floor announce.Floor) *announce.Resolution {
	t.Helper()
	r, err := resolve(t, d, floor)
	if err != nil {
		t.Fatalf("Resolve() = %v", err)
	}
	return r
}

// answers is a DHT whose lookups give these, one after the other; the last
// one for good.
type answers struct {
	lookups []func() (*announce.Lookup, error)
	calls   int
}

func (a *answers) Lookup(context.Context, keys.ID, []byte) (*announce.Lookup, error) {
	l := a.lookups[min(a.calls, len(a.lookups)-1)]
	a.calls++
	return l()
}

func (*answers) Store(context.Context, []announce.Node, *announce.Item) ([]announce.Outcome, error) {
	panic("Resolve does not store")
}

func (*answers) Announce(context.Context, []announce.Node, announce.Target, uint16) (int, error) {
	panic("Resolve does not announce")
}

// found returns a lookup in which each item is one node's answer.
func found(items ...*announce.Item) func() (*announce.Lookup, error) {
	return func() (*announce.Lookup, error) {
		l := &announce.Lookup{Asked: len(items), Answered: len(items)}
		for i, it := range items {
			node := announce.Node{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i)}), 6881)}
			l.Answers = append(l.Answers, announce.Answer{Node: node, Item: it})
		}
		return l, nil
	}
}

// bubble runs fn where time is simulated, with a DHT of 60 nodes.
func bubble(t *testing.T, fn func(t *testing.T, f *dhttest.Fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, dhttest.New(60)) })
}

func otherSigner() keys.Signer { return keys.FromSeed([32]byte{2}) }
