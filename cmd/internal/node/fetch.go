package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A fetching is one fetch under way.
type fetching struct {
	node     *Node
	mirror   *mirror
	was      *state // what was accepted before; nil at first contact
	policy   *trust.Policy
	peers    []netip.AddrPort // that the caller named
	progress ProgressFunc
	heard    []trust.Witness // from a first attempt, which lacked commits of theirs; nil: this is the first
	mine     bool            // the repository is the user's own
	arrived  time.Time       // when it was asked for
	must     bool            // look the record up, however fresh it is
	seen     *state          // what the publisher says now, as far as it is known
	entry    trust.LogEntry  // of the last decision
	damaged  []*packFile     // that the mirror should have and has not: everything is fetched again
}

// fetch brings a mirror up to date: resolve, compare with the pins, snapshot,
// packs into quarantine, policy, accept, seed (DESIGN §4.2). If the policy asks
// for a quorum, and what is here does not settle whether there is one, the
// mirrors of the other publishers are brought up to date in between.
func (n *Node) fetch(ctx context.Context, req FetchRequest, progress ProgressFunc) (*FetchResult, error) {
	res, err := n.fetchOnce(ctx, req, nil, progress)
	var lacking *lackingError
	if errors.As(err, &lacking) {
		return n.fetchOnce(ctx, req, n.catchUp(ctx, lacking, progress), progress)
	}
	return res, err
}

// fetchOnce is fetch with what witnesses have said before, if they have.
func (n *Node) fetchOnce(ctx context.Context, req FetchRequest, heard []trust.Witness, progress ProgressFunc) (res *FetchResult, err error) {
	f, end, err := n.beginFetch(ctx, req.URL, req.Peers, progress)
	if err != nil {
		return nil, err
	}
	defer n.afterFetch(f.mirror, end, &err)
	f.heard, f.must = heard, req.Look
	if req.AllowRewind {
		f.policy = f.policy.WithRewind()
	}
	if n.own(f.mirror.addr) {
		return f.own(ctx, req)
	}
	res, err = f.run(ctx)
	return res, f.note(res, f.keepEvidence(err))
}

// beginFetch makes a fetch the mirror's next operation; the caller calls end.
func (n *Node) beginFetch(ctx context.Context, url string, peers []string, progress ProgressFunc) (f *fetching, end func(), err error) {
	arrived := time.Now()
	a, policy, err := n.address(url)
	if err != nil {
		return nil, nil, err
	}
	f = &fetching{node: n, policy: policy, progress: progress, arrived: arrived}
	if f.peers, err = parsePeers(peers); err != nil {
		return nil, nil, err
	}
	if f.mirror, err = n.mirror(ctx, a); err != nil {
		return nil, nil, err
	}
	if end, err = f.mirror.begin(ctx); err != nil {
		return nil, nil, err
	}
	f.was = f.mirror.current()
	return f, end, nil
}

// afterFetch ends a fetch; of one that succeeded, the mirror is filled later.
func (n *Node) afterFetch(m *mirror, end func(), err *error) {
	end()
	if *err == nil {
		n.filler.want(m)
	}
}

// own gives the state of a repository that the user publishes: what this node
// published last, or, where it never did (a key moved to another computer),
// what the DHT has.
func (f *fetching) own(ctx context.Context, req FetchRequest) (*FetchResult, error) {
	var err error
	if f.policy, err = ownPolicy(f.mirror.addr); err != nil {
		return nil, err
	}
	f.mine = true
	damaged, err := f.mirror.damaged()
	if err != nil {
		return nil, err
	}
	if f.was != nil && len(damaged) == 0 {
		same := *f.was // a state that was accepted does not change
		accepted, err := f.decide(ctx, nil, &same)
		if err != nil {
			return nil, err
		}
		return f.result(f.was, accepted), nil
	}
	res, err := f.run(ctx)
	if errors.Is(err, announce.ErrNotFound) && req.Own {
		return &FetchResult{URL: f.mirror.addr.String()}, nil // never published: the first push follows
	}
	return res, err
}

