package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// memory measures the peak memory of each process in its role, and its CPU time
// for each 10⁹ bytes of packs that it moved, on loopback. The roles are a publisher
// who publishes all (publish), one who was started anew and only serves (publisher),
// a reader, and a mirror that was started anew and alone serves the next reader.
// libtorrent seeds and reads the same pack.
func (l *bench) memory(ctx context.Context, r *repository) error {
	for round := range l.rounds {
		if !l.has(round, "Memory", memoryConfig(r, "mirror", "gitpeer")) {
			if err := l.memoryRound(ctx, r); err != nil {
				return err
			}
		}
		if hasLibtorrent(ctx) && !l.has(round, "Memory", memoryConfig(r, "reader", "libtorrent")) {
			if err := l.memoryOfLibtorrent(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func memoryConfig(r *repository, role, by string) config {
	return config{"repo=" + r.Name, "role=" + role, "by=" + by}
}

func (l *bench) memoryRound(ctx context.Context, r *repository) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := here()
	bootstrap, pub, err := l.publishAt(ctx, h, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pub.person.leave(ctx)) }()
	note := func(role string, node process) error { return l.emitRole(r, role, pub.pack, node) }
	if err := note("publish", pub.node); err != nil {
		return err
	}
	serving, err := pub.person.restart(ctx, pub.url)
	if err != nil {
		return err
	}
	mirror, err := l.reader(ctx, h, bootstrap, pub.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mirror.leave(ctx)) }()
	reading, err := mirror.cloneAll(ctx, pub.url)
	if err != nil {
		return err
	}
	if err := errors.Join(note("publisher", serving), note("reader", reading)); err != nil {
		return err
	}
	if _, err := pub.person.run(ctx, "gitpeer", "stop"); err != nil {
		return err
	}
	if serving, err = mirror.restart(ctx, pub.url); err != nil {
		return err
	}
	peer, err := mirror.listens(ctx)
	if err != nil {
		return err
	}
	last, err := l.reader(ctx, h, bootstrap, pub.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, last.leave(ctx)) }()
	last.env = append(last.env, "GITPEER_PEERS="+peer)
	if _, err := last.cloneAll(ctx, pub.url); err != nil {
		return err
	}
	return note("mirror", serving)
}

// emitRole writes down what a process has used since its start.
func (l *bench) emitRole(r *repository, role string, pack int64, node process) error {
	v := map[string]float64{}
	spent, err := node.cpu()
	if err := errors.Join(err, peak(v, "MB", node)); err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	v["cpu-s"], v["cpu-s/GB"] = spent.Seconds(), spent.Seconds()/(float64(pack)/1e9)
	l.emit(sample{"Memory", memoryConfig(r, role, "gitpeer"), v})
	return nil
}

// restart stops a person's node and starts it anew, as after a night.
func (p *person) restart(ctx context.Context, url string) (process, error) {
	for _, args := range [][]string{{"gitpeer", "stop"}, {"gitpeer", "resolve", url}} {
		if _, err := p.run(ctx, args...); err != nil {
			return process{}, err
		}
	}
	return p.node()
}

// cloneAll clones, and returns the node.
func (p *person) cloneAll(ctx context.Context, url string) (process, error) {
	if _, err := p.run(ctx, "git", "clone", "-q", "--bare", url, filepath.Join(p.dir, "clone")); err != nil {
		return process{}, err
	}
	return p.node()
}

// listens returns the address of a person's node.
func (p *person) listens(ctx context.Context) (string, error) {
	out, err := p.run(ctx, "gitpeer", "status")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^listen +([0-9.]+:[0-9]+)`).FindStringSubmatch(out.Stdout)
	if found == nil {
		return "", fmt.Errorf("gitpeer status names no address: %q", out.Stdout)
	}
	return found[1], nil
}

func (l *bench) memoryOfLibtorrent(ctx context.Context, r *repository) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := here()
	m, err := l.move(ctx, r, h, "seed")
	if err != nil {
		return err
	}
	defer m.end()
	// What it took to make the torrent is not counted; its memory can not be told apart.
	before, err := m.seed.cpu()
	if err != nil {
		return err
	}
	reader, err := m.get(ctx, h, 0, m.address)
	if err != nil {
		return err
	}
	defer reader.end()
	if err := reader.wait(); err != nil {
		return err
	}
	for _, side := range []struct {
		role string
		process
		before time.Duration
	}{{"seed", m.seed.process, before}, {"reader", reader.process, 0}} {
		v := map[string]float64{}
		spent, err := side.cpu()
		if err := errors.Join(err, peak(v, "MB", side.process)); err != nil {
			return err
		}
		v["cpu-s"] = (spent - side.before).Seconds()
		v["cpu-s/GB"] = v["cpu-s"] / (float64(m.pack) / 1e9)
		l.emit(sample{"Memory", memoryConfig(r, side.role, "libtorrent"), v})
	}
	return os.RemoveAll(filepath.Join(m.dir, h.Name))
}
