package node

import (
	"slices"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// TestCoverWeighsPacks: each pack costs a torrent, except the one that came with
// the snapshot.
func TestCoverWeighsPacks(t *testing.T) {
	var packs []refs.Pack
	for n := uint64(1); n <= 16; n++ {
		packs = append(packs, refs.Pack{InfoHash: refs.InfoHash{1, byte(n)}, From: n - 1, To: n, Bytes: 250})
	}
	whole := refs.Pack{InfoHash: refs.InfoHash{2}, From: 0, To: 8, Bytes: 2000}
	half := refs.Pack{InfoHash: refs.InfoHash{3}, From: 8, To: 16, Bytes: 2000}
	packs = append(packs, whole, half)
	last := packs[15]
	for name, c := range map[string]struct {
		have uint64
		came *attachedPack
		want []refs.Pack
	}{
		"one behind":             {15, nil, []refs.Pack{last}},
		"one behind, it came":    {15, &attachedPack{line: last}, []refs.Pack{last}},
		"some behind":            {10, nil, []refs.Pack{half}},
		"two behind, one came":   {14, &attachedPack{line: last}, []refs.Pack{packs[14], last}},
		"three behind":           {13, nil, []refs.Pack{half}},
		"all":                    {0, nil, []refs.Pack{whole, half}},
		"all, and the half came": {0, &attachedPack{line: half}, []refs.Pack{whole, half}},
	} {
		if got, err := cover(packs, c.have, 16, c.came); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: cover = %v, %v, want %v", name, got, err, c.want)
		}
	}
	// Where packs are large, bytes count.
	for i := range packs {
		packs[i].Bytes *= 1000
	}
	if got, err := cover(packs, 10, 16, nil); err != nil || len(got) != 6 {
		t.Errorf("cover of large packs = %v, %v, want the six that are lacking", got, err)
	}
}

// TestFollowerServesNewcomer has a publisher whose increments soon outweigh the
// base, so that it makes new ones, which a follower has no need of. With the
// publisher gone, a newcomer clones from the follower alone.
func TestFollowerServesNewcomer(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	url := alice.publish(work).URL
	bob := follower(t, net, url)
	bases := 0
	for range 5 {
		work.commit("")
		work.commit("")
		alice.publish(work)
		bob.fetch(url)
	}
	shown, err := bob.client.Show(t.Context(), ShowRequest{URL: url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range shown.Packs {
		if p.From == 0 {
			bases++
		}
	}
	if bases < 2 {
		t.Fatalf("%d bases listed, want a later one that the follower did not fetch", bases)
	}
	alice.stop()
	carol := newPerson(t, net)
	carol.trustPublisher(url)
	carol.start()
	if got := carol.fetch(url); !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("the newcomer got %v, want %v", got.Refs, work.refs())
	}
	fsck(t, carol.dir(url))
}
