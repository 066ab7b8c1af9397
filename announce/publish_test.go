package announce_test

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/announce/dhttest"
	"github.com/gitpeer/gitpeer/keys"
)

func TestNextSeq(t *testing.T) {
	now := time.UnixMilli(1_795_000_000_000)
	for _, c := range []struct{ highest, want int64 }{
		{0, now.UnixMilli()},
		{now.UnixMilli() - 1, now.UnixMilli()},
		{now.UnixMilli(), now.UnixMilli() + 1},
		{now.UnixMilli() + 1000, now.UnixMilli() + 1001},
		{math.MaxInt64 - 1, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64},
	} {
		if got := announce.NextSeq(c.highest, now); got != c.want {
			t.Errorf("NextSeq(%d, %d) = %d, want %d", c.highest, now.UnixMilli(), got, c.want)
		}
	}
}

func TestPublishThenResolve(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		var saved []*announce.Item
		p := publication(1, nil)
		p.Record.Peers = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:7000")}
		p.Save = func(i *announce.Item) error { saved = append(saved, i); return nil }
		published := mustPublish(t, f.Client(writer), p)
		if got, want := published.String(), "stored on 20 of 20 nodes"; got != want || published.ReadBack != 20 {
			t.Errorf("Publish() = %s, read back from %d; want %s, 20", got, published.ReadBack, want)
		}
		if len(saved) != 1 || !saved[0].Equal(published.Item) {
			t.Errorf("Save was called with %v, want the item published", saved)
		}
		r := mustResolve(t, f.Client(reader), announce.Floor{})
		if !r.Item.Equal(published.Item) || r.Agreed != 20 || r.Record.Number != 1 || !slices.Equal(r.Peers, p.Record.Peers) {
			t.Errorf("Resolve() = %+v, want the item published", r)
		}
		if seq := r.Item.Seq; seq != p.Now.UnixMilli() {
			t.Errorf("seq = %d, want the time, %d", seq, p.Now.UnixMilli())
		}
		if got := r.Record.Expires.Sub(p.Now); got != announce.DefaultLife || !r.Record.Signed.Equal(p.Now) {
			t.Errorf("signed %v, valid for %v; want %v, %v", r.Record.Signed, got, p.Now, announce.DefaultLife)
		}
		next := mustPublish(t, f.Client(writer), publication(2, published.Item))
		if next.Item.Seq != published.Item.Seq+1 {
			t.Errorf("within the same millisecond the next seq is %d, want %d", next.Item.Seq, published.Item.Seq+1)
		}
	})
}

