package announce_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/announce/dhttest"
	"github.com/gitpeer/gitpeer/keys"
)

// is reports whether err is an E.
func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func TestResolveDecides(t *testing.T) {
	now := time.UnixMilli(1_795_000_000_000)
	ms := now.UnixMilli()
	one, two := item(t, 1, ms-2000, now), item(t, 2, ms-1000, now)
	other := item(t, 3, two.Seq, now)
	oldOther := item(t, 4, one.Seq, now)
	ahead := item(t, 5, ms+announce.MaxAhead.Milliseconds()+1, now)
	edge := item(t, 6, ms+announce.MaxAhead.Milliseconds(), now)

	expired := record(7)
	expired.Signed, expired.Expires = now.Add(-time.Hour), now
	postdated := record(8)
	postdated.Signed, postdated.Expires = now.Add(announce.MaxAhead+time.Second), now.Add(announce.DefaultLife)
	garbage, err := announce.SignItem(signer(), tools().Salt(), ms, []byte("d1:ai1ee"))
	if err != nil {
		t.Fatal(err)
	}
	otherSalt, err := announce.SignItem(signer(), []byte("toolz/HEAD"), ms, one.Value) // TRUST A7
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := announce.SignItem(otherSigner(), tools().Salt(), ms, one.Value) // TRUST A1
	if err != nil {
		t.Fatal(err)
	}
	forged := *two
	forged.Seq = ms

	type items = []*announce.Item
	for _, c := range []struct {
		name    string
		answers items
		floor   announce.Floor
		want    *announce.Item
		fails   func(error) bool
		agreed  int
		invalid int
	}{
		{name: "highest wins", answers: items{one, two, one, nil, two}, want: two, agreed: 2},
		{name: "one fresh among stale", answers: items{one, one, one, one, one, one, two}, want: two, agreed: 1},
		{name: "forged seq", answers: items{one, &forged}, want: one, agreed: 1, invalid: 1},
		{name: "other salt", answers: items{one, otherSalt}, want: one, agreed: 1, invalid: 1},
		{name: "other key", answers: items{one, otherKey}, want: one, agreed: 1, invalid: 1},
		{name: "only forged", answers: items{&forged, nil}, fails: func(err error) bool { return errors.Is(err, announce.ErrNotFound) }},
		{name: "nothing", answers: items{nil, nil}, fails: func(err error) bool { return errors.Is(err, announce.ErrNotFound) }},
		{name: "no answers", answers: nil, fails: func(err error) bool { return errors.Is(err, announce.ErrNoNodes) }},
		{name: "at the floor", answers: items{one, two}, floor: announce.FloorOf(two), want: two, agreed: 1},
		{name: "above the floor", answers: items{one, two}, floor: announce.FloorOf(one), want: two, agreed: 1},
		{name: "A2 below the floor", answers: items{one}, floor: announce.FloorOf(two), fails: is[*announce.RollbackError]},
		{name: "A2 below a bare floor", answers: items{one}, floor: announce.Floor{Seq: one.Seq + 1}, fails: is[*announce.RollbackError]},
		{name: "A5 two values", answers: items{one, two, other, two}, fails: is[*announce.EquivocationError]},
		{name: "A5 not the value of the floor", answers: items{other}, floor: announce.FloorOf(two), fails: is[*announce.EquivocationError]},
		{name: "two values long ago", answers: items{one, oldOther, two}, want: two, agreed: 1},
		{name: "A4 too far ahead", answers: items{ahead}, fails: is[*announce.FutureError]},
		{name: "A4 too far ahead, and a good one", answers: items{ahead, two, one}, want: two, agreed: 1},
		{name: "just not too far ahead", answers: items{edge, two}, want: edge, agreed: 1},
		{name: "A4 signed too far ahead", answers: items{itemOf(t, postdated, ms)}, fails: is[*announce.FutureError]},
		{name: "A3 expired", answers: items{one, itemOf(t, expired, ms)}, fails: is[*announce.ExpiredError]},
		{name: "malformed, and older ones", answers: items{one, garbage}, fails: is[*announce.RecordError]},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // for the pauses between lookups
				d := &answers{lookups: []func() (*announce.Lookup, error){found(c.answers...)}}
				r, err := announce.Resolve(t.Context(), d, tools(), c.floor, now)
				if c.fails != nil {
					if err == nil || !c.fails(err) {
						t.Fatalf("Resolve() = %v, %v; want another error", r, err)
					}
					return
				}
				if err != nil {
					t.Fatalf("Resolve() = %v, want the record of seq %d", err, c.want.Seq)
				}
				if !r.Item.Equal(c.want) || r.Agreed != c.agreed || r.Invalid != c.invalid || r.Answered != len(c.answers) {
					t.Errorf("Resolve() = seq %d, %d agreed, %d answered, %d invalid; want %d, %d, %d, %d", r.Item.Seq,
						r.Agreed, r.Answered, r.Invalid, c.want.Seq, c.agreed, len(c.answers), c.invalid)
				}
			})
		})
	}
}

