package swarm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/gitpeer/gitpeer/refs"
)

// Local service discovery (BEP 14): who downloads asks the local network for peers, by multicast,
// and who has the torrent calls. Only downloads are announced, not what is seeded: everybody on the
// network sees the infohashes, and with them who fetches what.
const (
	lsdMaxPacket = 1400 // BEP 14
	lsdMaxHashes = 20   // in a message; more do not fit
	lsdInterval  = 5 * time.Minute
	lsdLeast     = time.Minute // between two messages about one torrent
	lsdTick      = 2 * time.Second
	// lsdInterfaces bounds the networks that are listened on.
	lsdInterfaces = 8
	// lsdRate is how many messages a second are read; a network with hundreds of downloads has fewer.
	lsdRate = 20
)

// lsdGroup is where BEP 14 messages go.
var lsdGroup = netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 192, 152, 143}), 6771)

// lsdMessage is a BT-SEARCH.
type lsdMessage struct {
	Port   uint16
	Hashes []refs.InfoHash // 1 to lsdMaxHashes
	Cookie string          // to know one's own; up to 32 of [A-Za-z0-9._-]
}

// format writes the message.
func (m *lsdMessage) format() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "BT-SEARCH * HTTP/1.1\r\nHost: %s\r\nPort: %d\r\n", lsdGroup, m.Port)
	for _, h := range m.Hashes {
		fmt.Fprintf(&b, "Infohash: %s\r\n", h)
	}
	if m.Cookie != "" {
		fmt.Fprintf(&b, "cookie: %s\r\n", m.Cookie)
	}
	b.WriteString("\r\n\r\n")
	return []byte(b.String())
}

var errLSD = errors.New("not a BT-SEARCH message")

// parseLSD reads a message. Header names are taken in any case, unknown ones passed over; infohashes
// in 40 hex digits.
func parseLSD(b []byte) (*lsdMessage, error) {
	if len(b) > lsdMaxPacket {
		return nil, errLSD
	}
	first, rest, ok := strings.Cut(string(b), "\r\n")
	if !ok || first != "BT-SEARCH * HTTP/1.1" {
		return nil, errLSD
	}
	m := &lsdMessage{}
	for line := range strings.SplitSeq(rest, "\r\n") {
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, errLSD
		}
		if err := m.set(strings.ToLower(name), strings.TrimSpace(value)); err != nil {
			return nil, err
		}
	}
	if m.Port == 0 || len(m.Hashes) == 0 {
		return nil, errLSD
	}
	return m, nil
}

func (m *lsdMessage) set(name, value string) error {
	switch name {
	case "port":
		port, err := strconv.ParseUint(value, 10, 16)
		if err != nil || port == 0 || m.Port != 0 {
			return errLSD
		}
		m.Port = uint16(port)
	case "infohash":
		h, err := refs.ParseInfoHash(strings.ToLower(value))
		if err != nil || len(m.Hashes) == lsdMaxHashes {
			return errLSD
		}
		if !slices.Contains(m.Hashes, h) {
			m.Hashes = append(m.Hashes, h)
		}
	case "cookie":
		if m.Cookie != "" || len(value) > 32 || strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
			return errLSD
		}
		m.Cookie = value
	}
	return nil
}

// An lsdConn is one network: what comes from it, and the way to it.
type lsdConn struct {
	in, out net.PacketConn
	local   netip.Prefix // who is on it
}

func (c lsdConn) close() { c.in.Close(); c.out.Close() }

// lsd is a node's part in local discovery.
type lsd struct {
	node   *Node
	conns  []lsdConn
	cookie string
	reads  *rate.Limiter
	next   map[refs.InfoHash]time.Time // when a download is announced again; of the loop
}

// startLSD begins local discovery on the networks that the node listens on; not on loopback.
func (n *Node) startLSD() {
	conns := listenLSD(n.Addr().Addr())
	if len(conns) > 0 {
		n.runLSD(conns)
	}
}

