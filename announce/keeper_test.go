package announce_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/announce/dhttest"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// run starts k, and stops it at the end of the test or when told to.
func run(t *testing.T, k *announce.Keeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func set(t *testing.T, k *announce.Keeper, keep announce.Keep) {
	t.Helper()
	keep.Address = tools()
	if err := k.Set(keep); err != nil {
		t.Fatalf("Set() = %v", err)
	}
}

// status returns the status of the only repository once all is quiet.
func status(t *testing.T, k *announce.Keeper) announce.KeepStatus {
	t.Helper()
	synctest.Wait()
	all := k.Status()
	if len(all) != 1 {
		t.Fatalf("Status() has %d repositories, want 1", len(all))
	}
	return all[0]
}

// counter counts the calls of a client.
type counter struct {
	mu    sync.Mutex
	calls map[string][]time.Time
}

func count(d *dhttest.Client) *counter {
	c := &counter{calls: map[string][]time.Time{}}
	d.Before(func(call string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls[call] = append(c.calls[call], time.Now())
	})
	return c
}

// take returns the times of the calls since the last take.
func (c *counter) take(call string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer delete(c.calls, call)
	return c.calls[call]
}

// gaps checks that consecutive calls are from least to most apart.
func gaps(t *testing.T, call string, at []time.Time, least, most time.Duration) {
	t.Helper()
	var seen []time.Duration
	for i := 1; i < len(at); i++ {
		seen = append(seen, at[i].Sub(at[i-1]))
	}
	if len(seen) == 0 || slices.Min(seen) < least || slices.Max(seen) > most {
		t.Errorf("%s: %d calls, %v apart; want %v to %v", call, len(at), seen, least, most)
	}
}

// Items expire after two hours, peers after half an hour. Three hours on, both
// are there, and nothing was renewed.
func TestKeeperThreeHours(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		calls := count(d)
		first := mustPublish(t, d, publication(1, nil))
		calls.take("Store")
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		stop := run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Signer: signer(), Port: 7000})
		for range 3 * 12 {
			time.Sleep(5 * time.Minute)
			r := mustResolve(t, f.Client(reader), announce.Floor{})
			if want := netip.AddrPortFrom(writer, 7000); !slices.Equal(r.Peers, []netip.AddrPort{want}) {
				t.Fatalf("peers %v, want [%v]", r.Peers, want)
			}
			if !r.Item.Equal(first.Item) || r.Agreed != 20 {
				t.Fatalf("resolved seq %d from %d nodes, want %d from 20", r.Item.Seq, r.Agreed, first.Item.Seq)
			}
		}
		gaps(t, "Store", calls.take("Store"), 44*time.Minute, 66*time.Minute)
		gaps(t, "Announce", calls.take("Announce"), 10*time.Minute, 25*time.Minute)
		s := status(t, k)
		if s.Err != nil || s.Stored != 20 || s.Of != 20 || s.Announced != 20 || s.Failures != 0 ||
			time.Since(s.StoredAt) > 70*time.Minute || time.Until(s.Republish) <= 0 || time.Until(s.Renew) <= 0 {
			t.Errorf("Status() = %+v, want all well", s)
		}

		// Without the keeper, the DHT forgets.
		stop()
		time.Sleep(dhttest.ItemLife)
		if _, err := resolve(t, f.Client(reader), announce.Floor{}); !errors.Is(err, announce.ErrNotFound) {
			t.Errorf("Resolve() two hours after the end = %v, want ErrNotFound", err)
		}
	})
}

// Eight days on, a record that lives for seven is still valid, because it was
// renewed: same content, higher seq, saved before it was sent.
func TestKeeperEightDays(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		var saved []*announce.Item
		hint := netip.MustParseAddrPort("198.51.100.9:7000")
		k := announce.NewKeeper(d, announce.KeeperHooks{
			Save: func(a refs.Address, i *announce.Item) error {
				if a != tools() || f.Holders(i) != 0 {
					t.Errorf("Save(%v) after the item was sent", a)
				}
				saved = append(saved, i)
				return nil
			},
			Hints: func(refs.Address) []netip.AddrPort { return []netip.AddrPort{hint} },
		})
		run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Signer: signer()})
		floor := announce.FloorOf(first.Item)
		for range 8 * 8 {
			time.Sleep(3 * time.Hour)
			r := mustResolve(t, f.Client(reader), floor)
			floor = announce.FloorOf(r.Item)
			if left := time.Until(r.Record.Expires); left < 5*announce.DefaultLife/7 {
				t.Errorf("a record with %v left, want 5 of 7 days at least", left)
			}
			if r.Record.Number != 1 || r.Record.InfoHash != first.Record.InfoHash || r.Record.Snapshot != first.Record.Snapshot {
				t.Errorf("renewal says %+v, want what the first record said", r.Record)
			}
		}
		if n := len(saved); n < 6 || n > 8 {
			t.Errorf("%d renewals in 8 days, want one every 24 to 30 hours", n)
		}
		time.Sleep(time.Minute)
		s, r := status(t, k), mustResolve(t, f.Client(reader), floor)
		if last := saved[len(saved)-1]; !s.Item.Equal(last) || !r.Item.Equal(last) {
			t.Errorf("kept seq %d, in the DHT %d, want the last one saved, %d", s.Item.Seq, r.Item.Seq, last.Seq)
		}
		if !slices.Equal(r.Peers, []netip.AddrPort{hint}) {
			t.Errorf("peers %v, want the hint %v", r.Peers, hint)
		}
	})
}

