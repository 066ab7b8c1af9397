package node

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

func TestMeter(t *testing.T) {
	var got []Progress
	packs := []refs.Pack{{InfoHash: refs.InfoHash{1}, Objects: 10, Bytes: 600}, {InfoHash: refs.InfoHash{2}, Objects: 30, Bytes: 400}, {InfoHash: refs.InfoHash{4}}}
	m := newMeter(func(p Progress) { got = append(got, p) }, packs, &attachedPack{line: packs[2]})
	m.received(packs[0].InfoHash, swarm.Progress{Verified: 500, Rate: 100, Peers: 2})
	m.received(packs[1].InfoHash, swarm.Progress{Verified: 250, Rate: 50, Peers: 3})
	m.received(refs.InfoHash{3}, swarm.Progress{Verified: 1e9}) // of no pack of these
	m.checked(packs[0].InfoHash).Add(9)
	if n := m.checked(packs[0].InfoHash); n.Load() != 0 { // git begins anew
		t.Errorf("a pack that is indexed again begins with %d objects", n.Load())
	}
	m.checked(packs[0].InfoHash).Add(7)
	m.checked(packs[1].InfoHash).Add(5)
	m.report(m.line())
	m.checked(packs[1].InfoHash).Add(1000)
	m.report(m.line())
	m.end()
	want := Progress{Stage: receiving, Done: 12, Total: 40, Unit: "objects", Bytes: 750, Rate: 150, Peers: 3}
	full, last := want, want
	full.Done, last.Done, last.Bytes, last.Over = 40, 40, 1000, true
	if !slices.Equal(got, []Progress{want, full, last}) {
		t.Errorf("lines %+v, want %+v, %+v, %+v", got, want, full, last)
	}
	if (*meter)(nil).checked(refs.InfoHash{}) == nil {
		t.Error("a backfill has no counter")
	}
}

// TestCloneCountsObjects: the line of a clone ends with all objects and bytes.
func TestCloneCountsObjects(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	noise := make([]byte, 200_000) // more than comes with a snapshot
	rand.Read(noise)
	if err := os.WriteFile(filepath.Join(work.dir, "noise"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	work.git("add", "noise")
	work.commit("")
	url := alice.publish(work).URL
	bob := newPerson(t, net)
	bob.trustPublisher(url)
	bob.start()
	var last Progress
	res, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, func(p Progress) {
		if p.Stage == receiving {
			last = p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := bob.client.Show(t.Context(), ShowRequest{URL: url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pack := shown.Packs[0]
	if !last.Over || last.Done != pack.Objects || last.Total != pack.Objects || last.Bytes != pack.Bytes {
		t.Errorf("the last line of a clone of %s is %+v, want %d objects, %d bytes", res.Mirror, last, pack.Objects, pack.Bytes)
	}
}
