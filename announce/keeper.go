package announce

import (
	"bytes"
	"cmp"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A Keep is one repository that a [Keeper] keeps alive in the DHT.
type Keep struct {
	Address refs.Address
	Item    *Item       // the newest accepted
	Signer  keys.Signer // renews the record; nil: only its bytes are put again, until it expires
	Port    uint16      // where this host serves the packs (TCP and uTP); 0: it does not

	// Held is on how many nodes a lookup has just found Item. From 4 on it is put
	// again when its time comes, not at once.
	Held int
}

// A KeepStatus says how a repository fares. Times are zero where nothing
// happened yet, or nothing will.
type KeepStatus struct {
	Address refs.Address
	Item    *Item
	Expires time.Time

	Stored, Of  int       // the last put: nodes that hold the record, of those asked
	StoredAt    time.Time // when that was
	Announced   int       // the last announce: nodes that know this host as a peer
	AnnouncedAt time.Time

	Republish time.Time // the next put; after a failure, the next try
	Renew     time.Time // when the record is due for a new signature; zero without Signer
	Failures  int       // failed passes since the last good one

	Err   error // what was wrong at the last pass; nil if all was well
	Newer *Item // a record in the DHT that replaces Item and says something else; nil if none
}

// KeeperHooks connect a Keeper to who owns the repositories. They are called
// from several goroutines, but for one repository never at the same time, and
// must not call Publish. Each may be nil.
type KeeperHooks struct {
	// Save makes a renewed record durable, whether renewed here or by another
	// computer of the publisher. Like [Publication.Save] it comes before the
	// record is sent; an error leaves the old one in place.
	Save func(refs.Address, *Item) error

	// Newer tells of a verified item that replaces the one kept and says
	// something else, once for each. Fetching and accepting what it stands
	// for, and then [Keeper.Set], is up to the hook's owner; until then the
	// record is not put any more, for nodes would refuse it.
	Newer func(refs.Address, *Item)

	// Hints returns the peers to name in a renewed record: nil keeps those
	// that it names.
	Hints func(refs.Address) []netip.AddrPort
}

// A Keeper republishes records, renews those it has the key for and announces
// this host at each rendezvous. Its repositories can be changed at any time,
// from any goroutine. See "Keeping alive" in the package comment for when it
// does what.
type Keeper struct {
	dht   DHT
	hooks KeeperHooks
	wake  chan struct{} // something changed: look for what is due

	mu      sync.Mutex
	repos   map[refs.Address]*kept
	writers map[refs.Address]chan struct{} // full while somebody may write the item
	passes  int                            // running now
}

// maxPasses bounds how many repositories are looked up at once. Nodes answer
// a host that asks more than five times a second with silence.
const maxPasses = 4

// maxSleep is how long Run sleeps at most. Timers stand still while a
// computer is suspended, so what is due is read from the wall clock.
const maxSleep = time.Minute

// NewKeeper returns a Keeper without repositories. It does nothing before Run.
func NewKeeper(d DHT, hooks KeeperHooks) *Keeper {
	return &Keeper{
		dht: d, hooks: hooks, wake: make(chan struct{}, 1),
		repos: map[refs.Address]*kept{}, writers: map[refs.Address]chan struct{}{},
	}
}

// Set adds a repository, or changes one. A new item is put at once, unless it is
// held already. An item
// older than the one kept is left aside, and the other fields are taken; one
// that differs from the one kept at the same seq is an *[EquivocationError].
// An item that does not verify, is not for the address or has no record is an
// *[ItemError] or *[RecordError].
func (k *Keeper) Set(keep Keep) error {
	if keep.Item == nil || !newObservation(keep.Address.Publisher, keep.Address.Salt()).accepts(keep.Item) {
		return &ItemError{Reason: "not a signed item of " + keep.Address.String()}
	}
	if keep.Signer != nil && keep.Signer.ID() != keep.Address.Publisher {
		return &ItemError{Reason: "the signer is not the publisher of " + keep.Address.String()}
	}
	record, err := refs.ParseRecord(keep.Item.Value)
	if err != nil {
		return &RecordError{Item: keep.Item, Err: err}
	}
	now := wallClock()
	putDue := now
	if keep.Held >= fewHolders {
		putDue = jitter(now, RepublishEvery, republishJitter)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	defer k.poke()
	r := k.repos[keep.Address]
	if r == nil {
		k.repos[keep.Address] = &kept{
			Keep: keep, record: record, late: rand.Float64(), tried: make(chan struct{}),
			out: keep.Held >= fewHolders, putDue: putDue, announceDue: now,
		}
		return nil
	}
	switch old := r.Item; {
	case old.Seq == keep.Item.Seq && !old.SameValue(keep.Item):
		return &EquivocationError{Equivocation{A: old, B: keep.Item}}
	case old.Seq < keep.Item.Seq:
		r.adopt(keep.Item, record)
		r.out, r.putDue = keep.Held >= fewHolders, putDue
	}
	if keep.Port != r.Port {
		r.announceDue = now
	}
	r.Signer, r.Port = keep.Signer, keep.Port
	r.failures = 0
	return nil
}

// Remove stops keeping a repository. The DHT forgets it within hours, unless
// others keep it.
func (k *Keeper) Remove(a refs.Address) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.repos, a)
}

