package node

import (
	"slices"
	"testing"
)

// TestFollowerServesNewcomer has a publisher whose increments soon outweigh the
// base, so that it makes new ones, which a follower has no need of. With the
// publisher gone, a newcomer clones from the follower alone.
func TestFollowerServesNewcomer(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	url := alice.publish(work).URL
	bob := newPerson(t, net)
	bob.trustPublisher(url)
	bob.start()
	bob.fetch(url)
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
