package trust

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A longHistory is a git repository with a history of signed commits: each by
// one of four people with Ed25519 keys, every tenth a merge.
type longHistory struct {
	*world
	repo    *bareRepo
	commits []refs.OID
	deflate *zlib.Writer
}

// newLongHistory writes the history as one pack.
func newLongHistory(b *testing.B, n int) *longHistory {
	b.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		b.Skip("no git")
	}
	dir := b.TempDir()
	h := &longHistory{world: newWorld(b), repo: newBare(b, "long", filepath.Join(dir, "long.git")), deflate: zlib.NewWriter(nil)}
	if _, err := h.repo.git("", "init", "-q", "--bare"); err != nil {
		b.Fatal(err)
	}
	var people []*person
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		p := newPerson(b, name)
		h.signer(p)
		people = append(people, p)
	}
	var pack bytes.Buffer
	fmt.Fprintf(&pack, "PACK\x00\x00\x00\x02")
	binary.Write(&pack, binary.BigEndian, uint32(n+1))
	h.pack(&pack, 2, nil) // the empty tree
	side := refs.OID("")
	for i := range n {
		when := day(1).Add(time.Duration(i) * time.Minute)
		var parents []refs.OID
		if i > 0 {
			parents = append(parents, h.commits[i-1])
		}
		if i%10 == 5 {
			side = h.commits[i-2]
		} else if i%10 == 9 {
			parents = append(parents, side)
		}
		p := people[i%len(people)]
		payload := h.payload(when, parents...)
		data := withSignature(payload, "gpgsig", armored(b, p.sign([]byte(payload), when)))
		oid, err := HashObject(refs.SHA1, KindCommit, []byte(data))
		if err != nil {
			b.Fatal(err)
		}
		h.commits = append(h.commits, oid)
		h.pack(&pack, 1, []byte(data))
	}
	sum := sha1.Sum(pack.Bytes())
	pack.Write(sum[:])
	if _, err := h.repo.git(pack.String(), "index-pack", "--stdin"); err != nil {
		b.Fatal(err)
	}
	h.deflate = nil // it holds the pack, whose size would count as ours
	h.world.repo("introduction = " + string(h.commits[0]))
	keys := historyKeys{}
	for _, p := range people {
		keys.armored = append(keys.armored, string(p.cert().Armored()))
	}
	if _, err := exec.LookPath("gpg"); err == nil {
		h.repo.trustInGit(keys)
	}
	return h
}

// pack writes an entry of a pack: gitformat-pack(5).
func (h *longHistory) pack(w *bytes.Buffer, kind byte, data []byte) {
	size := len(data)
	c := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		w.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
	}
	w.WriteByte(c)
	h.deflate.Reset(w)
	h.deflate.Write(data)
	h.deflate.Close()
}

// BenchmarkHistory is the policy engine on long histories in a git repository:
// cold, and with ten new commits on a history that was verified before. It is
// set beside git verify-commit on some of the same commits: x-git says how many
// times faster it is. Both read through git, and wait for its processes.
// commits/cpu-s is over the processor time of this process, which other work on
// the machine does not change.
func BenchmarkHistory(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if testing.Short() && n > 10_000 {
				b.Skip("a long history")
			}
			h := newLongHistory(b, n)
			git := h.gitSpeed(b)
			p, tip := h.policy(), h.commits[n-1]
			runtime.GC()
			b.Run("cold", func(b *testing.B) {
				store, s := h.repo.store(), h.publish(branch("main", tip))
				resetPeak()
				before, busy := peak(), cpuTime()
				for b.Loop() {
					if _, err := Decide(p, nil, s, store, now).Accept(); err != nil {
						b.Fatal(err)
					}
				}
				speed := float64((n-1)*b.N) / b.Elapsed().Seconds()
				b.ReportMetric(speed, "commits/s")
				b.ReportMetric(float64(peak()-before)/(1<<20), "MB-peak")
				if busy = cpuTime() - busy; busy > 0 {
					b.ReportMetric(float64((n-1)*b.N)/busy.Seconds(), "commits/cpu-s")
				}
				if git > 0 {
					b.ReportMetric(speed/git, "x-git")
				}
			})
			b.Run("cached", h.benchmarkCached)
			b.Run("warm", func(b *testing.B) {
				store := h.repo.store()
				old, err := Decide(p, nil, h.publish(branch("main", h.commits[n-11])), store, now).Accept()
				if err != nil {
					b.Fatal(err)
				}
				pins := old.Pins(&Received{Address: h.address, Record: &refs.Record{}})
				s := h.publish(branch("main", tip))
				for b.Loop() {
					if _, err := Decide(p, pins, s, store, now).Accept(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// benchmarkCached is trust check with ten commits more than at the last time.
func (h *longHistory) benchmarkCached(b *testing.B) {
	cache, store, n := OpenCache(b.TempDir()), h.repo.store(), len(h.commits)
	q := Query{Repository: h.address, ObjectFormat: refs.SHA1, Refs: []refs.Ref{branch("main", h.commits[n-11])}, Known: cache.Known, Keep: cache.Keep}
	p := h.policy()
	check := func() {
		v, err := Examine(p, q, store, now)
		if err != nil || v[0].Code != OK || cache.Notes() != nil {
			b.Fatal(v, err, cache.Notes())
		}
	}
	check()
	q.Refs, q.Keep = []refs.Ref{branch("main", h.commits[n-1])}, nil
	busy := cpuTime()
	for b.Loop() {
		check()
	}
	b.ReportMetric(float64((cpuTime()-busy).Microseconds())/1000/float64(b.N), "own-ms/op")
}

// gitSpeed is how many commits git verifies in a second, 0 if gpg is not there.
func (h *longHistory) gitSpeed(b *testing.B) float64 {
	b.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		return 0
	}
	const some = 200
	args := []string{"verify-commit"}
	for _, oid := range h.commits[len(h.commits)-some:] {
		args = append(args, string(oid))
	}
	start := time.Now()
	if out, err := h.repo.command("git", args...).CombinedOutput(); err != nil {
		b.Fatalf("git verify-commit: %v\n%s", err, lastLines(string(out), 5))
	}
	return some / time.Since(start).Seconds()
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