// The alarm has both signed statements, and they convince others.
func TestEquivocationIsEvidence(t *testing.T) {
	now := time.UnixMilli(1_795_000_000_000)
	a, b := item(t, 1, now.UnixMilli(), now), item(t, 2, now.UnixMilli(), now)
	for _, floor := range []announce.Floor{{}, announce.FloorOf(a)} {
		d := &answers{lookups: []func() (*announce.Lookup, error){found(b, a)}}
		_, err := announce.Resolve(t.Context(), d, tools(), floor, now)
		var e *announce.EquivocationError
		if !errors.As(err, &e) {
			t.Fatalf("Resolve() = %v, want *EquivocationError", err)
		}
		if err := e.Verify(); err != nil {
			t.Errorf("Verify() of the evidence = %v, want nil", err)
		}
		for _, i := range []*announce.Item{e.A, e.B} {
			text, err := i.Format()
			if err != nil {
				t.Fatal(err)
			}
			if q := quote(text); !strings.Contains(e.Error(), q) {
				t.Errorf("Error() = %s, want it to have %s", e, q)
			}
		}
	}
	forged := *a
	forged.Seq++
	for name, e := range map[string]announce.Equivocation{
		"a forged A":     {A: &forged, B: b},
		"a forged B":     {A: b, B: &forged},
		"other seqs":     {A: a, B: item(t, 2, now.UnixMilli()+1, now)},
		"the same twice": {A: a, B: a},
	} {
		if err := e.Verify(); err == nil {
			t.Errorf("Verify() of evidence with %s = nil, want an error", name)
		}
	}
}

func TestOldEquivocationIsReported(t *testing.T) {
	now := time.UnixMilli(1_795_000_000_000)
	a, b := item(t, 1, now.UnixMilli()-1, now), item(t, 2, now.UnixMilli()-1, now)
	newest := item(t, 3, now.UnixMilli(), now)
	for name, c := range map[string]struct {
		floor announce.Floor
		d     *answers
	}{
		"among the answers": {d: &answers{lookups: []func() (*announce.Lookup, error){found(a, newest, b)}}},
		"with the floor":    {announce.FloorOf(a), &answers{lookups: []func() (*announce.Lookup, error){found(newest, b)}}},
	} {
		r, err := announce.Resolve(t.Context(), c.d, tools(), c.floor, now)
		if err != nil || r.Equivocation == nil {
			t.Fatalf("%s: Resolve() = %v, %v; want an equivocation reported", name, r, err)
		}
		if err := r.Equivocation.Verify(); err != nil || r.Equivocation.A.Seq != a.Seq {
			t.Errorf("%s: evidence of seq %d: %v", name, r.Equivocation.A.Seq, err)
		}
	}
}

