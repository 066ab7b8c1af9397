package announce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/keys"
)

// How long looking takes at most. On a simulated wide area network with 2 %
// loss and half of the nodes dead, the slowest lookup in a hundred took 3.2 s.
const (
	// LookupTimeout ends one walk; what it found until then counts.
	LookupTimeout = 10 * time.Second
	// ResolveTimeout ends a Resolve, with its repeated lookups.
	ResolveTimeout = 25 * time.Second
	// maxLookups: a lookup that lost the packets that mattered is repeated,
	// after half a second and again after two.
	maxLookups = 3
)

func lookupPause(done int) time.Duration {
	if done <= 1 {
		return 500 * time.Millisecond
	}
	return 2 * time.Second
}

// An observation is what one or more lookups of one target found.
type observation struct {
	key  keys.ID
	salt []byte

	holds   map[netip.AddrPort]*Item // each node that answered: its latest valid item, or nil
	invalid map[netip.AddrPort]bool  // nodes that sent something else at least once
	items   []*Item                  // distinct valid items: highest seq first, then by value
	closest []Node                   // of the last lookup that found some
	peers   []netip.AddrPort
	asked   int
	took    time.Duration
}

func newObservation(key keys.ID, salt []byte) *observation {
	return &observation{
		key: key, salt: salt,
		holds: map[netip.AddrPort]*Item{}, invalid: map[netip.AddrPort]bool{},
	}
}

// anyAnswer is enough for who only wants to know where to write.
func anyAnswer(*observation) bool { return true }

// look fills o by looking its target up, again if need be, until enough says
// so. The error is ErrNoNodes if no lookup was answered, or ctx's; what was
// found until then is in o.
func (o *observation) look(ctx context.Context, d DHT, enough func(*observation) bool) error {
	stage, cancel := context.WithTimeout(ctx, ResolveTimeout)
	defer cancel()
	start := time.Now()
	var err error
	for done := 0; done < maxLookups; done++ {
		if done > 0 && !pause(stage, lookupPause(done)) {
			break
		}
		err = o.lookup(stage, d)
		if len(o.holds) > 0 && enough(o) {
			break
		}
	}
	o.took = time.Since(start)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("DHT lookup: %w", context.Cause(ctx))
	case len(o.holds) > 0:
		return nil
	case err == nil, errors.Is(err, ErrNoNodes):
		return ErrNoNodes
	}
	return fmt.Errorf("%w: %w", ErrNoNodes, err)
}

// pause waits for d, and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// lookup adds one walk to o. What a walk found before it failed counts.
func (o *observation) lookup(ctx context.Context, d DHT) error {
	ctx, cancel := context.WithTimeout(ctx, LookupTimeout)
	defer cancel()
	l, err := d.Lookup(ctx, o.key, o.salt)
	if l != nil {
		o.add(l)
	}
	return err
}

func (o *observation) add(l *Lookup) {
	o.asked = max(o.asked, l.Asked)
	o.peers = append(o.peers, l.Peers[:min(len(l.Peers), 4*MaxPeers)]...)
	if len(l.Closest) > 0 {
		o.closest = l.Closest
	}
	for _, a := range l.Answers {
		item := a.Item
		if a.Invalid || item != nil && !o.accepts(item) {
			o.invalid[a.Addr] = true
			item = nil
		}
		o.holds[a.Addr] = item
		if item == nil {
			continue
		}
		at, known := slices.BinarySearchFunc(o.items, item, newestFirst)
		if !known {
			o.items = slices.Insert(o.items, at, item)
		}
	}
}

// accepts checks an answer once more, whatever the DHT below has checked:
// this is the one place that readers rely on.
func (o *observation) accepts(i *Item) bool {
	return i.Key == o.key && bytes.Equal(i.Salt, o.salt) && i.Verify() == nil
}

// holders returns how many nodes hold the value of i at its seq.
func (o *observation) holders(i *Item) (n int) {
	for _, held := range o.holds {
		if held != nil && held.SameValue(i) {
			n++
		}
	}
	return n
}

// rival returns the newest item seen that i does not replace: of a higher
// seq, or with another value at its seq. A nil i replaces nothing.
func (o *observation) rival(i *Item) *Item {
	for _, seen := range o.items {
		if i == nil || seen.Seq > i.Seq || seen.Seq == i.Seq && !seen.SameValue(i) {
			return seen
		}
	}
	return nil
}

// newestFirst orders items by seq, then by value: a fixed rule, so that all
// who see the same items name the same ones.
func newestFirst(a, b *Item) int {
	switch {
	case a.Seq != b.Seq && a.Seq > b.Seq:
		return -1
	case a.Seq != b.Seq:
		return 1
	}
	return bytes.Compare(b.Value, a.Value)
}
