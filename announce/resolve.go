package announce

import (
	"context"
	"net/netip"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// MaxAhead is how far the seq of a record, which is Unix time in
// milliseconds, may be ahead of a reader's clock: enough for any clock that
// is set by hand in the wrong time zone, and not enough to make later seqs
// impossible for good.
const MaxAhead = 24 * time.Hour

// A Floor is what a reader has accepted before, below which it never goes.
// The zero Floor is for first contact.
type Floor struct {
	Seq   int64    // lowest acceptable seq
	Value []byte   // bencoded value accepted at Seq; nil if not known
	Sig   [64]byte // its signature, so that an equivocation can be proved
}

// FloorOf returns the floor that an accepted item sets; nil sets none.
func FloorOf(i *Item) Floor {
	if i == nil {
		return Floor{}
	}
	return Floor{Seq: i.Seq, Value: i.Value, Sig: i.Sig}
}

// A Resolution is what the DHT says about a repository.
type Resolution struct {
	Address refs.Address
	Item    *Item            // the newest, verified
	Record  *refs.Record     // its value
	Peers   []netip.AddrPort // who may have the packs: the record's hints, then the rendezvous; unverified, at most MaxPeers

	Agreed   int // nodes that hold this very record
	Answered int // nodes that answered
	Asked    int // nodes that were asked
	Invalid  int // nodes that sent an item which does not verify
	Ahead    int // distinct records set aside because their seq is more than MaxAhead ahead

	// Equivocation, if not nil, proves that the publisher signed two records
	// with one seq, before Item. It is worth a warning, no more: publishing
	// anew is how a publisher mends such an accident.
	Equivocation *Equivocation

	Took time.Duration
}

// Resolve finds the newest record of a. now is the reader's clock.
//
// It asks all nodes close to the target (up to three times, if the first
// lookups find nothing acceptable) and takes the highest seq of all answers.
// Items that do not verify, or are for another key or salt, are counted and
// ignored, and so are items more than [MaxAhead] ahead as long as there is
// another. It ends after [ResolveTimeout] at the latest.
//
// Errors: [ErrNoNodes] (offline), [ErrNotFound], *[RollbackError] (only older
// than floor), *[EquivocationError] (two values at the highest seq, one of
// which may be the floor's), *[FutureError], *[RecordError] (malformed),
// *[ExpiredError], and ctx's.
func Resolve(ctx context.Context, d DHT, a refs.Address, floor Floor, now time.Time) (*Resolution, error) {
	o := newObservation(a.Publisher, a.Salt())
	err := o.look(ctx, d, func(o *observation) bool {
		_, err := o.newest(floor, now)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return o.judge(a, floor, now)
}

// judge is the decision of Resolve, without I/O.
func (o *observation) judge(a refs.Address, floor Floor, now time.Time) (*Resolution, error) {
	best, err := o.newest(floor, now)
	if err != nil {
		return nil, err
	}
	older, err := o.equivocation(best, floor)
	if err != nil {
		return nil, err
	}
	record, err := refs.ParseRecord(best.Value)
	if err != nil {
		return nil, &RecordError{Item: best, Err: err}
	}
	if record.Signed.After(now.Add(MaxAhead)) {
		return nil, &FutureError{Item: best, Time: record.Signed, Now: now}
	}
	r := &Resolution{
		Address: a, Item: best, Record: record,
		Peers:  mergePeers(record.Peers, o.peers),
		Agreed: o.holders(best), Answered: len(o.holds), Asked: max(o.asked, len(o.holds)), Invalid: len(o.invalid),
		Ahead:        o.ahead(now),
		Equivocation: older,
		Took:         o.took,
	}
	if !now.Before(record.Expires) {
		return nil, &ExpiredError{Resolution: r, Now: now}
	}
	return r, nil
}

// newest returns the item of the highest seq that is not ahead of the clock.
func (o *observation) newest(floor Floor, now time.Time) (*Item, error) {
	ahead := o.ahead(now)
	switch {
	case ahead < len(o.items):
	case ahead > 0:
		last := o.items[0]
		return nil, &FutureError{Item: last, Time: time.UnixMilli(last.Seq), Now: now}
	case len(o.holds) > 0:
		return nil, ErrNotFound
	default:
		return nil, ErrNoNodes
	}
	best := o.items[ahead]
	if best.Seq < floor.Seq {
		return nil, &RollbackError{Seen: best, Floor: floor.Seq}
	}
	return best, nil
}

// ahead returns how many of the items are too far ahead of the clock.
func (o *observation) ahead(now time.Time) (n int) {
	limit := now.Add(MaxAhead).UnixMilli()
	for n < len(o.items) && o.items[n].Seq > limit {
		n++
	}
	return n
}

// equivocation looks for two values at one seq. At the seq of best it is the
// error; else the newest one below is returned.
func (o *observation) equivocation(best *Item, floor Floor) (older *Equivocation, err error) {
	var last *Item
	for _, i := range o.items {
		if i.Seq > best.Seq {
			continue
		}
		other := last
		if floor.Value != nil && i.Seq == floor.Seq {
			if mine := floor.item(i); !mine.SameValue(i) {
				other = mine
			}
		}
		if other != nil && other.Seq == i.Seq {
			e := Equivocation{A: other, B: i}
			if i.Seq == best.Seq {
				return nil, &EquivocationError{e}
			}
			return &e, nil
		}
		last = i
	}
	return nil, nil
}

// item returns the item that set the floor; like gives its key and salt.
func (f Floor) item(like *Item) *Item {
	return &Item{Key: like.Key, Salt: like.Salt, Seq: f.Seq, Value: f.Value, Sig: f.Sig}
}
