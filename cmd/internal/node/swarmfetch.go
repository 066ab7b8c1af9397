package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// A swarmFetch gets the torrents of one snapshot from its peers.
type swarmFetch struct {
	f       *fetching
	peers   []netip.AddrPort
	mirrors []swarm.Mirror
	meter   *meter // of the packs under way; nil in a backfill

	mu        sync.Mutex                 // guards what follows
	downloads map[string]*swarm.Download // by the file they are written to
	wanted    map[refs.InfoHash]int      // downloads that look for more peers
	endSearch context.CancelFunc         // of the search, while anything is wanted
}

// newSwarm gathers who may have a snapshot: the peers the caller named, those
// the record names and those at the rendezvous, then and now.
func (f *fetching) newSwarm(r *announce.Resolution) *swarmFetch {
	peers := distinct(f.peers, r.Peers, f.mirror.met(time.Now()), f.mirror.cachedPeers())
	s := &swarmFetch{f: f, peers: peers, downloads: map[string]*swarm.Download{}, wanted: map[refs.InfoHash]int{}}
	for _, m := range f.node.config.repo(f.mirror.addr).Mirrors {
		s.mirrors = append(s.mirrors, swarm.Mirror{URL: m, Named: true})
	}
	if f.was != nil {
		s.learn(f.was.Snapshot)
	}
	return s
}

// learn takes the web servers that a snapshot names.
func (s *swarmFetch) learn(snapshot *refs.Snapshot) {
	if !s.f.node.config.Mirrors {
		return
	}
	for _, m := range snapshot.Mirrors {
		if !slices.ContainsFunc(s.mirrors, func(known swarm.Mirror) bool { return known.URL == m }) {
			s.mirrors = append(s.mirrors, swarm.Mirror{URL: m})
		}
	}
}

// Packs are downloaded at once, the first of them while it is indexed: many
// small ones, of which each takes a few round trips and no time else, or some
// large ones, since the first is to be complete soon.
const (
	prefetch  = 16      // small ones
	largePack = 1 << 20 // bytes of a pack that counts for largeShare
	// largeShare lets 4 large packs come at once.
	largeShare = prefetch / 4
)

// share is how many of the prefetch places a pack takes.
func share(p refs.Pack) int64 {
	if p.Bytes >= largePack {
		return largeShare
	}
	return 1
}

// snapshotWithin bounds the time for a snapshot, however slowly a peer lets it
// trickle (TRUST A36): enough for the largest one at 30 KiB/s.
const snapshotWithin = 10 * time.Minute

// snapshot fetches the snapshot that the record of a state names, and what
// comes with it.
func (s *swarmFetch) snapshot(ctx context.Context, next *state) error {
	if err := sweep(s.f.node.home.incoming(), time.Now()); err != nil {
		return err
	}
	ih := next.Record.InfoHash
	late := errorf(trust.TryLater, "try again later; what was received is kept", "the snapshot did not come within %v", snapshotWithin)
	ctx, cancel := context.WithTimeoutCause(ctx, snapshotWithin, late)
	defer cancel()
	d, err := s.start(ctx, swarm.FetchRequest{
		InfoHash: ih, MaxBytes: refs.MaxParcelBytes, File: s.file(ih),
		Progress: func(p swarm.Progress) {
			s.f.progress(Progress{
				Stage: "Receiving the snapshot", Done: p.Verified, Total: p.Length, Unit: "bytes",
				Rate: int64(p.Rate), Peers: p.Peers, Over: p.Stage == swarm.StageDone,
			})
		},
	})
	var b []byte
	if err == nil {
		b, err = drain(d, refs.MaxParcelBytes)
	}
	if err != nil {
		s.f.mirror.meet(nil, time.Now()) // whom we knew is of no use
		return err
	}
	next.Note, next.Compressed, next.Attached, err = refs.Unpack(b)
	return err
}

// packs fetches the packs that lead from the accepted state to a snapshot, by
// the cheapest way whose packs somebody has. Packs of a way that was given up
// stay in the quarantine: their objects are right, and may be of use.
func (s *swarmFetch) packs(ctx context.Context, q *quarantine, next *state) ([]*packFile, error) {
	to := next.Snapshot
	if len(to.Packs) == 0 && len(to.Refs) == 0 {
		return nil, nil // an empty repository has no packs
	}
	have := uint64(0)
	if s.f.was != nil && len(s.f.damaged) == 0 {
		have = s.f.was.Snapshot.Number
	}
	done := map[refs.InfoHash]*packFile{}
	listed, came := to.Packs, takeAttached(to, next.Attached)
	var waited time.Duration
	for {
		plan, err := cover(listed, have, to.Number, came)
		if err != nil {
			return nil, &packError{err}
		}
		err = s.follow(ctx, q, &way{snapshot: to, packs: plan, listed: listed, have: have, done: done, came: came, waited: waited})
		absent, unavailable := absentTorrent(err)
		if !unavailable {
			return slices.Collect(maps.Values(done)), err
		}
		listed = slices.DeleteFunc(slices.Clone(listed), func(p refs.Pack) bool { return p.InfoHash == absent })
		if alone := (*swarm.NoPeersError)(nil); errors.As(err, &alone) {
			waited += alone.Waited
		}
		if _, other := refs.Cover(listed, have, to.Number); other != nil || waited >= aloneInAll {
			return nil, err
		}
		s.f.progress(Progress{Note: fmt.Sprintf("nobody has pack %s now; trying another way", absent)})
	}
}

