package dhttest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
)

// A Network is what [TestDHT] tests: two DHT nodes, on different computers or
// ports, in one working DHT of at least ten nodes that behave.
type Network struct {
	Writer, Reader announce.DHT

	// WriterAddr is where others see Writer's host; announced peers have it.
	WriterAddr netip.Addr
}

// TestDHT checks that an implementation of announce.DHT keeps its contract.
// For each case, open makes a new network and calls use once with it; it may
// do so inside a testing/synctest bubble, with the bubble's t.
func TestDHT(t *testing.T, open func(t *testing.T, use func(*testing.T, Network))) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Network)
	}{
		{"EmptyLookup", emptyLookup},
		{"PutThenGet", putThenGet},
		{"PutAgainHolds", putAgainHolds},
		{"HigherSeqReplaces", higherSeqReplaces},
		{"LowerSeqRefused", lowerSeqRefused},
		{"OtherValueAtSameSeq", otherValueAtSameSeq},
		{"SaltsApart", saltsApart},
		{"BadSignatureNotSent", badSignatureNotSent},
		{"WrongTokenRefused", wrongTokenRefused},
		{"LargestItem", largestItem},
		{"AnnounceThenPeers", announceThenPeers},
		{"DeadNodeSilent", deadNodeSilent},
		{"ContextEnds", contextEnds},
	} {
		t.Run(c.name, func(t *testing.T) { open(t, c.run) })
	}
}

func signer() keys.Signer { return keys.FromSeed([32]byte{1, 2, 3}) }

var salt = []byte("tools/HEAD")

func sign(t *testing.T, salt []byte, seq int64, value string) *announce.Item {
	t.Helper()
	i, err := announce.SignItem(signer(), salt, seq, fmt.Appendf(nil, "%d:%s", len(value), value))
	if err != nil {
		t.Fatalf("SignItem(…, %d, %q) = %v", seq, value, err)
	}
	return i
}

func lookup(t *testing.T, d announce.DHT, salt []byte) *announce.Lookup {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, err := d.Lookup(ctx, signer().ID(), salt)
	if err != nil {
		t.Fatalf("Lookup(%q) = %v, want nil", salt, err)
	}
	return l
}

func store(t *testing.T, d announce.DHT, i *announce.Item) []announce.Outcome {
	t.Helper()
	nodes := lookup(t, d, i.Salt).Closest
	return storeOn(t, d, nodes, i)
}

func storeOn(t *testing.T, d announce.DHT, nodes []announce.Node, i *announce.Item) []announce.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	outcomes, err := d.Store(ctx, nodes, i)
	if err != nil {
		t.Fatalf("Store(seq %d) = %v, want nil", i.Seq, err)
	}
	if len(outcomes) != len(nodes) {
		t.Fatalf("Store on %d nodes gave %d outcomes", len(nodes), len(outcomes))
	}
	for k, o := range outcomes {
		if o.Node.Addr != nodes[k].Addr {
			t.Errorf("outcome %d is of %v, want %v", k, o.Node.Addr, nodes[k].Addr)
		}
	}
	return outcomes
}

// all checks that each outcome has a wanted status.
func all(t *testing.T, outcomes []announce.Outcome, want ...announce.Status) {
	t.Helper()
	if len(outcomes) == 0 {
		t.Error("no node was asked")
	}
	for _, o := range outcomes {
		if !slices.Contains(want, o.Status) {
			t.Errorf("%v: %v (%d %q), want %v", o.Node.Addr, o.Status, o.Code, o.Message, want)
		}
	}
}

// holders counts the nodes that answered with exactly i. Where i is nil it
// counts the nodes that hold anything.
func holders(l *announce.Lookup, i *announce.Item) (n int) {
	for _, a := range l.Answers {
		if a.Item != nil && (i == nil || a.Item.Equal(i)) {
			n++
		}
	}
	return n
}

func emptyLookup(t *testing.T, n Network) {
	l := lookup(t, n.Reader, salt)
	if holders(l, nil) != 0 || len(l.Peers) != 0 {
		t.Errorf("an empty DHT has %d items and peers %v", holders(l, nil), l.Peers)
	}
	if l.Answered != len(l.Answers) || l.Answered > l.Asked || l.Answered < 8 {
		t.Errorf("Answered = %d of %d asked, with %d answers; want the 8 closest at least", l.Answered, l.Asked, len(l.Answers))
	}
	checkClosest(t, l)
}

