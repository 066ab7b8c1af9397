package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// fetch measures readers who are some publications behind, and then one who is
// not behind at all, over 100 Mbit/s with a round trip of 20 ms.
func (l *bench) fetch(ctx context.Context, r *repository) error {
	var wanted []int
	for _, behind := range behinds() {
		if behind <= l.furthest && !l.has(l.rounds-1, "FetchNothing", fetchConfig(r, behind, "gitpeer")) {
			wanted = append(wanted, behind)
		}
	}
	if l.rounds > 0 && len(wanted) == 0 {
		return nil
	}
	g, err := l.stage(ctx, r, l.furthest)
	if err != nil || l.rounds == 0 {
		return err
	}
	for _, behind := range wanted {
		if err := l.fetchBehind(ctx, r, g, behind); err != nil {
			return fmt.Errorf("%d publications behind: %w", behind, err)
		}
	}
	return nil
}

func fetchConfig(r *repository, behind int, by string) config {
	return config{"repo=" + r.Name, fmt.Sprintf("behind=%d", behind), "by=" + by}
}

// fetchBehind takes all samples of one number of publications.
func (l *bench) fetchBehind(ctx context.Context, r *repository, g stage, behind int) error {
	s, err := l.stagedSite(ctx, g, behind)
	if err != nil {
		return err
	}
	defer s.stop()
	for round := range l.rounds {
		if !l.has(round, "FetchNothing", fetchConfig(r, behind, "git")) {
			if err := l.fetchByGit(ctx, g, s, fetchConfig(r, behind, "git")); err != nil {
				return err
			}
		}
		if !l.has(round, "FetchNothing", fetchConfig(r, behind, "gitpeer")) {
			if err := l.fetchByGitpeer(ctx, g, s, fetchConfig(r, behind, "gitpeer")); err != nil {
				return err
			}
		}
	}
	return nil
}

// stagedSite is a site with the publisher and the repository of a stage.
func (l *bench) stagedSite(ctx context.Context, g stage, behind int) (*site, error) {
	lab, err := newLab(ctx, oneWay, []link{{}, goodReader, goodReader})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &site{lab: lab, readers: lab.hosts[2:]}
	s.stop = func() error {
		var err error
		if s.published != nil {
			err = s.published.person.leave(ctx)
		}
		cancel()
		return errors.Join(err, lab.close())
	}
	url, err := os.ReadFile(g.address())
	if err == nil {
		s.bootstrap, err = l.testnet(ctx, lab.hosts[0], testnetNodes)
	}
	if err == nil {
		s.plain, err = l.serveGit(ctx, lab.hosts[1], g.after(behind), 19418, g.name+".git")
	}
	home := filepath.Join(l.dir, "publisher-copy")
	if err == nil {
		err = copyTree(g.author(behind), home)
	}
	if err == nil {
		p := l.personAt(lab.hosts[1], home, s.bootstrap)
		s.published = &published{person: p, url: string(url)}
		// The record is stored in this DHT, with the addresses of now.
		err = p.publish(ctx, g.repo(behind))
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (l *bench) fetchByGit(ctx context.Context, g stage, s *site, c config) error {
	clone := filepath.Join(l.dir, "native-copy")
	defer discard(clone)
	err := errors.Join(copyTree(g.native(), clone),
		command(ctx, "git", "-C", clone, "remote", "set-url", "origin", s.plain.url+g.name+".git"))
	if err != nil {
		return err
	}
	for _, name := range []string{"Fetch", "FetchNothing"} {
		v, err := s.counted(func() (outcome, error) { return s.readers[0].run(ctx, nil, "git", "-C", clone, "fetch", "-q") })
		if err != nil {
			return err
		}
		l.emit(sample{name, c, v})
	}
	return nil
}

func (l *bench) fetchByGitpeer(ctx context.Context, g stage, s *site, c config) error {
	p := l.personAt(s.readers[0], filepath.Join(l.dir, "reader-copy"), s.bootstrap)
	if err := copyTree(g.reader(), p.dir); err != nil {
		return err
	}
	defer p.leave(ctx)
	// The node runs and knows the DHT, as on a computer that is in use.
	if _, err := p.run(ctx, "gitpeer", "resolve", s.published.url); err != nil {
		return err
	}
	node, err := p.node()
	if err != nil {
		return err
	}
	for _, name := range []string{"Fetch", "FetchNothing"} {
		had, err := p.packs()
		if err != nil {
			return err
		}
		before, err := node.cpu()
		if err != nil {
			return err
		}
		v, err := s.counted(func() (outcome, error) {
			return p.run(ctx, "git", "-C", filepath.Join(p.dir, "clone"), "fetch", "-q")
		})
		if err != nil {
			return err
		}
		after, err := node.cpu()
		if err != nil {
			return err
		}
		v["cpu-s"] += (after - before).Seconds()
		has, err := p.packs()
		if err != nil {
			return err
		}
		maps.DeleteFunc(has, func(pack string, _ bool) bool { return had[pack] })
		v["packs"] = float64(len(has))
		l.emit(sample{name, c, v})
	}
	return nil
}

// counted runs a command on the first reader, and counts the bytes on its wire.
func (s *site) counted(do func() (outcome, error)) (map[string]float64, error) {
	before, err := s.lab.counts()
	if err != nil {
		return nil, err
	}
	out, err := do()
	if err != nil {
		return nil, err
	}
	after, err := s.lab.counts()
	if err != nil {
		return nil, err
	}
	b, a := before[2], after[2]
	return map[string]float64{
		"s": out.Wall.Seconds(), "cpu-s": out.CPU.Seconds(),
		"tcp-in-B": float64(a.Received.TCP - b.Received.TCP), "tcp-out-B": float64(a.Sent.TCP - b.Sent.TCP),
		"udp-in-B": float64(a.Received.UDP - b.Received.UDP), "udp-out-B": float64(a.Sent.UDP - b.Sent.UDP),
	}, nil
}

// packs are the names of the packs in a person's mirrors.
func (p *person) packs() (map[string]bool, error) {
	names := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(p.dir, "gitpeer", "repos"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file that has just been renamed
		}
		if strings.HasSuffix(path, ".pack") {
			names[filepath.Base(path)] = true
		}
		return err
	})
	return names, err
}

// headBranch is the branch that HEAD of a repository names.
func headBranch(ctx context.Context, dir string) (string, error) {
	out, err := here().run(ctx, nil, "git", "-C", dir, "symbolic-ref", "HEAD")
	return strings.TrimSpace(out.Stdout), err
}

// commitOne adds a commit with one small new file to a branch.
func commitOne(ctx context.Context, dir, branch, text string) error {
	cmd := here().command(ctx, nil, "git", "-C", dir, "fast-import", "--quiet", "--date-format=now")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("commit %s\ncommitter Bench <bench@example.org> now\ndata %d\n%s\nfrom %s^0\nM 644 inline BENCHMARK\ndata %d\n%s\n",
		branch, len(text), text, branch, len(text), text))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git fast-import: %w: %s", err, out)
	}
	return nil
}

// copyTree copies a folder with the times of its files.
func copyTree(from, to string) error {
	if err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o700)); err != nil {
		return err
	}
	return command(context.Background(), "cp", "-a", from, to)
}