// run is the whole fetch.
func (f *fetching) run(ctx context.Context) (res *FetchResult, err error) {
	if err := f.repair(); err != nil {
		return nil, err
	}
	now := time.Now()
	if f.fresh(now) {
		return f.unchanged(ctx, now)
	}
	f.progress(Progress{Stage: "Looking up the record"})
	resolution, err := f.lookup(ctx, now)
	if err != nil {
		return f.unreachable(ctx, err)
	}
	f.progress(Progress{Stage: "Looking up the record", Done: int64(resolution.Agreed), Total: int64(resolution.Answered), Unit: "nodes", Over: true})
	next := &state{Item: resolution.Item, Record: resolution.Record}
	f.seen = next
	got := received(f.mirror.addr, next)
	err = trust.CheckRecord(f.policy, f.pins(), got, now)
	if refusedAs(err, trust.UnknownPeer) {
		return nil, f.introduce(ctx, resolution, err)
	}
	if err != nil {
		return nil, err
	}
	same := f.was != nil && f.was.Record.Snapshot == next.Record.Snapshot
	if same && len(f.damaged) == 0 {
		return f.sameSnapshot(ctx, next)
	}
	swarmed := f.newSwarm(resolution)
	defer func() { swarmed.stop(err) }()
	if same {
		next.Note, next.Snapshot = f.was.Note, f.was.Snapshot
		return f.install(ctx, swarmed, next)
	}
	if err = swarmed.snapshot(ctx, next); err != nil {
		return f.unreachable(ctx, err)
	}
	if next.Snapshot, err = trust.CheckSnapshot(f.pins(), got, next.Note); err != nil {
		return nil, err
	}
	if err = f.mirror.create(ctx, next.Snapshot.ObjectFormat); err != nil {
		return nil, err
	}
	return f.install(ctx, swarmed, next)
}

// install brings the packs of a snapshot into quarantine, and accepts it.
func (f *fetching) install(ctx context.Context, swarmed *swarmFetch, next *state) (*FetchResult, error) {
	q, err := f.mirror.newQuarantine()
	if err != nil {
		return nil, err
	}
	defer q.remove()
	swarmed.learn(next.Snapshot)
	packs, err := swarmed.packs(ctx, q, next)
	if err != nil {
		return f.unreachable(ctx, err)
	}
	if err := f.connected(ctx, q, next.Snapshot); err != nil {
		return nil, err
	}
	accepted, err := f.decide(ctx, q, next)
	if err != nil {
		return nil, err
	}
	if err := f.mirror.accept(ctx, next, q, packs); err != nil {
		return nil, err
	}
	f.mirror.cachePeers(swarmed.peers)
	if err := f.repaired(); err != nil {
		return nil, err
	}
	if err := errors.Join(f.node.seed(f.mirror), swarmed.close(), f.mirror.prune()); err != nil {
		return nil, err
	}
	res := f.result(next, accepted)
	res.Changed = true
	return res, nil
}

// sameSnapshot is the fetch that finds nothing new, except perhaps a renewed
// record. The policy may have changed meanwhile, so it decides all the same;
// what it has verified under the same rules costs nothing.
func (f *fetching) sameSnapshot(ctx context.Context, next *state) (*FetchResult, error) {
	next.Note, next.Snapshot = f.was.Note, f.was.Snapshot
	accepted, err := f.decide(ctx, nil, next)
	if err != nil {
		return nil, err
	}
	if next.Item.Seq > f.was.Item.Seq || !samePins(f.was.Pins, next.Pins) {
		if err := f.mirror.accept(ctx, next, nil, nil); err != nil {
			return nil, err
		}
		if err := f.node.keep(f.mirror); err != nil {
			return nil, err
		}
		f.node.callReaders()
	}
	return f.result(next, accepted), nil
}

// decide applies the policy to a state whose objects are here, in the mirror
// and a quarantine if there is one, and fills in the pins that follow.
func (f *fetching) decide(ctx context.Context, q *quarantine, next *state) (trust.Accepted, error) {
	heard, err := f.witnesses(ctx, next.Snapshot)
	if err != nil {
		return trust.Accepted{}, err
	}
	theirs, err := f.witnessObjects(ctx, heard, next.Snapshot.ObjectFormat)
	if err != nil {
		return trust.Accepted{}, err
	}
	objects := f.mirror.store(ctx, q, theirs...)
	defer objects.Close()
	f.progress(Progress{Stage: "Verifying signatures"})
	decision := trust.Decide(f.policy, f.pins(), next.Snapshot, objects, time.Now(), heard...)
	if err := errors.Join(ctx.Err(), objects.Err()); err != nil {
		return trust.Accepted{}, err
	}
	if len(decision.Missing) > 0 && f.heard == nil {
		return trust.Accepted{}, &lackingError{heard, decision.Missing}
	}
	f.entry = decision.Entry(received(f.mirror.addr, next))
	accepted, err := decision.Accept()
	if err != nil {
		return accepted, err
	}
	for _, v := range decision.Notices {
		if !f.mine {
			f.progress(Progress{Note: notice(v), Warning: !v.Asked})
		}
	}
	f.progress(Progress{Stage: "Verifying signatures", Over: true})
	next.Pins = accepted.Pins(received(f.mirror.addr, next))
	return accepted, nil
}