func (n *Node) runLSD(conns []lsdConn) {
	l := &lsd{
		node: n, conns: conns, cookie: rand.Text()[:16],
		reads: rate.NewLimiter(lsdRate, lsdRate), next: make(map[refs.InfoHash]time.Time),
	}
	for _, c := range conns {
		n.work.Go(func() { l.read(c) })
	}
	n.work.Go(func() { l.loop(n.ctx) })
}

// listenLSD opens the sockets for an address that is listened on. Where multicast does not work
// there is no local discovery; everything else goes on.
func listenLSD(listen netip.Addr) (conns []lsdConn) {
	interfaces, err := net.Interfaces()
	if err != nil || listen.IsLoopback() {
		return nil
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 || i.Flags&net.FlagLoopback != 0 || len(conns) == lsdInterfaces {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil || !prefix.Addr().Is4() || !listen.IsUnspecified() && listen != prefix.Addr() {
				continue
			}
			if c, err := openLSD(&i, prefix); err == nil {
				conns = append(conns, c)
				break
			}
		}
	}
	return conns
}

// openLSD opens the sockets for one interface. What is sent goes out of the interface that has the
// address it is sent from, with a time to live of 1.
func openLSD(i *net.Interface, prefix netip.Prefix) (lsdConn, error) {
	in, err := net.ListenMulticastUDP("udp4", i, net.UDPAddrFromAddrPort(lsdGroup))
	if err != nil {
		return lsdConn{}, err
	}
	out, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(prefix.Addr(), 0)))
	if err != nil {
		in.Close()
		return lsdConn{}, err
	}
	return lsdConn{in, out, prefix.Masked()}, nil
}

// read takes the messages of one network until its socket is closed.
func (l *lsd) read(c lsdConn) {
	b := make([]byte, lsdMaxPacket+1)
	for {
		size, from, err := c.in.ReadFrom(b)
		if err != nil {
			return
		}
		sender, err := netip.ParseAddrPort(from.String())
		if err != nil || !c.local.Contains(sender.Addr().Unmap()) || !l.reads.Allow() {
			continue // nobody from elsewhere has us call somebody
		}
		if m, err := parseLSD(b[:size]); err == nil && m.Cookie != l.cookie {
			peer := netip.AddrPortFrom(sender.Addr().Unmap(), m.Port)
			for _, h := range m.Hashes {
				l.node.foundPeers(h, []netip.AddrPort{peer})
			}
		}
	}
}

// loop announces downloads until ctx ends.
func (l *lsd) loop(ctx context.Context) {
	defer func() {
		for _, c := range l.conns {
			c.close()
		}
	}()
	tick := time.NewTicker(lsdTick)
	defer tick.Stop()
	for {
		l.announce(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// announce asks for what is being downloaded and was not asked for lately.
func (l *lsd) announce(now time.Time) {
	loading := make(map[refs.InfoHash]bool)
	l.node.mu.Lock()
	for h, e := range l.node.entries {
		loading[h] = e.loading != nil
	}
	l.node.mu.Unlock()
	for h, at := range l.next {
		// One that has ended may begin again, but not be asked for at once.
		if !loading[h] && now.After(at.Add(lsdLeast-lsdInterval)) {
			delete(l.next, h)
		}
	}
	var due []refs.InfoHash
	for h, is := range loading {
		if is && !now.Before(l.next[h]) && len(due) < lsdMaxHashes {
			due = append(due, h)
			l.next[h] = now.Add(lsdInterval)
		}
	}
	if len(due) == 0 {
		return
	}
	m := &lsdMessage{Port: l.node.Addr().Port(), Hashes: due, Cookie: l.cookie}
	for _, c := range l.conns {
		if _, err := c.out.WriteTo(m.format(), net.UDPAddrFromAddrPort(lsdGroup)); err != nil {
			l.node.log.Debug("local discovery", "error", err)
		}
	}
}