// absentTorrent reports whether an error is that a torrent cannot be had, and
// which.
func absentTorrent(err error) (refs.InfoHash, bool) {
	var noPeers *swarm.NoPeersError
	var stalled *swarm.StalledError
	switch {
	case errors.As(err, &noPeers):
		return noPeers.InfoHash, true
	case errors.As(err, &stalled):
		return stalled.InfoHash, true
	}
	return refs.InfoHash{}, false
}

// A way is a list of packs that leads to a snapshot.
type way struct {
	snapshot *refs.Snapshot
	packs    []refs.Pack // in the order in which they are indexed
	listed   []refs.Pack // of which packs were chosen
	have     uint64
	done     map[refs.InfoHash]*packFile // indexed already
	came     *attachedPack               // with the snapshot; nil if none did
	waited   time.Duration               // for peers of other ways, in vain
}

// packOverhead is what one more torrent costs besides its bytes: greetings,
// metadata and bitfields, measured with one peer. Without it a reader would take
// eight packs of 250 bytes where one of 2 KB leads as far.
const packOverhead = 2 << 10

// cover is refs.Cover by what comes over the wire, where one pack may be here
// already.
func cover(packs []refs.Pack, have, want uint64, came *attachedPack) ([]refs.Pack, error) {
	weighed := slices.Clone(packs)
	lines := map[refs.Range]refs.Pack{}
	for i, p := range packs {
		weighed[i].Bytes += packOverhead
		if came != nil && came.line == p {
			weighed[i].Bytes = 0
		}
		if known, ok := lines[p.Range()]; !ok || p.Bytes < known.Bytes || came != nil && came.line == p {
			lines[p.Range()] = p
		}
	}
	plan, err := refs.Cover(weighed, have, want)
	for i, p := range plan {
		plan[i] = lines[p.Range()]
	}
	return plan, err
}

// A packStream is a pack as it comes in.
type packStream interface {
	io.Reader
	Info() *swarm.Info
}

// another reports whether there is another way, without this pack.
func (w *way) another(p refs.Pack) bool {
	others := slices.DeleteFunc(slices.Clone(w.listed), func(q refs.Pack) bool { return q.InfoHash == p.InfoHash })
	_, err := refs.Cover(others, w.have, w.snapshot.Number)
	return err == nil
}

const (
	// patienceWithAlternative is enough to find and greet a peer that is there.
	patienceWithAlternative = 8 * time.Second
	// aloneInAll bounds the time that all ways together wait for somebody to connect to: with the
	// record and the snapshot it is half a minute. Each takes a third of what is left, and the
	// last one the rest.
	aloneInAll = 26 * time.Second
	aloneLeast = time.Second
)

// patience is how long to wait for a pack: not long where there is another way.
func patience(another bool, waited time.Duration) (stall, alone time.Duration) {
	left := aloneInAll - waited
	if another {
		return patienceWithAlternative, max(aloneLeast, min(left/3, patienceWithAlternative))
	}
	return swarm.DefaultStallTimeout, max(aloneLeast, min(left, swarm.DefaultAloneTimeout))
}

// follow fetches and indexes the packs of a way that are not done. A download
// is started when one of the slots is free, and holds it until it is indexed.
func (s *swarmFetch) follow(ctx context.Context, q *quarantine, w *way) error {
	todo := slices.DeleteFunc(slices.Clone(w.packs), func(p refs.Pack) bool { return w.done[p.InfoHash] != nil })
	for _, p := range todo {
		if _, err := packfile.LimitsOf(p); err != nil {
			return err
		}
	}
	if err := checkRoom(s.f.node.home.incoming(), todo, freeBytes); err != nil {
		return err
	}
	s.meter = newMeter(s.f.progress, todo, w.came)
	showing, shown := context.WithCancel(ctx)
	var line sync.WaitGroup
	line.Go(func() { s.meter.run(showing) })
	err := s.followAll(ctx, q, w, todo)
	shown()
	line.Wait()
	if err == nil && len(todo) > 0 {
		s.meter.end()
	}
	return err
}

