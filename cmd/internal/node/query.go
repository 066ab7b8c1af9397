package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// resolve asks the DHT for a record, without any policy.
func (n *Node) resolve(ctx context.Context, req ResolveRequest, progress ProgressFunc) (*ResolveResult, error) {
	a, _, err := n.address(req.URL)
	if err != nil {
		return nil, err
	}
	progress(Progress{Stage: "Looking up the record"})
	now := time.Now()
	r, err := announce.Resolve(ctx, n.swarm.DHT(), a, announce.Floor{}, now)
	if err != nil {
		return nil, n.asked(err)
	}
	n.told(a, glimpse{r.Item, now, r.Agreed}, r.Peers)
	progress(Progress{Stage: "Looking up the record", Done: int64(r.Agreed), Total: int64(r.Answered), Unit: "nodes", Over: true})
	if r.Equivocation != nil {
		progress(Progress{Note: "the publisher once signed two records with one seq, before this one", Warning: true})
	}
	res := &ResolveResult{
		URL: a.String(), Seq: r.Item.Seq, Number: r.Record.Number, Head: r.Record.Head,
		InfoHash: r.Record.InfoHash, Snapshot: r.Record.Snapshot, Signed: r.Record.Signed, Expires: r.Record.Expires,
		Agreed: r.Agreed, Answered: r.Answered, Asked: r.Asked, Peers: []string{}, Millis: r.Took.Milliseconds(),
	}
	for _, p := range r.Peers {
		res.Peers = append(res.Peers, p.String())
	}
	return res, nil
}

// show fetches a snapshot without its packs. It needs no trust: what it gives
// is what the publisher says.
func (n *Node) show(ctx context.Context, req ShowRequest, progress ProgressFunc) (*ShowResult, error) {
	f, end, err := n.beginFetch(ctx, req.URL, req.Peers, progress)
	if err != nil {
		return nil, err
	}
	defer end()
	st, err := f.look(ctx)
	if err != nil {
		return nil, err
	}
	s := st.Snapshot
	res := &ShowResult{
		URL: f.mirror.addr.String(), Number: s.Number, Time: s.Time, ObjectFormat: s.ObjectFormat, Head: s.Head,
		Refs: make([]ShowRef, len(s.Refs)), Packs: make([]ShowPack, len(s.Packs)),
		Magnet: magnet(s, st.Record.InfoHash, snapshotName(s), 0), Mutable: mutableLink(f.mirror.addr),
		Signers: s.Signers, Mirrors: s.Mirrors, Accepted: f.was != nil && f.was.Record.Snapshot == st.Record.Snapshot,
	}
	for i, p := range s.Packs {
		res.Packs[i] = ShowPack{
			InfoHash: p.InfoHash, SHA256: p.SHA256, Bytes: p.Bytes, Objects: p.Objects, Inflated: p.Inflated,
			From: p.From, To: p.To, Magnet: magnet(s, p.InfoHash, packName(f.mirror.addr, p.Range()), p.Bytes),
		}
		if p.HintBytes > 0 {
			res.Packs[i].Hint = magnet(s, p.Hint, hintTorrent(f.mirror.addr, p.Range()), p.HintBytes)
		}
	}
	verdicts := f.verdicts(ctx, st, res.Accepted)
	for i, r := range s.Refs {
		res.Refs[i] = ShowRef{Name: r.Name, OID: r.OID, Peeled: r.Peeled, Verdict: verdicts[r.Name]}
	}
	return res, nil
}

// magnet is the link to a torrent of a snapshot, with the web servers that the
// snapshot names as web seeds.
func magnet(s *refs.Snapshot, ih refs.InfoHash, name string, bytes int64) string {
	l := swarm.MagnetLink{InfoHash: ih, Name: name, Length: bytes}
	for _, m := range s.Mirrors {
		l.WebSeeds = append(l.WebSeeds, m.File(ih))
	}
	return l.String()
}

// look gives the newest state as published: record and snapshot.
func (f *fetching) look(ctx context.Context) (*state, error) {
	if f.was != nil && f.node.own(f.mirror.addr) {
		return f.was, nil
	}
	f.progress(Progress{Stage: "Looking up the record"})
	r, err := f.lookup(ctx, time.Now())
	if err != nil {
		if f.was != nil && isUnavailable(err) {
			f.progress(Progress{Note: err.Error() + "; this is the last accepted state", Warning: true})
			return f.was, nil
		}
		return nil, err
	}
	f.progress(Progress{Stage: "Looking up the record", Done: int64(r.Agreed), Total: int64(r.Answered), Unit: "nodes", Over: true})
	if f.was != nil && f.was.Record.Snapshot == r.Record.Snapshot {
		return f.was, nil
	}
	return f.published(ctx, r)
}

