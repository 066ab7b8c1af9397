package announce_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/announce/dhttest"
	"github.com/gitpeer/gitpeer/refs"
)

func TestKeeperFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  dhttest.Fault
		skip   int // nodes that work
		err    func(error) bool
		failed bool
	}{
		{"puts lost", dhttest.LosePut, 0, is[*announce.NotStoredError], true},
		{"replies lost", dhttest.LoseReply, 0, func(err error) bool { return err == nil }, false},
		{"few nodes hold it", dhttest.Refuse, 2, func(err error) bool { return err == nil }, true},
		{"no tokens", dhttest.NoToken, 0, is[*announce.NotStoredError], true},
		{"no announcements", dhttest.NoPeersToken, 0, func(err error) bool { return errors.Is(err, announce.ErrNotAnnounced) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *dhttest.Fake) {
				first := item(t, 1, 1, time.Now())
				f.Fail(target(), c.skip, 60, c.fault)
				k := announce.NewKeeper(f.Client(reader), announce.KeeperHooks{})
				run(t, k)
				set(t, k, announce.Keep{Item: first, Port: 7000})
				time.Sleep(5 * time.Second) // a read back may take some tries
				if s := status(t, k); !c.err(s.Err) || s.Failures > 0 != c.failed {
					t.Errorf("Status() = %+v, want another error", s)
				}
				f.FailAll(0)
				time.Sleep(2 * announce.RetryFirst)
				if s := status(t, k); s.Err != nil || s.Failures != 0 || f.Holders(first) != 20 {
					t.Errorf("Status() afterwards = %+v, want all well", s)
				}
			})
		})
	}
}

func TestKeeperWithoutTheKey(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		locked, disk := errors.New("agent is locked"), errors.New("disk full")
		for name, c := range map[string]struct {
			keep announce.Keep
			save func(refs.Address, *announce.Item) error
			err  error
		}{
			"signer fails": {announce.Keep{Signer: failingSigner{signer(), locked}}, nil, locked},
			"save fails":   {announce.Keep{Signer: signer()}, func(refs.Address, *announce.Item) error { return disk }, disk},
		} {
			k := announce.NewKeeper(d, announce.KeeperHooks{Save: c.save})
			stop := run(t, k)
			c.keep.Item = first.Item
			set(t, k, c.keep)
			time.Sleep(30 * time.Hour)
			if s := status(t, k); !errors.Is(s.Err, c.err) || !s.Item.Equal(first.Item) || f.Holders(first.Item) != 20 {
				t.Errorf("%s: Status() = %+v, want the error %v and the item stored", name, s, c.err)
			}
			stop()
		}
	})
}

func TestKeeperRenewalOutcomeUnknown(t *testing.T) {
	for _, fault := range []dhttest.Fault{dhttest.LosePut, dhttest.LoseReply} {
		bubble(t, func(t *testing.T, f *dhttest.Fake) {
			d := f.Client(writer)
			first := mustPublish(t, d, publication(1, nil))
			var saved []*announce.Item
			renewed := make(chan bool, 9)
			k := announce.NewKeeper(d, announce.KeeperHooks{
				Save: func(_ refs.Address, i *announce.Item) error {
					if len(saved) == 0 { // the first renewal: the network goes away during the put
						f.FailAll(fault)
						d.Before(func(call string) {
							if call == "Lookup" {
								d.Disconnect()
							}
						})
					}
					saved = append(saved, i)
					renewed <- true
					return nil
				},
			})
			run(t, k)
			set(t, k, announce.Keep{Item: first.Item, Signer: signer()})
			<-renewed
			time.Sleep(10 * time.Second)
			if s := status(t, k); !is[*announce.UnknownOutcomeError](s.Err) || !s.Item.Equal(saved[0]) {
				t.Fatalf("Status() = %+v, want an unknown outcome of the renewal", s)
			}
			d.Before(nil)
			d.Connect()
			f.FailAll(0)
			time.Sleep(2 * announce.RetryFirst)
			if s := status(t, k); s.Err != nil || len(saved) != 1 || f.Holders(saved[0]) != 20 {
				t.Errorf("Status() = %+v after %d renewals, want the first one stored", s, len(saved))
			}
		})
	}
}

