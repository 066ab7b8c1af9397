package node

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// stages are those that a fetch goes through.
func (p *person) stages(url string) []string {
	p.t.Helper()
	var list []string
	_, err := p.client.Fetch(p.t.Context(), FetchRequest{URL: url}, func(pr Progress) {
		if pr.Stage == receiving && pr.Bytes == 0 && pr.Over {
			return // the packs came with the snapshot
		}
		if pr.Stage == receiving && !pr.Over {
			return
		}
		if pr.Stage != "" && !slices.Contains(list, pr.Stage) {
			list = append(list, pr.Stage)
		}
	})
	if err != nil {
		p.t.Fatalf("Fetch: %v", err)
	}
	return list
}

const receiving = "Receiving objects"

func receivesPacks(stages []string) bool {
	return slices.ContainsFunc(stages, func(s string) bool { return s == receiving })
}

// TestSmallPackComesWithTheSnapshot has a reader that needs one torrent only,
// and which then, started anew, serves the same to others.
func TestSmallPackComesWithTheSnapshot(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	url := alice.publish(work).URL
	bob := follower(t, net, url)
	work.commit("")
	alice.publish(work)
	if s := bob.stages(url); receivesPacks(s) {
		t.Errorf("one publication behind, the fetch went through %q, want no pack of its own", s)
	}
	alice.stop()
	bob.stop()
	bob.start()
	carol := newPerson(t, net)
	carol.trustPublisher(url)
	carol.start()
	if got := carol.fetch(url); !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("from a follower: %v, want %v", got.Refs, work.refs())
	}
	fsck(t, bob.dir(url))
}

// TestAttachedIsOnlyAHint has snapshots with something else behind the note
// than they should have, and with the pack itself there and nowhere else.
func TestAttachedIsOnlyAHint(t *testing.T) {
	for name, c := range map[string]struct {
		attach func(pack []byte) []byte
		apart  bool // the pack is seeded as a torrent
	}{
		"missing":   {func([]byte) []byte { return nil }, true},
		"cut off":   {func(p []byte) []byte { return p[:len(p)-1] }, true},
		"too long":  {func(p []byte) []byte { return append(p, 0) }, true},
		"changed":   {func(p []byte) []byte { return append([]byte{p[0] ^ 1}, p[1:]...) }, true},
		"other":     {func(p []byte) []byte { return make([]byte, refs.MaxAttachedBytes) }, true},
		"only here": {bytes.Clone, false},
	} {
		t.Run(name, func(t *testing.T) {
			net := loopback(t)
			f := newForger(t, net)
			bob := victim(t, net, f)
			work := newWorkTree(t, "sha1")
			work.commit("")
			pack := f.pack(work)
			line, info := f.honest(pack)
			if !c.apart {
				line.InfoHash = standardInfo(t, f.addr, pack)
			} else {
				f.seed(info, bytes.NewReader(pack))
			}
			s := f.snapshot(work.refs(), line)
			note, err := refs.Sign(s, f.key)
			if err != nil {
				t.Fatal(err)
			}
			f.releaseNote(note, s, c.attach(pack)...)
			if got := bob.fetch(f.addr.String()); !slices.Equal(got.Refs, work.refs()) {
				t.Errorf("got %v, want %v", got.Refs, work.refs())
			}
			fsck(t, bob.dir(f.addr.String()))
		})
	}
}

// standardInfo is the infohash that a publisher of ours gives its first pack.
func standardInfo(t *testing.T, a refs.Address, pack []byte) refs.InfoHash {
	t.Helper()
	s := &refs.Snapshot{Repository: a, Number: 1, Packs: []refs.Pack{{To: 1, Bytes: int64(len(pack)), SHA256: refs.DigestOf(pack)}}}
	info, err := packInfo(s.Repository, s.Packs[0].Range(), pack)
	if err != nil {
		t.Fatal(err)
	}
	return info.InfoHash()
}

// A pack that comes with a snapshot is held against its line like any other.
func TestAttachedPackIsChecked(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	pack := f.pack(work)
	line, _ := f.honest(pack)
	line.InfoHash = standardInfo(t, f.addr, pack)
	line.Inflated--
	s := f.snapshot(work.refs(), line)
	note, err := refs.Sign(s, f.key)
	if err != nil {
		t.Fatal(err)
	}
	f.releaseNote(note, s, pack...)
	bob.refuses(f, trust.BadPack, "inflated")
}

// TestSnapshotThatIsNoParcel: what the infohash of a record names is compressed.
func TestSnapshotThatIsNoParcel(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	f.releaseBytes([]byte("gitpeer-snapshot v1\n"), &refs.Snapshot{Number: 1}, refs.Digest{})
	bob.refuses(f, trust.BadPack, "no compressed snapshot")
}

// The file of an older snapshot that is damaged is not seeded, and stops nothing.
// The accepted one is not taken for another: what is damaged is named.
func TestDamagedParcel(t *testing.T) {
	bob, _, url, next := acceptedOnce(t)
	next()
	bob.fetch(url)
	bob.stop()
	damage := func(number string) {
		path := filepath.Join(bob.dir(url), "gitpeer", "snapshots", number)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage("1")
	bob.start()
	next()
	if got := bob.fetch(url); got.Number != 3 {
		t.Errorf("fetch gave number %d, want 3", got.Number)
	}
	bob.stop()
	damage("3")
	_, err := openMirror(t.Context(), bob.home, mustAddress(t, url))
	if err == nil || !strings.Contains(err.Error(), filepath.Join("snapshots", "3")) {
		t.Errorf("a mirror whose snapshot is damaged: %v, want an error that names the file", err)
	}
}

func TestJoined(t *testing.T) {
	first, second := []byte("the beginning"), []byte("and the end")
	whole := append(bytes.Clone(first), second...)
	j := &joined{bytes.NewReader(first), int64(len(first)), bytes.NewReader(second)}
	if err := iotest.TestReader(io.NewSectionReader(j, 0, int64(len(whole))), whole); err != nil {
		t.Error(err)
	}
	for from := range whole {
		for to := from; to <= len(whole); to++ {
			b := make([]byte, to-from)
			if n, err := j.ReadAt(b, int64(from)); n != len(b) || err != nil && err != io.EOF || !bytes.Equal(b, whole[from:to]) {
				t.Fatalf("ReadAt %d to %d = %q, %v", from, to, b[:n], err)
			}
		}
	}
}