// published fetches and opens the snapshot that a record names.
func (f *fetching) published(ctx context.Context, r *announce.Resolution) (st *state, err error) {
	swarmed := f.newSwarm(r)
	defer func() { err = errors.Join(err, swarmed.close()) }()
	st = &state{Item: r.Item, Record: r.Record}
	f.seen = st
	if err = swarmed.snapshot(ctx, st); err != nil {
		return nil, f.named(err)
	}
	st.Snapshot, err = trust.CheckSnapshot(f.pins(), received(f.mirror.addr, st), st.Note)
	return st, err
}

// verdicts applies the policy to a snapshot whose objects are here.
func (f *fetching) verdicts(ctx context.Context, st *state, here bool) map[refs.Name]*trust.Verdict {
	if !here {
		return nil
	}
	policy := f.policy
	if f.node.own(f.mirror.addr) {
		own, err := ownPolicy(f.mirror.addr)
		if err != nil {
			return nil
		}
		policy = own
	}
	objects := f.mirror.store(ctx, nil)
	defer objects.Close()
	decision := trust.Decide(policy, f.pins(), st.Snapshot, objects, time.Now())
	verdicts := map[refs.Name]*trust.Verdict{}
	for i := range decision.Verdicts {
		verdicts[decision.Verdicts[i].Ref] = &decision.Verdicts[i]
	}
	return verdicts
}

// mutableLink is the BEP-46 link that follows a repository.
func mutableLink(a refs.Address) string {
	return "magnet:?xs=urn:btpk:" + a.Publisher.Hex() + "&s=" + url.QueryEscape(hex.EncodeToString(a.Salt()))
}

// status describes the node and what it holds.
func (n *Node) status(context.Context, Empty, ProgressFunc) (*Status, error) {
	s := &Status{
		Version: n.opts.Version, PID: os.Getpid(), Started: n.started, Home: n.home.Data, Log: n.home.LogFile(),
		Listen: n.swarm.Addr().String(), Nodes: n.swarm.DHT().Good(), Limits: n.config.limits(), Repos: []RepoStatus{},
	}
	if id, ok := n.identity(); ok {
		s.Identity = id.String()
	}
	kept := map[refs.Address]announce.KeepStatus{}
	for _, k := range n.keeper.Status() {
		kept[k.Address] = k
	}
	n.mu.Lock()
	mirrors := make([]*mirror, 0, len(n.mirrors))
	for _, m := range n.mirrors {
		mirrors = append(mirrors, m)
	}
	n.mu.Unlock()
	for _, m := range mirrors {
		if st := m.current(); st != nil {
			s.Repos = append(s.Repos, n.repoStatus(m, st, kept[m.addr]))
		}
	}
	slices.SortFunc(s.Repos, func(a, b RepoStatus) int {
		if a.URL < b.URL {
			return -1
		}
		return 1
	})
	return s, nil
}

func (n *Node) repoStatus(m *mirror, st *state, k announce.KeepStatus) RepoStatus {
	r := RepoStatus{
		URL: m.addr.String(), Role: "mirror", Number: st.Snapshot.Number, Refs: len(st.Snapshot.Refs),
		Expires: st.Record.Expires, Stored: k.Stored, Next: k.Republish,
	}
	if n.own(m.addr) {
		r.Role = "publisher"
	}
	r.Head, _ = st.Snapshot.HeadOID()
	if k.Err != nil {
		r.LastError = k.Err.Error()
	}
	r.Packs, r.Bytes = m.held(st.Snapshot)
	r.Stopped = n.stoppedBy(m.addr)
	served := n.seeding(m)
	served.mu.Lock()
	r.Sent = served.sent(n)
	served.mu.Unlock()
	for _, p := range st.Snapshot.Packs {
		r.Peers = max(r.Peers, n.swarm.TorrentStats(p.InfoHash).Peers)
	}
	return r
}

// limits is what the configuration says, as the node shows it.
func (c *config) limits() LimitStatus {
	l, p := c.Limits, c.Policy
	return LimitStatus{
		Upload: l.Upload, Download: l.Download,
		Connections: l.Connections, PerTorrent: cmp.Or(l.PerTorrent, swarm.DefaultConnectionsPerTorrent), HalfOpen: cmp.Or(l.HalfOpen, swarm.DefaultHalfOpen),
		Ratio: p.Ratio, Size: p.Size, AgeSeconds: int64(p.Age.Seconds()),
	}
}
