package node

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// big adds a file that makes any pack long enough to have a hint.
func (w *workTree) big() {
	w.t.Helper()
	w.noise("big", 2*minHinted)
}

// hints counts the hints that a person's mirror has.
func (p *person) hints(a refs.Address) int {
	p.t.Helper()
	list, err := filepath.Glob(filepath.Join(p.home.Mirror(a), "gitpeer", "hints", "*"))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(list)
}

func (p *person) checkMirror(a refs.Address) {
	p.t.Helper()
	cmd := exec.Command("git", "fsck", "--strict")
	cmd.Dir = p.home.Mirror(a)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Errorf("git fsck: %v\n%s", err, out)
	}
}

// A hint goes from the publisher to a reader and on to the next one; where it is
// lost, git indexes the pack.
func TestHintTravels(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 20)
	work.big()
	res := alice.publish(work)
	a, err := refs.ParseAddress(res.URL)
	if err != nil {
		t.Fatal(err)
	}
	if n := alice.hints(a); n != 1 {
		t.Fatalf("the publisher has %d hints, want 1", n)
	}
	alice.checkMirror(a)
	bob, carol, dave := newPerson(t, net), newPerson(t, net), newPerson(t, net)
	for _, p := range []*person{bob, carol, dave} {
		p.trustPublisher(res.URL)
		p.start()
	}
	bob.fetch(res.URL)
	bob.checkMirror(a)
	if n := bob.hints(a); n != 1 {
		t.Errorf("the first reader has %d hints, want 1: it has not followed the download", n)
	}
	alice.stop()
	carol.fetch(res.URL)
	if n := carol.hints(a); n != 1 {
		t.Errorf("the second reader has %d hints, want 1: the first does not seed it", n)
	}
	// Lost hints are no damage.
	for _, p := range []*person{bob, carol} {
		p.stop()
		if err := os.RemoveAll(filepath.Join(p.home.Mirror(a), "gitpeer", "hints")); err != nil {
			t.Fatal(err)
		}
		p.start()
	}
	carol.fetch(res.URL)
	dave.fetch(res.URL)
	dave.checkMirror(a)
	if n := dave.hints(a); n != 0 {
		t.Errorf("the third reader has %d hints that nobody seeds", n)
	}
}

// hinted is the pack line for a pack and a hint, both seeded.
func (f *forger) hinted(pack, hint []byte) refs.Pack {
	f.t.Helper()
	line, info := f.honest(pack)
	f.seed(info, bytes.NewReader(pack))
	if len(hint) == 0 {
		return line
	}
	h := swarm.NewHasher()
	h.Write(hint)
	info, err := h.Sum("forged.hint")
	if err != nil {
		f.t.Fatal(err)
	}
	f.seed(info, bytes.NewReader(hint))
	line.Hint, line.HintBytes = info.InfoHash(), info.Length()
	return line
}

// Hints that lie cost time: the pack is accepted, or refused, as without.
func TestLyingHints(t *testing.T) {
	net := loopback(t)
	work := newWorkTree(t, "sha1")
	for range 10 {
		work.commit("")
	}
	pack := packOf(t, work.dir, "HEAD")
	rec := packfile.NewRecorder(packfile.Scratch{})
	stats, err := packfile.Scan(bytes.NewReader(pack), refs.SHA1, packfile.HardLimits, rec.Add)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := rec.Entries(stats)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := entries.WriteHint(&text); err != nil {
		t.Fatal(err)
	}
	right := text.Bytes()
	lie := bytes.Clone(right)
	lie[len(lie)-1] ^= 1 // the base of the last entry
	broken := bytes.Clone(pack)
	broken[len(broken)/2] ^= 4
	for _, c := range []struct {
		name       string
		pack, hint []byte
		hints      int // that a reader keeps
		refused    bool
	}{
		{"right", pack, right, 1, false},
		{"another-base", pack, lie, 0, false},
		{"no-hint-at-all", pack, []byte("PACK"), 0, false},
		{"cut-off", pack, right[:len(right)-2], 0, false},
		{"broken-pack", broken, right, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newForger(t, net)
			f.addr.Name = refs.RepoName(c.name)
			bob := victim(t, net, f)
			line := f.hinted(c.pack, c.hint)
			line.Objects, line.Inflated = stats.Objects, stats.Inflated
			f.release(f.snapshot(work.refs(), line))
			if c.refused {
				bob.refuses(f, trust.BadPack, "")
			} else {
				bob.fetch(f.addr.String())
				bob.checkMirror(f.addr)
			}
			if n := bob.hints(f.addr); n != c.hints {
				t.Errorf("the reader has kept %d hints, want %d", n, c.hints)
			}
		})
	}
}
