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
	// of its life is over, by default daily.
	renewParts = 7
	// fewHolders: a record held by fewer nodes is put again out of turn.
	fewHolders = 4
)

// kept is a repository of a Keeper. The Keeper's mutex guards it.
type kept struct {
	Keep
	record *refs.Record // the value of Item

	busy        bool // a pass is running
	putDue      time.Time
	announceDue time.Time
	retryAt     time.Time // next pass while failures > 0
	failures    int
	earliest    time.Time // no pass before this, whatever is due

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
	if next.Before(r.earliest) {
		next = r.earliest
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
	return r.record.Signed.Add(r.record.Expires.Sub(r.record.Signed) / renewParts)
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
	r.Item, r.record, r.newer, r.err = i, record, nil, nil
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
	if res.newer != nil {
		r.newer = res.newer
	}
	r.announceDue = jitter(now, AnnounceEvery, announceJitter)
	r.earliest = now.Add(RetryFirst / 2)
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
	current = k.repos[r.Address] == r && r.Item.Equal(p.r.Item)
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

// record renews the record or puts it again.
func (p *pass) record(ctx context.Context) error {
	item := p.r.Item
	if seen := p.o.rival(item); seen != nil {
		if !renews(item, seen, p.now) {
			p.newer = seen
			return superseded(item, seen)
		}
		if err := p.save(p.r.Address, seen); err != nil {
			return err
		}
		p.item = seen
		return p.put(ctx, seen)
	}
	var notRenewed error
	if at := p.r.renewAt(); !at.IsZero() && !p.now.Before(at) {
		if notRenewed = p.renew(ctx); p.item != nil {
			return notRenewed
		}
	}
	if notRenewed == nil && !p.putIsDue() {
		return nil
	}
	if err := p.put(ctx, item); err != nil && notRenewed == nil {
		return err
	}
	return notRenewed
}

// putIsDue also says yes when few of the nodes looked at hold the record.
func (p *pass) putIsDue() bool {
	return p.r.failures > 0 || p.r.putDue.Sub(p.now) < putEarly ||
		p.o.holders(p.r.Item) < min(fewHolders, len(p.o.closest))
}

func (p *pass) put(ctx context.Context, i *Item) (err error) {
	record, err := refs.ParseRecord(i.Value)
	if err != nil {
		return &RecordError{Item: i, Err: err}
	}
	if !p.now.Before(record.Expires) {
		return &ExpiredError{Resolution: &Resolution{Address: p.r.Address, Item: i, Record: record}, Now: p.now}
	}
	p.published, err = p.o.republish(ctx, p.dht, i)
	return err
}

// renew signs the record anew. Once that is saved the Keeper goes on with it,
// stored or not: what is saved may be out.
func (p *pass) renew(ctx context.Context) error {
	var hints []netip.AddrPort
	if p.hooks.Hints != nil {
		hints = p.hooks.Hints(p.r.Address)
	}
	renewal, err := Renewal(p.r.Address.Name, p.r.Item, hints)
	if err != nil {
		return err
	}
	renewal.Now = p.now
	renewal.Save = func(i *Item) error {
		err := p.save(p.r.Address, i)
		if err == nil {
			p.item = i
		}
		return err
	}
	p.published, err = p.o.publish(ctx, p.dht, p.r.Signer, renewal)
	if used := (*InUseError)(nil); errors.As(err, &used) {
		p.newer = used.Seen
	}
	return err
}

// renews reports whether seen says again what old says: a renewal, by another
// computer that has the key. It can be taken without fetching anything.
func renews(old, seen *Item, now time.Time) bool {
	a, err := refs.ParseRecord(old.Value)
	if err != nil {
		return false
	}
	b, err := refs.ParseRecord(seen.Value)
	if err != nil {
		return false
	}
	return seen.Seq > old.Seq && seen.Seq <= now.Add(MaxAhead).UnixMilli() && now.Before(b.Expires) &&
		a.InfoHash == b.InfoHash && a.Number == b.Number && a.Snapshot == b.Snapshot && a.Head == b.Head
}