// A fault, and what is known after it. TRUST A8, and the pair of failed and
// not stored / failed yet stored.
func TestPublishFaults(t *testing.T) {
	const down, all = 5, 60
	for _, c := range []struct {
		name   string
		n      int
		fault  dhttest.Fault
		want   string            // of the success, or
		fails  func(error) bool  // the failure
		holds  int               // nodes that hold the item in the end
		newer  int               // nodes reported as claiming a newer one
		status []announce.Status // reported, of the faulty nodes
	}{
		{name: "none", want: "stored on 20 of 20 nodes", holds: 20},
		{name: "some down", n: down, fault: dhttest.Down, want: "stored on 20 of 20 nodes", holds: 20},
		{name: "some puts lost", n: down, fault: dhttest.LosePut, want: "stored on 15 of 20 nodes", holds: 15, status: []announce.Status{announce.Silent}},
		{name: "some replies lost", n: down, fault: dhttest.LoseReply, want: "stored on 20 of 20 nodes", holds: 20, status: []announce.Status{announce.Silent}},
		{name: "some lie", n: down, fault: dhttest.Forget, want: "stored on 15 of 20 nodes", holds: 15, status: []announce.Status{announce.Stored}},
		{name: "some refuse", n: down, fault: dhttest.Refuse, want: "stored on 15 of 20 nodes", holds: 15, status: []announce.Status{announce.Refused}},
		{name: "some claim newer", n: down, fault: dhttest.ClaimNewer, want: "stored on 15 of 20 nodes", holds: 15, newer: down, status: []announce.Status{announce.Newer}},
		{name: "some give no token", n: down, fault: dhttest.NoToken, want: "stored on 15 of 15 nodes", holds: 15},
		{name: "all down", n: all, fault: dhttest.Down, fails: func(err error) bool { return errors.Is(err, announce.ErrNoNodes) }},
		{name: "all puts lost", n: all, fault: dhttest.LosePut, fails: is[*announce.NotStoredError]},
		{name: "all replies lost", n: all, fault: dhttest.LoseReply, want: "stored on 20 of 20 nodes", holds: 20, status: []announce.Status{announce.Silent}},
		{name: "all lie", n: all, fault: dhttest.Forget, fails: is[*announce.NotStoredError]},
		{name: "all refuse", n: all, fault: dhttest.Refuse, fails: is[*announce.NotStoredError]},
		{name: "all claim newer", n: all, fault: dhttest.ClaimNewer, fails: is[*announce.NotStoredError]},
		{name: "none gives a token", n: all, fault: dhttest.NoToken, fails: is[*announce.NotStoredError]},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *dhttest.Fake) {
				f.Fail(target(), 0, c.n, c.fault)
				var sent *announce.Item
				p := publication(1, nil)
				p.Save = func(i *announce.Item) error { sent = i; return nil }
				published, err := announce.Publish(t.Context(), f.Client(writer), signer(), p)
				if sent != nil && f.Holders(sent) != c.holds {
					t.Errorf("%d nodes hold the item, want %d", f.Holders(sent), c.holds)
				}
				if c.fails != nil {
					if err == nil || !c.fails(err) {
						t.Fatalf("Publish() = %v, %v; want another error", published, err)
					}
					return
				}
				if err != nil || published.String() != c.want || len(published.Newer) != c.newer {
					t.Fatalf("Publish() = %v, %v; want %q with %d newer", published, err, c.want, c.newer)
				}
				for _, o := range published.Outcomes[:min(len(c.status)*down, len(published.Outcomes))] {
					if !slices.Contains(c.status, o.Status) {
						t.Errorf("%v: %v, want %v", o.Node.Addr, o.Status, c.status)
					}
				}
			})
		})
	}
}

// The network fails between the put and the read back. Twice: the puts had
// arrived, or not. The publisher cannot know, says so, and finds out later.
func TestPublishOutcomeUnknown(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  dhttest.Fault
		stored int // nodes that the error reports
		holds  int
	}{
		{"not stored", dhttest.LosePut, 0, 0},
		{"yet stored", dhttest.LoseReply, 0, 20},
		{"yet stored and said so", 0, 20, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *dhttest.Fake) {
				f.FailAll(c.fault)
				d := f.Client(writer)
				stored := false
				d.Before(func(call string) {
					if stored {
						d.Disconnect()
					}
					stored = call == "Store"
				})
				_, err := announce.Publish(t.Context(), d, signer(), publication(1, nil))
				var unknown *announce.UnknownOutcomeError
				if !errors.As(err, &unknown) || !errors.Is(err, announce.ErrNoNodes) {
					t.Fatalf("Publish() = %v, want *UnknownOutcomeError for want of nodes", err)
				}
				held := 0
				for _, o := range unknown.Outcomes {
					if o.Holds() {
						held++
					}
				}
				if held != c.stored || f.Holders(unknown.Item) != c.holds {
					t.Errorf("%d nodes said stored, %d hold it; want %d, %d", held, f.Holders(unknown.Item), c.stored, c.holds)
				}

				d.Before(nil)
				// Look, and put it again if it is not there.
				d.Connect()
				f.FailAll(0)
				r, err := resolve(t, d, announce.Floor{})
				if found := err == nil && r.Item.Equal(unknown.Item); found != (c.holds > 0) {
					t.Errorf("Resolve() afterwards = %v, want found: %v", err, c.holds > 0)
				}
				if _, err := announce.Republish(t.Context(), d, unknown.Item); err != nil {
					t.Errorf("Republish() = %v", err)
				}
				mustPublish(t, d, publication(2, unknown.Item))
			})
		})
	}
}

