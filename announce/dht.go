package announce

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/gitpeer/gitpeer/keys"
)

// DHT is all that this package needs of a Mainline DHT node. swarm.DHT is the
// real one; tests use a fake that can fail at each step.
//
// Every method ends when ctx does. Lookup then returns what it had found
// until then, together with ctx's error.
type DHT interface {
	// Lookup walks towards TargetOf(key, salt) once, asking each node on the
	// way for the item (BEP 44 get) and for the peers (BEP 5 get_peers), until
	// the closest nodes have all answered or timed out. It collects every
	// answer: stopping at the first one is how stale records are read. Finding
	// nothing is no error; reaching no node at all is [ErrNoNodes].
	Lookup(ctx context.Context, key keys.ID, salt []byte) (*Lookup, error)

	// Store puts item on each of nodes, which come from a recent [Lookup] of
	// the same target (a token lives for some minutes). There is one Outcome
	// per node, in the order of nodes. The error says that nothing was sent
	// (the item does not verify) or that ctx ended: then the outcomes not yet
	// known are Silent, that is, unknown.
	Store(ctx context.Context, nodes []Node, item *Item) ([]Outcome, error)

	// Announce tells each of nodes that this host serves target at port (BEP 5
	// announce_peer with an explicit port) and returns how many accepted.
	Announce(ctx context.Context, nodes []Node, target Target, port uint16) (accepted int, err error)
}

// Target is a place in the DHT: of an item, and of the peers that serve it.
type Target [20]byte

// TargetOf returns SHA-1(key ‖ salt), the target of a mutable item (BEP 44).
func TargetOf(key keys.ID, salt []byte) Target {
	h := sha1.New()
	h.Write(key[:])
	h.Write(salt)
	return Target(h.Sum(nil))
}

// String returns 40 lower-case hex digits.
func (t Target) String() string { return hex.EncodeToString(t[:]) }

// Node is a DHT node that answered a lookup.
type Node struct {
	Addr netip.AddrPort // never IPv4 mapped into IPv6
	ID   [20]byte

	// The write tokens it gave, each "" if it gave none: ItemToken with the
	// answer to get, for Store; PeersToken with get_peers, for Announce.
	ItemToken, PeersToken string
}

// Answer is what one node said during a lookup.
type Answer struct {
	Node

	// Item is the item it holds, nil if it sent none or a bad one. An Item
	// here has the key and salt that were asked for and verifies.
	Item *Item

	// Invalid: it sent an item with the wrong key, a bad signature, no seq, or
	// a value over the limits. Such a node lies or is broken.
	Invalid bool

	// Took is the time from the question to its answer.
	Took time.Duration
}

// Lookup is the outcome of one walk through the DHT.
type Lookup struct {
	// Closest are the nodes nearest to the target, of those that answered:
	// nearest first, at most 20, at most one per address. Store and Announce
	// go to these.
	Closest []Node

	// Answers has one entry per node that answered, in order of arrival.
	Answers []Answer

	// Peers are the addresses announced at the target, unique, unverified,
	// at most 500.
	Peers []netip.AddrPort

	Asked    int // nodes asked
	Answered int // nodes that answered, == len(Answers)
	Took     time.Duration
}

// Outcome is what became of one put.
type Outcome struct {
	Node    Node
	Status  Status
	Code    int    // error code of the node's refusal (BEP 44: 205, 206, 207, 301, 302), else 0
	Message string // its words: untrusted, at most 128 bytes, quote before printing
}

// Holds reports whether the node is known to hold the very item put.
func (o Outcome) Holds() bool { return o.Status == Stored || o.Status == Same }

// Status is the kind of an [Outcome].
type Status int

const (
	// Silent: no answer. The item may or may not be stored there.
	Silent Status = iota
	// Stored: the node took the item.
	Stored
	// Same: the node refused it (302), and the value it showed when asked
	// afterwards is this very item. Some nodes answer a plain republish so.
	Same
	// Newer: the node holds another value with this or a higher seq.
	Newer
	// Refused: any other error; see Code and Message.
	Refused
)

// String returns the status in lower case, as printed and logged.
func (s Status) String() string {
	switch s {
	case Silent:
		return "silent"
	case Stored:
		return "stored"
	case Same:
		return "same"
	case Newer:
		return "newer"
	case Refused:
		return "refused"
	}
	return "unknown"
}