func TestKeeperPublish(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		d.SetLatency(100 * time.Millisecond)
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		run(t, k)
		first, err := k.Publish(t.Context(), signer(), publication(1, nil))
		if err != nil {
			t.Fatal(err)
		}
		set(t, k, announce.Keep{Item: first.Item, Signer: signer(), Port: 7000})

		// Ten at once, while the keeper has a pass of its own: one after the
		// other, none takes another for a stranger, and no seq is used twice.
		var wg sync.WaitGroup
		var mu sync.Mutex
		seqs := map[int64]bool{}
		for n := range 10 {
			wg.Go(func() {
				published, err := k.Publish(t.Context(), signer(), publication(uint64(n+2), first.Item))
				if err != nil {
					t.Errorf("Publish(%d) = %v", n+2, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				seqs[published.Item.Seq] = true
			})
		}
		wg.Wait()
		if len(seqs) != 10 {
			t.Errorf("%d seqs for 10 publications", len(seqs))
		}
		time.Sleep(time.Minute)
		s := status(t, k)
		if !seqs[s.Item.Seq] || s.Err != nil || f.Holders(s.Item) != 20 || time.Since(s.AnnouncedAt) > time.Minute {
			t.Errorf("Status() = %+v, want the last one published and announced", s)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.Publish(ctx, signer(), publication(20, nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("Publish() with a dead context = %v, want context.Canceled", err)
		}
	})
}

func TestKeeperPublishFails(t *testing.T) {
	for _, known := range []bool{true, false} {
		bubble(t, func(t *testing.T, f *dhttest.Fake) {
			d := f.Client(writer)
			k := announce.NewKeeper(d, announce.KeeperHooks{})
			run(t, k)
			first := mustPublish(t, d, publication(1, nil))
			set(t, k, announce.Keep{Item: first.Item, Signer: signer()})
			synctest.Wait()
			f.FailAll(dhttest.LosePut)
			if !known {
				stored := false
				d.Before(func(call string) {
					if stored {
						d.Disconnect()
					}
					stored = call == "Store"
				})
			}
			var sent *announce.Item
			p := publication(2, nil)
			p.Save = func(i *announce.Item) error { sent = i; return nil }
			_, err := k.Publish(t.Context(), signer(), p)
			want := first.Item
			if !known {
				want = sent
			}
			if is[*announce.NotStoredError](err) != known || is[*announce.UnknownOutcomeError](err) == known {
				t.Errorf("Publish() = %v, known %v", err, known)
			}
			if s := status(t, k); !s.Item.Equal(want) {
				t.Errorf("known %v: goes on with seq %d, want %d", known, s.Item.Seq, want.Seq)
			}
			d.Before(nil)
			d.Connect()
			f.FailAll(0)
			time.Sleep(2 * time.Hour)
			if s := status(t, k); s.Err != nil || f.Holders(want) != 20 {
				t.Errorf("known %v: Status() = %+v, want all well", known, s)
			}
		})
	}
}

func TestKeeperSetRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		k := announce.NewKeeper(f.Client(writer), announce.KeeperHooks{})
		now := time.Now()
		one, two := item(t, 1, 1, now), item(t, 2, 2, now)
		forged := *one
		forged.Seq = 5
		garbage, err := announce.SignItem(signer(), tools().Salt(), 9, []byte("de"))
		if err != nil {
			t.Fatal(err)
		}
		a := tools()
		other := a
		other.Name = "other"
		for name, c := range map[string]struct {
			keep  announce.Keep
			fails func(error) bool
		}{
			"no item":       {announce.Keep{Address: a}, is[*announce.ItemError]},
			"forged":        {announce.Keep{Address: a, Item: &forged}, is[*announce.ItemError]},
			"other address": {announce.Keep{Address: other, Item: one}, is[*announce.ItemError]},
			"other signer":  {announce.Keep{Address: a, Item: one, Signer: otherSigner()}, is[*announce.ItemError]},
			"no record":     {announce.Keep{Address: a, Item: garbage}, is[*announce.RecordError]},
		} {
			if err := k.Set(c.keep); err == nil || !c.fails(err) {
				t.Errorf("%s: Set() = %v, want another error", name, err)
			}
		}
		if got := k.Status(); len(got) != 0 {
			t.Errorf("Status() = %v, want nothing kept", got)
		}
		set(t, k, announce.Keep{Item: two})
		set(t, k, announce.Keep{Item: one, Port: 7}) // older: left aside
		if s := status(t, k); !s.Item.Equal(two) {
			t.Errorf("keeps seq %d, want 2", s.Item.Seq)
		}
		twin := item(t, 3, 2, now)
		if err := k.Set(announce.Keep{Address: a, Item: twin}); !is[*announce.EquivocationError](err) {
			t.Errorf("Set() of a twin = %v, want *EquivocationError", err)
		}
	})
}