func checkClosest(t *testing.T, l *announce.Lookup) {
	t.Helper()
	if len(l.Closest) < 8 || len(l.Closest) > 20 {
		t.Errorf("%d closest nodes, want 8 to 20", len(l.Closest))
	}
	target := announce.TargetOf(signer().ID(), salt)
	distance := func(n announce.Node) (d [20]byte) {
		for i := range d {
			d[i] = n.ID[i] ^ target[i]
		}
		return d
	}
	seen := map[netip.AddrPort]bool{}
	for i, node := range l.Closest {
		if seen[node.Addr] || !node.Addr.IsValid() || node.Addr.Addr().Is4In6() {
			t.Errorf("closest node %d has address %v: invalid, mapped or seen before", i, node.Addr)
		}
		seen[node.Addr] = true
		if node.ItemToken == "" || node.PeersToken == "" {
			t.Errorf("closest node %v lacks a token", node.Addr)
		}
		if i > 0 {
			a, b := distance(l.Closest[i-1]), distance(node)
			if slices.Compare(a[:], b[:]) > 0 {
				t.Errorf("closest node %d is closer than the one before", i)
			}
		}
	}
}

func putThenGet(t *testing.T, n Network) {
	i := sign(t, salt, 1, "one")
	outcomes := store(t, n.Writer, i)
	all(t, outcomes, announce.Stored)
	if got := holders(lookup(t, n.Reader, salt), i); got < len(outcomes)*3/4 {
		t.Errorf("%d nodes give back an item stored on %d", got, len(outcomes))
	}
}

func putAgainHolds(t *testing.T, n Network) {
	i := sign(t, salt, 1, "one")
	store(t, n.Writer, i)
	for _, o := range store(t, n.Reader, i) { // anybody may
		if !o.Holds() {
			t.Errorf("%v: %v (%d %q), want stored or same", o.Node.Addr, o.Status, o.Code, o.Message)
		}
	}
}

func higherSeqReplaces(t *testing.T, n Network) {
	one, two := sign(t, salt, 1, "one"), sign(t, salt, 2, "two")
	store(t, n.Writer, one)
	all(t, store(t, n.Writer, two), announce.Stored)
	l := lookup(t, n.Reader, salt)
	if holders(l, two) < 8 {
		t.Errorf("%d nodes hold the newer item, want 8 at least", holders(l, two))
	}
}

func lowerSeqRefused(t *testing.T, n Network) {
	one, two := sign(t, salt, 1, "one"), sign(t, salt, 2, "two")
	nodes := lookup(t, n.Writer, salt).Closest
	all(t, storeOn(t, n.Writer, nodes, two), announce.Stored)
	all(t, storeOn(t, n.Writer, nodes, one), announce.Newer)
	if got := holders(lookup(t, n.Reader, salt), one); got != 0 {
		t.Errorf("%d nodes hold the older item, want 0", got)
	}
}

// Nodes differ in what they do, but none may claim to hold both.
func otherValueAtSameSeq(t *testing.T, n Network) {
	one, other := sign(t, salt, 1, "one"), sign(t, salt, 1, "other")
	nodes := lookup(t, n.Writer, salt).Closest
	storeOn(t, n.Writer, nodes, one)
	outcomes := storeOn(t, n.Writer, nodes, other)
	all(t, outcomes, announce.Stored, announce.Newer, announce.Refused)
	holds := map[netip.AddrPort]*announce.Item{}
	for _, a := range lookup(t, n.Reader, salt).Answers {
		holds[a.Addr] = a.Item
	}
	for _, o := range outcomes {
		if i := holds[o.Node.Addr]; i != nil && i.Equal(other) != o.Holds() {
			t.Errorf("%v said %v, and holds %q", o.Node.Addr, o.Status, i.Value)
		}
	}
}

func saltsApart(t *testing.T, n Network) {
	one, other := sign(t, salt, 1, "one"), sign(t, []byte("other/HEAD"), 1, "other")
	store(t, n.Writer, one)
	store(t, n.Writer, other)
	if l := lookup(t, n.Reader, salt); holders(l, one) == 0 || holders(l, one) != holders(l, nil) {
		t.Errorf("of %d items at the salt %q, %d are its own", holders(l, nil), salt, holders(l, one))
	}
}

