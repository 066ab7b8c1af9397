package announce_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
)

// fuzzNow is the reader's clock in FuzzResolve.
var fuzzNow = time.UnixMilli(1_795_000_000_000)

// fuzzItem makes of three bytes one of the items that a bad DHT may come up
// with: what of it is wrong, its seq, its content.
func fuzzItem(t *testing.T, kind, seq, content byte) (i *announce.Item, good bool) {
	day := announce.MaxAhead.Milliseconds()
	at := fuzzNow.UnixMilli() + (int64(seq%8)-5)*day/2
	r := record(uint64(content%4) + 1)
	r.Signed = fuzzNow.Add(-time.Duration(content%8) * 24 * time.Hour)
	r.Expires = r.Signed.Add(4 * 24 * time.Hour)
	i = itemOf(t, r, at)
	switch kind % 8 {
	case 1:
		i.Sig[content%64] ^= 1
	case 2:
		i.Seq++
	case 3:
		i.Salt = []byte("other/HEAD")
	case 4:
		i.Key = otherSigner().ID()
	case 5:
		i.Value = []byte{content}
	case 6:
		return nil, false
	default:
		return i, true
	}
	return i, false
}

// Whatever the DHT answers: no crash, and what Resolve returns is the newest
// of the good items, at the floor or above, alone at its seq, not ahead of the
// clock and not expired.
func FuzzResolve(f *testing.F) {
	f.Add(byte(0), byte(0), []byte{0, 1, 0, 0, 2, 1})
	f.Add(byte(3), byte(1), []byte{0, 1, 0, 0, 2, 1, 1, 3, 1, 5, 4, 1, 6, 0, 0})
	f.Add(byte(7), byte(2), []byte{0, 3, 1, 0, 3, 2, 0, 6, 1, 0, 7, 1, 0, 2, 1, 0, 2, 2})
	f.Fuzz(func(t *testing.T, floorSeq, floorContent byte, raw []byte) {
		floorItem, _ := fuzzItem(t, 0, floorSeq, floorContent)
		floor := announce.FloorOf(floorItem)
		var good []*announce.Item
		l := &announce.Lookup{}
		for ; len(raw) >= 3 && len(l.Answers) < 100; raw = raw[3:] {
			i, ok := fuzzItem(t, raw[0], raw[1], raw[2])
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, raw[0]}), uint16(raw[1]))
			l.Answers = append(l.Answers, announce.Answer{
				Node: announce.Node{Addr: addr}, Item: i, Invalid: raw[0] == 255,
			})
			l.Peers = append(l.Peers, addr)
			if ok && raw[0] != 255 {
				good = append(good, i)
			}
		}
		var r *announce.Resolution
		var err error
		synctest.Test(t, func(t *testing.T) { // for the pauses between lookups
			d := &answers{lookups: []func() (*announce.Lookup, error){func() (*announce.Lookup, error) { return l, nil }}}
			r, err = announce.Resolve(t.Context(), d, tools(), floor, fuzzNow)
		})
		if err != nil {
			checkResolveError(t, err, good)
			return
		}
		limit := fuzzNow.Add(announce.MaxAhead).UnixMilli()
		for _, i := range good {
			if i.Seq <= limit && (i.Seq > r.Item.Seq || i.Seq == r.Item.Seq && string(i.Value) != string(r.Item.Value)) {
				t.Errorf("Resolve() = seq %d; there is seq %d", r.Item.Seq, i.Seq)
			}
		}
		switch {
		case r.Item.Verify() != nil || r.Item.Target() != target():
			t.Error("Resolve() = an item that does not verify")
		case r.Item.Seq < floor.Seq || r.Item.Seq == floor.Seq && string(r.Item.Value) != string(floor.Value):
			t.Errorf("Resolve() = seq %d below the floor %d", r.Item.Seq, floor.Seq)
		case r.Item.Seq > limit || !fuzzNow.Before(r.Record.Expires):
			t.Errorf("Resolve() = seq %d, expiry %v", r.Item.Seq, r.Record.Expires)
		case !slices.ContainsFunc(good, r.Item.Equal) || r.Agreed < 1 || r.Agreed+r.Invalid > len(l.Answers):
			t.Errorf("Resolve() = %+v", r)
		}
	})
}

func checkResolveError(t *testing.T, err error, good []*announce.Item) {
	t.Helper()
	var evidence *announce.EquivocationError
	switch {
	case errors.As(err, &evidence):
		if err := evidence.Verify(); err != nil {
			t.Errorf("evidence does not hold: %v", err)
		}
	case errors.Is(err, announce.ErrNotFound), errors.Is(err, announce.ErrNoNodes):
		if len(good) > 0 {
			t.Errorf("Resolve() = %v, with %d good items", err, len(good))
		}
	case is[*announce.RollbackError](err), is[*announce.FutureError](err), is[*announce.RecordError](err), is[*announce.ExpiredError](err):
	default:
		t.Errorf("Resolve() = %v, want one of its errors", err)
	}
}
