package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A rule with a quorum is decided with what the repository's other publishers
// say. Three things keep one of them from harming the fetch:
//
//   - Each has its own pins: those of its mirror, or of what was last heard from
//     it, whichever is later. What is wrong with one takes away its voice only.
//   - Each has little time. Snapshots are small; packs are fetched only from
//     those whose commits are not here, and only if the quorum hangs on them.
//   - No operation on a mirror waits for one on another mirror. What is heard
//     needs only the witness's ear, under which nothing else is taken; for packs
//     the fetch gives its own mirror back, and starts again when they are here.

const (
	hearWithin    = 10 * time.Second // for the record and the snapshot of one publisher
	witnessWithin = time.Minute      // for the packs of one publisher; what came is kept for the next time
	hearAtOnce    = 8                // publishers
)

// heardJSON is the file that keeps what was last heard from a publisher: its
// pins for the next time. It lies beside the mirror, which may never exist.
type heardJSON struct {
	Item []byte `json:"item"`
	Note []byte `json:"note"`
}

func (m *mirror) heardPath() string { return strings.TrimSuffix(m.dir, ".git") + ".heard" }

// heard gives what was last heard from the mirror's publisher or accepted from
// it, whichever is later; nil if nothing was. The caller holds m.ear.
func (m *mirror) heard() (*state, error) {
	accepted := m.current()
	raw, err := readOptional(m.heardPath())
	if raw == nil || err != nil {
		return accepted, err
	}
	st, err := parseHeard(m.addr, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.heardPath(), err)
	}
	if accepted != nil && accepted.Item.Seq >= st.Item.Seq {
		return accepted, nil
	}
	return st, nil
}

func parseHeard(a refs.Address, raw []byte) (*state, error) {
	var stored heardJSON
	err := json.Unmarshal(raw, &stored)
	if err != nil {
		return nil, err
	}
	st := &state{Note: stored.Note}
	if st.Item, err = announce.ParseItem(stored.Item); err != nil {
		return nil, err
	}
	if st.Record, err = refs.ParseRecord(st.Item.Value); err != nil {
		return nil, err
	}
	if st.Snapshot, err = refs.Open(st.Note, a); err != nil {
		return nil, err
	}
	st.Pins = floors(a, st)
	return st, nil
}

// hold keeps what was heard. The caller holds m.ear.
func (m *mirror) hold(st *state) error {
	item, err := st.Item.Format()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(heardJSON{item, st.Note})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.dir), 0o700); err != nil {
		return err
	}
	return durable.Replace(m.heardPath(), raw)
}

