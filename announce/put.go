package announce

import (
	"context"
	"errors"

	"github.com/gitpeer/gitpeer/refs"
)

// A put is an item that was sent, and what the nodes said to it.
type put struct {
	item     *Item
	outcomes []Outcome // one per node
	err      error     // of the DHT, nil if every node was asked
}

// send puts item on the nodes that accept writes, at most PutNodes of them.
// An error of send means that nothing was sent.
func send(ctx context.Context, d DHT, nodes []Node, item *Item) (*put, error) {
	var writable []Node
	for _, n := range nodes {
		if n.ItemToken != "" && len(writable) < PutNodes {
			writable = append(writable, n)
		}
	}
	if len(writable) == 0 {
		return nil, &NotStoredError{Item: item}
	}
	ctx, cancel := context.WithTimeout(ctx, StoreTimeout)
	defer cancel()
	outcomes, err := d.Store(ctx, writable, item)
	if errors.As(err, new(*ItemError)) {
		return nil, err
	}
	p := &put{item: item, outcomes: make([]Outcome, len(writable)), err: err}
	for i, n := range writable {
		p.outcomes[i] = Outcome{Node: n, Status: Silent}
	}
	copy(p.outcomes, outcomes)
	return p, nil
}

// confirm reads the item back, and so finds out what silence meant, who says
// "stored" and stores nothing, and whether another writer came in between.
//
// A node that did not acknowledge the item, or did but then answers without
// it, does not hold it. That a put which stays unanswered for seconds is
// still on its way is possible and neglected.
func (p *put) confirm(ctx context.Context, d DHT) (*Published, error) {
	o := newObservation(p.item.Key, p.item.Salt)
	err := o.look(ctx, d, func(o *observation) bool {
		return o.holders(p.item) > 0 || o.rival(p.item) != nil
	})
	if seen := o.rival(p.item); seen != nil {
		return nil, inUse(seen, nil, p.item)
	}
	readBack := o.holders(p.item)
	switch {
	case readBack > 0:
		published := p.tally(o)
		published.ReadBack = readBack
		return published, nil
	case p.knownNotStored(o):
		return nil, &NotStoredError{Item: p.item, Outcomes: p.outcomes}
	case err == nil:
		err = p.err
	}
	return nil, &UnknownOutcomeError{Item: p.item, Outcomes: p.outcomes, Err: err}
}

// knownNotStored reports whether every node refused the item or was seen
// afterwards without it.
func (p *put) knownNotStored(o *observation) bool {
	for _, out := range p.outcomes {
		_, seen := o.holds[out.Node.Addr]
		if !seen && out.Status != Refused && out.Status != Newer {
			return false
		}
	}
	return true
}

// tally counts the nodes that hold the item: by what was seen in o, and else
// by their word.
func (p *put) tally(o *observation) *Published {
	published := &Published{Item: p.item, Of: len(p.outcomes), Outcomes: p.outcomes}
	for _, out := range p.outcomes {
		held, seen := o.holds[out.Node.Addr]
		switch {
		case seen && held != nil && held.SameValue(p.item), !seen && out.Holds():
			published.Stored++
		case out.Status == Newer:
			published.Newer = append(published.Newer, out)
		}
	}
	return published
}

// republish puts i where o found the closest nodes.
func (o *observation) republish(ctx context.Context, d DHT, i *Item) (*Published, error) {
	if seen := o.rival(i); seen != nil {
		return nil, superseded(i, seen)
	}
	record, err := refs.ParseRecord(i.Value)
	if err != nil {
		return nil, &RecordError{Item: i, Err: err}
	}
	p, err := send(ctx, d, o.closest, i)
	if err != nil {
		return nil, err
	}
	var published *Published
	if count(p.outcomes, Outcome.Holds) > 0 {
		published = p.tally(newObservation(i.Key, i.Salt))
	} else if published, err = p.confirm(ctx, d); err != nil {
		if use := (*InUseError)(nil); errors.As(err, &use) {
			return nil, superseded(i, use.Seen)
		}
		return nil, err
	}
	published.Record = record
	return published, nil
}

// superseded is why i must not be republished: seen is its rival.
func superseded(i, seen *Item) error {
	if seen.Seq == i.Seq {
		return &EquivocationError{Equivocation{A: i, B: seen}}
	}
	return &NewerError{Ours: i, Seen: seen}
}

func inUse(seen, last, sent *Item) error {
	e := &InUseError{Last: last, Seen: seen, Sent: sent}
	if record, err := refs.ParseRecord(seen.Value); err == nil {
		e.Record = record
	}
	return e
}
