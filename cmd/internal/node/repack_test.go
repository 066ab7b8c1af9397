package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// badlyPacked is a repository of a file's versions without a delta.
func badlyPacked(t *testing.T, work *workTree, versions int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(5, 6))
	lines := make([]string, 1000)
	for i := range lines {
		lines[i] = fmt.Sprint("line ", rnd.Uint64(), "\n")
	}
	for i := range versions {
		lines[rnd.IntN(len(lines))] = fmt.Sprint("version ", i, "\n")
		if err := os.WriteFile(filepath.Join(work.dir, "versions"), []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		work.commit("")
	}
	work.git("repack", "-adf", "--window=0", "-q")
}

// Repacking makes a base with new deltas, of what has not changed too; followers
// need not download it, newcomers download nothing else.
func TestRepack(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	badlyPacked(t, work, 20)
	first := alice.publish(work)
	bob := follower(t, net, first.URL)

	var stages []string
	again, err := alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir, Repack: true}, func(p Progress) {
		if p.Total > 0 && p.Unit == "objects" {
			stages = append(stages, p.Stage)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !again.Changed || again.Number != 2 || again.NewBytes > first.NewBytes/4 {
		t.Errorf("repacked: %+v, want number 2 with a quarter of %d bytes at most", again, first.NewBytes)
	}
	if !slices.Contains(stages, "Compressing") {
		t.Errorf("progress says %q, and nothing of looking for deltas", stages)
	}
	held := func(p *person) (sum int64) {
		packs, err := filepath.Glob(filepath.Join(p.dir(first.URL), "objects", "pack", "*.pack"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range packs {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		return sum
	}
	before := held(bob)
	if got := bob.fetch(first.URL); got.Number != 2 || held(bob) > before+100 { // an empty pack
		t.Errorf("the follower has number %d and %d bytes, want 2 and what it had, %d", got.Number, held(bob), before)
	}
	carol := follower(t, net, first.URL)
	if held(carol) > again.NewBytes {
		t.Errorf("a newcomer has %d bytes, want no more than %d", held(carol), again.NewBytes)
	}
	for _, p := range []*person{alice, bob, carol} {
		p.checkMirror(mustAddress(t, first.URL))
	}
	if base := (refs.Range{From: 0, To: 2}); !slices.ContainsFunc(bob.listed(first.URL), func(p refs.Pack) bool { return p.Range() == base }) {
		t.Errorf("the snapshot does not list the new base: %v", bob.listed(first.URL))
	}
}

// TestRepackNothing: what packing anew does not change is not published again,
// and a history that begins anew, or has ended, is packed all the same.
func TestRepackNothing(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			alice, _ := publisher(t, loopback(t), 0)
			work := newWorkTree(t, format)
			work.commit("")
			repack := func(number uint64, changed bool) {
				t.Helper()
				res, err := alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir, Repack: true}, nil)
				if err != nil || res.Number != number || res.Changed != changed {
					t.Fatalf("Publish = %+v, %v, want number %d, changed: %v", res, err, number, changed)
				}
			}
			repack(1, true)
			repack(1, false)
			work.git("checkout", "-q", "--orphan", "next")
			work.git("branch", "-D", "main")
			if res := alice.publish(work); res.Number != 2 || res.Refs != 0 {
				t.Fatalf("published %+v, want number 2 without refs", res)
			}
			repack(3, true) // no refs and nothing packed: a number of its own does no harm
			work.commit("")
			repack(4, true)
			url := alice.publish(work).URL
			bob := newPerson(t, alice.net)
			bob.trustPublisher(url)
			if res := bob.start().fetch(url); len(res.Refs) != 1 {
				t.Errorf("fetched %+v, want one ref", res)
			}
		})
	}
}
