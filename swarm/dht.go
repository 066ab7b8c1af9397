package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/log"
	"golang.org/x/time/rate"

	"github.com/gitpeer/gitpeer/announce"
)

// DHTConfig says how a [DHT] node runs. Only Conn is required; a zero limit
// means its default.
type DHTConfig struct {
	// Conn is the IPv4 datagram socket: a UDP socket, what remains of one that
	// uTP shares, or testnet's. The DHT reads all of it and closes it.
	Conn net.PacketConn

	// Bootstrap lists nodes as HOST:PORT, asked whenever the table is poor.
	// Empty means none: there is no fallback to the public routers, see
	// [PublicBootstrap].
	Bootstrap []string

	// StateFile keeps node id and routing table between runs; "" for nowhere.
	// Its directory exists.
	StateFile string

	// NodeID is the node's id; zero for the saved one, else a random one.
	NodeID NodeID

	// Logger gets what happens below; nil for silence.
	Logger *slog.Logger

	// Timeout is how long a node may take to answer, where some answer at all (1 s: almost all of the
	// Internet; each second more is one more second for every lookup that
	// meets a dead node).
	Timeout time.Duration

	// SendRate bounds packets sent, per second (250), with a burst of four
	// times as much: a publication takes some 300, and may follow on another.
	SendRate int

	// QueryRate bounds queries answered per second and address, with a burst of
	// four times as much (25). Loopback addresses are exempt.
	QueryRate int

	// MaxItems bounds what is stored for others (8192 items of 2 KiB).
	MaxItems int
}

// PublicBootstrap returns entry points of the Mainline DHT: run by BitTorrent
// Inc., the Transmission and libtorrent projects, and pkarr.
func PublicBootstrap() []string {
	return []string{
		"router.bittorrent.com:6881",
		"dht.transmissionbt.com:6881",
		"dht.libtorrent.org:25401",
		"relay.pkarr.org:6881",
	}
}

func (c DHTConfig) withDefaults() DHTConfig {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.SendRate <= 0 {
		c.SendRate = 250
	}
	if c.QueryRate <= 0 {
		c.QueryRate = 25
	}
	if c.MaxItems <= 0 {
		c.MaxItems = maxItems
	}
	return c
}

// DHT is a node of the Mainline DHT: it answers others, stores for them, and
// is the [announce.DHT] of this process. Its methods may be called from
// several goroutines at once.
type DHT struct {
	cfg    DHTConfig
	log    *slog.Logger
	server *dht.Server
	guard  *guard
	items  *itemStore
	votes  *addrVotes
	saved  savedTable // as loaded

	patience queryPatience

	stop context.CancelFunc
	work sync.WaitGroup // goroutines of NewDHT

	mu      sync.Mutex
	routes  []netip.AddrPort // bootstrap nodes, resolved
	joining *bootstrapRun    // nil if none is under way
	closed  bool
}

var _ announce.DHT = (*DHT)(nil)

// NewDHT starts a node on cfg.Conn. It joins the network in the background
// and tries again until it succeeds; [DHT.Bootstrap] waits for that. The
// caller closes it.
func NewDHT(cfg DHTConfig) (*DHT, error) {
	if cfg.Conn == nil {
		return nil, errors.New("swarm: DHT without a socket")
	}
	cfg = cfg.withDefaults()
	d := &DHT{cfg: cfg, log: cfg.Logger, items: newItemStore(cfg.MaxItems), votes: &addrVotes{}}
	d.guard = newGuard(cfg.Conn, newQueryLimit(rate.Limit(cfg.QueryRate), 4*cfg.QueryRate), d.log)
	if cfg.StateFile != "" {
		var err error
		if d.saved, err = loadTable(cfg.StateFile); err != nil {
			d.log.Warn("dht: starting with an empty table", "err", err)
		}
	}
	if d.saved.id == (NodeID{}) {
		d.saved.id = RandomNodeID()
	}
	if cfg.NodeID != (NodeID{}) {
		d.saved.id = cfg.NodeID
	}
	server, err := dht.NewServer(d.serverConfig())
	if err != nil {
		return nil, fmt.Errorf("start DHT node: %w", err)
	}
	d.server = server
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.work.Go(func() { d.stayConnected(ctx) })
	return d, nil
}