func received(a refs.Address, s *state) *trust.Received {
	return &trust.Received{Address: a, Seq: s.Item.Seq, Value: s.Item.Value, Record: s.Record}
}

// connected checks that everything the refs reach is here, and that git will set
// them: after the packs are moved it is too late. index-pack has
// checked that every object that an object of a new pack names exists, and the
// mirror was closed under that before; so this walks only what is new.
func (f *fetching) connected(ctx context.Context, q *quarantine, s *refs.Snapshot) error {
	var tip *gitcmd.TipError
	if err := q.repo.CheckTips(ctx, s.Refs); errors.As(err, &tip) {
		return &packError{err}
	} else if err != nil {
		return err
	}
	if f.was == nil || len(f.damaged) > 0 {
		return nil // the base was self-contained, and the others were checked against it
	}
	if err := q.repo.Connected(ctx, tips(s.Refs)); err != nil {
		return &packError{err}
	}
	return nil
}

// unreachable is what happens when no newer state can be had: the last verified
// state, said to be stale, if its record is still valid; a failure otherwise.
func (f *fetching) unreachable(ctx context.Context, cause error) (*FetchResult, error) {
	cause = f.named(cause)
	if f.was == nil || !isUnavailable(cause) || ctx.Err() != nil {
		return nil, cause
	}
	if len(f.damaged) > 0 {
		return nil, f.unrepaired(cause)
	}
	now := time.Now()
	age := now.Sub(f.was.Record.Signed).Round(time.Minute)
	if now.After(f.was.Record.Expires) {
		return nil, errorf(trust.Stale, "try again when you are online, or ask the publisher to run gitpeer publish",
			"%v; the last verified state of %s, signed %v ago, has expired", cause, f.mirror.addr, age)
	}
	// Who withholds everything gets no further than who shows the old record.
	if err := trust.CheckRecord(f.policy, f.pins(), received(f.mirror.addr, f.was), now); err != nil {
		return nil, err
	}
	next := *f.was
	accepted, err := f.decide(ctx, nil, &next)
	if err != nil {
		return nil, err
	}
	res := f.result(f.was, accepted)
	res.Stale = fmt.Sprintf("%v; this is the last verified state, signed %v ago", cause, age)
	return res, nil
}

func (f *fetching) pins() *trust.Pins {
	if f.was == nil {
		return nil
	}
	return f.was.Pins
}

func (f *fetching) floor() announce.Floor {
	if f.was == nil {
		return announce.Floor{}
	}
	return announce.FloorOf(f.was.Item)
}

// result is the answer: only what the policy has accepted can get into it.
func (f *fetching) result(s *state, accepted trust.Accepted) *FetchResult {
	return &FetchResult{
		URL: f.mirror.addr.String(), Mirror: f.mirror.dir, ObjectFormat: accepted.ObjectFormat(),
		Head: accepted.Head(), Refs: accepted.Refs(), Number: s.Snapshot.Number,
		Signed: s.Record.Signed, Expires: s.Record.Expires,
	}
}

// parsePeers reads addresses that a person typed.
func parsePeers(list []string) ([]netip.AddrPort, error) {
	peers := make([]netip.AddrPort, len(list))
	for i, text := range list {
		var err error
		if peers[i], err = netip.ParseAddrPort(text); err != nil {
			return nil, errorf(trust.Usage, "192.0.2.7:6881 is one, as in GITPEER_PEERS=192.0.2.7:6881 or --peer 192.0.2.7:6881; names of hosts are not", "peer %q is not ADDRESS:PORT", text)
		}
	}
	return peers, nil
}

// refusedAs reports whether err is a policy's refusal with that code.
func refusedAs(err error, code trust.Code) bool {
	var refused *trust.RefusedError
	return errors.As(err, &refused) && refused.Code() == code
}

// drain reads r to its end into memory, at most limit bytes.
func drain(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &packfile.LimitError{What: "bytes", Got: int64(len(b)), Limit: limit}
	}
	return b, err
}

// notice is a verdict that refuses nothing, as a line for people.
func notice(v trust.Verdict) string {
	if v.Ref == "" {
		return v.Why
	}
	return string(v.Ref) + ": " + v.Why
}