// The publisher is gone; a reader without any key keeps the record alive until
// it expires, and the rendezvous beyond.
func TestSeedersKeepTheRecordAlive(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		first := mustPublish(t, f.Client(writer), publication(1, nil))
		d := f.Client(reader)
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		run(t, k)
		set(t, k, announce.Keep{Item: mustResolve(t, d, announce.Floor{}).Item, Port: 7000})
		third := f.Client(netip.MustParseAddr("192.0.2.3"))
		for time.Until(first.Record.Expires) > time.Hour {
			time.Sleep(time.Hour)
			if r := mustResolve(t, third, announce.Floor{}); !r.Item.Equal(first.Item) || len(r.Peers) != 1 {
				t.Fatalf("resolved %+v, want the very item and its seeder", r)
			}
		}
		time.Sleep(time.Hour)
		_, err := resolve(t, third, announce.Floor{})
		var expired *announce.ExpiredError
		if !errors.As(err, &expired) || len(expired.Resolution.Peers) != 1 {
			t.Errorf("Resolve() after the expiry = %v, want *ExpiredError with the seeder", err)
		}
		time.Sleep(3 * time.Hour)
		if s := status(t, k); !is[*announce.ExpiredError](s.Err) || time.Since(s.AnnouncedAt) > time.Hour {
			t.Errorf("Status() = %+v, want expired and announced", s)
		}
		if f.Holders(first.Item) != 0 {
			t.Errorf("%d nodes hold the expired item, want that it is not put any more", f.Holders(first.Item))
		}

		// The publisher is back: the seeder is told, and what it may accept
		// without fetching anything it takes over.
		renewal, err := announce.Renewal("tools", first.Item, nil)
		if err != nil {
			t.Fatal(err)
		}
		renewal.Now = time.Now()
		renewed := mustPublish(t, f.Client(writer), renewal)
		time.Sleep(5 * time.Hour)
		if s := status(t, k); s.Err != nil || !s.Item.Equal(renewed.Item) {
			t.Errorf("Status() = %+v, want the renewed item", s)
		}
		if f.Holders(renewed.Item) != 20 {
			t.Errorf("%d nodes hold the renewed item, want 20", f.Holders(renewed.Item))
		}
	})
}

// What says something new is not spread before its owner has accepted it.
func TestKeeperTellsOfNewer(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		first := mustPublish(t, f.Client(writer), publication(1, nil))
		var told []*announce.Item
		d := f.Client(reader)
		k := announce.NewKeeper(d, announce.KeeperHooks{
			Newer: func(_ refs.Address, i *announce.Item) { told = append(told, i) },
		})
		run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Port: 7000})
		time.Sleep(time.Hour)
		second := mustPublish(t, f.Client(writer), publication(2, first.Item))
		calls := count(d)
		time.Sleep(90 * time.Minute)
		if s := status(t, k); !is[*announce.NewerError](s.Err) || !s.Newer.Equal(second.Item) || !s.Item.Equal(first.Item) {
			t.Errorf("Status() = %+v, want the old item and word of the newer", s)
		}
		if len(told) != 1 || !told[0].Equal(second.Item) {
			t.Errorf("told of %d newer items, want 1", len(told))
		}
		if puts := calls.take("Store"); len(puts) != 0 {
			t.Errorf("%d puts of an item that nodes would refuse", len(puts))
		}
		gaps(t, "Announce", calls.take("Announce"), 15*time.Minute, 25*time.Minute)

		set(t, k, announce.Keep{Item: second.Item, Port: 7000})
		if s := status(t, k); s.Err != nil || s.Newer != nil || len(calls.take("Store")) != 1 {
			t.Errorf("Status() after Set = %+v, want all well and the item put", s)
		}
		time.Sleep(3 * time.Hour) // longer than any node keeps it
		if f.Holders(second.Item) != 20 {
			t.Errorf("%d nodes hold the item, want 20", f.Holders(second.Item))
		}
	})
}

