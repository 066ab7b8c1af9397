package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/testnet"
	"github.com/gitpeer/gitpeer/trust"
)

// A council is three publishers of one repository, of whom two must agree for
// a reader. Their commits are not signed: the quorum is all that protects it.
type council struct {
	t                 *testing.T
	net               *testnet.Network
	alice, bob, carol *forger
	work              *workTree
}

func newCouncil(t *testing.T) *council {
	t.Helper()
	c := &council{t: t, net: loopback(t), work: newWorkTree(t, "sha1")}
	for i, f := range []**forger{&c.alice, &c.bob, &c.carol} {
		*f = newForgerWith(t, c.net, keys.FromSeed([32]byte{byte(i + 1)}))
	}
	c.work.commit("")
	return c
}

// publish has publishers publish the work tree as it is.
func (c *council) publish(publishers ...*forger) {
	c.t.Helper()
	for _, f := range publishers {
		f.publish(c.work)
	}
}

// reader makes somebody who asks for two of the three.
func (c *council) reader() *person {
	c.t.Helper()
	p := newPerson(c.t, c.net)
	var b strings.Builder
	b.WriteString("[gitpeer]\n\tversion = 1\n")
	for name, f := range map[string]*forger{"alice": c.alice, "bob": c.bob, "carol": c.carol} {
		fmt.Fprintf(&b, "[publisher %q]\n\tkey = %s\n", name, f.key.ID())
	}
	fmt.Fprintf(&b, "[repo \"tools\"]\n\turl = %s\n\tpublishers = bob carol\n", c.alice.addr)
	b.WriteString("[rule \"tools\"]\n\trepo = tools\n\tref = refs/*\n\tmode = publisher\n\ttags = any\n\tquorum = 2\n")
	if err := os.WriteFile(filepath.Join(p.home.Config, trust.ConfigName), []byte(b.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return p.start()
}

// notes fetches from a publisher, and returns what was said meanwhile.
func (p *person) notes(f *forger) (string, error) {
	p.t.Helper()
	var said []string
	_, err := p.client.Fetch(p.t.Context(), FetchRequest{URL: f.addr.String()}, func(e Progress) {
		if e.Note != "" {
			said = append(said, e.Note)
		}
	})
	return strings.Join(said, "\n"), err
}

func (p *person) hasMirror(f *forger) bool {
	_, err := os.Stat(p.home.Mirror(f.addr))
	return err == nil
}

// TestA6StolenPublisherKey: who has one publisher's key of three can publish
// nothing under a quorum of two, until another publisher has it too.
func TestA6StolenPublisherKey(t *testing.T) {
	c := newCouncil(t)
	c.publish(c.alice, c.bob, c.carol)
	dave := c.reader()
	dave.fetch(c.alice.addr.String())
	if dave.hasMirror(c.bob) || dave.hasMirror(c.carol) {
		t.Error("the packs of publishers who have the same refs were fetched")
	}
	again := dave.fetch(c.alice.addr.String())
	if again.Changed {
		t.Error("a fetch without news says that something changed")
	}

	c.work.commit("")
	c.publish(c.alice) // the thief
	dave.refuses(c.alice, trust.NoQuorum, "only alice says so: bob is at")
	c.work.git("reset", "-q", "--hard", "HEAD^")
	c.work.git("tag", "v1")
	c.publish(c.alice)
	dave.refuses(c.alice, trust.NoQuorum, "bob does not list it")

	c.publish(c.bob)
	dave.fetch(c.alice.addr.String())
	if got := dave.fetch(c.bob.addr.String()); len(got.Refs) != 2 {
		t.Errorf("bob's own URL: %d refs, want main and v1, which alice has too", len(got.Refs))
	}
	c.work.commit("")
	c.publish(c.bob)
	dave.refuses(c.bob, trust.NoQuorum, "only bob says so")
}

// TestA6PublisherOffline: a publisher who cannot be reached, by a reader who
// never heard it before, neither counts nor blocks.
func TestA6PublisherOffline(t *testing.T) {
	c := newCouncil(t)
	c.publish(c.alice, c.bob, c.carol)
	c.carol.swarm.Close() // its record stays in the DHT
	dave := c.reader()
	said, err := dave.notes(c.alice)
	if err != nil || !strings.Contains(said, "carol could not be heard") {
		t.Errorf("Fetch without carol = %v, notes %q, want success and a word about carol", err, said)
	}
	if got := dave.fetch(c.alice.addr.String()); got.Stale != "" {
		t.Errorf("stale: %q", got.Stale)
	}
	c.bob.swarm.Close()
	c.reader().refuses(c.alice, trust.NoQuorum, "bob could not be heard")
	c.work.commit("")
	c.publish(c.alice)
	dave.refuses(c.alice, trust.NoQuorum, "bob is at") // whom dave heard before, and whose record is valid
}

// TestA6WitnessesAhead: publishers at other commits count if these descend from
// the proposed one, for which their packs are fetched once; and each fetch may
// need the mirrors that the others work on.
func TestA6WitnessesAhead(t *testing.T) {
	c := newCouncil(t)
	dave := c.reader()
	for round := range 2 {
		c.publish(c.alice)
		c.work.commit("")
		c.publish(c.bob)
		c.work.commit("")
		c.publish(c.carol)
		var wg sync.WaitGroup
		errs := make([]error, 3)
		for i, f := range []*forger{c.alice, c.bob, c.carol} {
			wg.Go(func() { _, errs[i] = dave.client.Fetch(t.Context(), FetchRequest{URL: f.addr.String()}, nil) })
		}
		wg.Wait()
		if errs[0] != nil || errs[1] != nil {
			t.Fatalf("round %d: alice: %v, bob: %v, want both accepted: others are ahead of them", round, errs[0], errs[1])
		}
		wantCode(t, errs[2], trust.NoQuorum)
		c.work.commit("")
	}
	dave.refuses(c.carol, trust.NoQuorum, "which is behind")
	fsck(t, dave.home.Mirror(c.alice.addr))
}

// TestA6WitnessOnAnotherLine: commits that are not descendants do not count,
// and what was fetched to find out changes nothing.
func TestA6WitnessOnAnotherLine(t *testing.T) {
	c := newCouncil(t)
	c.publish(c.bob, c.carol)
	dave := c.reader()
	c.work.commit("")
	c.publish(c.alice)
	c.work.git("commit", "-q", "--amend", "-m", "another")
	c.publish(c.bob)
	dave.refuses(c.alice, trust.NoQuorum, "which is on another line")
	if !dave.hasMirror(c.bob) {
		t.Error("bob's packs were not fetched")
	}
	// What bob's mirror holds was accepted without a quorum, and counts for
	// nothing when it is fetched itself.
	dave.refuses(c.bob, trust.NoQuorum, "only bob says so")
}

// TestA5EquivocatingWitness: a publisher who signs two records loses its voice,
// is named, and both records are kept.
func TestA5EquivocatingWitness(t *testing.T) {
	c := newCouncil(t)
	c.publish(c.alice, c.bob)
	c.bob.equivocate(c.net)
	dave := c.reader()
	dave.refuses(c.alice, trust.NoQuorum, "bob could not be heard: ")
	c.publish(c.carol)
	said, err := dave.notes(c.alice)
	if err != nil || !strings.Contains(said, "bob could not be heard, and was not counted") {
		t.Errorf("Fetch = %v, notes %q, want success and a word about bob", err, said)
	}
	kept, err := filepath.Glob(filepath.Join(dave.home.Data, "evidence", c.bob.key.ID().String(), "tools", "*.record"))
	if err != nil || len(kept) != 2 {
		t.Errorf("evidence: %v, %v, want both records", kept, err)
	}
}

// TestA2WitnessFallsBack: what was heard from a witness is its floor, also
// after the node was started again.
func TestA2WitnessFallsBack(t *testing.T) {
	c := newCouncil(t)
	c.publish(c.bob)
	old := c.bob.last
	c.work.commit("")
	c.publish(c.alice, c.bob)
	dave := c.reader()
	dave.fetch(c.alice.addr.String())
	dave.stop()
	dave.start()
	s, err := refs.Open(old, c.bob.addr)
	if err != nil {
		t.Fatal(err)
	}
	c.bob.releaseNote(old, s) // under a newer record
	c.work.commit("")
	c.publish(c.alice)
	dave.refuses(c.alice, trust.NoQuorum, "2 was accepted before")
}

// TestHeard: what was heard is kept as it was, and a damaged file is said to be.
func TestHeard(t *testing.T) {
	c := newCouncil(t)
	c.publish(c.alice, c.bob)
	dave := c.reader()
	dave.fetch(c.alice.addr.String())
	m, err := openMirror(t.Context(), dave.home, c.bob.addr)
	if err != nil {
		t.Fatal(err)
	}
	st, err := m.heard()
	if err != nil || st == nil || st.Item.Seq != c.bob.seq || string(st.Note) != string(c.bob.last) || st.Pins.Number != 1 {
		t.Fatalf("heard() = %+v, %v, want bob's record and snapshot", st, err)
	}
	raw, err := os.ReadFile(m.heardPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.hold(st); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(m.heardPath()); err != nil || string(again) != string(raw) {
		t.Errorf("hold(heard()) wrote %q, %v, want %q", again, err, raw)
	}
	for _, damaged := range []string{"", "{}", strings.Replace(string(raw), `"note":"`, `"note":"AAAA`, 1), string(raw[:len(raw)/2])} {
		if err := os.WriteFile(m.heardPath(), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if st, err := m.heard(); err == nil {
			t.Errorf("heard() of %.20q = %+v, want an error", damaged, st)
		}
	}
	c.work.commit("")
	c.publish(c.alice, c.bob)
	_, err = dave.client.Fetch(t.Context(), FetchRequest{URL: c.alice.addr.String()}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != trust.NoQuorum || !strings.Contains(e.Message, "tools.heard") {
		t.Errorf("Fetch with a damaged file = %v, want no quorum, and the file's name", err)
	}
}