// Status returns the status of each repository, ordered by publisher and name.
func (k *Keeper) Status() []KeepStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]KeepStatus, 0, len(k.repos))
	for _, r := range k.repos {
		all = append(all, r.status())
	}
	slices.SortFunc(all, func(a, b KeepStatus) int {
		return cmp.Or(
			bytes.Compare(a.Address.Publisher[:], b.Address.Publisher[:]),
			cmp.Compare(a.Address.Name, b.Address.Name))
	})
	return all
}

// Publish is [Publish], one at a time for each repository and not while the
// Keeper itself writes that repository's record. p.Last may be older than the
// item kept; the newer one counts. If the repository is kept, it goes on with
// the new item: also after an *[UnknownOutcomeError], because the item may be
// out, so the caller must not undo what it published. After a
// *[NotStoredError] it goes on with the old one.
func (k *Keeper) Publish(ctx context.Context, s keys.Signer, p Publication) (*Published, error) {
	a := refs.Address{Publisher: s.ID(), Name: p.Name}
	unlock, err := k.lock(ctx, a)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if last := k.lastItem(a); last != nil && (p.Last == nil || last.Seq > p.Last.Seq) {
		p.Last = last
	}
	published, err := Publish(ctx, k.dht, s, p)
	k.finish(a, published, err)
	return published, err
}

// Settle waits, while Run runs, until the record that is kept of a repository
// has been put, or found in the DHT: at once, as a rule. If it is not known
// to be there the Keeper tries now, however long it would wait after a failure,
// and Settle returns what is wrong then. Of what is not kept it is nil.
func (k *Keeper) Settle(ctx context.Context, a refs.Address) error {
	for {
		tried := k.try(a)
		if tried == nil {
			return nil
		}
		select {
		case <-tried:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := k.problem(a); err != nil {
			return err
		}
	}
}

// try makes a pass due if the record is not known to be in the DHT; the channel,
// nil if it is, is closed at its end.
func (k *Keeper) try(a refs.Address) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.repos[a]
	if r == nil || r.out {
		return nil
	}
	now := wallClock()
	r.putDue, r.retryAt = now, now
	k.poke()
	return r.tried
}

// problem is why a record is not known to be in the DHT, as far as is known.
func (k *Keeper) problem(a refs.Address) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.repos[a]; r != nil && !r.out {
		return r.err
	}
	return nil
}

// ended tells who waits for the end of a pass.
func (r *kept) ended() {
	close(r.tried)
	r.tried = make(chan struct{})
}

// finish has the Keeper go on with what was published.
func (k *Keeper) finish(a refs.Address, published *Published, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.repos[a]
	if r == nil {
		return
	}
	if unknown, ok := asUnknown(err); ok {
		r.apply(result{item: unknown.Item, err: err})
	} else if err == nil {
		r.apply(result{item: published.Item, published: published})
		r.announceDue = wallClock()
	}
	r.ended()
	k.poke()
}

// Run keeps the repositories alive until ctx ends, and returns ctx's error
// after the last pass has ended. Only one Run may be active.
func (k *Keeper) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		due, sleep := k.due()
		for _, r := range due {
			running.Go(func() {
				k.pass(ctx, r)
				k.done(r)
			})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-k.wake:
		case <-time.After(sleep):
		}
	}
}

// due claims the repositories whose pass is due, as many as may run, and says
// how long to sleep for the next.
func (k *Keeper) due() (due []*kept, sleep time.Duration) {
	now := wallClock()
	k.mu.Lock()
	defer k.mu.Unlock()
	sleep = maxSleep
	for _, r := range k.repos {
		if r.busy {
			continue
		}
		if wait := r.next(now).Sub(now); wait > 0 {
			sleep = min(sleep, wait)
			continue
		}
		due = append(due, r)
	}
	slices.SortFunc(due, func(a, b *kept) int { return a.next(now).Compare(b.next(now)) })
	due = due[:min(len(due), max(maxPasses-k.passes, 0))]
	for _, r := range due {
		r.busy = true
	}
	k.passes += len(due)
	return due, sleep
}

func (k *Keeper) done(r *kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r.busy = false
	r.ended()
	k.passes--
	k.poke()
}

// poke wakes Run.
func (k *Keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// lock makes the caller the one writer of a's item.
func (k *Keeper) lock(ctx context.Context, a refs.Address) (unlock func(), err error) {
	k.mu.Lock()
	w := k.writers[a]
	if w == nil {
		w = make(chan struct{}, 1)
		k.writers[a] = w
	}
	k.mu.Unlock()
	select {
	case w <- struct{}{}:
		return func() { <-w }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (k *Keeper) lastItem(a refs.Address) *Item {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.repos[a]; r != nil {
		return r.Item
	}
	return nil
}

func (k *Keeper) save(a refs.Address, i *Item) error {
	if k.hooks.Save == nil {
		return nil
	}
	return k.hooks.Save(a, i)
}

// wallClock is the time without the monotonic reading, which stands still
// while a computer is suspended.
func wallClock() time.Time { return time.Now().Round(0) }
