package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// Who follows a publisher takes each publication's own pack, and never has need
// of the longer ones that come to stand for them in the list. Others have: with
// the publisher away, a newcomer, or a reader some way behind, would find nobody
// who has those. So a mirror that is seeded fetches them too, in the background:
// a backfill. The package comment of refs ("Pack plan") says what that costs.

// errGivesWay ends a backfill because somebody waits for the mirror.
var errGivesWay = errors.New("the backfill gives way to another operation")

// maxRefusals is how often a pack that came and was refused is fetched again: a
// full disk passes, a wrong pack does not.
const maxRefusals = 3

// A filler runs the backfills of a node, one at a time.
type filler struct {
	node *Node
	wake chan struct{} // full while somebody is due

	mu  sync.Mutex // guards what follows
	due []*mirror  // each once

	refused map[refusedPack]int // of run alone
}

// A refusedPack is a line of a repository's list.
type refusedPack struct {
	repo refs.Address
	line refs.Pack
}

func newFiller(n *Node) *filler {
	return &filler{node: n, wake: make(chan struct{}, 1), refused: map[refusedPack]int{}}
}

// want has a mirror looked at soon.
func (b *filler) want(m *mirror) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.due, m) {
		b.due = append(b.due, m)
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// next gives the mirror that has waited longest, nil if none does.
func (b *filler) next() *mirror {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.due) == 0 {
		return nil
	}
	m := b.due[0]
	b.due = b.due[1:]
	return m
}

// run fills the mirrors that are due until ctx ends. What fails is tried again
// when the mirror is due again: after its next fetch, or its next tidying.
func (b *filler) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-b.wake:
		case <-ctx.Done():
		}
		for m := b.next(); m != nil && ctx.Err() == nil; m = b.next() {
			if err := b.fill(ctx, m); err != nil && ctx.Err() == nil {
				b.node.log.Debug("packs for other readers are left for later", "repository", m.addr.String(), "error", err)
			}
		}
	}
}

// fill fetches the packs that a mirror lacks for others, if it is served. It
// leaves a mirror alone that somebody works on, and lets go of it as soon as
// somebody wants to.
func (b *filler) fill(ctx context.Context, m *mirror) error {
	n := b.node
	if n.stoppedBy(m.addr) != "" || len(m.gaps()) == 0 {
		return nil
	}
	ctx, end, ok := m.beginIdle(ctx)
	if !ok {
		return nil
	}
	defer end()
	if damaged, err := m.damaged(); err != nil || len(damaged) > 0 {
		return err // a fetch repairs it
	}
	room, err := n.fillRoom(m)
	if err != nil {
		return err
	}
	f := &fetching{node: n, mirror: m, was: m.current(), progress: func(Progress) {}}
	var errs []error
	for _, line := range m.gaps() {
		key := refusedPack{m.addr, line}
		if line.Bytes > room || b.refused[key] >= maxRefusals || m.pack(line.InfoHash) != nil {
			continue // one file may have two ranges
		}
		err := f.fillPack(ctx, line)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("pack %s: %w", line.InfoHash, err))
			if spoilt(err) {
				b.refused[key]++
			}
			continue
		}
		room -= line.Bytes
		n.log.Info("fetched a pack for other readers", "repository", m.addr.String(), "from", line.From, "to", line.To, "bytes", line.Bytes)
	}
	return errors.Join(errs...)
}

// gaps are the packs that the mirror does not hold and whoever wants all from it
// may need, parts before the whole: those by which its list leads on from the
// oldest base that the mirror has. Bases are none: the one that it has serves
// everybody.
func (m *mirror) gaps() []refs.Pack {
	st := m.current()
	if st == nil {
		return nil
	}
	oldest := uint64(math.MaxUint64)
	for _, p := range st.Snapshot.Packs {
		if p.From == 0 && m.pack(p.InfoHash) != nil {
			oldest = min(oldest, p.To)
		}
	}
	gaps := slices.DeleteFunc(slices.Clone(st.Snapshot.Packs), func(p refs.Pack) bool {
		return p.From == 0 || p.To <= oldest || m.pack(p.InfoHash) != nil
	})
	slices.SortFunc(gaps, func(p, q refs.Pack) int {
		return cmp.Or(cmp.Compare(p.To, q.To), cmp.Compare(q.From, p.From))
	})
	return gaps
}

// fillRoom is how many bytes a backfill of a mirror may take: no more than the
// mirror holds, for nobody asked for them, and no more than the seeding policy
// would serve.
func (n *Node) fillRoom(m *mirror) (int64, error) {
	names, err := m.packNames()
	if err != nil {
		return 0, err
	}
	var holds int64
	for _, name := range names {
		size, err := fileSize(m.packPath(name, ".pack"))
		if err != nil {
			return 0, err
		}
		holds += size
	}
	if n.config.Policy.Size == 0 || n.own(m.addr) || n.config.repo(m.addr).Seed == seedAlways {
		return holds, nil
	}
	n.mu.Lock()
	mirrors := slices.Collect(maps.Values(n.mirrors))
	n.mu.Unlock()
	room := n.config.Policy.Size
	for _, other := range mirrors {
		if st := other.current(); st != nil && !n.own(other.addr) && n.stoppedBy(other.addr) == "" {
			_, bytes := other.held(st.Snapshot)
			room -= bytes
		}
	}
	return min(holds, room), nil
}

// fillPack fetches one pack as any fetch does, and adds it to the mirror, whose
// refs stay where they are.
func (f *fetching) fillPack(ctx context.Context, p refs.Pack) (err error) {
	limits, err := packfile.LimitsOf(p)
	if err != nil {
		return err
	}
	if err := checkRoom(f.node.home.incoming(), []refs.Pack{p}, freeBytes); err != nil {
		return err
	}
	q, err := f.mirror.newQuarantine()
	if err != nil {
		return err
	}
	defer q.remove()
	s := f.newSwarm(&announce.Resolution{})
	defer func() { s.stop(err) }()
	d, err := s.start(ctx, swarm.FetchRequest{InfoHash: p.InfoHash, Length: p.Bytes, File: s.file(p.InfoHash)})
	if err != nil {
		return err
	}
	file, err := s.index(ctx, q, d, p, ingestSpec{Format: f.was.Snapshot.ObjectFormat, Limits: limits})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	same := *f.mirror.current() // whose record the keeper may have renewed
	if err := f.mirror.accept(ctx, &same, q, []*packFile{file}); err != nil {
		return err
	}
	return errors.Join(f.node.seed(f.mirror), s.close())
}
