package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// The crowd's links: an origin at home, readers at work; and the same five times
// slower.
var (
	weakOrigin = link{Up: 20 * mbit, Down: 100 * mbit}
	goodReader = link{100 * mbit, 100 * mbit}
	slowOrigin = link{Up: 4 * mbit, Down: 20 * mbit}
	slowReader = link{20 * mbit, 20 * mbit}
)

// A gathering is crowds of some sizes.
type gathering struct {
	name           string // of the scenario
	sizes          []int
	origin, reader link
}

// A race is what N readers do at once.
type race struct {
	by     string
	fetch  []func(context.Context) error // each ends when its reader has everything
	spent  func() (time.Duration, error) // by the readers, once they are done
	server process
}

// crowd measures N readers at once, whose origin has a weak uplink: clones by
// gitpeer, the pack alone by libtorrent, and clones from git daemon. The last,
// whose time is N copies over the uplink whatever happens, is measured once for
// each N.
func (l *bench) crowd(ctx context.Context, r *repository) error {
	return l.gather(ctx, r, gathering{"Crowd", crowds(), weakOrigin, goodReader})
}

// slowCrowd is the largest crowd on links five times slower, where the CPUs of one
// machine are enough for what twenty readers do with what comes.
func (l *bench) slowCrowd(ctx context.Context, r *repository) error {
	sizes := crowds()
	return l.gather(ctx, r, gathering{"SlowCrowd", sizes[len(sizes)-1:], slowOrigin, slowReader})
}

func (l *bench) gather(ctx context.Context, r *repository, g gathering) error {
	for _, n := range g.sizes {
		if err := l.crowdOf(ctx, r, g, n); err != nil {
			return fmt.Errorf("%d readers: %w", n, err)
		}
	}
	return nil
}

func (l *bench) crowdOf(ctx context.Context, r *repository, g gathering, n int) error {
	ways := []struct {
		by     string
		rounds int
		run    func(context.Context, *repository, *site) (map[string]float64, error)
	}{{"gitpeer", l.rounds, l.gitpeerCrowd}, {"libtorrent", l.rounds, l.libtorrentCrowd}, {"git-bitmap", 1, l.gitCrowd}}
	var s *site
	for round := range l.rounds {
		for _, way := range ways {
			c := config{"repo=" + r.Name, fmt.Sprintf("n=%d", n), "by=" + way.by}
			if round >= way.rounds || l.has(round, g.name, c) || way.by == "libtorrent" && !hasLibtorrent(ctx) {
				continue
			}
			if s == nil {
				var err error
				if s, err = l.linked(ctx, r, g.origin, slices.Repeat([]link{g.reader}, n)); err != nil {
					return err
				}
				defer s.stop()
			}
			v, err := way.run(ctx, r, s)
			if err != nil {
				return err
			}
			l.emit(sample{g.name, c, v})
		}
	}
	return nil
}

func (l *bench) gitpeerCrowd(ctx context.Context, _ *repository, s *site) (map[string]float64, error) {
	people, err := l.people(ctx, s)
	if err != nil {
		return nil, err
	}
	defer l.part(ctx, people)
	return s.run(ctx, cloneRace(s, people), nil)
}

// people are a new person for each of a site's readers, who trusts the publisher.
func (l *bench) people(ctx context.Context, s *site) ([]*person, error) {
	var people []*person
	for _, h := range s.readers {
		p, err := l.reader(ctx, h, s.bootstrap, s.published.url)
		if err != nil {
			return nil, errors.Join(err, l.part(ctx, people))
		}
		people = append(people, p)
	}
	return people, nil
}

// part has people leave.
func (l *bench) part(ctx context.Context, people []*person) error {
	var errs []error
	for _, p := range people {
		errs = append(errs, p.leave(ctx))
	}
	return errors.Join(errs...)
}

// cloneRace has people clone what a site publishes.
func cloneRace(s *site, people []*person) *race {
	var commands atomic.Int64
	game := &race{by: "gitpeer", server: s.published.node, spent: func() (time.Duration, error) {
		sum := time.Duration(commands.Load())
		for _, p := range people {
			node, err := p.node()
			if err != nil {
				return 0, err
			}
			own, err := node.cpu()
			if err != nil {
				return 0, err
			}
			sum += own
		}
		return sum, nil
	}}
	for _, p := range people {
		game.fetch = append(game.fetch, func(ctx context.Context) error {
			out, err := p.run(ctx, "git", "clone", "-q", "--bare", s.published.url, filepath.Join(p.dir, "clone"))
			commands.Add(int64(out.CPU))
			return err
		})
	}
	return game
}

func (l *bench) gitCrowd(ctx context.Context, r *repository, s *site) (map[string]float64, error) {
	var commands atomic.Int64
	game := &race{by: "git-bitmap", server: s.bitmap.process, spent: func() (time.Duration, error) {
		time.Sleep(200 * time.Millisecond) // until the daemon has seen its children end
		return time.Duration(commands.Load()), nil
	}}
	for _, h := range s.readers {
		game.fetch = append(game.fetch, func(ctx context.Context) error {
			dst, err := os.MkdirTemp(l.dir, "clone-")
			if err != nil {
				return err
			}
			// git daemon's queue for connections has five places: some of twenty
			// readers may have to try again.
			for range 5 {
				var out outcome
				out, err = h.run(ctx, nil, "git", "clone", "-q", "--bare", s.bitmap.url+r.Name+".git", dst)
				commands.Add(int64(out.CPU))
				if err == nil || !strings.Contains(err.Error(), "reset by peer") {
					return err
				}
			}
			return err
		})
	}
	return s.run(ctx, game, nil)
}