func TestKeeperSetInPass(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		second := item(t, 2, 2, time.Now())
		d.Before(func(call string) {
			if call == "Store" {
				d.Before(nil)
				set(t, k, announce.Keep{Item: second})
			}
		})
		run(t, k)
		set(t, k, announce.Keep{Item: item(t, 1, 1, time.Now())})
		if s := status(t, k); s.Err != nil || !s.Item.Equal(second) || s.StoredAt.IsZero() || f.Holders(second) != 20 {
			t.Errorf("Status() = %+v with %d holders, want the second item stored", s, f.Holders(second))
		}
	})
}

func TestKeeperIsOneWriter(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		client := f.Client(writer)
		client.SetLatency(time.Second)
		d := &busy{DHT: client}
		renewing := make(chan bool, 1)
		k := announce.NewKeeper(d, announce.KeeperHooks{
			Save: func(refs.Address, *announce.Item) error { renewing <- true; return nil },
		})
		first := mustPublish(t, client, publication(1, nil))
		run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Signer: signer()})
		<-renewing
		if _, err := k.Publish(t.Context(), signer(), publication(2, nil)); err != nil {
			t.Errorf("Publish() = %v", err)
		}
		if s := status(t, k); s.Err != nil || d.peak() != 1 {
			t.Errorf("%d calls at once, want 1; Status() = %+v", d.peak(), s)
		}
	})
}

func TestKeeperTakesOverRenewals(t *testing.T) {
	disk := errors.New("disk full")
	same := func(*refs.Record) {}
	for _, c := range []struct {
		name   string
		change func(*refs.Record)
		ahead  int64 // of the seq kept
		save   error
		err    func(error) bool
		taken  bool
	}{
		{"renewal", same, 5, nil, func(err error) bool { return err == nil }, true},
		{"cannot be saved", same, 5, disk, func(err error) bool { return errors.Is(err, disk) }, false},
		{"other torrent", func(r *refs.Record) { r.InfoHash[0]++ }, 5, nil, is[*announce.NewerError], false},
		{"other number", func(r *refs.Record) { r.Number++ }, 5, nil, is[*announce.NewerError], false},
		{"other snapshot", func(r *refs.Record) { r.Snapshot[0]++ }, 5, nil, is[*announce.NewerError], false},
		{"other head", func(r *refs.Record) { r.Head = "0123456789012345678901234567890123456789" }, 5, nil, is[*announce.NewerError], false},
		{"a seq that makes later ones impossible", same, 1 << 60, nil, is[*announce.NewerError], false},
		{"the same seq", func(r *refs.Record) { r.Peers = []netip.AddrPort{netip.AddrPortFrom(writer, 9)} }, 0, nil, is[*announce.EquivocationError], false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *dhttest.Fake) {
				first := mustPublish(t, f.Client(writer), publication(1, nil))
				r := *first.Record
				c.change(&r)
				other := itemOf(t, r, first.Item.Seq+c.ahead)
				k := announce.NewKeeper(f.Client(reader), announce.KeeperHooks{
					Save: func(refs.Address, *announce.Item) error { return c.save },
				})
				run(t, k)
				f.Plant(other, 0, 5)
				set(t, k, announce.Keep{Item: first.Item})
				s := status(t, k)
				if !c.err(s.Err) || s.Item.Equal(other) != c.taken || (s.Newer != nil) != (s.Err != nil && c.save == nil) {
					t.Errorf("Status() = %+v, want the item taken: %v", s, c.taken)
				}
				if got := f.Holders(other); got != 5 && !c.taken || got != 20 && c.taken {
					t.Errorf("%d nodes hold it, taken: %v", got, c.taken)
				}
			})
		})
	}
}

