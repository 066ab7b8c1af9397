package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// behinds are how many publications of one commit each a reader is behind.
func behinds() []int { return []int{1, 10, 100} }

// fetch measures readers who are some publications behind, and one who is not
// behind at all, over 100 Mbit/s with a round trip of 20 ms.
func (l *bench) fetch(ctx context.Context, r *repository) error {
	wire := link{100 * mbit, 100 * mbit}
	s, err := l.linked(ctx, r, wire, []link{wire})
	if err != nil {
		return err
	}
	defer s.stop()
	branch, err := headBranch(ctx, r.plain)
	if err != nil {
		return err
	}
	old, err := l.oldReaders(ctx, r, s)
	if err != nil {
		return err
	}
	made := 0
	for _, behind := range behinds() {
		for ; made < behind; made++ {
			if err := commitOne(ctx, r.plain, branch, fmt.Sprintf("publication %d of %s", made, s.published.url)); err != nil {
				return err
			}
			if _, err := s.published.person.run(ctx, "gitpeer", "publish", r.plain); err != nil {
				return err
			}
		}
		for range l.rounds {
			if err := l.fetchRound(ctx, r, s, old, behind); err != nil {
				return err
			}
		}
	}
	return nil
}

// readersBefore are a reader of each kind, as they were at the first publication.
type readersBefore struct {
	gitpeer *person
	native  string // a clone
}

func (l *bench) oldReaders(ctx context.Context, r *repository, s *site) (*readersBefore, error) {
	p, err := l.reader(ctx, s.readers[0], s.bootstrap, s.published.url)
	if err != nil {
		return nil, err
	}
	if _, err := p.run(ctx, "git", "clone", "-q", "--mirror", s.published.url, filepath.Join(p.dir, "clone")); err != nil {
		return nil, err
	}
	if _, err := p.run(ctx, "gitpeer", "stop"); err != nil {
		return nil, err
	}
	native := filepath.Join(l.dir, "native-"+r.Name)
	_, err = s.readers[0].run(ctx, nil, "git", "clone", "-q", "--mirror", s.plain.url+r.Name+".git", native)
	return &readersBefore{p, native}, err
}

// fetchRound has copies of the old readers fetch, twice: what is new, and
// nothing.
func (l *bench) fetchRound(ctx context.Context, r *repository, s *site, old *readersBefore, behind int) error {
	c := config{"repo=" + r.Name, fmt.Sprintf("behind=%d", behind)}
	native := filepath.Join(l.dir, "native-copy")
	defer os.RemoveAll(native)
	if err := copyTree(old.native, native); err != nil {
		return err
	}
	p := &person{host: old.gitpeer.host, dir: old.gitpeer.dir + "-copy"}
	for _, pair := range old.gitpeer.env {
		p.env = append(p.env, strings.ReplaceAll(pair, old.gitpeer.dir, p.dir))
	}
	if err := copyTree(old.gitpeer.dir, p.dir); err != nil {
		return err
	}
	defer p.leave(ctx)
	// The node runs and knows the DHT, as on a computer that is in use.
	if _, err := p.run(ctx, "gitpeer", "resolve", s.published.url); err != nil {
		return err
	}
	for _, way := range []struct {
		by string
		do func() (outcome, error)
	}{
		{"git", func() (outcome, error) { return s.readers[0].run(ctx, nil, "git", "-C", native, "fetch", "-q") }},
		{"gitpeer", func() (outcome, error) { return p.run(ctx, "git", "-C", filepath.Join(p.dir, "clone"), "fetch", "-q") }},
	} {
		for _, name := range []string{"Fetch", "FetchNothing"} {
			before, err := s.lab.counts()
			if err != nil {
				return err
			}
			out, err := way.do()
			if err != nil {
				return err
			}
			after, err := s.lab.counts()
			if err != nil {
				return err
			}
			b, a := before[2], after[2]
			l.emit(sample{name, append(c, "by="+way.by), map[string]float64{
				"s":     out.Wall.Seconds(),
				"tcp-B": float64(a.Sent.TCP + a.Received.TCP - b.Sent.TCP - b.Received.TCP),
				"udp-B": float64(a.Sent.UDP + a.Received.UDP - b.Sent.UDP - b.Received.UDP),
			}})
		}
	}
	return nil
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

// copyTree copies a folder with the times of its files; sockets stay behind.
func copyTree(from, to string) error {
	if err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o700)); err != nil {
		return err
	}
	return command(context.Background(), "cp", "-a", from, to)
}
