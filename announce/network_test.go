package announce_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/testnet"
)

// These run on real DHT nodes: the library, the guard and the stores of
// production, on an in-memory network with simulated time.

// With one packet in twenty lost, each way, 300 runs stored the item on 13 to 20
// of 20 nodes and read it from 10 to 18: fewer than these say that a walk or a
// put gives up too early, not that luck was bad.
const (
	fewestStored = 8
	fewestAgreed = 6
)

func TestNetworkPublishResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Latency: 20 * time.Millisecond, Jitter: 30 * time.Millisecond, Loss: 0.05})
		publisher, reader := net.Join(), net.Join()
		first := mustPublish(t, publisher, publication(1, nil))
		if first.Stored < fewestStored || first.ReadBack < fewestAgreed {
			t.Errorf("%v, read back from %d; want most of 20", first, first.ReadBack)
		}
		r := mustResolve(t, reader, announce.Floor{})
		if !r.Item.Equal(first.Item) || r.Agreed < fewestAgreed || r.Took > 5*time.Second {
			t.Errorf("Resolve() = seq %d, %d nodes agree, after %v; want seq %d from most", r.Item.Seq, r.Agreed, r.Took, first.Item.Seq)
		}
		second := mustPublish(t, publisher, publication(2, first.Item))
		if r = mustResolve(t, reader, announce.FloorOf(first.Item)); r.Record.Number != 2 {
			t.Errorf("resolved snapshot %d, want 2", r.Record.Number)
		}
		if _, err := announce.Publish(t.Context(), reader, signer(), publication(3, first.Item)); !is[*announce.InUseError](err) {
			t.Errorf("Publish() with an old state = %v, want *InUseError", err)
		}
		if _, err := announce.Republish(t.Context(), reader, first.Item); !is[*announce.NewerError](err) {
			t.Errorf("Republish() of the old item = %v, want *NewerError", err)
		}
		if again, err := announce.Republish(t.Context(), reader, second.Item); err != nil || again.Stored < fewestStored {
			t.Errorf("Republish() = %v, %v; want it stored on most of 20", again, err)
		}
		other := tools()
		other.Name = "other"
		if _, err := announce.Resolve(t.Context(), reader, other, announce.Floor{}, time.Now()); !errors.Is(err, announce.ErrNotFound) {
			t.Errorf("Resolve() of another name = %v, want ErrNotFound", err)
		}
	})
}

// The nodes nearest to the record lie, each in its way (TRUST A1, A2, A9): the
// newest record is found all the same, nobody crashes, and what lies is counted
// or ignored.
func TestNetworkHostileNodes(t *testing.T) {
	for name, behave := range map[string]func(old *announce.Item) testnet.Behaviour{
		"A1 garbage":      func(*announce.Item) testnet.Behaviour { return testnet.Garbage() },
		"A1 other key":    func(old *announce.Item) testnet.Behaviour { return testnet.Substitutes(old, foreign(t)) },
		"A1 forged seq":   testnet.ForgesSeq,
		"A9 missing seq":  testnet.OmitsSeq,
		"A2 old seq":      testnet.Holds,
		"A3 silence":      func(*announce.Item) testnet.Behaviour { return testnet.Mute() },
		"A8 made-up ways": func(*announce.Item) testnet.Behaviour { return testnet.Invents() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := testnet.New(t, testnet.Options{Latency: 10 * time.Millisecond})
				publisher, reader := net.Join(), net.Join()
				first := mustPublish(t, publisher, publication(1, nil))
				if err := net.AddHostile(target(), 6, behave(first.Item)); err != nil {
					t.Fatal(err)
				}
				second := mustPublish(t, publisher, publication(2, first.Item))
				r := mustResolve(t, reader, announce.FloorOf(first.Item))
				if !r.Item.Equal(second.Item) || r.Agreed < 5 || r.Equivocation != nil {
					t.Errorf("Resolve() = seq %d from %d of %d nodes, want seq %d", r.Item.Seq, r.Agreed, r.Answered, second.Item.Seq)
				}
				if _, err := publisher.Lookup(t.Context(), tools().Publisher, tools().Salt()); err != nil {
					t.Errorf("the publisher's node afterwards: %v", err)
				}
			})
		})
	}
}

// foreign is a good item of another publisher.
func foreign(t *testing.T) *announce.Item {
	t.Helper()
	i, err := announce.SignItem(otherSigner(), tools().Salt(), 1<<40, []byte("de"))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// The publisher publishes and goes; a seeder without keys keeps the record and
// the rendezvous alive for three hours; and nobody does, and the DHT forgets.
func TestNetworkThreeHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 12, Latency: 10 * time.Millisecond})
		publisher, seeder, reader := net.Join(), net.Join(), net.Join()
		first := mustPublish(t, publisher, publication(1, nil))
		k := announce.NewKeeper(seeder, announce.KeeperHooks{})
		stop := run(t, k)
		set(t, k, announce.Keep{Item: mustResolve(t, seeder, announce.Floor{}).Item, Port: 7000})
		net.Kill(publisher)
		want := netip.AddrPortFrom(seeder.Addr().Addr(), 7000)
		for range 9 {
			time.Sleep(20 * time.Minute)
			if r := mustResolve(t, reader, announce.Floor{}); !r.Item.Equal(first.Item) || !slices.Equal(r.Peers, []netip.AddrPort{want}) {
				t.Errorf("Resolve() = seq %d, peers %v; want seq %d, [%v]", r.Item.Seq, r.Peers, first.Item.Seq, want)
			}
		}
		if s := k.Status()[0]; s.Err != nil || s.Stored < 10 || s.Announced < 7 {
			t.Errorf("Status() = %+v, want all well", s)
		}
		stop()
		time.Sleep(2*time.Hour + time.Minute)
		if _, err := resolve(t, reader, announce.Floor{}); !errors.Is(err, announce.ErrNotFound) {
			t.Errorf("Resolve() two hours later = %v, want ErrNotFound", err)
		}
	})
}

// Cut off from everybody for three hours, the publisher's node mends all that
// was forgotten soon after, and renews the record, which was due meanwhile.
func TestNetworkPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 12, Latency: 10 * time.Millisecond})
		publisher, reader := net.Join(), net.Join()
		k := announce.NewKeeper(publisher, announce.KeeperHooks{})
		run(t, k)
		p := publication(1, nil)
		p.Life = 7 * time.Hour
		first, err := k.Publish(t.Context(), signer(), p)
		if err != nil {
			t.Fatal(err)
		}
		set(t, k, announce.Keep{Item: first.Item, Signer: signer(), Port: 7000})
		time.Sleep(time.Minute)
		net.Partition(publisher)
		time.Sleep(3 * time.Hour)
		if s := k.Status()[0]; s.Err == nil || s.Failures == 0 {
			t.Errorf("Status() when cut off = %+v, want failures", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := k.Publish(ctx, signer(), publication(2, nil)); !errors.Is(err, announce.ErrNoNodes) {
			t.Errorf("Publish() when cut off = %v, want ErrNoNodes", err)
		}
		net.Heal()
		time.Sleep(announce.RetryMost * 6 / 5)
		r := mustResolve(t, reader, announce.FloorOf(first.Item))
		if r.Item.Seq == first.Item.Seq || r.Record.Number != 1 || len(r.Peers) != 1 {
			t.Errorf("Resolve() = seq %d of snapshot %d, peers %v; want a renewal, and a peer", r.Item.Seq, r.Record.Number, r.Peers)
		}
	})
}