// Ctrl-C while the record is being put.
func TestPublishInterrupted(t *testing.T) {
	for _, at := range []string{"Lookup", "Store"} {
		bubble(t, func(t *testing.T, f *dhttest.Fake) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := f.Client(writer)
			d.Before(func(call string) {
				if call == at {
					cancel()
				}
			})
			_, err := announce.Publish(ctx, d, signer(), publication(1, nil))
			if !errors.Is(err, context.Canceled) || is[*announce.UnknownOutcomeError](err) != (at == "Store") {
				t.Errorf("Publish() cancelled in %s = %v", at, err)
			}
		})
	}
}

func TestPublishNeverHangs(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		d.Before(func(call string) {
			if call == "Store" {
				d.SetLatency(time.Hour)
			}
		})
		start := time.Now()
		_, err := announce.Publish(t.Context(), d, signer(), publication(1, nil))
		if took, most := time.Since(start), announce.StoreTimeout+announce.ResolveTimeout; !is[*announce.UnknownOutcomeError](err) || took > most {
			t.Errorf("Publish() = %v after %v; want *UnknownOutcomeError within %v", err, took, most)
		}
	})
}

func TestPublishKeyInUseElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))
		time.Sleep(time.Minute)
		second := mustPublish(t, f.Client(reader), publication(2, first.Item))
		time.Sleep(time.Minute)
		for name, last := range map[string]*announce.Item{"older": first.Item, "none": nil} {
			_, err := announce.Publish(t.Context(), d, signer(), publication(3, last))
			var used *announce.InUseError
			if !errors.As(err, &used) {
				t.Fatalf("last known %s: Publish() = %v, want *InUseError", name, err)
			}
			if !used.Seen.Equal(second.Item) || used.Last != last || used.Sent != nil ||
				!used.Record.Signed.Equal(second.Record.Signed) {
				t.Errorf("last known %s: %+v, want what was seen and known", name, used)
			}
			if !strings.Contains(err.Error(), second.Record.Signed.UTC().Format(time.RFC3339)) {
				t.Errorf("Error() = %q, want when it was signed", err)
			}
		}
		if f.Holders(second.Item) != 20 {
			t.Error("a refused publication has changed the DHT")
		}
		// Having taken over what was seen, one may go on.
		third := mustPublish(t, d, publication(3, second.Item))

		// Another value at the very seq that we know.
		f.Restart()
		f.Plant(third.Item, 0, 10)
		twin := item(t, 9, third.Item.Seq, time.Now())
		f.Plant(twin, 10, 10)
		_, err := announce.Publish(t.Context(), d, signer(), publication(4, third.Item))
		var used *announce.InUseError
		if !errors.As(err, &used) || !used.Seen.Equal(twin) {
			t.Errorf("with a twin: Publish() = %v, want *InUseError with the twin", err)
		}
	})
}

