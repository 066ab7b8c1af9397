package testnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// inbox is how many packets wait in a socket before more are lost, as in a
// kernel.
const inbox = 1024

// fabric is the wire: it hands each packet to the socket it is addressed to.
type fabric struct {
	mu      sync.Mutex
	sockets map[netip.AddrPort]*socket
	last    netip.Addr
}

func newFabric() *fabric {
	return &fabric{sockets: map[netip.AddrPort]*socket{}, last: netip.MustParseAddr("10.0.0.0")}
}

// listen returns a socket at a new address of its own.
func (f *fabric) listen() *socket {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = f.last.Next()
	s := &socket{
		fabric: f, addr: netip.AddrPortFrom(f.last, 6881),
		in: make(chan packet, inbox), closed: make(chan struct{}), moved: make(chan struct{}),
	}
	f.sockets[s.addr] = s
	return s
}

func (f *fabric) deliver(p packet, to netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sockets[to]; s != nil {
		select {
		case s.in <- p:
		default:
		}
	}
}

type packet struct {
	from netip.AddrPort
	data []byte
}

// socket is a net.PacketConn whose reads block durably in the sense of
// testing/synctest: on channels that its bubble made.
type socket struct {
	fabric *fabric
	addr   netip.AddrPort
	in     chan packet
	once   sync.Once
	closed chan struct{}

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when the deadline changes
}

// ReadFrom returns the next packet; what does not fit b is lost.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		deadline, moved := s.readDeadline()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			t := time.NewTimer(time.Until(deadline))
			defer t.Stop()
			expired = t.C
		}
		select {
		case <-s.closed:
			return 0, nil, net.ErrClosed
		default:
		}
		select {
		case p := <-s.in:
			return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
		case <-s.closed:
			return 0, nil, net.ErrClosed
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-moved:
		}
	}
}

// WriteTo sends a packet; as with UDP nobody says whether it arrives.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	s.fabric.deliver(packet{from: s.addr, data: append([]byte(nil), b...)}, addrPortOf(to))
	return len(b), nil
}

// Close ends all reads and gives the address up.
func (s *socket) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.fabric.mu.Lock()
		defer s.fabric.mu.Unlock()
		delete(s.fabric.sockets, s.addr)
	})
	return nil
}

// LocalAddr returns the socket's *net.UDPAddr.
func (s *socket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.addr) }

// SetDeadline sets the read deadline; writes never block.
func (s *socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline moves the deadline of pending and future reads.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	close(s.moved)
	s.moved = make(chan struct{})
	return nil
}

// SetWriteDeadline does nothing: writes never block.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

func (s *socket) readDeadline() (time.Time, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline, s.moved
}

func addrPortOf(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
