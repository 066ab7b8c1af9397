package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// publish measures publications of one commit each in a large repository, and
// how much of the time is git's pack-objects.
func (l *bench) publish(ctx context.Context, r *repository) error {
	everything, one := config{"repo=" + r.Name, "what=everything", "by=gitpeer"}, config{"repo=" + r.Name, "what=one-commit", "by=gitpeer"}
	if l.rounds == 0 || l.has(l.rounds-1, "Publish", one) {
		return nil
	}
	repo := filepath.Join(l.dir, "growing.git")
	if err := copyTree(r.plain, repo); err != nil {
		return err
	}
	defer os.RemoveAll(repo)
	h := here()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bootstrap, err := l.testnet(ctx, h, testnetNodes)
	if err != nil {
		return err
	}
	p, err := l.newPerson(h, "publisher", bootstrap)
	if err != nil {
		return err
	}
	defer p.leave(ctx)
	clock, err := newPackClock(p)
	if err != nil {
		return err
	}
	if _, err := p.run(ctx, "gitpeer", "init"); err != nil {
		return err
	}
	branch, err := headBranch(ctx, repo)
	if err != nil {
		return err
	}
	for round := -1; round < l.rounds; round++ {
		c := one
		if round < 0 {
			c = everything
		} else if l.has(round, "Publish", c) {
			continue
		}
		// Whoever waits for the disk would wait for the copy, too.
		syscall.Sync()
		// A node sends 250 DHT packets a second at most: somebody who publishes
		// once finds all of them unused.
		time.Sleep(3 * time.Second)
		out, err := p.run(ctx, "gitpeer", "publish", repo, "--name", "bench")
		if err != nil {
			return err
		}
		git, err := clock.read()
		if err != nil {
			return err
		}
		l.emit(sample{"Publish", c, map[string]float64{
			"s": out.Wall.Seconds(), "pack-objects-s": git.Seconds(), "own-s": (out.Wall - git).Seconds(),
		}})
		if err := commitOne(ctx, repo, branch, fmt.Sprint("round ", round, time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// A packClock is the file to which a git in front of git writes how long each
// run of pack-objects took, in nanoseconds: git's own trace does not reach the
// node, which gives git an environment of its own.
type packClock string

const shim = `#!/bin/sh
case " $* " in
*" pack-objects "*)
	began=$(date +%%s%%N)
	%[1]s "$@"
	status=$?
	echo $(($(date +%%s%%N) - began)) >>%[2]s
	exit $status ;;
esac
exec %[1]s "$@"
`

// newPackClock puts itself on the person's PATH.
func newPackClock(p *person) (packClock, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return "", err
	}
	clock := packClock(filepath.Join(p.dir, "pack-objects"))
	dir := filepath.Join(p.dir, "shim")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for i, pair := range p.env {
		if path, ok := strings.CutPrefix(pair, "PATH="); ok {
			p.env[i] = "PATH=" + dir + ":" + path
		}
	}
	return clock, os.WriteFile(filepath.Join(dir, "git"), fmt.Appendf(nil, shim, git, clock), 0o700)
}

// read adds up what was written since the last time.
func (c packClock) read() (time.Duration, error) {
	text, err := os.ReadFile(string(c))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, field := range strings.Fields(string(text)) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, os.Remove(string(c))
}