// run runs a race on a site whose origin has a weak uplink, and returns what it
// cost. meanwhile, if not nil, runs beside it, with its context ended at the end;
// the origin may then be dead.
func (s *site) run(ctx context.Context, game *race, meanwhile func(context.Context) error) (map[string]float64, error) {
	before, err := game.server.cpu()
	if err != nil {
		return nil, err
	}
	beside, done := context.WithCancel(ctx)
	defer done()
	var others errgroup.Group
	var seen progress
	others.Go(func() (err error) {
		seen, err = s.watch(beside)
		return err
	})
	if meanwhile != nil {
		others.Go(func() error { return meanwhile(beside) })
	}
	begin := time.Now()
	var readers errgroup.Group
	errs := make([]error, len(game.fetch))
	for i, fetch := range game.fetch {
		readers.Go(func() error {
			errs[i] = fetch(ctx)
			return nil
		})
	}
	readers.Wait()
	wall := time.Since(begin)
	done()
	if err := errors.Join(append(errs, others.Wait())...); err != nil {
		return nil, err
	}
	v := seen.values(s.published.pack, s.origin.Up)
	v["s"] = wall.Seconds()
	v["×copy"] = wall.Seconds() / once(s.published.pack, s.origin.Up).Seconds()
	spent, err := game.spent()
	if err != nil {
		return nil, err
	}
	v["cpu-s"] = spent.Seconds()
	if meanwhile != nil {
		return v, nil
	}
	after, err := game.server.cpu()
	v["server-s"] = (after - before).Seconds()
	return v, err
}

// watch notes what each host of a site has sent and received, ten times a second
// and once more when ctx has ended.
func (s *site) watch(ctx context.Context) (progress, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var seen progress
	begin := time.Now()
	for last := false; ; {
		now, err := s.lab.counts()
		if err != nil {
			return seen, err
		}
		m := moment{At: time.Since(begin), Sent: now[1].Sent.Payload}
		for _, c := range now[2:] {
			m.Received = append(m.Received, c.Received.Payload)
		}
		if seen = append(seen, m); last {
			return seen, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last = true
		}
	}
}

// originDies is the crowd of ten whose origin is killed when one copy has left it:
// when a reader holds the whole pack. Each round needs an origin of its own.
func (l *bench) originDies(ctx context.Context, r *repository) error {
	const readers = 10
	c := config{"repo=" + r.Name, fmt.Sprintf("n=%d", readers), "by=gitpeer"}
	for round := range l.rounds {
		if l.has(round, "OriginDies", c) {
			continue
		}
		if err := l.dieOnce(ctx, r, c, readers); err != nil {
			return err
		}
	}
	return nil
}

func (l *bench) dieOnce(ctx context.Context, r *repository, c config, readers int) error {
	s, err := l.linked(ctx, r, weakOrigin, slices.Repeat([]link{goodReader}, readers))
	if err != nil {
		return err
	}
	defer s.stop()
	people, err := l.people(ctx, s)
	if err != nil {
		return err
	}
	defer l.part(ctx, people)
	killed := map[string]float64{}
	begin := time.Now()
	v, err := s.run(ctx, cloneRace(s, people), func(ctx context.Context) error {
		copies, err := s.oneCopyIsOut(ctx, people)
		if err != nil || ctx.Err() != nil {
			return err
		}
		killed["killed-copies"], killed["killed-s"] = copies, time.Since(begin).Seconds()
		return syscall.Kill(s.published.node.pid, syscall.SIGKILL)
	})
	if err != nil {
		return err
	}
	if len(killed) == 0 {
		return errors.New("all have finished before the origin was killed")
	}
	maps.Copy(v, killed)
	for _, p := range people {
		if err := whole(ctx, filepath.Join(p.dir, "clone"), r.plain); err != nil {
			return err
		}
		v["whole"]++
	}
	l.emit(sample{"OriginDies", c, v})
	return nil
}

// oneCopyIsOut waits until a reader holds the pack, or ctx ends, and returns how
// many copies have left the origin. To count copies instead is no use: some of
// them is talk, and what was sent twice, so that a piece may be nowhere.
func (s *site) oneCopyIsOut(ctx context.Context, readers []*person) (float64, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	first, err := s.lab.counts()
	if err != nil {
		return 0, err
	}
	for {
		if slices.ContainsFunc(readers, func(p *person) bool { return p.holds(s.published.pack) }) {
			now, err := s.lab.counts()
			return float64(now[1].Sent.Payload-first[1].Sent.Payload) / float64(s.published.pack), err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, nil
		}
	}
}

// holds says whether a person has a file of this size without holes: the pack,
// on its way or arrived.
func (p *person) holds(size int64) bool {
	found := false
	filepath.WalkDir(filepath.Join(p.dir, "gitpeer"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // renamed a moment ago: the next look finds it
		}
		info, err := d.Info()
		if err != nil || info.Size() != size {
			return nil
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		found = found || ok && stat.Blocks*512 >= size // units of stat(2)
		return nil
	})
	return found
}

// whole checks that a clone has the branches and tags of its origin, and all
// objects.
func whole(ctx context.Context, clone, origin string) error {
	var refs [2]string
	for i, dir := range []string{clone, origin} {
		out, err := here().run(ctx, nil, "git", "-C", dir, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags")
		if err != nil {
			return err
		}
		refs[i] = out.Stdout
	}
	if refs[0] != refs[1] {
		return fmt.Errorf("the refs of a clone are\n%s, those of its origin\n%s", refs[0], refs[1])
	}
	_, err := here().run(ctx, nil, "git", "-C", clone, "fsck", "--no-dangling")
	return err
}
