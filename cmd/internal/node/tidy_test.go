package node

import (
	"crypto/sha1"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// everything lists all objects of a repository, and what its refs reach.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	for _, args := range [][]string{
		{"cat-file", "--batch-all-objects", "--batch-check"},
		{"rev-list", "--objects", "--all"},
	} {
		out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(out), "\n")
		slices.Sort(lines)
		all = append(all, slices.Compact(lines)...)
	}
	return strings.Join(all, "\n")
}

// follow has a reader follow a random history, with branches that are rewound
// and deleted, through n publications.
func follow(t *testing.T, alice, bob *person, work *workTree, url string, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(4, uint64(n)))
	for i := range n {
		switch r.IntN(6) {
		case 0:
			work.commit(fmt.Sprintf("topic-%d", r.IntN(3)))
		case 1:
			work.commit("")
			work.git("reset", "-q", "--hard", "HEAD~1") // a commit that only the tag below keeps
			work.git("tag", "-f", fmt.Sprintf("t%d", i), "ORIG_HEAD")
		case 2:
			work.git("checkout", "-q", "-B", "main")
			work.git("branch", "-f", "rewound", "HEAD~1")
		default:
			work.commit("")
		}
		work.commit("")
		alice.publish(work)
		bob.fetch(url)
	}
}

func closedMirror(t *testing.T, p *person, url string) (*Node, *mirror) {
	t.Helper()
	p.stop()
	m, err := openMirror(t.Context(), p.home, mustAddress(t, url))
	if err != nil {
		t.Fatal(err)
	}
	return &Node{seeds: map[refs.Address]*seeding{}}, m
}

// TestTidy follows a publisher for a while, and then removes what is off the
// list; at no point is an object lost.
func TestTidy(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	url := alice.publish(work).URL
	bob := newPerson(t, net)
	bob.trustPublisherWithRewind(url)
	bob.configure("[node]\n\tseed = false\n").start() // with a backfill, less would be lost
	bob.fetch(url)
	follow(t, alice, bob, work, url, 34)
	n, m := closedMirror(t, bob, url)
	want := everything(t, m.dir)
	now := time.Now()
	count := func() int {
		names, err := m.packNames()
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	for _, at := range []time.Time{now, now.Add(retireAfter - time.Minute)} {
		if err := n.tidy(t.Context(), m, at); err != nil || count() != before {
			t.Fatalf("tidy after %v left %d of %d packs, %v, want all", at.Sub(now), count(), before, err)
		}
	}
	// Killed once what would be lost is packed, and before anything is removed.
	ripe, err := m.ripe(now.Add(2 * retireAfter))
	if err != nil || len(ripe) < tidyAtLeast {
		t.Fatalf("%d packs are ripe, %v, want %d at least", len(ripe), err, tidyAtLeast)
	}
	half, err := m.newTidying(ripe)
	if err != nil {
		t.Fatal(err)
	}
	if err := half.repack(t.Context()); err != nil {
		t.Fatal(err)
	}
	half.close()
	// Killed in the middle of removing: a pack without index, one that nothing names.
	if err := os.Remove(m.packPath(ripe[0].Hash, ".idx")); err != nil {
		t.Fatal(err)
	}
	for _, p := range ripe[:2] {
		delete(m.packs, p.Info.InfoHash())
		os.Remove(m.path("packs", p.Info.InfoHash().String()))
	}
	if err := n.tidy(t.Context(), m, now.Add(2*retireAfter)); err != nil {
		t.Fatal(err)
	}
	if got := count(); got > before-len(ripe)+1 {
		t.Errorf("%d of %d packs are left, %d were ripe", got, before, len(ripe))
	}
	if got := everything(t, m.dir); got != want {
		t.Error("tidying changed which objects there are")
	}
	if left, _ := filepath.Glob(m.packPath(ripe[0].Hash, ".*")); len(left) > 0 {
		t.Errorf("files without an index are left: %q", left)
	}
	fsck(t, m.dir)
	bob.start()
	follow(t, alice, bob, work, url, 1)
	fsck(t, m.dir)
}

// TestTidySparesTheLastCopy has too few packs to pack together: those whose
// objects are elsewhere go, and no other.
func TestTidySparesTheLastCopy(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	url := alice.publish(work).URL
	bob := newPerson(t, net)
	bob.trustPublisherWithRewind(url)
	bob.start()
	bob.fetch(url)
	follow(t, alice, bob, work, url, 2)
	n, m := closedMirror(t, bob, url)
	want := everything(t, m.dir)
	// A mirror whose list is empty, twice: every pack is ripe.
	st := *m.state
	s := *st.Snapshot
	s.Packs = nil
	st.Snapshot = &s
	m.state = &st
	os.RemoveAll(m.path("snapshots"))
	copied := m.packPath(strings.Repeat("0", 40), "")
	for ih := range m.packs {
		for _, ext := range []string{".pack", ".idx"} {
			if err := os.Link(m.packPath(m.packs[ih].Hash, ext), copied+ext); err != nil {
				t.Fatal(err)
			}
		}
		twin := *m.packs[ih]
		twin.Hash = strings.Repeat("0", 40)
		m.packs[refs.InfoHash{1}] = &twin
		break
	}
	now := time.Now()
	before, _ := m.packNames()
	for _, at := range []time.Time{now, now.Add(retireAfter)} {
		if err := n.tidy(t.Context(), m, at); err != nil {
			t.Fatal(err)
		}
	}
	after, err := m.packNames()
	if err != nil || len(after) != len(before)-1 {
		t.Errorf("%d of %d packs are left, %v, want one less", len(after), len(before), err)
	}
	if everything(t, m.dir) != want {
		t.Error("tidying changed which objects there are")
	}
}

func TestPackIndex(t *testing.T) {
	work := newWorkTree(t, "sha1")
	for range 30 {
		work.commit("")
	}
	work.git("repack", "-adq")
	found, err := filepath.Glob(filepath.Join(work.dir, ".git", "objects", "pack", "*.idx"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	x, err := openPackIndex(found[0], refs.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var got []string
	err = x.each(func(oid []byte) error {
		got = append(got, fmt.Sprintf("%x", oid))
		if has, err := x.has(oid); err != nil || !has {
			t.Errorf("has(%x) = %v, %v", oid, has, err)
		}
		other := sha1.Sum(oid)
		if has, err := x.has(other[:]); err != nil || has {
			t.Errorf("has(%x) = %v, %v, which is no object", other, has, err)
		}
		return nil
	})
	want := strings.Fields(work.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)"))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("each gives %d objects, %v, want %d", len(got), err, len(want))
	}
}

// An index that is not one is refused, whatever is wrong with it.
func FuzzPackIndex(f *testing.F) {
	good := append([]byte(indexMagic), make([]byte, 256*4+40)...)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte("\xfftOc\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "x.idx")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		x, err := openPackIndex(path, refs.SHA1)
		if err != nil {
			return
		}
		defer x.Close()
		if err := x.each(func(oid []byte) error { _, err := x.has(oid); return err }); err != nil {
			t.Errorf("an index that was accepted cannot be read: %v", err)
		}
	})
}