func badSignatureNotSent(t *testing.T, n Network) {
	i := sign(t, salt, 1, "one")
	nodes := lookup(t, n.Writer, salt).Closest
	i.Sig[0] ^= 1
	if _, err := n.Writer.Store(t.Context(), nodes, i); !errors.As(err, new(*announce.ItemError)) {
		t.Errorf("Store of a badly signed item = %v, want *announce.ItemError", err)
	}
	if got := holders(lookup(t, n.Reader, salt), nil); got != 0 {
		t.Errorf("%d nodes hold a badly signed item", got)
	}
}

func wrongTokenRefused(t *testing.T, n Network) {
	i := sign(t, salt, 1, "one")
	nodes := lookup(t, n.Writer, salt).Closest
	for k := range nodes {
		nodes[k].ItemToken, nodes[k].PeersToken = "wrong", "wrong"
	}
	// BEP 44 has error 203 for it; some nodes just do not answer.
	all(t, storeOn(t, n.Writer, nodes, i), announce.Refused, announce.Silent)
	if accepted, err := n.Writer.Announce(t.Context(), nodes, i.Target(), 7000); accepted != 0 || err != nil {
		t.Errorf("Announce with wrong tokens = %d, %v; want 0, nil", accepted, err)
	}
	if l := lookup(t, n.Reader, salt); holders(l, nil) != 0 || len(l.Peers) != 0 {
		t.Errorf("with wrong tokens, %d nodes took the item; peers are %v", holders(l, nil), l.Peers)
	}
}

func largestItem(t *testing.T, n Network) {
	long := []byte(strings.Repeat("s", announce.MaxSalt))
	i := sign(t, long, 1<<62, strings.Repeat("v", announce.MaxValue-len("996:")))
	all(t, store(t, n.Writer, i), announce.Stored)
	if got := holders(lookup(t, n.Reader, long), i); got < 8 {
		t.Errorf("%d nodes hold the largest possible item, want 8 at least", got)
	}
}

func announceThenPeers(t *testing.T, n Network) {
	l := lookup(t, n.Writer, salt)
	target := announce.TargetOf(signer().ID(), salt)
	accepted, err := n.Writer.Announce(t.Context(), l.Closest, target, 7001)
	if err != nil || accepted < len(l.Closest)/2 {
		t.Errorf("Announce to %d nodes = %d, %v", len(l.Closest), accepted, err)
	}
	want := netip.AddrPortFrom(n.WriterAddr, 7001)
	if got := lookup(t, n.Reader, salt).Peers; !slices.Equal(got, []netip.AddrPort{want}) {
		t.Errorf("Peers = %v, want [%v]", got, want)
	}
	if got := lookup(t, n.Reader, []byte("other/HEAD")).Peers; len(got) != 0 {
		t.Errorf("Peers of another salt = %v, want none", got)
	}
}

func deadNodeSilent(t *testing.T, n Network) {
	i := sign(t, salt, 1, "one")
	nodes := lookup(t, n.Writer, salt).Closest
	nodes[0].Addr = netip.AddrPortFrom(n.WriterAddr, 9) // nobody listens there
	outcomes := storeOn(t, n.Writer, nodes, i)
	all(t, outcomes[:1], announce.Silent)
	all(t, outcomes[1:], announce.Stored)
}

func contextEnds(t *testing.T, n Network) {
	i := sign(t, salt, 1, "one")
	nodes := lookup(t, n.Writer, salt).Closest
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l, err := n.Writer.Lookup(ctx, i.Key, salt); !errors.Is(err, context.Canceled) || l == nil {
		t.Errorf("Lookup after cancel = %v, %v; want what was found and context.Canceled", l, err)
	}
	outcomes, err := n.Writer.Store(ctx, nodes, i)
	if !errors.Is(err, context.Canceled) || len(outcomes) != len(nodes) {
		t.Errorf("Store after cancel = %d outcomes, %v; want %d and context.Canceled", len(outcomes), err, len(nodes))
	}
	for _, o := range outcomes {
		if o.Status != announce.Silent && o.Status != announce.Stored {
			t.Errorf("%v: %v after cancel, want silent or stored", o.Node.Addr, o.Status)
		}
	}
	if _, err := n.Writer.Announce(ctx, nodes, i.Target(), 7000); !errors.Is(err, context.Canceled) {
		t.Errorf("Announce after cancel = %v, want context.Canceled", err)
	}
}
