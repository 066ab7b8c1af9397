package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/testnet"
)

// home names something in the actor's home.
func (s *actor) home(elem ...string) string {
	return filepath.Join(append([]string{s.dir, "home"}, elem...)...)
}

// kill ends the actor's node as a crash does, and waits until it is gone.
func (s *actor) kill() {
	s.t.Helper()
	raw, err := os.ReadFile(s.home("lock"))
	if err != nil {
		s.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		s.t.Fatalf("kill the node: %v", err)
	}
	home, err := node.DefaultHome(func(name string) (value string) {
		for _, line := range s.env { // of two, the last counts
			if v, ok := strings.CutPrefix(line, name+"="); ok {
				value = v
			}
		}
		return value
	})
	if err != nil {
		s.t.Fatal(err)
	}
	testnet.Until(s.t, "the killed node to be gone", func() bool { // until then it takes connections
		_, err := node.Connect(s.t.Context(), home)
		return errors.Is(err, node.ErrNotRunning)
	})
}

// sent is how many bytes of torrents the actor's node has sent.
func (s *actor) sent() (sum int64) {
	s.t.Helper()
	var status node.Status
	if err := json.Unmarshal([]byte(s.must("gitpeer", "status", "--json")), &status); err != nil {
		s.t.Fatal(err)
	}
	for _, r := range status.Repos {
		sum += r.Sent
	}
	return sum
}

