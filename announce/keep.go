package announce

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// When a Keeper does what. The package comment has the reasons.
const (
	RepublishEvery = time.Hour        // put again, ± republishJitter
	AnnounceEvery  = 20 * time.Minute // announce again and look, ± announceJitter
	RetryFirst     = time.Minute      // after a failure; doubles with each one
	RetryMost      = 30 * time.Minute

	republishJitter = 6 * time.Minute
	announceJitter  = 5 * time.Minute
	// putEarly: a put that is due so soon is done with the current look, to
	// save one of its own.
	putEarly = AnnounceEvery / 2

	// renewParts: a record is renewed when the first of so many equal parts
	// of its life is over, by default daily; and up to a quarter of a part
	// later, so that two computers with one key do not both do it.
	renewParts = 7
	// fewHolders: a record held by fewer nodes is put again out of turn.
	fewHolders = 4
)

// kept is a repository of a Keeper. The Keeper's mutex guards it.
type kept struct {
	Keep
	record *refs.Record // the value of Item
	late   float64      // from 0 to 1: how late this keeper renews it

	busy        bool          // a pass is running
	tried       chan struct{} // closed when the next pass, or publication, has ended
	out         bool          // Item was put, or found in the DHT
	putDue      time.Time
	announceDue time.Time
	retryAt     time.Time // next pass while failures > 0
	failures    int

	stored, of  int
	storedAt    time.Time
	announced   int
	announcedAt time.Time
	newer       *Item
	err         error
}

// result is what a pass came to.
type result struct {
	item      *Item      // the item to go on with, nil for the same
	published *Published // of the put, nil if there was none
	announced int        // nodes that accepted the announce
	newer     *Item      // the rival that made item obsolete
	err       error
}

// next is when the next pass is due. A due time far ahead is a wall clock that
// was set back.
func (r *kept) next(now time.Time) time.Time {
	next := r.putDue
	if renew := r.renewAt(); !renew.IsZero() && renew.Before(next) && !obsolete(r.err) {
		next = renew
	}
	if r.Port != 0 && r.announceDue.Before(next) {
		next = r.announceDue
	}
	if r.failures > 0 {
		next = r.retryAt
	}
	if next.Sub(now) > 2*RepublishEvery {
		return now
	}
	return next
}

// renewAt is when the record should be renewed; zero without a signer.
func (r *kept) renewAt() time.Time {
	if r.Signer == nil {
		return time.Time{}
	}
	part := r.record.Expires.Sub(r.record.Signed) / renewParts
	return r.record.Signed.Add(part + time.Duration(r.late*float64(part)/4))
}

func (r *kept) status() KeepStatus {
	s := KeepStatus{
		Address: r.Address, Item: r.Item, Expires: r.record.Expires,
		Stored: r.stored, Of: r.of, StoredAt: r.storedAt,
		Announced: r.announced, AnnouncedAt: r.announcedAt,
		Republish: r.putDue, Renew: r.renewAt(),
		Failures: r.failures, Err: r.err, Newer: r.newer,
	}
	if r.failures > 0 {
		s.Republish = r.retryAt
	}
	return s
}

func (r *kept) adopt(i *Item, record *refs.Record) {
	r.Item, r.record, r.newer, r.err, r.out = i, record, nil, nil, false
}

// apply changes r by what a pass came to, and sets the next times.
func (r *kept) apply(res result) {
	now := wallClock()
	if res.item != nil {
		if record, err := refs.ParseRecord(res.item.Value); err == nil {
			r.adopt(res.item, record)
		}
	}
	r.err = res.err
	r.out = r.out || res.err == nil || res.published != nil && res.published.Stored > 0
	if res.newer != nil {
		r.newer = res.newer
	}
	r.announceDue = jitter(now, AnnounceEvery, announceJitter)
	if res.announced > 0 {
		r.announced, r.announcedAt = res.announced, now
	}
	weak := false
	if p := res.published; p != nil {
		r.stored, r.of, r.storedAt = p.Stored, p.Of, now
		r.putDue = jitter(now, RepublishEvery, republishJitter)
		weak = p.Stored < min(fewHolders, p.Of)
	}
	switch {
	case obsolete(res.err):
		r.failures = 0
		r.putDue = jitter(now, RepublishEvery, republishJitter)
	case res.err != nil, weak:
		back := RetryMost
		if r.failures < 5 {
			back = RetryFirst << r.failures
		}
		r.failures++
		r.retryAt = jitter(now, back, back/5)
	default:
		r.failures = 0
	}
}

// obsolete reports whether trying again soon would not help: what is wrong is
// the item, not the network.
func obsolete(err error) bool {
	return errors.As(err, new(*NewerError)) || errors.As(err, new(*EquivocationError)) ||
		errors.As(err, new(*ExpiredError)) || errors.As(err, new(*InUseError))
}

