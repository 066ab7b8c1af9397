package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// A swarmFetch gets the torrents of one snapshot from its peers.
type swarmFetch struct {
	f     *fetching
	peers []netip.AddrPort

	mu        sync.Mutex                 // guards what follows
	downloads map[string]*swarm.Download // by the file they are written to
}

// newSwarm gathers who may have a snapshot: the peers the caller named, those
// the record names and those at the rendezvous.
func (f *fetching) newSwarm(r *announce.Resolution) *swarmFetch {
	peers := append(append([]netip.AddrPort{}, f.peers...), r.Peers...)
	return &swarmFetch{f: f, peers: append(peers, f.mirror.cachedPeers()...), downloads: map[string]*swarm.Download{}}
}

// prefetch is how many packs are downloaded at once while one is indexed.
const prefetch = 4

// snapshot fetches the snapshot that a record names.
func (s *swarmFetch) snapshot(ctx context.Context, r *refs.Record) ([]byte, error) {
	if err := os.MkdirAll(s.f.node.home.incoming(), 0o700); err != nil {
		return nil, err
	}
	d, err := s.start(ctx, swarm.FetchRequest{
		InfoHash: r.InfoHash, MaxBytes: refs.MaxSnapshotBytes, File: s.file(r.InfoHash),
	}, "Receiving the snapshot")
	if err != nil {
		return nil, err
	}
	return drain(d, refs.MaxSnapshotBytes)
}

// packs fetches the packs that lead from the accepted state to a snapshot and
// indexes each, in order, while it still comes in.
func (s *swarmFetch) packs(ctx context.Context, q *quarantine, to *refs.Snapshot) ([]*packFile, error) {
	have := uint64(0)
	if s.f.was != nil {
		have = s.f.was.Snapshot.Number
	}
	plan, err := refs.Cover(to.Packs, have, to.Number)
	if errors.Is(err, refs.ErrNoCover) && len(to.Refs) == 0 {
		return nil, nil // an empty repository has no packs
	}
	if err != nil {
		return nil, &packError{err}
	}
	for _, p := range plan {
		if _, err := limitsOf(p); err != nil {
			return nil, err
		}
	}
	// A download is started when one of the slots is free, and holds it until
	// it is indexed; packs are indexed in the order of the plan.
	started := make(chan *swarm.Download, prefetch)
	files := make([]*packFile, len(plan))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(started)
		for i, p := range plan {
			d, err := s.startPack(ctx, p, fmt.Sprintf("Receiving pack %d/%d", i+1, len(plan)))
			if err != nil {
				return err
			}
			select {
			case started <- d:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	g.Go(func() error {
		for i, p := range plan {
			d, ok := <-started
			if !ok {
				return nil // the other goroutine says why
			}
			limits, err := limitsOf(p)
			if err != nil {
				return err
			}
			spec := ingestSpec{Format: to.ObjectFormat, Limits: limits, Whole: p.From == 0}
			if files[i], err = s.index(ctx, q, d, p, spec); err != nil {
				return err
			}
		}
		return nil
	})
	return files, g.Wait()
}

func (s *swarmFetch) startPack(ctx context.Context, p refs.Pack, stage string) (*swarm.Download, error) {
	return s.start(ctx, swarm.FetchRequest{InfoHash: p.InfoHash, Length: p.Bytes, File: s.file(p.InfoHash)}, stage)
}

// index reads one download into the quarantine.
func (s *swarmFetch) index(ctx context.Context, q *quarantine, d *swarm.Download, p refs.Pack, spec ingestSpec) (*packFile, error) {
	in, err := q.ingest(ctx, d, spec)
	if err != nil {
		return nil, err
	}
	if err := in.compare(p); err != nil {
		return nil, &packError{err}
	}
	return in.file(d.Info(), p.To), nil
}

// start begins a download and reports how it goes.
func (s *swarmFetch) start(ctx context.Context, req swarm.FetchRequest, stage string) (*swarm.Download, error) {
	req.Peers, req.StallTimeout = s.peers, s.f.node.opts.Stall
	req.Progress = func(p swarm.Progress) {
		s.f.progress(Progress{
			Stage: stage, Done: p.Verified, Total: p.Length, Unit: "bytes",
			Rate: int64(p.Rate), Peers: p.Peers, Over: p.Stage == swarm.StageDone,
		})
	}
	looking, found := context.WithCancel(ctx)
	go s.findPeers(looking, req.InfoHash)
	d, err := s.f.node.swarm.Fetch(ctx, req)
	if err != nil {
		found()
		return nil, err
	}
	go func() {
		d.Wait()
		found()
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downloads[req.File] = d
	return d, nil
}

// lookAgain is how often a download that is under way looks for more peers.
const lookAgain = 10 * time.Second

// findPeers looks at the rendezvous again and again until ctx ends: peers that
// were there at first may be gone, and readers who came at the same time have
// announced themselves since.
func (s *swarmFetch) findPeers(ctx context.Context, ih refs.InfoHash) {
	a := s.f.mirror.addr
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if l, err := s.f.node.swarm.DHT().Lookup(ctx, a.Publisher, a.Salt()); err == nil {
			s.f.node.swarm.AddPeers(ih, l.Peers)
		}
	}
}

// file is where a download is written; it stays after a failure, so that the
// next attempt goes on where this one stopped.
func (s *swarmFetch) file(ih refs.InfoHash) string {
	return filepath.Join(s.f.node.home.incoming(), ih.String())
}

// close ends the downloads and forgets their files: what was accepted is seeded
// from the mirror by now.
func (s *swarmFetch) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for file, d := range s.downloads {
		errs = append(errs, d.Close(), os.Remove(file))
	}
	clear(s.downloads)
	return errors.Join(errs...)
}

// stop ends the downloads after a failure. Their files stay, unless what is in
// them was the reason.
func (s *swarmFetch) stop(err error) {
	var bad *packError
	if errors.As(err, &bad) {
		s.close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.downloads {
		d.Close()
	}
}
