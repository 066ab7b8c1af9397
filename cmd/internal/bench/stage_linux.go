package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A stage is where Fetch begins: readers as they were at the first publication,
// and the publisher with the repository after each number of further ones. To
// publish a thousand times takes minutes, so it is done on loopback with a DHT of
// one node, and kept where -stage says.
type stage struct {
	dir  string
	name string // of the repository
}

func (g stage) native() string           { return filepath.Join(g.dir, "native") }
func (g stage) reader() string           { return filepath.Join(g.dir, "reader") }
func (g stage) after(behind int) string  { return filepath.Join(g.dir, fmt.Sprintf("after-%d", behind)) }
func (g stage) repo(behind int) string   { return filepath.Join(g.after(behind), g.name+".git") }
func (g stage) author(behind int) string { return filepath.Join(g.after(behind), "publisher") }
func (g stage) address() string          { return filepath.Join(g.dir, "url") }

// stage finds a stage that was kept, or prepares it.
func (l *bench) stage(ctx context.Context, r *repository, furthest int) (stage, error) {
	kept := l.kept
	if kept == "" {
		kept = filepath.Join(l.dir, "stage")
	}
	g := stage{filepath.Join(kept, r.Name), r.Name}
	_, err := os.Stat(g.after(furthest))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return g, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bootstrap, err := l.testnet(ctx, here(), 1)
	if err != nil {
		return g, err
	}
	if _, err := os.Stat(g.address()); err != nil {
		if err := l.openStage(ctx, r, g, bootstrap); err != nil {
			return g, err
		}
	}
	return g, l.growStage(ctx, g, bootstrap, furthest)
}

func (g stage) now() string { return filepath.Join(g.dir, "now") }

// openStage makes the first publication and its readers; the address is written
// when all is there.
func (l *bench) openStage(ctx context.Context, r *repository, g stage, bootstrap string) error {
	repo, home := filepath.Join(g.now(), g.name+".git"), filepath.Join(g.now(), "publisher")
	if err := errors.Join(os.RemoveAll(g.dir), os.MkdirAll(home, 0o700), copyTree(r.plain, repo)); err != nil {
		return err
	}
	p := l.personAt(here(), home, bootstrap)
	defer p.run(context.WithoutCancel(ctx), "gitpeer", "stop")
	if _, err := p.run(ctx, "gitpeer", "init"); err != nil {
		return err
	}
	out, err := p.run(ctx, "gitpeer", "publish", repo)
	if err != nil {
		return err
	}
	url := strings.TrimSpace(out.Stdout)
	if err := l.stageReaders(ctx, g, repo, bootstrap, url); err != nil {
		return err
	}
	return os.WriteFile(g.address(), []byte(url), 0o600)
}

// growStage publishes until there are enough publications. What was broken off
// goes on: the newest commit says which publication it is.
func (l *bench) growStage(ctx context.Context, g stage, bootstrap string, furthest int) error {
	if _, err := os.Stat(g.now()); errors.Is(err, fs.ErrNotExist) {
		for _, made := range behinds() { // the last that is there
			if _, err := os.Stat(g.after(made)); err == nil {
				if err := copyTree(g.after(made), g.now()); err != nil {
					return err
				}
			}
		}
	}
	repo := filepath.Join(g.now(), g.name+".git")
	p := l.personAt(here(), filepath.Join(g.now(), "publisher"), bootstrap)
	defer p.run(context.WithoutCancel(ctx), "gitpeer", "stop")
	branch, err := headBranch(ctx, repo)
	if err != nil {
		return err
	}
	subject, err := here().run(ctx, nil, "git", "-C", repo, "log", "-1", "--format=%s", branch)
	if err != nil {
		return err
	}
	was := publication(subject.Stdout)
	told := time.Now()
	for made := max(was, 1); made <= furthest; made++ {
		if made > was {
			if err := commitOne(ctx, repo, branch, fmt.Sprintf("publication %d", made)); err != nil {
				return err
			}
		}
		if err := p.publish(ctx, repo); err != nil {
			return err
		}
		if time.Since(told) > 10*time.Second {
			fmt.Fprintf(os.Stderr, "bench: %d of %d publications of %s\n", made, furthest, g.name)
			told = time.Now()
		}
		if slices.Contains(behinds(), made) {
			if err := g.keep(ctx, p, made); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(g.now())
}

// publication is the number in the subject of a commit of growStage, 0 in others.
func publication(subject string) (n int) {
	if _, err := fmt.Sscanf(subject, "publication %d", &n); err != nil {
		return 0
	}
	return n
}

// publish publishes, again if the only node of the DHT was too busy to answer.
func (p *person) publish(ctx context.Context, repo string) (err error) {
	for range 5 {
		if _, err = p.run(ctx, "gitpeer", "publish", repo); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	return err
}

// keep copies the publisher and the repository of now, while no node writes.
func (g stage) keep(ctx context.Context, p *person, made int) error {
	if _, err := p.run(ctx, "gitpeer", "stop"); err != nil {
		return err
	}
	partial := g.after(made) + ".partial"
	if err := copyTree(g.now(), partial); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(g.after(made)), os.Rename(partial, g.after(made)))
}

// stageReaders makes a reader of each kind, at the first publication.
func (l *bench) stageReaders(ctx context.Context, g stage, repo, bootstrap, url string) error {
	if err := os.MkdirAll(g.reader(), 0o700); err != nil {
		return err
	}
	p := l.personAt(here(), g.reader(), bootstrap)
	for _, args := range [][]string{
		{"gitpeer", "trust", "add", url, "--publisher-only", "--as", "bench"},
		{"git", "clone", "-q", "--mirror", url, filepath.Join(p.dir, "clone")},
		{"gitpeer", "stop"},
		{"git", "clone", "-q", "--mirror", "--no-local", repo, g.native()},
	} {
		if _, err := p.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