func asUnknown(err error) (*UnknownOutcomeError, bool) {
	var e *UnknownOutcomeError
	ok := errors.As(err, &e)
	return e, ok
}

// jitter spreads what many keepers, or one with many repositories, do.
func jitter(now time.Time, d, spread time.Duration) time.Time {
	return now.Add(d - spread + rand.N(2*spread))
}

// A pass is one look at one repository, with all that is due for it.
type pass struct {
	*Keeper
	r   kept // as it was at the start
	now time.Time
	o   *observation
	result
}

// pass runs one for r.
func (k *Keeper) pass(ctx context.Context, r *kept) {
	unlock, err := k.lock(ctx, r.Address)
	if err != nil {
		return
	}
	defer unlock()
	p := &pass{Keeper: k, now: wallClock(), o: newObservation(r.Address.Publisher, r.Address.Salt())}
	k.mu.Lock()
	p.r = *r
	began := r.Item
	current := k.repos[r.Address] == r
	k.mu.Unlock()
	if !current {
		return
	}
	p.err = p.run(ctx)
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	current = k.repos[r.Address] == r && r.Item == began
	tell := current && p.newer != nil && (r.newer == nil || !r.newer.Equal(p.newer))
	if current {
		r.apply(p.result)
	}
	k.mu.Unlock()
	if tell && k.hooks.Newer != nil {
		k.hooks.Newer(r.Address, p.newer)
	}
}

// run announces first: whatever becomes of the record, who knows a newer one
// can get packs from here.
func (p *pass) run(ctx context.Context) error {
	if err := p.o.look(ctx, p.dht, anyAnswer); err != nil {
		return err
	}
	notAnnounced := p.announce(ctx)
	if err := p.record(ctx); err != nil {
		return err
	}
	return notAnnounced
}

func (p *pass) announce(ctx context.Context) (err error) {
	if p.r.Port == 0 {
		return nil
	}
	p.announced, err = p.dht.Announce(ctx, p.o.closest, p.r.Item.Target(), p.r.Port)
	if err == nil && p.announced == 0 {
		err = ErrNotAnnounced
	}
	return err
}

// record takes over a renewal, renews the record or puts it again.
func (p *pass) record(ctx context.Context) error {
	if seen := p.o.rival(p.r.Item); seen != nil {
		record := renewed(p.r.record, seen)
		if record == nil || seen.Seq == p.r.Item.Seq || seen.Seq > p.now.Add(MaxAhead).UnixMilli() {
			p.newer = seen
			return superseded(p.r.Item, seen)
		}
		if err := p.save(p.r.Address, seen); err != nil {
			return err
		}
		p.item = seen
		p.r.adopt(seen, record)
	}
	var notRenewed error
	if at := p.r.renewAt(); !at.IsZero() && !p.now.Before(at) {
		saved, err := p.renew(ctx)
		if saved {
			return err
		}
		notRenewed = err
	}
	if !p.putIsDue() {
		return notRenewed
	}
	if err := p.put(ctx); err != nil && notRenewed == nil {
		return err
	}
	return notRenewed
}

// putIsDue also says yes when few of the nodes looked at hold the record.
func (p *pass) putIsDue() bool {
	return p.r.putDue.Sub(p.now) < putEarly ||
		p.o.holders(p.r.Item) < min(fewHolders, len(p.o.closest))
}

func (p *pass) put(ctx context.Context) (err error) {
	if !p.now.Before(p.r.record.Expires) {
		return &ExpiredError{Resolution: &Resolution{Address: p.r.Address, Item: p.r.Item, Record: p.r.record}, Now: p.now}
	}
	p.published, err = p.o.republish(ctx, p.dht, p.r.Item)
	return err
}

// renew signs the record anew. Once that is saved the Keeper goes on with it,
// stored or not: what is saved may be out.
func (p *pass) renew(ctx context.Context) (saved bool, err error) {
	var hints []netip.AddrPort
	if p.hooks.Hints != nil {
		hints = p.hooks.Hints(p.r.Address)
	}
	renewal, err := Renewal(p.r.Address.Name, p.r.Item, hints)
	if err != nil {
		return false, err
	}
	renewal.Now = p.now
	renewal.Save = func(i *Item) error {
		err := p.save(p.r.Address, i)
		if err == nil {
			p.item, saved = i, true
		}
		return err
	}
	p.published, err = p.o.publish(ctx, p.dht, p.r.Signer, renewal)
	if used := (*InUseError)(nil); errors.As(err, &used) {
		p.newer = used.Seen
	}
	return saved, err
}

// renewed returns the record of seen if it says again what old says: a
// renewal, by another computer that has the key. It can be taken over without
// fetching anything.
func renewed(old *refs.Record, seen *Item) *refs.Record {
	record, err := refs.ParseRecord(seen.Value)
	if err != nil || record.InfoHash != old.InfoHash || record.Number != old.Number ||
		record.Snapshot != old.Snapshot || record.Head != old.Head {
		return nil
	}
	return record
}
