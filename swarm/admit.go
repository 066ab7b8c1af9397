package swarm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/mse"

	"github.com/gitpeer/gitpeer/refs"
)

// Who connects to us is looked at before the library is. The first 48 bytes of a handshake (BEP 3)
// say which torrent it is about; where they are obfuscated (MSE), that is undone here. So:
//
//   - a torrent that is only offered is loaded when somebody comes for it (offer.go);
//   - who wants a torrent that we do not have is turned away, and costs the library nothing;
//   - the reserved bits are cut down to those that mean something to us: the library counts each
//     combination of the 64 in a table for ever;
//   - connections are counted, in both directions (Config.Connections).
const (
	// greetingTime is how long a stranger may take to say which torrent it wants.
	greetingTime = 5 * time.Second
	// maxGreetings is how many may be at it at once.
	maxGreetings = 200
	// acceptRetry is the pause after a failure to accept.
	acceptRetry = 50 * time.Millisecond
	// protocolHeader begins a handshake; then come 8 reserved bytes and the infohash.
	protocolHeader = "\x13BitTorrent protocol"
	greetingLength = len(protocolHeader) + 8 + 20
)

// reservedBits are the extensions that are negotiated: BEP 10, BEP 5 and BEP 6.
var reservedBits = [8]byte{5: 0x10, 7: 0x01 | 0x04}

// slots counts connections.
type slots struct {
	most int64 // 0: no limit
	used atomic.Int64
}

// take takes a slot if fewer than most are taken and reports whether it did.
func (s *slots) take(most int64) bool {
	if n := s.used.Add(1); most != 0 && n > most {
		s.used.Add(-1)
		return false
	}
	return true
}

// forCallers is how many connections others may make: some are kept for our own downloads.
func (s *slots) forCallers() int64 { return s.most - s.most/8 }

// A slotConn gives its slot back when it is closed.
type slotConn struct {
	net.Conn
	slots *slots
	once  sync.Once
}

func (c *slotConn) Close() error {
	c.once.Do(func() { c.slots.used.Add(-1) })
	return c.Conn.Close()
}

// errNoSlot ends a dial over the limit.
var errNoSlot = errors.New("swarm: limit.connections is reached")

// A slotDialer dials as another does, within the limit.
type slotDialer struct {
	torrent.Dialer
	slots *slots
}

func (d slotDialer) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if !d.slots.take(d.slots.most) {
		return nil, errNoSlot
	}
	c, err := d.Dialer.Dial(ctx, addr)
	if err != nil {
		d.slots.used.Add(-1)
		return nil, err
	}
	return &slotConn{Conn: c, slots: d.slots}, nil
}

// A door is a listener that gives the library only connections for torrents that it knows.
type door struct {
	net.Listener
	node     *Node
	admitted chan net.Conn
	ctx      context.Context // ends when the door is closed
	cancel   context.CancelFunc
}

// newDoor starts to accept connections from l.
func (n *Node) newDoor(l net.Listener) *door {
	d := &door{Listener: l, node: n, admitted: make(chan net.Conn)}
	d.ctx, d.cancel = context.WithCancel(n.ctx)
	n.work.Go(d.run)
	return d
}

// Accept returns the next connection for a torrent that the library knows.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.admitted:
		return c, nil
	case <-d.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close closes the listener and the connections that are not admitted yet.
func (d *door) Close() error {
	d.cancel()
	return d.Listener.Close()
}

// run accepts and greets.
func (d *door) run() {
	greetings := make(chan struct{}, maxGreetings)
	defer d.cancel()
	for {
		c, err := d.Listener.Accept()
		if d.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			if c != nil {
				c.Close()
			}
			return
		}
		if err != nil {
			d.rest()
			continue
		}
		select {
		case greetings <- struct{}{}:
		default:
			c.Close()
			continue
		}
		d.node.work.Go(func() {
			defer func() { <-greetings }()
			d.greet(c)
		})
	}
}

// rest waits a little: the process may have no file descriptors left.
func (d *door) rest() {
	t := time.NewTimer(acceptRetry)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.ctx.Done():
	}
}

// greet reads the greeting of a connection, and admits it or ends it.
func (d *door) greet(c net.Conn) {
	slots := &d.node.slots
	if d.node.bans.blocks(c.RemoteAddr()) || !slots.take(slots.forCallers()) {
		c.Close()
		return
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0) // as the library does with those that it knows
	}
	counted := &slotConn{Conn: c, slots: slots}
	stop := context.AfterFunc(d.ctx, func() { counted.Close() })
	defer stop()
	c.SetDeadline(time.Now().Add(greetingTime))
	greeted, hash, err := receiveGreeting(d.ctx, counted, d.node.hashes)
	if err != nil || !d.node.rouse(hash) {
		counted.Close()
		return
	}
	if t, ok := c.(*net.TCPConn); ok {
		d.node.reachedBy(t.RemoteAddr().(*net.TCPAddr).AddrPort())
	}
	c.SetDeadline(time.Time{})
	select {
	case d.admitted <- greeted:
	case <-d.ctx.Done():
		counted.Close()
	}
}

// A greetedConn is a connection of which the greeting was read: it is read again.
type greetedConn struct {
	net.Conn
	r io.Reader
	w io.Writer
}

func (c *greetedConn) Read(b []byte) (int, error)  { return c.r.Read(b) }
func (c *greetedConn) Write(b []byte) (int, error) { return c.w.Write(b) }

// receiveGreeting reads the begin of a handshake. What it returns reads as the whole handshake,
// without obfuscation. hashes gives the torrents that an obfuscated one can be about.
func receiveGreeting(ctx context.Context, c net.Conn, hashes func(yield func(refs.InfoHash) bool)) (net.Conn, refs.InfoHash, error) {
	var b [greetingLength]byte
	if _, err := io.ReadFull(c, b[:len(protocolHeader)]); err != nil {
		return nil, refs.InfoHash{}, err
	}
	var rw io.ReadWriter = c
	rest := b[len(protocolHeader):]
	if string(b[:len(protocolHeader)]) != protocolHeader {
		again := io.MultiReader(bytes.NewReader(bytes.Clone(b[:len(protocolHeader)])), c)
		secrets := func(callback func([]byte) bool) {
			hashes(func(h refs.InfoHash) bool { return callback(h[:]) })
		}
		var err error
		rw, _, err = mse.ReceiveHandshake(ctx, struct {
			io.Reader
			io.Writer
		}{again, c}, secrets, mse.DefaultCryptoSelector)
		if err != nil {
			return nil, refs.InfoHash{}, err
		}
		rest = b[:]
	}
	if _, err := io.ReadFull(rw, rest); err != nil {
		return nil, refs.InfoHash{}, err
	}
	if string(b[:len(protocolHeader)]) != protocolHeader {
		return nil, refs.InfoHash{}, errors.New("not a BitTorrent handshake")
	}
	for i, known := range reservedBits {
		b[len(protocolHeader)+i] &= known
	}
	hash := refs.InfoHash(b[greetingLength-20:])
	return &greetedConn{Conn: c, r: io.MultiReader(bytes.NewReader(b[:]), rw), w: rw}, hash, nil
}
