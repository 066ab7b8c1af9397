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
	if err := errors.Join(os.RemoveAll(g.dir), os.MkdirAll(g.dir, 0o700)); err != nil {
		return g, err
	}
	return g, l.prepareStage(ctx, r, g, furthest)
}

func (l *bench) prepareStage(ctx context.Context, r *repository, g stage, furthest int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := here()
	bootstrap, err := l.testnet(ctx, h, 1)
	if err != nil {
		return err
	}
	repo, home := filepath.Join(g.dir, "now", r.Name+".git"), filepath.Join(g.dir, "now", "publisher")
	if err := errors.Join(os.MkdirAll(home, 0o700), copyTree(r.plain, repo)); err != nil {
		return err
	}
	p := l.personAt(h, home, bootstrap)
	defer p.run(context.WithoutCancel(ctx), "gitpeer", "stop")
	if _, err := p.run(ctx, "gitpeer", "init"); err != nil {
		return err
	}
	out, err := p.run(ctx, "gitpeer", "publish", repo)
	if err != nil {
		return err
	}
	url := strings.TrimSpace(out.Stdout)
	if err := errors.Join(os.WriteFile(g.address(), []byte(url), 0o600), l.stageReaders(ctx, g, repo, bootstrap)); err != nil {
		return err
	}
	branch, err := headBranch(ctx, repo)
	if err != nil {
		return err
	}
	told := time.Now()
	for made := 1; made <= furthest; made++ {
		if err := commitOne(ctx, repo, branch, fmt.Sprintf("publication %d of %s", made, url)); err != nil {
			return err
		}
		if _, err := p.run(ctx, "gitpeer", "publish", repo); err != nil {
			return err
		}
		if time.Since(told) > 10*time.Second {
			fmt.Fprintf(os.Stderr, "bench: %d of %d publications of %s\n", made, furthest, r.Name)
			told = time.Now()
		}
		if !slices.Contains(behinds(), made) {
			continue
		}
		// A node that runs writes; a copy of what it has is taken when it does not.
		if _, err := p.run(ctx, "gitpeer", "stop"); err != nil {
			return err
		}
		if err := copyTree(filepath.Dir(repo), g.after(made)); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Dir(repo))
}

// stageReaders makes a reader of each kind, at the first publication.
func (l *bench) stageReaders(ctx context.Context, g stage, repo, bootstrap string) error {
	url, err := os.ReadFile(g.address())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(g.reader(), 0o700); err != nil {
		return err
	}
	p := l.personAt(here(), g.reader(), bootstrap)
	for _, args := range [][]string{
		{"gitpeer", "trust", "add", string(url), "--publisher-only", "--as", "bench"},
		{"git", "clone", "-q", "--mirror", string(url), filepath.Join(p.dir, "clone")},
		{"gitpeer", "stop"},
		{"git", "clone", "-q", "--mirror", "--no-local", repo, g.native()},
	} {
		if _, err := p.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