// Two computers with one key do not fight: each takes over the other's
// renewals, and neither goes over what the other published.
func TestTwoKeepersWithOneKey(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		first := mustPublish(t, f.Client(writer), publication(1, nil))
		seqs := map[int64]*announce.Item{}
		var mu sync.Mutex
		var keepers []*announce.Keeper
		winner, loser := f.Client(writer), f.Client(reader)
		for n, d := range []announce.DHT{winner, loser} {
			k := announce.NewKeeper(d, announce.KeeperHooks{
				Save: func(_ refs.Address, i *announce.Item) error {
					mu.Lock()
					defer mu.Unlock()
					if twin := seqs[i.Seq]; twin != nil && !twin.Equal(i) {
						t.Errorf("two items with seq %d", i.Seq)
					}
					seqs[i.Seq] = i
					return nil
				},
				Hints: func(refs.Address) []netip.AddrPort {
					return []netip.AddrPort{netip.AddrPortFrom(writer, uint16(7000+n))}
				},
			})
			run(t, k)
			set(t, k, announce.Keep{Item: first.Item, Signer: signer()})
			keepers = append(keepers, k)
		}
		time.Sleep(4 * 24 * time.Hour)
		for _, k := range keepers {
			if s := status(t, k); s.Err != nil {
				t.Errorf("Status() = %+v, want all well", s)
			}
		}
		if n := len(seqs); n < 3 || n > 5 {
			t.Errorf("%d renewals by two computers in 4 days, want one a day", n)
		}
		second, err := keepers[0].Publish(t.Context(), signer(), publication(2, nil))
		if err != nil {
			t.Fatalf("Publish() = %v", err)
		}
		calls := count(loser)
		time.Sleep(2 * 24 * time.Hour)
		if n := len(calls.take("Lookup")); n < 40 || n > 60 {
			t.Errorf("%d looks by the other in 48 hours, want one an hour", n)
		}
		if s := status(t, keepers[1]); !is[*announce.NewerError](s.Err) {
			t.Errorf("Status() of the other = %+v, want *NewerError", s)
		}
		if r := mustResolve(t, f.Client(reader), announce.FloorOf(second.Item)); r.Record.Number != 2 {
			t.Errorf("resolved snapshot %d, want 2", r.Record.Number)
		}
	})
}

// Offline, tries come at longer and longer intervals; back online, all is
// well within half an hour.
func TestKeeperBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Signer: signer(), Port: 7000})
		synctest.Wait()
		d.Disconnect()
		calls := count(d)
		time.Sleep(12 * time.Hour)
		tries := calls.take("Lookup")
		if s := status(t, k); !errors.Is(s.Err, announce.ErrNoNodes) || s.Failures < 10 ||
			time.Until(s.Republish) > announce.RetryMost*6/5 {
			t.Errorf("Status() = %+v, want failures for want of nodes", s)
		}
		// Each pass tries a lookup three times.
		if n := len(tries) / 3; n < 20 || n > 40 {
			t.Errorf("%d tries in 12 hours offline, want about two an hour", n)
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			want *= time.Minute
			if gap := tries[3*i+3].Sub(tries[3*i]); gap < want*8/10 || gap > want*12/10+3*time.Second {
				t.Errorf("pause %d is %v, want %v ± 20 %%", i, gap, want)
			}
		}
		if _, err := resolve(t, f.Client(reader), announce.Floor{}); !errors.Is(err, announce.ErrNotFound) {
			t.Errorf("Resolve() = %v, want that the DHT forgot", err)
		}
		d.Connect()
		time.Sleep(announce.RetryMost * 6 / 5)
		if s := status(t, k); s.Err != nil || s.Failures != 0 || s.Stored != 20 || f.Holders(first.Item) != 20 {
			t.Errorf("Status() = %+v, want all well", s)
		}
	})
}

// Nodes that lose the record between two republishes get it again at the next
// look, not an hour later.
func TestKeeperMendsLosses(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Port: 7000})
		synctest.Wait()
		f.Restart()
		time.Sleep(26 * time.Minute)
		if f.Holders(first.Item) != 20 {
			t.Errorf("%d nodes hold the item, want 20", f.Holders(first.Item))
		}
	})
}

