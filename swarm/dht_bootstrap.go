package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"

	"github.com/gitpeer/gitpeer/announce"
)

// Bootstrap nodes.
const (
	resolveTime = 5 * time.Second // for all names together
	maxRoutes   = 64              // addresses used
	// bootstrapWalks is how often the start of a walk is asked before nobody is
	// there: it is few nodes, and where one packet in ten is lost, of three
	// nodes all are silent once in 150 times.
	bootstrapWalks = 3
)

// Bootstrap walks towards the node's own id, beginning with the bootstrap
// nodes, the saved ones and the table, and returns once that walk has ended.
// If no node answers in three attempts the error is [announce.ErrNoNodes].
//
// The bootstrap nodes are asked each time: a table full of dead nodes looks
// like a table.
func (d *DHT) Bootstrap(ctx context.Context) error {
	for {
		d.mu.Lock()
		run := d.joining
		mine := run == nil
		if mine {
			run = &bootstrapRun{done: make(chan struct{})}
			d.joining = run
		}
		d.mu.Unlock()
		if mine {
			run.err = d.bootstrap(ctx)
			d.mu.Lock()
			d.joining = nil
			d.mu.Unlock()
			close(run.done)
			return run.err
		}
		select {
		case <-run.done:
			if run.err == nil || errors.Is(run.err, announce.ErrNoNodes) {
				return run.err
			}
			// The other caller gave up; that says nothing about the network.
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// bootstrapRun is a bootstrap under way, whose outcome serves all who ask for
// one meanwhile. (They wait on a channel: a mutex held over a walk would stop
// the time of a synctest bubble.)
type bootstrapRun struct {
	done chan struct{}
	err  error // set before done is closed
}

func (d *DHT) bootstrap(ctx context.Context) error {
	start := d.resolve(ctx)
	for _, n := range d.saved.nodes {
		start = append(start, contact(n))
	}
	start = append(start, d.contacts()...)
	for range bootstrapWalks {
		end := d.walk(ctx, d.saved.id, closest, start, func(ctx context.Context, to netip.AddrPort, answer func(reply)) {
			res := d.query(ctx, to, "find_node", krpc.MsgArgs{Target: krpc.ID(d.saved.id), Want: wantIPv4()})
			if r := res.Reply.R; r != nil {
				answer(reply{id: NodeID(r.ID), nodes: contactsIn(r)})
			}
		})
		if err := ctx.Err(); err != nil {
			return err
		}
		if end.answered > 0 {
			return nil
		}
	}
	return announce.ErrNoNodes
}

// resolve returns the bootstrap nodes and remembers their addresses for
// lookups that find the table empty.
func (d *DHT) resolve(ctx context.Context) []contact {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	found := make([][]netip.AddrPort, len(d.cfg.Bootstrap))
	var all sync.WaitGroup
	for i, hostPort := range d.cfg.Bootstrap {
		all.Go(func() {
			addrs, err := resolveHostPort(ctx, hostPort)
			if err != nil {
				d.log.Debug("dht: bootstrap node not resolved", "node", hostPort, "err", err)
			}
			found[i] = addrs
		})
	}
	all.Wait()
	self := d.Addr()
	var routes []netip.AddrPort
	for _, addrs := range found {
		for _, a := range addrs {
			if a != self && len(routes) < maxRoutes {
				routes = append(routes, a)
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(routes) > 0 { // a failing resolver takes nothing away
		d.routes = routes
	}
	return d.routesLocked()
}

func (d *DHT) routesLocked() []contact {
	var out []contact
	for _, a := range d.routes {
		out = append(out, contact{addr: a})
	}
	return out
}

func resolveHostPort(ctx context.Context, hostPort string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(hostPort); err == nil { // no resolver for what is an address
		return []netip.AddrPort{unmap(a)}, nil
	}
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp4", portText)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, a := range addrs {
		out = append(out, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	return out, nil
}

// contacts returns the routing table, without the nodes known to be dead.
func (d *DHT) contacts() []contact {
	var out []contact
	for _, n := range d.server.Nodes() {
		if a := addrPortOf(n.Addr.UDP()); a.Addr().Is4() {
			out = append(out, contact{id: NodeID(n.ID), addr: a})
		}
	}
	return out
}

// Save writes node id and routing table to cfg.StateFile; without one it
// does nothing. If enough nodes agree on our address and the id does not fit
// it, the file gets an id that does (BEP 42), for the next run: nodes that
// check ids prefer such a node.
func (d *DHT) Save() error {
	if d.cfg.StateFile == "" {
		return nil
	}
	t := savedTable{id: d.saved.id}
	for _, c := range d.contacts() {
		t.nodes = append(t.nodes, savedNode(c))
	}
	if len(t.nodes) == 0 {
		t.nodes = d.saved.nodes // a run without network unlearns nothing
	}
	if ip, ok := d.votes.winner(); ok && !dht.NodeIdSecure(t.id, ip.AsSlice()) {
		dht.SecureNodeId((*krpc.ID)(&t.id), ip.AsSlice())
	}
	if err := saveTable(d.cfg.StateFile, t); err != nil {
		return fmt.Errorf("save DHT table: %w", err)
	}
	return nil
}