func TestResolveMergesPeers(t *testing.T) {
	now := time.UnixMilli(1_795_000_000_000)
	peer := netip.MustParseAddrPort
	r := record(1)
	r.Signed, r.Expires = now, now.Add(time.Hour)
	r.Peers = []netip.AddrPort{peer("198.51.100.1:1"), peer("[2001:db8::1]:1")}
	good := itemOf(t, r, now.UnixMilli())
	d := &answers{lookups: []func() (*announce.Lookup, error){func() (*announce.Lookup, error) {
		l, err := found(good)()
		l.Peers = []netip.AddrPort{
			peer("[::ffff:198.51.100.1]:1"), peer("198.51.100.2:2"), peer("198.51.100.2:2"), peer("[fe80::1%eth0]:2"),
			peer("0.0.0.0:1"), peer("198.51.100.3:0"), peer("224.0.0.1:1"), peer("255.255.255.255:1"), {},
		}
		return l, err
	}}}
	got, err := announce.Resolve(t.Context(), d, tools(), announce.Floor{}, now)
	if err != nil {
		t.Fatal(err)
	}
	want := append(r.Peers, peer("198.51.100.2:2"), peer("[fe80::1]:2"))
	if !slices.Equal(got.Peers, want) {
		t.Errorf("Peers = %v, want %v", got.Peers, want)
	}
	many := func() (*announce.Lookup, error) {
		l, err := found(good)()
		for i := range 10 * announce.MaxPeers {
			l.Peers = append(l.Peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 9))
		}
		return l, err
	}
	got, err = announce.Resolve(t.Context(), &answers{lookups: []func() (*announce.Lookup, error){many}}, tools(), announce.Floor{}, now)
	if err != nil || len(got.Peers) != announce.MaxPeers || !slices.Equal(got.Peers[:2], r.Peers) {
		t.Errorf("Resolve() = %v, %v; want %d peers, the hints first", got, err, announce.MaxPeers)
	}
}

// An expired record comes with all that is needed to allow some staleness.
func TestExpiredErrorIsComplete(t *testing.T) {
	bubble(t, func(t *testing.T, f *dhttest.Fake) {
		d := f.Client(reader)
		old := item(t, 1, time.Now().UnixMilli(), time.Now())
		time.Sleep(announce.DefaultLife - time.Second)
		f.Plant(old, 0, 20)
		mustResolve(t, d, announce.Floor{})
		time.Sleep(time.Second)
		_, err := resolve(t, d, announce.Floor{})
		var e *announce.ExpiredError
		if !errors.As(err, &e) {
			t.Fatalf("Resolve() = %v, want *ExpiredError", err)
		}
		if r := e.Resolution; !r.Item.Equal(old) || r.Record.Number != 1 || r.Agreed != 20 || r.Address != tools() {
			t.Errorf("the error's resolution is %+v", r)
		}
		if !strings.Contains(err.Error(), "this computer's clock says") { // TRUST A44
			t.Errorf("Error() = %q, want it to name the clock", err)
		}
	})
}

// What a lookup loses, another one may find.
func TestResolveLooksAgain(t *testing.T) {
	now := time.UnixMilli(1_795_000_000_000)
	one, two := item(t, 1, 1, now), item(t, 2, 2, now)
	broken := func() (*announce.Lookup, error) { return nil, errors.New("socket closed") }
	offline := func() (*announce.Lookup, error) { return &announce.Lookup{Asked: 3}, announce.ErrNoNodes }
	for _, c := range []struct {
		name    string
		lookups []func() (*announce.Lookup, error)
		floor   announce.Floor
		calls   int
		took    time.Duration
		err     error
	}{
		{"found at once", []func() (*announce.Lookup, error){found(two)}, announce.FloorOf(one), 1, 0, nil},
		{"not found, found", []func() (*announce.Lookup, error){found(nil), found(two)}, announce.Floor{}, 2, 500 * time.Millisecond, nil},
		{"old, new", []func() (*announce.Lookup, error){found(one), found(two)}, announce.FloorOf(two), 2, 500 * time.Millisecond, nil},
		{"offline, broken, new", []func() (*announce.Lookup, error){offline, broken, found(two)}, announce.Floor{}, 3, 2500 * time.Millisecond, nil},
		{"offline for good", []func() (*announce.Lookup, error){offline}, announce.Floor{}, 3, 2500 * time.Millisecond, announce.ErrNoNodes},
		{"broken for good", []func() (*announce.Lookup, error){broken}, announce.Floor{}, 3, 2500 * time.Millisecond, announce.ErrNoNodes},
		{"never there", []func() (*announce.Lookup, error){found(nil)}, announce.Floor{}, 3, 2500 * time.Millisecond, announce.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				d := &answers{lookups: c.lookups}
				r, err := announce.Resolve(t.Context(), d, tools(), c.floor, now)
				if !errors.Is(err, c.err) || (c.err == nil && !r.Item.Equal(two)) {
					t.Errorf("Resolve() = %v, %v; want seq 2 or the error %v", r, err, c.err)
				}
				if took := time.Since(start); d.calls != c.calls || took != c.took {
					t.Errorf("%d lookups in %v, want %d in %v", d.calls, took, c.calls, c.took)
				}
			})
		})
	}
}

func TestResolveSaysWhyItIsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := errors.New("socket closed")
		d := &answers{lookups: []func() (*announce.Lookup, error){func() (*announce.Lookup, error) { return nil, closed }}}
		if _, err := announce.Resolve(t.Context(), d, tools(), announce.Floor{}, time.Now()); !errors.Is(err, closed) {
			t.Errorf("Resolve() = %v, want it to wrap %v", err, closed)
		}
	})
}

// slow answers half of a lookup, and never the rest.
type slow struct{ answers }

func (s *slow) Lookup(ctx context.Context, k keys.ID, salt []byte) (*announce.Lookup, error) {
	l, _ := s.answers.Lookup(ctx, k, salt)
	<-ctx.Done()
	return l, ctx.Err()
}

func TestResolveNeverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		half, start := item(t, 1, 1, time.Now()), time.Now()
		d := &slow{answers{lookups: []func() (*announce.Lookup, error){found(half, nil)}}}
		r, err := resolve(t, d, announce.Floor{})
		if took := time.Since(start); err != nil || !r.Item.Equal(half) || took != announce.LookupTimeout {
			t.Errorf("Resolve() = %v, %v after %v; want what was found after %v", r, err, took, announce.LookupTimeout)
		}
		start = time.Now()
		d = &slow{answers{lookups: []func() (*announce.Lookup, error){found()}}}
		_, err = resolve(t, d, announce.Floor{})
		if took := time.Since(start); !errors.Is(err, announce.ErrNoNodes) || took != announce.ResolveTimeout {
			t.Errorf("Resolve() = %v after %v; want ErrNoNodes after %v", err, took, announce.ResolveTimeout)
		}
	})
}

func TestResolveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("interrupted")
		for name, d := range map[string]announce.DHT{
			"in a lookup": &slow{answers{lookups: []func() (*announce.Lookup, error){found()}}},
			"in a pause":  &answers{lookups: []func() (*announce.Lookup, error){found(nil)}},
		} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
			defer cancel()
			start := time.Now()
			_, err := announce.Resolve(ctx, d, tools(), announce.Floor{}, time.Now())
			if took := time.Since(start); !errors.Is(err, why) || took != time.Second {
				t.Errorf("%s: Resolve() = %v after %v; want %v after 1s", name, err, took, why)
			}
		}
	})
}

// Four of eight holders stale, or lying: the rest suffices (TRUST A1, A2).
func TestResolveAmongBadNodes(t *testing.T) {
	for name, fault := range map[string]dhttest.Fault{
		"down": dhttest.Down, "garble": dhttest.Garble, "freeze": dhttest.Freeze, "forget": dhttest.Forget,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *dhttest.Fake) {
				first := mustPublish(t, f.Client(writer), publication(1, nil))
				f.Fail(target(), 0, 12, fault)
				second := mustPublish(t, f.Client(writer), publication(2, first.Item))
				r := mustResolve(t, f.Client(reader), announce.FloorOf(second.Item))
				if r.Record.Number != 2 {
					t.Errorf("resolved snapshot %d, want 2", r.Record.Number)
				}
			})
		})
	}
}

func quote(text []byte) string { return fmt.Sprintf("%q", text) }
