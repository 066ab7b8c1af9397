package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// The crowd's links: an origin at home, readers at work.
var (
	weakOrigin = link{Up: 20 * mbit, Down: 100 * mbit}
	goodReader = link{100 * mbit, 100 * mbit}
)

// crowds are how many readers clone at once.
func crowds() []int { return []int{1, 5, 10, 20} }

// crowd measures N readers who clone at once from an origin with a weak uplink.
// git daemon, whose time is N copies over the uplink whatever happens, is
// measured once for each N.
func (l *bench) crowd(ctx context.Context, r *repository) error {
	for _, n := range crowds() {
		s, err := l.crowdSite(ctx, r, n)
		if err != nil {
			return err
		}
		for round := range l.rounds {
			if err = l.crowdRound(ctx, r, s, nil); err != nil {
				break
			}
			if round == 0 {
				if err = l.gitCrowd(ctx, r, s); err != nil {
					break
				}
			}
		}
		if err := errors.Join(err, s.stop()); err != nil {
			return err
		}
	}
	return nil
}

func (l *bench) crowdSite(ctx context.Context, r *repository, n int) (*site, error) {
	readers := make([]link, n)
	for i := range readers {
		readers[i] = goodReader
	}
	return l.linked(ctx, r, weakOrigin, readers)
}

// originDies is the crowd of ten whose origin is killed when as many bytes as
// 1.3 copies have left it. Each round needs an origin of its own.
func (l *bench) originDies(ctx context.Context, r *repository) error {
	const readers = 10
	for range l.rounds {
		s, err := l.crowdSite(ctx, r, readers)
		if err != nil {
			return err
		}
		err = l.crowdRound(ctx, r, s, func(ctx context.Context) error {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				counts, err := s.lab.counts()
				if err != nil {
					return err
				}
				if float64(counts[1].Sent.TCP) > 1.3*float64(s.published.pack) {
					return syscall.Kill(s.published.node.pid, syscall.SIGKILL)
				}
				select {
				case <-tick.C:
				case <-ctx.Done(): // all have finished before it came to that
					return nil
				}
			}
		})
		if err := errors.Join(err, s.stop()); err != nil {
			return err
		}
	}
	return nil
}

// crowdRound has all readers of a site clone at once. meanwhile, if not nil,
// runs beside them and has its context ended when they are done.
func (l *bench) crowdRound(ctx context.Context, r *repository, s *site, meanwhile func(context.Context) error) error {
	people := make([]*person, len(s.readers))
	for i, h := range s.readers {
		var err error
		if people[i], err = l.reader(ctx, h, s.bootstrap, s.published.url); err != nil {
			return err
		}
		defer people[i].leave(ctx)
	}
	name := "Crowd"
	before, err := s.lab.counts()
	if err != nil {
		return err
	}
	beside, done := context.WithCancel(ctx)
	defer done()
	var other errgroup.Group
	if meanwhile != nil {
		name = "OriginDies"
		other.Go(func() error { return meanwhile(beside) })
	}
	last, err := together(people, func(p *person) (outcome, error) {
		return p.run(ctx, "git", "clone", "-q", "--bare", s.published.url, filepath.Join(p.dir, "clone"))
	})
	done()
	if err := errors.Join(err, other.Wait()); err != nil {
		return err
	}
	return l.emitCrowd(name, config{"repo=" + r.Name, fmt.Sprintf("n=%d", len(people)), "by=gitpeer"}, s, before, last)
}

// gitCrowd has as many readers clone from git daemon at once.
func (l *bench) gitCrowd(ctx context.Context, r *repository, s *site) error {
	before, err := s.lab.counts()
	if err != nil {
		return err
	}
	last, err := together(s.readers, func(h *host) (outcome, error) {
		dst, err := os.MkdirTemp(l.dir, "clone-")
		if err != nil {
			return outcome{}, err
		}
		defer os.RemoveAll(dst)
		return h.run(ctx, nil, "git", "clone", "-q", "--bare", s.bitmap.url+r.Name+".git", dst)
	})
	if err != nil {
		return err
	}
	return l.emitCrowd("Crowd", config{"repo=" + r.Name, fmt.Sprintf("n=%d", len(s.readers)), "by=git-bitmap"}, s, before, last)
}

// together does the same for all at once, and returns how long the last took.
func together[T any](all []T, do func(T) (outcome, error)) (time.Duration, error) {
	var g errgroup.Group
	begin := time.Now()
	for _, one := range all {
		g.Go(func() error {
			_, err := do(one)
			return err
		})
	}
	err := g.Wait()
	return time.Since(begin), err
}

// emitCrowd writes down the last reader's time, also in times of one copy over
// the origin's uplink, and how many copies the origin has sent.
func (l *bench) emitCrowd(name string, c config, s *site, before []portCounts, last time.Duration) error {
	after, err := s.lab.counts()
	if err != nil {
		return err
	}
	sent := after[1].Sent.TCP - before[1].Sent.TCP
	once := float64(s.published.pack) * 8 / float64(weakOrigin.Up)
	l.emit(sample{name, c, map[string]float64{
		"s": last.Seconds(), "×copy": last.Seconds() / once, "copies": float64(sent) / float64(s.published.pack),
	}})
	return nil
}
