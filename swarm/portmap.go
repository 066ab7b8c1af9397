package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// A node behind a router of the home asks it to forward the port that it listens on: by NAT-PMP (RFC
// 6886), which gateways with PCP answer as well, else by UPnP IGD.
const (
	// mapLife is how long a mapping holds; it is renewed after half of that.
	mapLife = time.Hour
	// mapRetry is when a router is looked for again where none helped; the computer may have moved.
	mapRetry = 15 * time.Minute
	// mapTime bounds the search for a router and the talk with it.
	mapTime = 10 * time.Second
	// unmapTime bounds taking it back when the node stops.
	unmapTime = 2 * time.Second
)

// A gateway is a router that can forward ports. The protocol is "tcp" or "udp".
type gateway interface {
	String() string
	// external is the router's own address on the other side.
	external(ctx context.Context) (netip.Addr, error)
	// forward forwards a port of the router, if possible the wanted one, to the same port here, for a
	// time, and returns which.
	forward(ctx context.Context, protocol string, port, wanted uint16, life time.Duration) (uint16, error)
	// remove takes that back.
	remove(ctx context.Context, protocol string, port, forwarded uint16) error
}

// A portMapper keeps the port of a node forwarded.
type portMapper struct {
	node     *Node
	discover func(ctx context.Context, listen netip.Addr) []gateway

	gateway gateway // that forwards now, or nil
	tcp     uint16  // ports of the router
	udp     uint16
}

// startMapping keeps the port forwarded until the node ends, where that can make sense: not on
// loopback, and not on an address that is of the Internet already.
func (n *Node) startMapping() {
	if listen := n.Addr().Addr(); listen.IsUnspecified() || listen.IsPrivate() {
		n.runMapper(&portMapper{node: n, discover: discoverGateways})
	}
}

func (n *Node) runMapper(m *portMapper) {
	n.work.Go(func() {
		for n.ctx.Err() == nil {
			pause := m.renew(n.ctx)
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-n.ctx.Done():
			}
			t.Stop()
		}
		m.stop()
	})
}

// renew makes or renews the mapping, and says when to do it again.
func (m *portMapper) renew(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, mapTime)
	defer cancel()
	candidates := []gateway{m.gateway}
	if m.gateway == nil {
		candidates = m.discover(ctx, m.node.Addr().Addr())
	}
	for _, g := range candidates {
		addr, err := m.use(ctx, g)
		if err != nil {
			m.node.log.Debug("router does not forward the port", "router", g.String(), "error", err)
			continue
		}
		if m.node.setMapped(addr) {
			m.node.log.Info("router forwards the port", "router", g.String(), "address", addr.String())
		}
		return mapLife / 2
	}
	m.gateway = nil
	m.node.setMapped(netip.AddrPort{})
	return mapRetry
}

// use has one gateway forward both ports.
func (m *portMapper) use(ctx context.Context, g gateway) (netip.AddrPort, error) {
	port := m.node.Addr().Port()
	wanted := port
	if m.gateway != nil {
		wanted = m.tcp
	}
	tcp, err := g.forward(ctx, "tcp", port, wanted, mapLife)
	if err != nil {
		return netip.AddrPort{}, err
	}
	m.gateway, m.tcp = g, tcp
	// Without UDP there is no uTP from outside, and the DHT node only asks.
	if m.udp, err = g.forward(ctx, "udp", port, tcp, mapLife); err != nil {
		m.node.log.Debug("router forwards no UDP", "router", g.String(), "error", err)
	}
	addr, err := g.external(ctx)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if !addr.IsValid() || addr.IsUnspecified() {
		return netip.AddrPort{}, fmt.Errorf("external address %v", addr)
	}
	return netip.AddrPortFrom(addr.Unmap(), tcp), nil
}

// stop takes the mapping back.
func (m *portMapper) stop() {
	if m.gateway == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), unmapTime)
	defer cancel()
	port := m.node.Addr().Port()
	err := m.gateway.remove(ctx, "tcp", port, m.tcp)
	if m.udp != 0 {
		err = errors.Join(err, m.gateway.remove(ctx, "udp", port, m.udp))
	}
	if err != nil {
		m.node.log.Debug("port stays forwarded for a while", "router", m.gateway.String(), "error", err)
	}
}

// setMapped notes the address at which a router forwards to us, and reports whether it is another.
func (n *Node) setMapped(a netip.AddrPort) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := n.mapped != a
	n.mapped = a
	return changed
}

// mappedAddr is the address at which a router forwards to us; invalid if none does.
func (n *Node) mappedAddr() netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mapped
}

// AnnouncePort is the port at which others reach the node: that of the router, if one forwards.
func (n *Node) AnnouncePort() uint16 {
	if a := n.mappedAddr(); a.IsValid() {
		return a.Port()
	}
	return n.Addr().Port()
}

// localToward is our address on the way to another one.
func localToward(remote string) (netip.Addr, error) {
	c, err := net.Dial("udp4", remote) // sends nothing
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), nil
}