// Whoever has just looked need not look again before writing; what was seen then
// counts, and a look that has seen nothing does not.
func TestPublishAfterLookup(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		look := func() *announce.Lookup {
			l, err := d.Lookup(t.Context(), signer().ID(), tools().Salt())
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		var calls []string
		publish := func(p announce.Publication) (*announce.Published, error) {
			calls = nil
			d.Before(func(call string) { calls = append(calls, call) })
			defer d.Before(nil)
			return announce.Publish(t.Context(), d, signer(), p)
		}
		p := publication(1, nil)
		p.Lookup = look()
		first, err := publish(p)
		if err != nil || first.String() != "stored on 20 of 20 nodes" || !slices.Equal(calls, []string{"Store", "Lookup"}) {
			t.Fatalf("Publish() after a look = %v, %v by %q, want it stored on 20 by Store, Lookup", first, err, calls)
		}
		time.Sleep(time.Minute)
		p = publication(2, first.Item)
		p.Lookup = &announce.Lookup{}
		second, err := publish(p)
		if err != nil || !slices.Equal(calls, []string{"Lookup", "Store", "Lookup"}) {
			t.Fatalf("Publish() after a look that saw nothing = %v by %q, want Lookup, Store, Lookup", err, calls)
		}
		time.Sleep(time.Minute)
		p = publication(3, first.Item)
		p.Lookup = look()
		if _, err := publish(p); !is[*announce.InUseError](err) || len(calls) > 0 {
			t.Errorf("Publish() after a look that saw another item = %v by %q, want *InUseError at once", err, calls)
		}
		if f.Holders(second.Item) != 20 {
			t.Error("a refused publication has changed the DHT")
		}
	})
}

// Two writers who both read before either writes.
func TestPublishRace(t *testing.T) {
	for _, c := range []struct {
		name  string
		later time.Duration // the clock of the other, who is first on the network
		fault dhttest.Fault
		wins  bool
	}{
		{"the other has the higher seq", time.Second, 0, false},
		{"the other has the lower seq", -time.Second, 0, true},
		{"the same seq, first stays", 0, 0, false},
		{"the same seq, last stays", 0, dhttest.TakeEqual, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *dhttest.Fake) {
				time.Sleep(time.Hour)
				f.FailAll(c.fault)
				d, raced := f.Client(writer), false
				d.Before(func(call string) {
					if call == "Store" && !raced {
						raced = true
						p := publication(2, nil)
						p.Now = p.Now.Add(c.later)
						mustPublish(t, f.Client(reader), p)
					}
				})
				published, err := announce.Publish(t.Context(), d, signer(), publication(1, nil))
				var used *announce.InUseError
				switch {
				case c.wins && err != nil:
					t.Errorf("Publish() = %v, want nil", err)
				case c.wins:
					if f.Holders(published.Item) != 20 {
						t.Errorf("%d nodes hold the winner, want 20", f.Holders(published.Item))
					}
				case !errors.As(err, &used) || used.Sent == nil || used.Record.Number != 2:
					t.Errorf("Publish() = %v, want *InUseError after sending", err)
				}
			})
		})
	}
}

func TestPublishRefusesWhatReadersWould(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		now := time.Now()
		disk := errors.New("disk full")
		for name, c := range map[string]struct {
			change func(*announce.Publication)
			fails  func(error) bool
		}{
			"no later seq": {func(p *announce.Publication) {
				p.Last = item(t, 1, math.MaxInt64, now)
			}, is[*announce.FutureError]},
			"a seq too far ahead": {func(p *announce.Publication) {
				p.Last = item(t, 1, now.Add(announce.MaxAhead).UnixMilli(), now)
			}, is[*announce.FutureError]},
			"short life":  {func(p *announce.Publication) { p.Life = announce.MinLife - 1 }, func(err error) bool { return err != nil }},
			"long life":   {func(p *announce.Publication) { p.Life = announce.MaxLife + 1 }, func(err error) bool { return err != nil }},
			"no number":   {func(p *announce.Publication) { p.Record.Number = 0 }, func(err error) bool { return err != nil }},
			"bad disk":    {func(p *announce.Publication) { p.Save = func(*announce.Item) error { return disk } }, func(err error) bool { return errors.Is(err, disk) }},
			"other last":  {func(p *announce.Publication) { p.Name = "other"; p.Last = item(t, 1, 1, now) }, is[*announce.ItemError]},
			"broken last": {func(p *announce.Publication) { p.Last = item(t, 1, 1, now); p.Last.Seq = 2 }, is[*announce.ItemError]},
		} {
			p := publication(1, nil)
			c.change(&p)
			if got, err := announce.Publish(t.Context(), d, signer(), p); err == nil || !c.fails(err) {
				t.Errorf("%s: Publish() = %v, %v; want another error", name, got, err)
			}
		}
		if _, err := resolve(t, d, announce.Floor{}); !errors.Is(err, announce.ErrNotFound) {
			t.Errorf("Resolve() = %v, want that nothing was sent", err)
		}
	})
}