// followAll is follow of these packs.
func (s *swarmFetch) followAll(ctx context.Context, q *quarantine, w *way, todo []refs.Pack) error {
	places := semaphore.NewWeighted(prefetch)
	log := s.f.node.log
	g, ctx := errgroup.WithContext(ctx)
	started := make([]chan packStream, len(todo))
	for i := range todo {
		started[i] = make(chan packStream, 1)
	}
	g.Go(guard(log, func() error {
		for i, p := range todo {
			if places.Acquire(ctx, share(p)) != nil {
				return context.Cause(ctx)
			}
			g.Go(guard(log, func() error {
				d, err := s.open(ctx, g, w, p)
				if err == nil {
					started[i] <- d
				}
				return err
			}))
		}
		return nil
	}))
	g.Go(guard(log, func() error {
		for i, p := range todo {
			var d packStream
			select {
			case d = <-started[i]:
			case <-ctx.Done():
				return context.Cause(ctx) // another goroutine says why
			}
			if err := s.indexNext(ctx, q, w, d, p); err != nil {
				return err
			}
			places.Release(share(p))
		}
		return nil
	}))
	return g.Wait()
}

// indexNext indexes the next pack of a way.
func (s *swarmFetch) indexNext(ctx context.Context, q *quarantine, w *way, d packStream, p refs.Pack) error {
	limits, err := packfile.LimitsOf(p)
	if err != nil {
		return err
	}
	spec := ingestSpec{Format: w.snapshot.ObjectFormat, Limits: limits, Whole: p.From == 0}
	file, err := s.index(ctx, q, d, p, spec)
	if err != nil {
		return err
	}
	w.done[p.InfoHash] = file
	return nil
}

// open gives the bytes of a pack: of one that came with the snapshot at once.
func (s *swarmFetch) open(ctx context.Context, g *errgroup.Group, w *way, p refs.Pack) (packStream, error) {
	if w.came != nil && w.came.line == p {
		return w.came, nil
	}
	a := s.openHint(ctx, g, p, w.snapshot.ObjectFormat)
	meter := s.meter // a download that is given up may still tell when another way has its own
	stall, alone := patience(w.another(p), w.waited)
	var err error
	a.Download, err = s.start(ctx, swarm.FetchRequest{
		InfoHash: p.InfoHash, Length: p.Bytes, File: s.file(p.InfoHash), StallTimeout: stall, AloneTimeout: alone,
		Progress: func(d swarm.Progress) { meter.received(p.InfoHash, d) },
	})
	if err != nil {
		a.noHint()
		return nil, err
	}
	return a, nil
}

// index reads one download into the quarantine.
func (s *swarmFetch) index(ctx context.Context, q *quarantine, d packStream, p refs.Pack, spec ingestSpec) (*packFile, error) {
	if a, ok := d.(*arriving); ok {
		spec.Checked = s.meter.checked(p.InfoHash)
		defer s.f.node.heap.index()()
		if file, err := s.indexAlong(ctx, q, a, p, spec); !errors.Is(err, packfile.ErrUnsure) {
			return file, err
		}
	}
	spec.Checked = s.meter.checked(p.InfoHash)
	in, err := q.ingest(ctx, d, spec)
	if err != nil {
		return nil, err
	}
	if err := in.compare(p); err != nil {
		return nil, &packError{err}
	}
	return in.file(d.Info(), p.To), nil
}

