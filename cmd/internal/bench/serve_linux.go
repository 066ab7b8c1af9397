package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A repository is what is cloned: a copy of a real one in a single pack, without
// and with a reachability bitmap.
type repository struct {
	Name          string
	from          string
	plain, bitmap string
	Pack          int64 // bytes
}

// prepare makes the copies of a repository, or finds those that were kept: they
// stay as they are.
func (l *bench) prepare(ctx context.Context, r *repository) error {
	base := l.dir
	if l.kept != "" {
		base = l.kept
	}
	r.plain, r.bitmap = filepath.Join(base, "plain", r.Name+".git"), filepath.Join(base, "bitmap", r.Name+".git")
	if _, err := os.Stat(r.bitmap); err != nil {
		if err := l.copies(ctx, r); err != nil {
			return err
		}
	}
	packs, err := filepath.Glob(filepath.Join(r.plain, "objects", "pack", "*.pack"))
	if err != nil || len(packs) != 1 {
		return fmt.Errorf("%s has %d packs after a repack: %w", r.plain, len(packs), err)
	}
	info, err := os.Stat(packs[0])
	if err != nil {
		return err
	}
	r.Pack = info.Size()
	objects, err := here().run(ctx, nil, "git", "-C", r.plain, "rev-list", "--objects", "--all", "--count")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(l.raw, "repository-%s: %s objects, a pack of %d bytes\n", r.Name, strings.TrimSpace(objects.Stdout), r.Pack)
	return err
}

// copies makes the copies of a repository, the one with a bitmap last.
func (l *bench) copies(ctx context.Context, r *repository) error {
	clone := []string{"git", "clone", "-q", "--bare", r.from}
	if promised, err := filepath.Glob(filepath.Join(r.from, "objects", "pack", "*.promisor")); err != nil || len(promised) > 0 {
		// What is left of a partial clone: a repack would keep all its objects,
		// those too that no clone has.
		clone = []string{"git", "clone", "-q", "--bare", "--no-local", r.from}
	}
	for _, copy := range []struct{ dir, bitmaps string }{{r.plain, "false"}, {r.bitmap, "true"}} {
		partial := copy.dir + ".partial"
		if err := errors.Join(os.RemoveAll(copy.dir), os.RemoveAll(partial), command(ctx, append(clone, partial)...)); err != nil {
			return err
		}
		if err := command(ctx, "git", "-C", partial, "-c", "repack.writeBitmaps="+copy.bitmaps, "repack", "-adq"); err != nil {
			return err
		}
		if err := os.Rename(partial, copy.dir); err != nil {
			return err
		}
	}
	return nil
}

// background starts a command on a host and returns its first line of output,
// if it is to have one. The process is one that end is to be called for.
func background(ctx context.Context, h *host, env []string, args ...string) (*exec.Cmd, *bufio.Reader, error) {
	cmd := h.command(ctx, env, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, bufio.NewReader(out), cmd.Start()
}

// testnetNodes is how many nodes the DHT of a site has: as many as store a record.
const testnetNodes = 20

// testnet starts a DHT on a host, until ctx ends, and returns its bootstrap nodes.
func (l *bench) testnet(ctx context.Context, h *host, nodes int) (string, error) {
	_, out, err := background(ctx, h, nil, filepath.Join(l.bin, "gitpeer"), "testnet", "--nodes", strconv.Itoa(nodes), "--listen", h.Addr)
	if err != nil {
		return "", err
	}
	line, err := out.ReadString('\n')
	bootstrap, ok := strings.CutPrefix(strings.TrimSpace(line), "bootstrap ")
	if err != nil || !ok {
		return "", fmt.Errorf("gitpeer testnet says %q: %w", line, err)
	}
	return bootstrap, nil
}

// A gitDaemon serves directories by the git protocol.
type gitDaemon struct {
	process
	url string // of the base directory
}

// serveGit starts git daemon on a host, until ctx ends, for what lies in dir: a
// repository of this name, too, by which it is seen to answer.
func (l *bench) serveGit(ctx context.Context, h *host, dir string, port int, name string) (*gitDaemon, error) {
	execPath, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(strings.TrimSpace(string(execPath)), "git-daemon")
	cmd, _, err := background(ctx, h, []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
		program, "--reuseaddr", "--export-all", "--max-connections=64", "--base-path="+dir, "--listen="+h.Addr, fmt.Sprintf("--port=%d", port))
	if err != nil {
		return nil, err
	}
	d := &gitDaemon{process{cmd.Process.Pid}, fmt.Sprintf("git://%s:%d/", h.Addr, port)}
	for range 100 {
		if _, err = h.run(ctx, nil, "git", "ls-remote", d.url+name, "HEAD"); err == nil {
			return d, nil
		}
		time.Sleep(50 * time.Millisecond) // until it listens
	}
	return nil, fmt.Errorf("git daemon does not answer: %w", err)
}

// A published repository has its publisher and its address.
type published struct {
	person *person
	node   process
	url    string
	pack   int64 // bytes of the packs
}

// publisher publishes dir as somebody new on a host.
func (l *bench) publisher(ctx context.Context, h *host, bootstrap, dir string) (_ *published, err error) {
	p, err := l.newPerson(h, "publisher", bootstrap)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.leave(ctx)) // its node would run on
		}
	}()
	if _, err := p.run(ctx, "gitpeer", "init"); err != nil {
		return nil, err
	}
	out := &published{person: p}
	done, err := p.run(ctx, "gitpeer", "publish", dir)
	if err != nil {
		return nil, err
	}
	out.url = strings.TrimSpace(done.Stdout)
	if out.node, err = p.node(); err != nil {
		return nil, err
	}
	shown, err := p.run(ctx, "gitpeer", "show", out.url, "--json")
	if err != nil {
		return nil, err
	}
	var snapshot struct{ Packs []struct{ Bytes int64 } }
	if err := json.Unmarshal([]byte(shown.Stdout), &snapshot); err != nil || len(snapshot.Packs) == 0 {
		return nil, errors.Join(err, fmt.Errorf("gitpeer show says %q", shown.Stdout))
	}
	for _, pack := range snapshot.Packs {
		out.pack += pack.Bytes
	}
	return out, nil
}

// publishAt publishes a repository on a host, with a DHT of its own there.
func (l *bench) publishAt(ctx context.Context, h *host, r *repository) (bootstrap string, pub *published, err error) {
	if bootstrap, err = l.testnet(ctx, h, testnetNodes); err == nil {
		pub, err = l.publisher(ctx, h, bootstrap, r.plain)
	}
	return bootstrap, pub, err
}

// reader makes somebody on a host who trusts what a publisher says, whoever
// wrote it: a measurement of packs, not of signatures.
func (l *bench) reader(ctx context.Context, h *host, bootstrap, url string) (*person, error) {
	p, err := l.newPerson(h, "reader", bootstrap)
	if err != nil {
		return nil, err
	}
	if _, err := p.run(ctx, "gitpeer", "trust", "add", url, "--publisher-only", "--as", "bench"); err != nil {
		return nil, errors.Join(err, p.leave(ctx))
	}
	return p, nil
}
