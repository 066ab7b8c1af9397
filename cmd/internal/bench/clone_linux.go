package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A site is a network with a DHT, git daemons and a publisher on one host, and
// other hosts to read from.
type site struct {
	bootstrap     string
	plain, bitmap *gitDaemon
	published     *published
	readers       []*host
	lab           *lab // nil if everything is on loopback
	origin        link // with a lab
	stop          func() error
}

// loopback is a site on this machine's loopback interface.
func (l *bench) loopback(ctx context.Context, r *repository) (*site, error) {
	h := here()
	return l.newSite(ctx, r, &site{readers: []*host{h}}, h, h)
}

// linked is a site of namespaces: the DHT, the origin and readers, all with the
// same delay to each other.
func (l *bench) linked(ctx context.Context, r *repository, origin link, readers []link) (*site, error) {
	lab, err := newLab(ctx, oneWay, append([]link{{}, origin}, readers...))
	if err != nil {
		return nil, err
	}
	return l.newSite(ctx, r, &site{lab: lab, origin: origin, readers: lab.hosts[2:]}, lab.hosts[0], lab.hosts[1])
}

func (l *bench) newSite(ctx context.Context, r *repository, s *site, dht, origin *host) (*site, error) {
	ctx, cancel := context.WithCancel(ctx)
	s.stop = func() error {
		var errs []error
		if s.published != nil {
			errs = append(errs, s.published.person.leave(ctx))
		}
		cancel()
		if s.lab != nil {
			errs = append(errs, s.lab.close())
		}
		return errors.Join(errs...)
	}
	var err error
	if s.bootstrap, err = l.testnet(ctx, dht, testnetNodes); err == nil {
		s.plain, err = l.serveGit(ctx, origin, filepath.Dir(r.plain), 19418, r.Name+".git")
	}
	if err == nil {
		s.bitmap, err = l.serveGit(ctx, origin, filepath.Dir(r.bitmap), 19419, r.Name+".git")
	}
	if err == nil {
		s.published, err = l.publisher(ctx, origin, s.bootstrap, r.plain)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// cloneMode is how a clone is made.
type cloneMode struct {
	name string
	args []string
}

func cloneModes() []cloneMode {
	return []cloneMode{{"bare", []string{"--bare"}}, {"checkout", nil}}
}

// clone measures clones on loopback, one seeder.
func (l *bench) clone(ctx context.Context, r *repository) error {
	return l.clones(ctx, r, cloneModes(), "loopback", func() (*site, error) { return l.loopback(ctx, r) })
}

// linkClone measures clones over 100 Mbit/s with a round trip of 20 ms.
func (l *bench) linkClone(ctx context.Context, r *repository) error {
	open := func() (*site, error) { return l.linked(ctx, r, goodReader, []link{goodReader}) }
	return errors.Join(
		l.clones(ctx, r, cloneModes()[:1], linkName, open),
		l.repackedClones(ctx, r, open))
}

// repackedClones measures clones of what the publisher has repacked.
func (l *bench) repackedClones(ctx context.Context, r *repository, open func() (*site, error)) error {
	c := config{"repo=" + r.Name, "link=" + linkName, "mode=bare", "by=" + repacked}
	return l.sampled([]cloneWay{{c, func(s *site, c config) error {
		v, err := l.cloneBy(ctx, r, s, "gitpeer", cloneModes()[0].args)
		if err == nil {
			l.emit(sample{"Clone", c, v})
		}
		return err
	}}}, func() (*site, error) {
		s, err := open()
		if err != nil {
			return nil, err
		}
		out, err := s.published.person.run(ctx, "gitpeer", "publish", "--repack", r.plain)
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		l.emit(sample{"Publish", config{"repo=" + r.Name, "what=repack", "by=gitpeer"}, map[string]float64{"s": out.Wall.Seconds()}})
		return s, nil
	})
}

// A cloneWay takes a sample of one way to clone.
type cloneWay struct {
	config config
	take   func(*site, config) error
}

// clones takes samples of each way to clone.
func (l *bench) clones(ctx context.Context, r *repository, modes []cloneMode, over string, open func() (*site, error)) error {
	var ways []cloneWay
	for _, mode := range modes {
		for _, by := range []string{"git", "git-bitmap", "gitpeer"} {
			ways = append(ways, cloneWay{config{"repo=" + r.Name, "link=" + over, "mode=" + mode.name, "by=" + by}, func(s *site, c config) error {
				v, err := l.cloneBy(ctx, r, s, by, mode.args)
				if err == nil {
					l.emit(sample{"Clone", c, v})
				}
				return err
			}})
		}
	}
	if hasLibtorrent(ctx) {
		c := config{"repo=" + r.Name, "link=" + over, "mode=pack", "by=libtorrent"}
		ways = append(ways, cloneWay{c, func(s *site, c config) error { return l.movePack(ctx, r, s, c) }})
	}
	return l.sampled(ways, open)
}

// sampled takes samples of each way, round by round, on a site that is made when
// the first of them is wanted.
func (l *bench) sampled(ways []cloneWay, open func() (*site, error)) error {
	var s *site
	for round := range l.rounds {
		for _, way := range ways {
			if l.has(round, "Clone", way.config) {
				continue
			}
			if s == nil {
				var err error
				if s, err = open(); err != nil {
					return err
				}
				defer s.stop()
			}
			if err := way.take(s, way.config); err != nil {
				return err
			}
		}
	}
	return nil
}

// cloneBy takes one sample.
func (l *bench) cloneBy(ctx context.Context, r *repository, s *site, by string, args []string) (map[string]float64, error) {
	unix.Sync() // what the one before has written is not to be written on this one's time
	switch by {
	case "git":
		return l.cloneByGit(ctx, s.readers[0], s.plain, s.plain.url+r.Name+".git", args)
	case "git-bitmap":
		return l.cloneByGit(ctx, s.readers[0], s.bitmap, s.bitmap.url+r.Name+".git", args)
	default:
		return l.cloneByGitpeer(ctx, s, args)
	}
}

func (l *bench) cloneByGit(ctx context.Context, h *host, d *gitDaemon, url string, args []string) (map[string]float64, error) {
	dst, err := os.MkdirTemp(l.dir, "clone-")
	if err != nil {
		return nil, err
	}
	before, err := d.cpu()
	if err != nil {
		return nil, err
	}
	out, err := h.run(ctx, []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull},
		append(append([]string{"git", "clone", "-q"}, args...), url, dst)...)
	if err != nil {
		return nil, err
	}
	time.Sleep(200 * time.Millisecond) // until the daemon has seen its child end
	after, err := d.cpu()
	return map[string]float64{"s": out.Wall.Seconds(), "cpu-s": out.CPU.Seconds(), "server-s": (after - before).Seconds()}, err
}

// cloneByGitpeer clones as somebody whose computer has never run gitpeer: the
// start of the node is part of it.
func (l *bench) cloneByGitpeer(ctx context.Context, s *site, args []string) (map[string]float64, error) {
	p, err := l.reader(ctx, s.readers[0], s.bootstrap, s.published.url)
	if err != nil {
		return nil, err
	}
	defer p.leave(ctx)
	before, err := s.published.node.cpu()
	if err != nil {
		return nil, err
	}
	out, err := p.run(ctx, append(append([]string{"git", "clone", "-q"}, args...), s.published.url, filepath.Join(p.dir, "clone"))...)
	if err != nil {
		return nil, err
	}
	after, err := s.published.node.cpu()
	if err != nil {
		return nil, err
	}
	node, err := p.node()
	if err != nil {
		return nil, err
	}
	own, err := node.cpu()
	if err != nil {
		return nil, err
	}
	v := map[string]float64{"s": out.Wall.Seconds(), "cpu-s": (out.CPU + own).Seconds(), "server-s": (after - before).Seconds()}
	return v, errors.Join(peak(v, "MB", node), peak(v, "server-MB", s.published.node))
}

// peak notes the peak memory of a process.
func peak(v map[string]float64, unit string, p process) error {
	bytes, err := p.peak()
	v[unit] = float64(bytes) / 1e6
	return err
}