// start begins a download; req.Progress, if any, hears how it goes.
func (s *swarmFetch) start(ctx context.Context, req swarm.FetchRequest) (*swarm.Download, error) {
	req.Peers, req.Mirrors = s.peers, s.mirrors
	if s.f.node.opts.Stall != 0 {
		req.StallTimeout = s.f.node.opts.Stall
	}
	ctx, slow := context.WithCancelCause(ctx)
	var watch pace
	tell := req.Progress
	req.Progress = func(p swarm.Progress) {
		if err := watch.observe(req.InfoHash, time.Now(), p); err != nil {
			slow(err)
		}
		if tell != nil {
			tell(p)
		}
	}
	s.mu.Lock()
	if before := s.downloads[req.File]; before != nil { // of a way that was given up
		before.Close()
	}
	s.mu.Unlock()
	// The file of a pack that was refused later has got git's mode with its
	// second name; the next attempt writes to it again.
	if err := os.Chmod(req.File, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.find(req.InfoHash)
	d, err := s.fetchWhenFree(ctx, req)
	if err != nil {
		slow(nil)
		s.found(req.InfoHash)
		return nil, err
	}
	go func() {
		d.Wait()
		slow(nil)
		s.found(req.InfoHash)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downloads[req.File] = d
	return d, nil
}

// busyWithin is how long a download waits for another one of the same torrent,
// such as that of a witness, who is heard in this time or not at all.
const busyWithin = 2 * hearWithin

// fetchWhenFree begins a download once no other operation has one of the same
// torrent: both would write to one file.
func (s *swarmFetch) fetchWhenFree(ctx context.Context, req swarm.FetchRequest) (*swarm.Download, error) {
	d, err := s.f.node.swarm.Fetch(ctx, req)
	if !errors.Is(err, swarm.ErrBusy) {
		return d, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(busyWithin)
	defer late.Stop()
	for {
		select {
		case <-tick.C:
		case <-late.C:
			return nil, errorf(trust.TryLater, "run the command again", "another operation is downloading %s", req.InfoHash)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if d, err = s.f.node.swarm.Fetch(ctx, req); !errors.Is(err, swarm.ErrBusy) {
			return d, err
		}
	}
}

// lookAgain is how often a download that is under way looks for more peers, and
// lookFirst when it does so at first: a small one has come by then.
const (
	lookAgain = 10 * time.Second
	lookFirst = 1500 * time.Millisecond
)

// find looks for more peers of a torrent, until it is found. All downloads of a
// fetch share one search.
func (s *swarmFetch) find(ih refs.InfoHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[ih]++
	if len(s.wanted) == 1 && s.wanted[ih] == 1 {
		ctx, end := context.WithCancel(s.f.node.ctx)
		s.endSearch = end
		go s.findPeers(ctx)
	}
}

// found ends the search for one torrent's peers.
func (s *swarmFetch) found(ih refs.InfoHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted[ih]--; s.wanted[ih] <= 0 {
		delete(s.wanted, ih)
	}
	if len(s.wanted) == 0 {
		s.endSearch()
	}
}

// findPeers looks at the rendezvous again and again until ctx ends: peers that
// were there at first may be gone, and readers who came at the same time have
// announced themselves since.
func (s *swarmFetch) findPeers(ctx context.Context) {
	m := s.f.mirror
	next := time.NewTimer(lookFirst)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-ctx.Done():
			return
		}
		next.Reset(lookAgain)
		l, err := s.f.node.swarm.DHT().FindPeers(ctx, announce.Target(m.addr.Target()))
		if err != nil {
			continue
		}
		m.meet(l.Peers, time.Now())
		s.mu.Lock()
		wanted := slices.Collect(maps.Keys(s.wanted))
		s.mu.Unlock()
		for _, ih := range wanted {
			s.f.node.swarm.AddPeers(ih, l.Peers)
		}
	}
}

// file is where a download is written; it stays after a failure, so that the
// next attempt goes on where this one stopped.
func (s *swarmFetch) file(ih refs.InfoHash) string {
	return filepath.Join(s.f.node.home.incoming(), ih.String())
}

// keepIncoming is how long what a failed fetch has received is kept for the
// next attempt.
const keepIncoming = 7 * 24 * time.Hour

// sweep removes the files of downloads to which nothing has come for so long:
// nobody will go on with them, for what was published has moved on, or was
// refused.
func sweep(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && now.Sub(info.ModTime()) > keepIncoming {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sweepAccepted removes the downloads of what the mirrors hold: the node was
// killed between accepting it and removing them. What is to replace a damaged
// pack stays.
func (n *Node) sweepAccepted() {
	n.mu.Lock()
	mirrors := slices.Collect(maps.Values(n.mirrors))
	n.mu.Unlock()
	for _, m := range mirrors {
		for _, ih := range m.accepted() {
			if err := os.Remove(filepath.Join(n.home.incoming(), ih.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				n.log.Warn("a download is left", "error", err)
			}
		}
	}
}

// accepted are the torrents that a fetch of the mirror has no need of.
func (m *mirror) accepted() (list []refs.InfoHash) {
	st := m.current()
	damaged, err := m.damaged()
	if st == nil || err != nil {
		return nil
	}
	list = append(list, st.Record.InfoHash)
	m.mu.Lock()
	defer m.mu.Unlock()
	for ih, p := range m.packs {
		if slices.Contains(damaged, p) {
			continue
		}
		if list = append(list, ih); p.Hint != nil {
			list = append(list, p.Hint.InfoHash())
		}
	}
	return list
}

// close ends the downloads and forgets their files: what was accepted is seeded
// from the mirror by now.
func (s *swarmFetch) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for file, d := range s.downloads {
		errs = append(errs, d.Close())
		// What another mirror seeds already was read from there.
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	clear(s.downloads)
	return errors.Join(errs...)
}

// stop ends the downloads after a failure. Their files stay, unless what is in
// them was the reason.
func (s *swarmFetch) stop(err error) {
	if spoilt(err) {
		s.close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.downloads {
		d.Close()
	}
}

// spoilt reports whether an error is about what was received, rather than about
// receiving it.
func spoilt(err error) bool {
	var bad *packError
	var over *packfile.LimitError
	var size *swarm.SizeError
	return errors.As(err, &bad) || errors.As(err, &over) || errors.As(err, &size)
}