// counted is how many bytes of torrents the actor's earlier nodes have sent, as
// far as the last of them has told.
func (s *actor) counted() int64 {
	s.t.Helper()
	var tally struct{ Sent int64 }
	raw, err := os.ReadFile(filepath.Join(s.mirror(), "gitpeer", "seeding"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err == nil {
		err = json.Unmarshal(raw, &tally)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return tally.Sent
}

// mirror is the actor's only mirror, "" if there is none.
func (s *actor) mirror() string {
	list, err := filepath.Glob(s.home("repos", "gp1*", "*.git"))
	if err != nil || len(list) > 1 {
		s.t.Fatalf("mirrors %q, %v", list, err)
	}
	return strings.Join(list, "")
}

// A published pack, as its torrent has it.
type published struct {
	infohash string
	data     []byte
	pieces   int64 // bytes in each
}

// packs are the packs of the actor's mirror.
func (s *actor) packs() (list []*published) {
	s.t.Helper()
	lines, err := filepath.Glob(filepath.Join(s.mirror(), "gitpeer", "packs", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range lines {
		var line struct {
			Pack, Header, Trailer string
			Info                  []byte
		}
		raw, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(raw, &line)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		info, err := swarm.ParseInfo(line.Info)
		data, err2 := os.ReadFile(filepath.Join(s.mirror(), "objects", "pack", "pack-"+line.Pack+".pack"))
		header, err3 := hex.DecodeString(line.Header)
		trailer, err4 := hex.DecodeString(line.Trailer)
		if err := errors.Join(err, err2, err3, err4); err != nil {
			s.t.Fatal(err)
		}
		data = data[:info.Length()]
		copy(data, header)
		copy(data[len(data)-len(trailer):], trailer)
		list = append(list, &published{infohash: filepath.Base(name), data: data, pieces: info.PieceLength()})
	}
	return list
}

// in is how many bytes of a pack are in whole pieces in a file.
func (p *published) in(file string) (sum int64) {
	got, err := os.ReadFile(file)
	if err != nil {
		return 0 // not begun, or taken over
	}
	for off := int64(0); off < int64(len(p.data)); off += p.pieces {
		end := min(off+p.pieces, int64(len(p.data)))
		if int64(len(got)) >= end && bytes.Equal(got[off:end], p.data[off:end]) {
			sum += end - off
		}
	}
	return sum
}

// A transfer is a repository that is published, and somebody who clones it.
type transfer struct {
	t          *testing.T
	alice, bob *actor
	url        string
	packs      []*published
	size       int64 // bytes of the packs
	seen       int64 // bytes of them that were seen to be here
}

// newTransfer publishes a pack of a megabyte and a half, and then others of a
// quarter of a megabyte, by somebody who sends so many bytes a second.
func newTransfer(t *testing.T, bootstrap string, packs, rate int) *transfer {
	x := &transfer{t: t, alice: newActor(t, "alice", bootstrap), bob: newActor(t, "bob", bootstrap)}
	id := strings.Fields(x.alice.must("gitpeer", "init"))[0]
	if err := os.WriteFile(x.alice.home("config"), fmt.Appendf(nil, "[limit]\n\tupload = %d\n", rate), 0o600); err != nil {
		t.Fatal(err)
	}
	x.alice.must("git", "init", "-q", "-b", "main", "work")
	random := rand.NewChaCha8(sha256.Sum256([]byte(t.Name()))) // no two transfers in one swarm
	for n := range packs {
		size := 6
		if n > 0 {
			size = 1
		}
		for i := range 8 {
			b := make([]byte, size<<15)
			random.Read(b)
			if err := os.WriteFile(filepath.Join(x.alice.dir, "work", fmt.Sprintf("f%d-%d", n, i)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		x.alice.must("git", "-C", "work", "add", "-A")
		x.alice.must("git", "-C", "work", "commit", "-q", "-m", fmt.Sprint(n))
		x.alice.must("gitpeer", "publish", "work")
	}
	x.url = "gitpeer://" + id + "/work"
	x.packs = x.alice.packs()
	if len(x.packs) != packs {
		t.Fatalf("%d packs are published, want %d", len(x.packs), packs)
	}
	for _, p := range x.packs {
		x.size += int64(len(p.data))
	}
	x.bob.must("gitpeer", "trust", "add", x.url, "--publisher-only", "--as", "work")
	return x
}

// have is how many bytes of the packs bob has in whole pieces, while he fetches
// them.
func (x *transfer) have() (sum int64) {
	for _, p := range x.packs {
		sum += p.in(x.bob.home("node", "incoming", p.infohash))
	}
	return sum
}

// A run of git that somebody may interrupt.
type gitRun struct {
	stderr bytes.Buffer
	done   chan struct{} // closed once it has ended
	err    error
	pid    int
}

func (s *actor) begin(args ...string) *gitRun {
	s.t.Helper()
	r := &gitRun{done: make(chan struct{})}
	cmd := s.command(args...)
	cmd.Stderr = &r.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	r.pid = cmd.Process.Pid
	go func() {
		r.err = cmd.Wait()
		close(r.done)
	}()
	return r
}

func (r *gitRun) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// whole checks that bob has everything, and nothing besides.
func (x *transfer) whole() {
	x.t.Helper()
	for _, dir := range []string{x.bob.mirror(), filepath.Join(x.bob.dir, "clone")} {
		x.bob.must("git", "-C", dir, "fsck", "--full", "--strict")
	}
	want, got := x.alice.must("git", "-C", "work", "rev-parse", "main"), x.bob.must("git", "-C", "clone", "rev-parse", "origin/main")
	if want != got {
		x.t.Errorf("the clone has main at %s, want %s", got, want)
	}
	left, err := filepath.Glob(x.bob.home("node", "incoming", "*"))
	more, err2 := filepath.Glob(filepath.Join(x.bob.mirror(), "gitpeer", "quarantine-*"))
	if left = append(left, more...); len(left) > 0 || err != nil || err2 != nil {
		x.t.Errorf("left over are %q, %v, %v", left, err, err2)
	}
}

// besides bounds what is sent of a clone besides packs: snapshot and hint.
const besides = 2 << 10

// interrupted starts a clone, and interrupts it once bob has more than so many
// bytes of the packs. The clone may go on.
func (x *transfer) interrupted(at int64, interrupt func(*transfer, *gitRun)) *gitRun {
	x.t.Helper()
	r := x.bob.begin("git", "clone", "-q", x.url, "clone")
	testnet.Until(x.t, fmt.Sprintf("%d bytes", at), func() bool {
		x.seen = x.have()
		return x.seen > at || r.ended()
	})
	if r.ended() {
		x.t.Fatalf("the clone ended before %d bytes were here: %v\n%s", at, r.err, &r.stderr)
	}
	interrupt(x, r)
	return r
}

// finish clones what is left, from a node of alice's that has no limit, and
// checks that nothing came twice.
func (x *transfer) finish() {
	x.t.Helper()
	kept := x.have()
	if kept < x.seen {
		x.t.Errorf("%d bytes are here, and %d were", kept, x.seen)
	}
	x.alice.must("gitpeer", "stop")
	if err := os.Remove(x.alice.home("config")); err != nil {
		x.t.Fatal(err)
	}
	x.alice.must("gitpeer", "publish", "work")
	before := x.alice.sent()
	x.bob.must("git", "clone", "-q", x.url, "clone")
	if sent := x.alice.sent() - before; sent > x.size-kept+besides {
		x.t.Errorf("%d bytes were sent of %d, of which %d were here", sent, x.size, kept)
	}
	x.whole()
}

// TestInterruptedClone interrupts clones at points that differ in each run. What
// is verified is never sent again.
func TestInterruptedClone(t *testing.T) {
	bootstrap := startTestnet(t)
	for name, test := range map[string]struct {
		packs, rate, times int
		interrupt          func(*transfer, *gitRun)
		says               string
	}{
		"reader killed":          {1, 512 << 10, 2, func(x *transfer, _ *gitRun) { x.bob.kill() }, "what was received is kept"},
		"reader of packs killed": {3, 512 << 10, 2, func(x *transfer, _ *gitRun) { x.bob.kill() }, "what was received is kept"},
		"reader stopped":         {1, 128 << 10, 1, func(x *transfer, _ *gitRun) { x.bob.must("gitpeer", "stop") }, "interrupted; nothing was changed"},
		"git killed":             {1, 512 << 10, 1, func(_ *transfer, r *gitRun) { syscall.Kill(-r.pid, syscall.SIGKILL) }, ""},
		"git interrupted":        {1, 512 << 10, 1, func(_ *transfer, r *gitRun) { syscall.Kill(-r.pid, syscall.SIGINT) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTransfer(t, bootstrap, test.packs, test.rate)
			for range test.times {
				kept := x.have()
				at := kept + rand.Int64N((x.size-kept)/4)
				before := x.alice.sent()
				r := x.interrupted(at, test.interrupt)
				<-r.done
				if !strings.Contains(r.stderr.String(), test.says) || r.err == nil {
					t.Errorf("interrupted at %d bytes, git ends with %v and says %q, want %q", at, r.err, &r.stderr, test.says)
				}
				t.Logf("interrupted at %d of %d bytes: has %d after %d, %d were sent", at, x.size, x.have(), kept, x.alice.sent()-before)
				os.RemoveAll(filepath.Join(x.bob.dir, "clone")) // git does, if it can
			}
			x.finish()
			if test.packs > 1 {
				x.handedOver()
			}
		})
	}
	t.Run("seeder killed", func(t *testing.T) {
		t.Parallel()
		x := newTransfer(t, bootstrap, 1, 512<<10)
		var kept, before int64
		r := x.interrupted(rand.Int64N(x.size/2), func(x *transfer, _ *gitRun) {
			x.alice.kill()
			kept = x.have()
			before = x.alice.counted()
			x.alice.must("gitpeer", "publish", "work")
		})
		<-r.done
		if r.err != nil {
			t.Fatalf("the clone does not go on with another node of the publisher: %v\n%s", r.err, &r.stderr)
		}
		if sent := x.alice.sent() - before; sent > x.size-kept+besides {
			t.Errorf("%d bytes were sent of %d, of which %d were here", sent, x.size, kept)
		}
		x.whole()
	})
}

// handedOver has git-remote-gitpeer killed at each point of giving the packs of
// bob's mirror to a repository, and git fetch again: it needs nobody else.
func (x *transfer) handedOver() {
	x.t.Helper()
	var files []string // in the order in which they are linked
	packs, err := filepath.Glob(filepath.Join(x.bob.mirror(), "objects", "pack", "pack-*.pack"))
	if err != nil || len(packs) != len(x.packs) {
		x.t.Fatalf("packs %q, %v", packs, err)
	}
	for _, pack := range packs {
		base := strings.TrimSuffix(pack, ".pack")
		files = append(files, base+".keep", base+".pack", base+".idx")
	}
	before, tip := x.alice.sent(), x.alice.must("git", "-C", "work", "rev-parse", "main")
	for n := range files {
		repo := fmt.Sprintf("repo-%d", n)
		x.bob.must("git", "init", "-q", repo)
		dir := filepath.Join(x.bob.dir, repo, ".git", "objects", "pack")
		for _, file := range files[:n+1] {
			if err := os.Link(file, filepath.Join(dir, filepath.Base(file))); err != nil {
				x.t.Fatal(err)
			}
		}
		x.bob.must("git", "-C", repo, "fetch", "-q", x.url, "main:refs/remotes/origin/main")
		x.bob.must("git", "-C", repo, "fsck", "--full", "--strict")
		if got := x.bob.must("git", "-C", repo, "rev-parse", "origin/main"); got != tip {
			x.t.Errorf("%s has main at %s, want %s", repo, got, tip)
		}
		half, err := filepath.Glob(filepath.Join(dir, "*.pack"))
		whole, err2 := filepath.Glob(filepath.Join(dir, "*.idx"))
		// With one whole pack it is a repository with objects, to which what it lacks is sent.
		if n < 2 && len(half) != len(whole) || err != nil || err2 != nil {
			x.t.Errorf("after %d links there are %d packs with %d indexes", n+1, len(half), len(whole))
		}
	}
	if sent := x.alice.sent() - before; sent != 0 {
		x.t.Errorf("%d bytes were sent of what is here", sent)
	}
}
