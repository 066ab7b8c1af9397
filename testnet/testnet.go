package testnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/swarm"
)

// Options describes a network in memory. The zero value is 30 nodes, no
// latency, no loss.
type Options struct {
	Nodes   int           // honest nodes (30); some hundreds at most
	Latency time.Duration // each way, for each packet
	Jitter  time.Duration // random addition to it, up to this much
	Loss    float64       // share of packets lost, 0 to 1
	Seed    uint64        // of the dice, node ids included
	Logger  *slog.Logger  // of all nodes; nil for silence

	// Unseeded leaves the routing tables empty but for what the nodes find
	// out by themselves.
	Unseeded bool
}

// TB is what New needs of a *testing.T, so that programs can import testnet
// without package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Until waits until ok holds, and fails the test if it does not within a minute.
// It is for what happens in other programs, outside of bubbles.
func Until(t TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// Network is a running network. Its methods may be called from several
// goroutines at once.
type Network struct {
	opts    Options
	listen  func() (net.PacketConn, error)
	weather *weather

	mu      sync.Mutex
	dice    *rand.Rand
	nodes   []*swarm.DHT // the honest ones that Options asked for
	joined  []*swarm.DHT
	hostile []*hostile
}

// New starts a network in memory, its tables filled, and closes it when the
// test ends. In a synctest bubble call it inside the bubble.
func New(t TB, o Options) *Network {
	t.Helper()
	calmRace(t)
	wire := newFabric()
	n := newNetwork(o, func() (net.PacketConn, error) { return wire.listen(), nil })
	t.Cleanup(n.Close)
	if err := n.start(context.Background()); err != nil {
		t.Fatalf("testnet: %v", err)
	}
	return n
}

// Loopback starts count nodes on UDP ports of 127.0.0.1 that the system
// picks, their tables filled. The caller closes the network.
func Loopback(ctx context.Context, count int) (*Network, error) {
	return Listen(ctx, netip.AddrFrom4([4]byte{127, 0, 0, 1}), count)
}

// Listen is [Loopback] on another address of this machine, such as one of a
// network namespace that other namespaces reach.
func Listen(ctx context.Context, addr netip.Addr, count int) (*Network, error) {
	n := newNetwork(Options{Nodes: count, Seed: rand.Uint64()}, func() (net.PacketConn, error) {
		return net.ListenPacket("udp4", netip.AddrPortFrom(addr, 0).String())
	})
	if err := n.start(ctx); err != nil {
		n.Close()
		return nil, fmt.Errorf("testnet: %w", err)
	}
	return n, nil
}

func newNetwork(o Options, listen func() (net.PacketConn, error)) *Network {
	if o.Nodes == 0 {
		o.Nodes = 30
	}
	return &Network{
		opts: o, listen: listen, dice: rand.New(rand.NewPCG(o.Seed, 1)),
		weather: &weather{
			latency: o.Latency, jitter: o.Jitter, loss: o.Loss, dice: rand.New(rand.NewPCG(o.Seed, 2)),
			dead: map[netip.AddrPort]bool{}, group: map[netip.AddrPort]int{},
		},
	}
}

func (n *Network) start(ctx context.Context) error {
	for range n.opts.Nodes {
		d, err := n.newDHT(n.bootstrapList())
		if err != nil {
			return err
		}
		n.nodes = append(n.nodes, d)
	}
	if n.opts.Unseeded {
		return nil
	}
	n.fillTables(ctx)
	return ctx.Err()
}

// rates is so high that only a runaway meets it: all nodes of a network on
// loopback are one address.
const rates = 10_000

func (n *Network) newDHT(bootstrap []string) (*swarm.DHT, error) {
	conn, err := n.Listen()
	if err != nil {
		return nil, err
	}
	d, err := swarm.NewDHT(swarm.DHTConfig{
		Conn: conn, Bootstrap: bootstrap, NodeID: n.randomID(),
		Logger: n.opts.Logger, SendRate: rates, QueryRate: rates,
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return d, nil
}

func (n *Network) randomID() (id swarm.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range id {
		id[i] = byte(n.dice.Uint32())
	}
	return id
}

// bucketSize is how many nodes the library keeps for each prefix length.
const bucketSize = 8

// fillTables has each node meet those that its table would hold in the end:
// eight for each length of common prefix.
func (n *Network) fillTables(ctx context.Context) {
	var all sync.WaitGroup
	for _, d := range n.nodes {
		var buckets [161][]netip.AddrPort
		for _, other := range n.nodes {
			if length := commonPrefix(d.ID(), other.ID()); other != d && len(buckets[length]) < bucketSize {
				buckets[length] = append(buckets[length], other.Addr())
			}
		}
		all.Go(func() { d.Meet(ctx, slices.Concat(buckets[:]...)...) })
	}
	all.Wait()
}

func commonPrefix(a, b swarm.NodeID) int {
	for i := range a {
		for bit := range 8 {
			if (a[i]^b[i])&(0x80>>bit) != 0 {
				return 8*i + bit
			}
		}
	}
	return 160
}

// Close ends all nodes.
func (n *Network) Close() {
	n.mu.Lock()
	nodes, liars := slices.Concat(n.nodes, n.joined), n.hostile
	n.mu.Unlock()
	var all sync.WaitGroup
	for _, d := range nodes {
		all.Go(func() { d.Close() })
	}
	for _, h := range liars {
		all.Go(h.close)
	}
	all.Wait()
}

// Size returns how many honest nodes the network was started with.
func (n *Network) Size() int { return len(n.nodes) }

// Node returns honest node i.
func (n *Network) Node(i int) *swarm.DHT { return n.nodes[i] }

// Addrs returns the addresses of the honest nodes as HOST:PORT.
func (n *Network) Addrs() []string {
	var out []string
	for _, d := range n.nodes {
		out = append(out, d.Addr().String())
	}
	return out
}

// entries is how many nodes Bootstrap names: with one, that node's death
// keeps everybody out.
const entries = 3

// Bootstrap returns the addresses of some nodes to join by, as
// GITPEER_BOOTSTRAP wants them.
func (n *Network) Bootstrap() []string { return n.bootstrapList() }

func (n *Network) bootstrapList() []string {
	addrs := n.Addrs()
	return addrs[:min(len(addrs), entries)]
}

// ErrNotJoined is returned by TryJoin when no node of the network answered.
var ErrNotJoined = errors.New("joined no network")

// Join returns one more node, bootstrapped: a publisher or a reader. It is
// closed with the network, and may be closed before. It panics if nobody
// answers, which is a mistake in the test; see TryJoin.
func (n *Network) Join() *swarm.DHT {
	d, err := n.TryJoin(context.Background())
	if err != nil {
		panic("testnet: " + err.Error())
	}
	return d
}

// TryJoin is Join for networks where it may fail. The node is there in any
// case unless its socket could not be opened.
func (n *Network) TryJoin(ctx context.Context) (*swarm.DHT, error) {
	d, err := n.newDHT(n.Bootstrap())
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.joined = append(n.joined, d)
	n.mu.Unlock()
	if err := d.Bootstrap(ctx); err != nil {
		return d, fmt.Errorf("%w: %w", ErrNotJoined, err)
	}
	return d, nil
}

// Listen returns one more socket of the network, out in its weather, for a
// node that a test configures itself or for none. The caller closes it.
func (n *Network) Listen() (net.PacketConn, error) {
	conn, err := n.listen()
	if err != nil {
		return nil, err
	}
	return &link{PacketConn: conn, weather: n.weather}, nil
}

// Kill makes nodes unreachable: what they send and what is sent to them is
// lost. They keep their state and their clocks.
func (n *Network) Kill(nodes ...*swarm.DHT) { n.setDead(true, nodes) }

// Revive undoes Kill.
func (n *Network) Revive(nodes ...*swarm.DHT) { n.setDead(false, nodes) }

func (n *Network) setDead(dead bool, nodes []*swarm.DHT) {
	n.weather.mu.Lock()
	defer n.weather.mu.Unlock()
	for _, d := range nodes {
		n.weather.dead[d.Addr()] = dead
	}
}

// Partition cuts nodes off from all others; they still reach each other.
func (n *Network) Partition(nodes ...*swarm.DHT) {
	n.weather.mu.Lock()
	defer n.weather.mu.Unlock()
	for _, d := range nodes {
		n.weather.group[d.Addr()] = 1
	}
}

// Heal ends all partitions.
func (n *Network) Heal() {
	n.weather.mu.Lock()
	defer n.weather.mu.Unlock()
	clear(n.weather.group)
}

// PacketsSent returns how many packets all nodes have sent.
func (n *Network) PacketsSent() int {
	n.weather.mu.Lock()
	defer n.weather.mu.Unlock()
	return n.weather.sent
}

// Holders returns the honest nodes that store seq at target, the ones joined
// later included.
func (n *Network) Holders(target announce.Target, seq int64) []*swarm.DHT {
	return slices.DeleteFunc(n.all(), func(d *swarm.DHT) bool {
		held, _, ok := d.Holding(target)
		return !ok || held != seq
	})
}

// Closest returns the count honest nodes whose ids are truly nearest to
// target, the ones joined later included.
func (n *Network) Closest(target announce.Target, count int) []*swarm.DHT {
	all := n.all()
	slices.SortFunc(all, func(a, b *swarm.DHT) int {
		da, db := distance(a.ID(), target), distance(b.ID(), target)
		return bytes.Compare(da[:], db[:])
	})
	return all[:min(len(all), count)]
}

func (n *Network) all() []*swarm.DHT {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Concat(n.nodes, n.joined)
}

func distance(id swarm.NodeID, target announce.Target) (d [20]byte) {
	for i := range d {
		d[i] = id[i] ^ target[i]
	}
	return d
}
