package announce

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

const (
	// DefaultLife is how long a record is valid. It bounds how long a reader
	// can be shown an old state without noticing, and how long a publisher
	// can be away while others keep its record alive.
	DefaultLife = 7 * 24 * time.Hour
	// MinLife leaves a keeper time to renew in spite of failures.
	MinLife = time.Hour
	// MaxLife keeps "never expires" from being the easy way out.
	MaxLife = 90 * 24 * time.Hour

	// PutNodes is on how many nodes a record is put: the closest ones. With
	// 20 copies, practically every record measured on the public network was
	// alive after two days without republishing; with 8, after one.
	PutNodes = 20

	// StoreTimeout ends a put on all nodes: two tries of a second each, again with
	// longer ones if nobody has answered, and room for a slow computer.
	StoreTimeout = 10 * time.Second
)

// A Publication is what [Publish] is to make known.
type Publication struct {
	Name   refs.RepoName
	Record refs.Record   // Signed and Expires are set by Publish
	Last   *Item         // the last item of this repository known here; nil if none
	Life   time.Duration // from Now to expiry, MinLife to MaxLife; 0 means DefaultLife
	Now    time.Time     // the publisher's clock

	// Lookup, if not nil, is one of the record that has ended only just now:
	// Publish does not look a second time before it writes.
	Lookup *Lookup

	// Save, if not nil, is called with the signed item before it is sent: an
	// item that may be out must not be forgotten, or the next publication
	// would take it for another writer's. If Save fails, nothing is sent.
	Save func(*Item) error
}

// Published says how well an item is stored.
type Published struct {
	Item   *Item
	Record *refs.Record // its value

	Stored   int       // nodes that hold it
	Of       int       // nodes it was put on
	ReadBack int       // nodes that gave it back when asked; 0 if there was no need to ask (Republish)
	Outcomes []Outcome // one per node
	Newer    []Outcome // those that claim to hold a newer item, although none showed one
	Took     time.Duration
}

// String returns "stored on 14 of 20 nodes".
func (p *Published) String() string {
	return fmt.Sprintf("stored on %d of %d nodes", p.Stored, p.Of)
}

// NextSeq returns the seq that follows highest, the highest seen: Unix time
// in milliseconds, so that it grows even if state is lost, unless that would
// not be more than highest. It saturates; [Publish] refuses long before.
func NextSeq(highest int64, now time.Time) int64 {
	if highest == math.MaxInt64 {
		return highest
	}
	return max(highest+1, now.UnixMilli())
}

// Publish signs a record with s and puts it on the closest nodes, in this
// order: read the current record, sign a higher seq, save, put, read back.
// There must be no other Publish for the same repository at the same time
// ([Keeper.Publish] sees to that in one process).
//
// Without error, at least one node gave the record back. Errors, and what
// they say of the network:
//
//   - nothing was sent: [ErrNoNodes], *[InUseError] with Sent nil,
//     *[FutureError] (no seq can follow the current one), *[ItemError], the
//     error of s, of Record or of Save, or of ctx;
//   - sent, and known not to be stored: *[NotStoredError];
//   - sent, and beaten by another writer: *[InUseError] with Sent set;
//   - sent, and not known: *[UnknownOutcomeError]. Look before anything else.
func Publish(ctx context.Context, d DHT, s keys.Signer, p Publication) (*Published, error) {
	start := time.Now()
	a := refs.Address{Publisher: s.ID(), Name: p.Name}
	o := newObservation(a.Publisher, a.Salt())
	if p.Last != nil && !o.accepts(p.Last) {
		return nil, &ItemError{Reason: "the last known item is not one of " + a.String()}
	}
	if p.Lookup != nil {
		o.add(p.Lookup)
	}
	if len(o.holds) == 0 {
		if err := o.look(ctx, d, anyAnswer); err != nil {
			return nil, err
		}
	}
	published, err := o.publish(ctx, d, s, p)
	if err != nil {
		return nil, err
	}
	published.Took = time.Since(start)
	return published, nil
}

// publish is Publish after the first lookup.
func (o *observation) publish(ctx context.Context, d DHT, s keys.Signer, p Publication) (*Published, error) {
	if seen := o.rival(p.Last); seen != nil {
		return nil, inUse(seen, p.Last, nil)
	}
	item, record, err := p.sign(s, o.salt)
	if err != nil {
		return nil, err
	}
	if p.Save != nil {
		if err := p.Save(item); err != nil {
			return nil, fmt.Errorf("save the signed record: %w", err)
		}
	}
	sent, err := send(ctx, d, o.closest, item)
	if err != nil {
		return nil, err
	}
	published, err := sent.confirm(ctx, d)
	if err != nil {
		return nil, err
	}
	published.Record = record
	return published, nil
}

// sign makes the item that replaces p.Last, the newest one there is.
func (p *Publication) sign(s keys.Signer, salt []byte) (*Item, *refs.Record, error) {
	life := p.Life
	if life == 0 {
		life = DefaultLife
	}
	if life < MinLife || life > MaxLife {
		return nil, nil, fmt.Errorf("a record cannot be valid for %v: allowed are %v to %v", life, MinLife, MaxLife)
	}
	var highest int64
	if p.Last != nil {
		highest = p.Last.Seq
	}
	seq := NextSeq(highest, p.Now)
	if seq > p.Now.Add(MaxAhead).UnixMilli() {
		return nil, nil, &FutureError{Item: p.Last, Time: time.UnixMilli(highest), Now: p.Now}
	}
	record := p.Record
	record.Signed = p.Now.UTC().Truncate(time.Second)
	record.Expires = record.Signed.Add(life)
	value, err := record.Format()
	if err != nil {
		return nil, nil, err
	}
	item, err := SignItem(s, salt, seq, value)
	if err != nil {
		return nil, nil, err
	}
	signed, err := refs.ParseRecord(value)
	return item, signed, err
}

// Renewal returns the publication that says again what last says, for as long
// again, with a new seq. hints replace the record's peers, unless nil. Now and
// Save are the caller's to set.
func Renewal(name refs.RepoName, last *Item, hints []netip.AddrPort) (Publication, error) {
	record, err := refs.ParseRecord(last.Value)
	if err != nil {
		return Publication{}, &RecordError{Item: last, Err: err}
	}
	if hints != nil {
		record.Peers = hints // Format picks those that fit
	}
	life := min(max(record.Expires.Sub(record.Signed), MinLife), MaxLife)
	return Publication{Name: name, Record: *record, Last: last, Life: life}, nil
}

// Republish puts the very bytes of a signed item on the closest nodes again,
// so that they do not forget it. It needs no key: anybody who holds the item
// may do it. It does not read back, unless no node says that it stored it.
//
// Errors: *[ItemError] (it does not verify), *[RecordError] (it is no record),
// [ErrNoNodes], *[NewerError], *[EquivocationError], *[NotStoredError],
// *[UnknownOutcomeError], and ctx's.
// [Resolve] refuses an expired record, so that one is not worth republishing.
func Republish(ctx context.Context, d DHT, i *Item) (*Published, error) {
	if err := i.Verify(); err != nil {
		return nil, err
	}
	start := time.Now()
	o := newObservation(i.Key, i.Salt)
	if err := o.look(ctx, d, anyAnswer); err != nil {
		return nil, err
	}
	published, err := o.republish(ctx, d, i)
	if err != nil {
		return nil, err
	}
	published.Took = time.Since(start)
	return published, nil
}
