package swarm

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/keys/durable"
)

// NodeID is a DHT node's place in the network (BEP 5).
type NodeID [20]byte

// String returns 40 lower-case hex digits.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// RandomNodeID returns a new id.
func RandomNodeID() NodeID {
	var id NodeID
	rand.Read(id[:]) // never fails
	return id
}

// savedTable is what a node remembers between two runs: who it was and whom
// it knew. Its text is
//
//	gitpeer-dht v1
//	id <40 hex digits>
//	node <40 hex digits> <IPv4 address>:<port>      at most 256, sorted, unique
//
// and nothing else; a file that is different is ignored as a whole.
type savedTable struct {
	id    NodeID
	nodes []savedNode
}

type savedNode struct {
	id   NodeID
	addr netip.AddrPort
}

const (
	tableHeader = "gitpeer-dht v1\n"
	maxSaved    = 256 // a full table of the library has about 150 nodes
	maxTable    = 64 << 10
)

var errTable = errors.New("not a DHT table")

func (t savedTable) format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sid %v\n", tableHeader, t.id)
	for _, n := range t.nodes {
		fmt.Fprintf(&b, "node %v %v\n", n.id, n.addr)
	}
	return b.Bytes()
}

// parseTable is the inverse of format.
func parseTable(text []byte) (savedTable, error) {
	var t savedTable
	if len(text) > maxTable {
		return t, errTable
	}
	rest, ok := strings.CutPrefix(string(text), tableHeader)
	if !ok {
		return t, errTable
	}
	for line := range strings.Lines(rest) {
		word := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case t.id == NodeID{} && len(word) == 2 && word[0] == "id":
			hex.Decode(t.id[:], []byte(word[1][:min(len(word[1]), 40)]))
		case len(word) == 3 && word[0] == "node" && len(t.nodes) < maxSaved:
			var n savedNode
			hex.Decode(n.id[:], []byte(word[1][:min(len(word[1]), 40)]))
			n.addr, _ = netip.ParseAddrPort(word[2])
			t.nodes = append(t.nodes, n)
		default:
			return savedTable{}, errTable
		}
	}
	// Writing it again finds every other difference.
	t = t.normal()
	if t.id == (NodeID{}) || !bytes.Equal(t.format(), text) {
		return savedTable{}, errTable
	}
	return t, nil
}

// normal returns t sorted and without nodes that cannot be used.
func (t savedTable) normal() savedTable {
	nodes := slices.DeleteFunc(slices.Clone(t.nodes), func(n savedNode) bool {
		return n.id == NodeID{} || n.id == t.id || !mayPoint(n.addr, n.addr)
	})
	slices.SortFunc(nodes, func(a, b savedNode) int {
		if c := bytes.Compare(a.id[:], b.id[:]); c != 0 {
			return c
		}
		return a.addr.Compare(b.addr)
	})
	nodes = slices.Compact(nodes)
	return savedTable{id: t.id, nodes: nodes[:min(len(nodes), maxSaved)]}
}

// loadTable reads a saved table. A missing file is an empty table; a damaged
// one is an error and an empty table.
func loadTable(path string) (savedTable, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return savedTable{}, nil
	}
	if err != nil {
		return savedTable{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTable+1))
	if err != nil {
		return savedTable{}, err
	}
	t, err := parseTable(text)
	if err != nil {
		return savedTable{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// saveTable replaces the file at path: after a crash there is the old or the
// new table.
func saveTable(path string, t savedTable) error {
	return durable.Replace(path, t.normal().format())
}