// A key that cannot sign now must not keep the record from being republished.
// A renewal that may be out is never forgotten.
// Failed and not stored: the keeper goes on with the old item. Not known: with
// the new one, which may be out.
func TestKeeperAddRemove(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		client := f.Client(writer)
		client.SetLatency(time.Second)
		d := &busy{DHT: client}
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		run(t, k)
		var addresses []refs.Address
		for n := range 30 {
			a := refs.Address{Publisher: signer().ID(), Name: refs.RepoName("repo" + string(rune('a'+n%26)) + string(rune('a'+n/26)))}
			r := record(1)
			r.Signed, r.Expires = time.Now(), time.Now().Add(announce.DefaultLife)
			value, err := r.Format()
			if err != nil {
				t.Fatal(err)
			}
			i, err := announce.SignItem(signer(), a.Salt(), 1, value)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Set(announce.Keep{Address: a, Item: i, Port: 7000}); err != nil {
				t.Fatal(err)
			}
			addresses = append(addresses, a)
		}
		time.Sleep(5 * time.Hour)
		if got := d.peak(); got != 4 {
			t.Errorf("%d calls at once, want 4", got)
		}
		all := k.Status()
		if len(all) != len(addresses) {
			t.Fatalf("Status() has %d repositories, want %d", len(all), len(addresses))
		}
		for i, s := range all {
			if s.Err != nil || s.Stored != 20 || f.Holders(s.Item) != 20 {
				t.Errorf("Status() = %+v, want all well", s)
			}
			if i > 0 && all[i-1].Address.Name >= s.Address.Name {
				t.Errorf("Status() is not in order: %s before %s", all[i-1].Address.Name, s.Address.Name)
			}
		}
		for _, a := range addresses[1:] {
			k.Remove(a)
		}
		time.Sleep(3 * time.Hour)
		kept := 0
		for _, s := range all {
			if f.Holders(s.Item) > 0 {
				kept++
			}
		}
		if kept != 1 {
			t.Errorf("the DHT holds %d of the items, want only the one not removed", kept)
		}
	})
}

// An item set in the midst of a pass is put in the next one, which follows at
// once.
// busy counts how many lookups and puts are under way.
type busy struct {
	announce.DHT
	mu        sync.Mutex
	now, most int
}

func (b *busy) enter() (leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now++
	b.most = max(b.most, b.now)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now--
	}
}

// peak returns how many there were at most.
func (b *busy) peak() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.most
}

func (b *busy) Lookup(ctx context.Context, key keys.ID, salt []byte) (*announce.Lookup, error) {
	defer b.enter()()
	return b.DHT.Lookup(ctx, key, salt)
}

func (b *busy) Store(ctx context.Context, nodes []announce.Node, i *announce.Item) ([]announce.Outcome, error) {
	defer b.enter()()
	return b.DHT.Store(ctx, nodes, i)
}

// While the keeper renews a record, Publish waits: there is one writer.
// What a keeper takes over, and what it does not.
// Another writer comes in while the record is being renewed.
// Run ends soon after its context, even in the midst of a pass.
func TestKeeperRunEnds(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		d.SetLatency(time.Hour)
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		stop := run(t, k)
		set(t, k, announce.Keep{Item: item(t, 1, 1, time.Now()), Port: 7000})
		synctest.Wait()
		start := time.Now()
		stop()
		if took := time.Since(start); took != 0 {
			t.Errorf("Run ended %v after its context", took)
		}
	})
}

// What is past its time is done at once, however long that is ago: so it is
// after a computer was suspended.
func TestKeeperCatchesUp(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		stop := run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Signer: signer(), Port: 7000})
		synctest.Wait()
		stop()
		time.Sleep(announce.DefaultLife * 2)
		run(t, k)
		s := status(t, k)
		if r := mustResolve(t, f.Client(reader), announce.Floor{}); s.Err != nil || !r.Item.Equal(s.Item) || s.Item.Seq <= first.Item.Seq {
			t.Errorf("Status() = %+v, want a renewed record", s)
		}
	})
}

// What a lookup has just found on enough nodes is not put again at once, but
// announced, and put when its time comes; what few hold is put.
func TestKeeperLeavesWhatIsHeld(t *testing.T) {
	for _, c := range []struct{ held, puts int }{{0, 1}, {3, 1}, {4, 0}, {20, 0}} {
		bubble(t, func(t *testing.T, f *dhttest.Fake) {
			d := f.Client(writer)
			first := mustPublish(t, d, publication(1, nil))
			calls := count(d)
			k := announce.NewKeeper(d, announce.KeeperHooks{})
			run(t, k)
			set(t, k, announce.Keep{Item: first.Item, Port: 7000, Held: c.held})
			status(t, k)
			if puts, announced := len(calls.take("Store")), len(calls.take("Announce")); puts != c.puts || announced != 1 {
				t.Errorf("held by %d: %d puts, announced %d times, want %d and once", c.held, puts, announced, c.puts)
			}
			second := mustPublish(t, d, publication(2, first.Item))
			calls.take("Store")
			set(t, k, announce.Keep{Item: second.Item, Port: 7000, Held: c.held})
			status(t, k)
			if puts := len(calls.take("Store")); puts != c.puts {
				t.Errorf("a new one held by %d: %d puts, want %d", c.held, puts, c.puts)
			}
			time.Sleep(66 * time.Minute)
			if puts := len(calls.take("Store")); puts == 0 {
				t.Errorf("held by %d: no put in 66 minutes", c.held)
			}
		})
	}
}