type failingSigner struct {
	keys.Signer
	err error
}

func (s failingSigner) Sign([]byte) ([]byte, error) { return nil, s.err }

func TestPublishWithoutTheKey(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		locked := errors.New("agent is locked")
		_, err := announce.Publish(t.Context(), f.Client(writer), failingSigner{signer(), locked}, publication(1, nil))
		if !errors.Is(err, locked) {
			t.Errorf("Publish() = %v, want %v", err, locked)
		}
	})
}

func TestRepublish(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(writer)
		first := mustPublish(t, d, publication(1, nil))

		// Anybody may, and nodes that answer 302 to what they hold count.
		f.Fail(target(), 0, 20, dhttest.RefuseEqual)
		again, err := announce.Republish(t.Context(), f.Client(reader), first.Item)
		if err != nil || again.Stored != 20 || again.Record.Number != 1 || len(again.Newer) != 0 {
			t.Errorf("Republish() = %v, %v; want it stored on 20", again, err)
		}
		f.FailAll(0)

		// What the DHT has forgotten.
		f.Restart()
		if again, err = announce.Republish(t.Context(), d, first.Item); err != nil || f.Holders(first.Item) != 20 {
			t.Errorf("Republish() after a restart = %v, %v; %d hold it", again, err, f.Holders(first.Item))
		}

		// Faults in pairs. Silence is found out about.
		f.Restart()
		f.FailAll(dhttest.LosePut)
		if _, err = announce.Republish(t.Context(), d, first.Item); !is[*announce.NotStoredError](err) {
			t.Errorf("Republish() with all puts lost = %v, want *NotStoredError", err)
		}
		f.FailAll(dhttest.LoseReply)
		if again, err = announce.Republish(t.Context(), d, first.Item); err != nil || again.ReadBack != 20 {
			t.Errorf("Republish() with all replies lost = %v, %v; want it read back", again, err)
		}
		f.FailAll(0)

		// What is not to be republished.
		second := mustPublish(t, d, publication(2, first.Item))
		if _, err = announce.Republish(t.Context(), d, first.Item); !is[*announce.NewerError](err) {
			t.Errorf("Republish() of the old one = %v, want *NewerError", err)
		}
		twin := item(t, 3, second.Item.Seq, time.Now())
		if _, err = announce.Republish(t.Context(), d, twin); !is[*announce.EquivocationError](err) {
			t.Errorf("Republish() of a twin = %v, want *EquivocationError", err)
		}
		second.Item.Sig[0] ^= 1
		if _, err = announce.Republish(t.Context(), d, second.Item); !is[*announce.ItemError](err) {
			t.Errorf("Republish() of a forgery = %v, want *ItemError", err)
		}
		other, err := announce.SignItem(signer(), []byte("x"), 1, []byte("de"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = announce.Republish(t.Context(), d, other); !is[*announce.RecordError](err) {
			t.Errorf("Republish() of no record = %v, want *RecordError", err)
		}
	})
}

// A newer item that shows only after the put.
func TestRepublishRace(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d, raced := f.Client(writer), false
		first := mustPublish(t, d, publication(1, nil))
		d.Before(func(call string) {
			if call == "Store" && !raced {
				raced = true
				mustPublish(t, f.Client(reader), publication(2, first.Item))
			}
		})
		_, err := announce.Republish(t.Context(), d, first.Item)
		var newer *announce.NewerError
		if !errors.As(err, &newer) || newer.Seen.Seq <= first.Item.Seq {
			t.Errorf("Republish() = %v, want *NewerError", err)
		}
	})
}
