package node

import (
	"slices"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// TestReadersOfRewoundBranches publishes nine times, over a branch that goes
// aside, is deleted and comes back, with a reader joining at each number; the
// eighth publication makes a level. Every reader must get to the ninth.
func TestReadersOfRewoundBranches(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	work.git("config", "core.compression", "0")
	url := alice.publish(work).URL
	var readers []*person
	join := func() {
		p := newPerson(t, net)
		p.trustPublisherWithRewind(url)
		p.start()
		p.fetch(url)
		readers = append(readers, p)
	}
	join()
	var aside refs.OID
	for i := 2; i <= 9; i++ {
		switch i {
		case 2:
			work.git("checkout", "-q", "-b", "topic")
			aside = work.commit("")
		case 3: // aside
			work.git("reset", "-q", "--hard", "main")
			work.commit("")
		case 4:
			work.git("checkout", "-q", "main")
			work.git("branch", "-q", "-D", "topic")
			work.commit("")
		case 5: // back to what it was at number 2
			work.git("branch", "topic", string(aside))
		default:
			work.commit("")
		}
		alice.publish(work)
		join()
	}
	for i, p := range readers {
		got := p.fetch(url)
		if got.Number != 9 || !slices.Equal(got.Refs, work.refs()) {
			t.Errorf("reader who joined at %d: number %d, want 9 with all refs", i+1, got.Number)
		}
		fsck(t, got.Mirror)
	}
}