// witnesses asks the publishers that a decision about a snapshot wants to hear.
// One that says nothing in time, or something it may not, has a problem
// instead of a voice; that is no error.
func (f *fetching) witnesses(ctx context.Context, s *refs.Snapshot) ([]trust.Witness, error) {
	if f.heard != nil {
		return f.heard, nil
	}
	addresses := f.policy.Witnesses(f.pins(), s)
	if len(addresses) == 0 {
		return nil, nil
	}
	stage := Progress{Stage: "Asking the other publishers", Total: int64(len(addresses)), Unit: "publishers"}
	f.progress(stage)
	heard := make([]trust.Witness, len(addresses))
	var mu sync.Mutex // guards stage
	var g errgroup.Group
	g.SetLimit(hearAtOnce)
	for i, a := range addresses {
		g.Go(guard(f.node.log, func() error {
			heard[i] = f.node.witness(ctx, a, f.policy, f.progress)
			mu.Lock()
			defer mu.Unlock()
			stage.Done++
			f.progress(stage)
			return nil
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	stage.Over = true
	f.progress(stage)
	return heard, ctx.Err()
}

// witness asks one publisher.
func (n *Node) witness(ctx context.Context, a refs.Address, policy *trust.Policy, progress ProgressFunc) trust.Witness {
	late := fmt.Errorf("it did not answer within %v", hearWithin)
	ctx, cancel := context.WithTimeoutCause(ctx, hearWithin, late)
	defer cancel()
	w := trust.Witness{Publisher: a.Publisher}
	var err error
	if w.Snapshot, err = n.hear(ctx, a, policy, progress); err != nil {
		w.Snapshot, w.Problem = nil, problem(ctx, err)
	}
	return w
}

// problem words why a witness has no voice; the end of ctx by its cause.
func problem(ctx context.Context, err error) string {
	if errors.Is(err, ctx.Err()) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err.Error()
}

// hear gives the newest snapshot of a publisher, checked against its pins.
func (n *Node) hear(ctx context.Context, a refs.Address, policy *trust.Policy, progress ProgressFunc) (*refs.Snapshot, error) {
	m, err := n.mirror(ctx, a)
	if err != nil {
		return nil, err
	}
	if st := m.current(); st != nil && n.own(a) {
		return st.Snapshot, nil // nobody knows better what we publish
	}
	select {
	case m.ear <- struct{}{}:
		defer func() { <-m.ear }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f := &fetching{node: n, mirror: m, policy: policy, progress: func(p Progress) {
		if p.Note != "" {
			progress(p)
		}
	}}
	if f.was, err = m.heard(); err != nil {
		return nil, err
	}
	st, err := f.listen(ctx)
	if err != nil {
		return nil, f.keepEvidence(err)
	}
	if f.was == nil || st.Item.Seq > f.was.Item.Seq {
		err = m.hold(st)
	}
	return st.Snapshot, err
}

// listen resolves a record, and fetches the snapshot if it is another one than
// before.
func (f *fetching) listen(ctx context.Context) (*state, error) {
	now := time.Now()
	r, err := f.lookup(ctx, now)
	if err != nil {
		return nil, err
	}
	f.seen = &state{Item: r.Item, Record: r.Record}
	if err := trust.CheckRecord(f.policy, f.pins(), received(f.mirror.addr, f.seen), now); err != nil {
		return nil, err
	}
	if f.was != nil && f.was.Record.Snapshot == r.Record.Snapshot {
		f.seen.Note, f.seen.Snapshot = f.was.Note, f.was.Snapshot
		return f.seen, nil
	}
	return f.published(ctx, r)
}

// witnessObjects are where the commits of witnesses may be: their mirrors, as
// far as git can read them together with one of that object format.
func (f *fetching) witnessObjects(ctx context.Context, heard []trust.Witness, format refs.ObjectFormat) ([]string, error) {
	var dirs []string
	for _, w := range heard {
		if w.Snapshot == nil {
			continue
		}
		m, err := f.node.mirror(ctx, w.Snapshot.Repository)
		if err != nil {
			return nil, err
		}
		if st := m.current(); st != nil && st.Snapshot.ObjectFormat == format {
			dirs = append(dirs, filepath.Join(m.dir, "objects"))
		}
	}
	return dirs, nil
}

// A lackingError ends a fetch whose quorum hangs on commits that are not here.
type lackingError struct {
	heard   []trust.Witness
	missing []refs.Address
}

func (e *lackingError) Error() string {
	return fmt.Sprintf("the commits of %d publishers are not here", len(e.missing))
}

// catchUp brings the mirrors of witnesses up to date, one after another, each
// under the policy without its quorum. The caller works on no mirror. A witness
// whose commits cannot be had loses its voice.
func (n *Node) catchUp(ctx context.Context, lacking *lackingError, progress ProgressFunc) []trust.Witness {
	for _, a := range lacking.missing {
		err := n.catchUpOne(ctx, a, progress)
		if err == nil {
			continue
		}
		for i, w := range lacking.heard {
			if w.Publisher == a.Publisher {
				lacking.heard[i] = trust.Witness{Publisher: w.Publisher, Problem: "its commits cannot be had: " + err.Error()}
			}
		}
	}
	return lacking.heard
}

func (n *Node) catchUpOne(ctx context.Context, a refs.Address, progress ProgressFunc) (err error) {
	if n.own(a) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, witnessWithin, fmt.Errorf("they did not come within %v", witnessWithin))
	defer cancel()
	f, end, err := n.beginFetch(ctx, a.String(), nil, progress)
	if err != nil {
		return errors.New(problem(ctx, err))
	}
	defer n.afterFetch(f.mirror, end, &err)
	f.policy = f.policy.WithoutQuorum()
	res, err := f.run(ctx)
	if err = f.note(res, f.keepEvidence(err)); err != nil {
		return errors.New(problem(ctx, err))
	}
	return nil
}