func TestKeeperRenewalRace(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		raced := make(chan *announce.Published, 1)
		k := announce.NewKeeper(d, announce.KeeperHooks{
			Save: func(refs.Address, *announce.Item) error {
				p := publication(2, first.Item)
				p.Now = p.Now.Add(time.Second)
				raced <- mustPublish(t, f.Client(reader), p)
				return nil
			},
		})
		run(t, k)
		set(t, k, announce.Keep{Item: first.Item, Signer: signer()})
		other := <-raced
		time.Sleep(10 * time.Second)
		if s := status(t, k); !is[*announce.InUseError](s.Err) || !s.Newer.Equal(other.Item) || f.Holders(other.Item) != 20 {
			t.Errorf("Status() = %+v, want *InUseError and the other's item", s)
		}
	})
}

// Whoever asks whether a record is in the DHT waits for the put; and after a
// failure it is put at once, not when its time has come.
func TestSettle(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		calls := count(d)
		first := mustPublish(t, d, publication(1, nil))
		f.Restart() // they have forgotten it
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		settle := func() error { return k.Settle(t.Context(), tools()) }
		if err := settle(); err != nil {
			t.Errorf("Settle() of what is not kept = %v", err)
		}
		d.Disconnect()
		set(t, k, announce.Keep{Item: first.Item})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := k.Settle(short, tools()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Settle() where no Keeper runs = %v, want the context's end", err)
		}
		run(t, k)
		if err := settle(); !errors.Is(err, announce.ErrNoNodes) {
			t.Errorf("Settle() without a network = %v, want ErrNoNodes", err)
		}
		d.Connect()
		d.SetLatency(time.Second)
		began := time.Now()
		if err := settle(); err != nil || f.Holders(first.Item) != 20 {
			t.Errorf("Settle() = %v with %d holders, want 20", err, f.Holders(first.Item))
		}
		if took := time.Since(began); took > announce.RetryFirst/2 {
			t.Errorf("Settle() took %v after a failure", took)
		}
		status(t, k)
		calls.take("Lookup")
		d.Disconnect()
		if err := settle(); err != nil || len(calls.take("Lookup")) > 0 {
			t.Errorf("Settle() of what is stored = %v, after a look", err)
		}
		d.Connect()
		second, err := k.Publish(t.Context(), signer(), publication(2, first.Item))
		if err != nil {
			t.Fatal(err)
		}
		set(t, k, announce.Keep{Item: second.Item})
		calls.take("Lookup")
		if err := settle(); err != nil || len(calls.take("Lookup")) > 0 {
			t.Errorf("Settle() of what was published = %v, after a look", err)
		}
	})
}

// A record that another one has replaced is never put again: Settle says so.
func TestSettleReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		time.Sleep(time.Minute)
		mustPublish(t, d, publication(2, first.Item))
		k := announce.NewKeeper(d, announce.KeeperHooks{})
		run(t, k)
		set(t, k, announce.Keep{Item: first.Item})
		for range 2 {
			if err := k.Settle(t.Context(), tools()); !is[*announce.NewerError](err) {
				t.Errorf("Settle() = %v, want *NewerError", err)
			}
		}
	})
}