func (d *DHT) serverConfig() *dht.ServerConfig {
	return &dht.ServerConfig{
		Conn:             d.guard,
		NodeId:           krpc.ID(d.saved.id),
		NoSecurity:       true, // or nodes whose id does not fit their address (most of them) are ignored
		StartingNodes:    d.startingNodes,
		DefaultWant:      []krpc.Want{krpc.WantNodes},
		Store:            d.items,
		Exp:              itemLife,
		PeerStore:        newPeerStore(),
		OnQuery:          repairQuery,
		SendLimiter:      rate.NewLimiter(rate.Limit(d.cfg.SendRate), 4*d.cfg.SendRate),
		WaitToReply:      true,
		QueryResendDelay: func() time.Duration { return d.patience.of(d.cfg.Timeout, time.Now()) },
		Logger:           log.Default.FilterLevel(log.Critical),
	}
}

// repairQuery changes a query on its way to the library's handlers so that
// they answer it rightly. It runs under the server's lock.
func repairQuery(q *krpc.Msg, _ net.Addr) bool {
	if q.A == nil {
		return false // put and announce_peer dereference it
	}
	// One socket, one family: asked for n6 the library lists IPv4 nodes again
	// as mapped addresses, which readers take for other nodes.
	q.A.Want = []krpc.Want{krpc.WantNodes}
	switch q.Q {
	case "find_node", "get":
		// It answers with the nodes nearest to info_hash, whatever was asked.
		q.A.InfoHash = q.A.Target
	case "put":
		// It compares cas with a stored cas, not with the stored seq, and would
		// lock out all later puts.
		q.A.Cas = 0
		if q.A.Seq == nil { // an immutable item has none
			q.A.Seq = new(int64)
		}
	}
	return true
}

// startingNodes gives the library the bootstrap nodes for an empty table.
// The list must not be empty: the library then leaks a goroutine.
func (d *DHT) startingNodes() ([]dht.Addr, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var addrs []dht.Addr
	for _, a := range d.routes {
		addrs = append(addrs, addrOf(a))
	}
	return addrs, nil
}

func addrOf(a netip.AddrPort) dht.Addr { return dht.NewAddr(net.UDPAddrFromAddrPort(a)) }

// Addr returns the address of the node's socket.
func (d *DHT) Addr() netip.AddrPort { return addrPortOf(d.guard.LocalAddr()) }

// ID returns the node's id.
func (d *DHT) ID() NodeID { return d.saved.id }

// Good returns how many nodes of the routing table answered lately.
func (d *DHT) Good() int { return d.server.Stats().GoodNodes }

// DHTStats is a look at a running node.
type DHTStats struct {
	Good, Known int   // nodes in the routing table: answering lately; all
	Items       int   // items stored for others
	Passed      int64 // packets handed on
	Malformed   int64 // packets dropped because the library might not survive or must not print them
	Limited     int64 // queries dropped because their sender asks too much
	ReadErrors  int64 // failed reads of the socket
}

// Stats returns the counters of the node.
func (d *DHT) Stats() DHTStats {
	s := d.server.Stats()
	return DHTStats{
		Good: s.GoodNodes, Known: s.Nodes, Items: d.items.len(), Passed: d.guard.passed.Load(),
		Malformed: d.guard.malformed.Load(), Limited: d.guard.limited.Load(), ReadErrors: d.guard.failed.Load(),
	}
}

// Holding returns seq and value of the item that this node stores for others
// at target.
func (d *DHT) Holding(target announce.Target) (seq int64, value []byte, ok bool) {
	return d.items.holds(target, time.Now())
}

// Close saves the table, closes the socket and waits until the node has
// stopped: at most four times cfg.Timeout.
func (d *DHT) Close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	err := d.Save()
	d.stop()
	d.server.Close()
	d.guard.Close() // the library does it too, but does not wait
	d.work.Wait()
	return err
}
