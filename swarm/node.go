package swarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/metainfo"
	"github.com/anacrolix/torrent/storage"
	"golang.org/x/time/rate"

	"github.com/gitpeer/gitpeer/refs"
)

// Config says how a node listens and what it may use. Only Listen is needed.
type Config struct {
	// Listen is the address of the UDP and the TCP socket, "ADDR:PORT"; an empty ADDR is 0.0.0.0,
	// port 0 takes one that is free for both. IPv4 only, as the DHT is.
	Listen string
	// Bootstrap lists DHT nodes as HOST:PORT, see [DHTConfig]; empty for none.
	Bootstrap []string
	// StateDir is an existing directory for what the node remembers between runs (the DHT's
	// routing table); "" for nowhere.
	StateDir string
	// Logger gets what an operator may want to know. Nil discards it.
	Logger *slog.Logger
	// UploadRate and DownloadRate limit the transfer of data, in bytes a second; 0 is no limit.
	UploadRate, DownloadRate int64
	// Connections limits the connections with peers in all, 0 for no limit; ConnectionsPerTorrent
	// those of one torrent, 0 for [DefaultConnectionsPerTorrent]; HalfOpen those that are being
	// made, 0 for [DefaultHalfOpen].
	Connections, ConnectionsPerTorrent, HalfOpen int
	// LocalDiscovery asks the local networks for peers of what is downloaded, and answers others
	// (BEP 14), unless Listen is on loopback.
	LocalDiscovery bool
	// MapPort asks the router to forward the port, unless Listen is on loopback or a public address.
	MapPort bool

	// For tests of one transport, and without a network.
	noTCP, noUTP bool
	sockets      *sockets
	dialer       torrent.Dialer
}

// Limits of the client, where [Config] does not say otherwise. Half-open connections and dials are cheap, and a reader with a list of
// mostly dead peers must come to the live ones soon; the library's default is ten dials a second.
const (
	DefaultConnectionsPerTorrent = 50
	DefaultHalfOpen              = 200
	dialsPerSecond               = 100
	// dialTimeout is for three SYN of TCP, at 0, 1 and 3 seconds; where many wait it goes down to
	// minDialTimeout. So 500 addresses are all tried before a download gives up (DefaultAloneTimeout).
	dialTimeout      = 6 * time.Second
	minDialTimeout   = 2 * time.Second
	handshakeTimeout = 5 * time.Second
	keepAlive        = 20 * time.Second // also a second line against what nudge is for
	// minBurst and maxBurst bound what a rate limit lets through at once: a block has to fit, and
	// a second's worth is enough.
	minBurst = 2 * blockLength
	maxBurst = 1 << 20
)

var (
	// ErrClosed is returned by everything after Close.
	ErrClosed = errors.New("swarm: node is closed")
	// ErrNoTorrent is returned for the infohash of zeros: with it the library panics.
	ErrNoTorrent = errors.New("swarm: an infohash of zeros names no torrent")
	// ErrBusy is returned when a torrent is being fetched already.
	ErrBusy = errors.New("swarm: torrent is being fetched already")
)

// A Node takes part in BitTorrent swarms, on one UDP and TCP port. All methods may be called at
// the same time.
type Node struct {
	log     *slog.Logger
	client  *torrent.Client
	dht     *DHT
	sockets *sockets
	bans    *bans
	banned  atomic.Int64
	slots   slots
	web     *web

	ctx    context.Context // ends with the node; for its own goroutines only
	cancel context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{} // of announceLoop
	calls  calls

	// ops makes adding and dropping torrents one at a time. It is taken before the library's lock,
	// never in a callback.
	ops sync.Mutex

	// mu is taken in callbacks, inside the library's lock: nothing is called while it is held.
	mu       sync.Mutex
	closed   bool
	entries  map[refs.InfoHash]*entry
	offers   map[refs.InfoHash]*offer
	conns    map[*torrent.PeerConn]*peerConn
	mapped   netip.AddrPort    // where a router forwards to us
	wires    map[wireKey]*wire // whose handshake is written and whose connection is not known
	nextSeed time.Time         // when the next seed may be announced
}

// An entry is one torrent of the node.
type entry struct {
	hash      refs.InfoHash
	store     *store
	torrent   *torrent.Torrent
	found     chan []byte                  // metadata with the right hash, at most one
	known     map[netip.AddrPort]bool      // addresses of peers; under Node.mu
	sated     map[netip.AddrPort]time.Time // until when peers that need nothing are not called; under Node.mu
	schedule  *schedule                    // under Node.mu
	superseed superseed                    // what each peer has and is shown
	claims    claims                       // bitfields from before the metadata
	suspended *bans                        // peers that wait for a verdict on another one
	requests  atomic.Int64                 // for blocks, under way
	users     int                          // Seeds and Downloads; under Node.ops
	loading   *Download                    // nil once complete; under Node.mu

	// mu is held while the library is told something about the torrent that it does not survive
	// when the torrent is dropped at the same time.
	mu      sync.Mutex
	dropped bool
}

// Listen starts a node. It uses no trackers and no default storage:
// it touches only what [Node.Seed] and [Node.Fetch] name. Its context ends the start, not the node.
func Listen(ctx context.Context, cfg Config) (*Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	addr, err := parseListen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	socks := cfg.sockets
	if socks == nil {
		if socks, err = listenSockets(addr); err != nil {
			return nil, fmt.Errorf("listening on %s: %w", addr, err)
		}
	}
	n := &Node{
		log:     cfg.Logger,
		sockets: socks,
		bans:    newBans(),
		wake:    make(chan struct{}, 1),
		entries: make(map[refs.InfoHash]*entry),
		offers:  make(map[refs.InfoHash]*offer),
		conns:   make(map[*torrent.PeerConn]*peerConn),
		wires:   make(map[wireKey]*wire),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.start(cfg); err != nil {
		n.cancel()
		socks.close()
		return nil, err
	}
	return n, nil
}

// start gives the sockets to the DHT and to the library.
func (n *Node) start(cfg Config) error {
	dhtConfig := DHTConfig{Conn: n.sockets.dht, Bootstrap: cfg.Bootstrap, Logger: n.log}
	if cfg.StateDir != "" {
		dhtConfig.StateFile = filepath.Join(cfg.StateDir, "dht")
	}
	n.web = newWeb(nil)
	if cfg.DownloadRate > 0 {
		n.web.limiter = newLimiter(cfg.DownloadRate)
	}
	n.slots.most = int64(cfg.Connections)
	var err error
	if n.dht, err = NewDHT(dhtConfig); err != nil {
		return err
	}
	if n.client, err = torrent.NewClient(n.clientConfig(cfg)); err != nil {
		return errors.Join(fmt.Errorf("starting the torrent client: %w", err), n.dht.Close())
	}
	n.client.AddDhtServer(dhtPort{n.Addr()})
	if !cfg.noTCP {
		dialer := cfg.dialer
		if dialer == nil {
			dialer = tcpDialer()
		}
		n.client.AddDialer(wireDialer{slotDialer{dialer, &n.slots}, n})
		n.client.AddListener(wireListener{n.newDoor(n.sockets.tcp), n})
	}
	if !cfg.noUTP {
		n.client.AddDialer(wireDialer{slotDialer{utpDialer{n.sockets.utp}, &n.slots}, n})
		n.client.AddListener(wireListener{n.newDoor(n.sockets.utp), n})
	}
	n.work.Go(func() { n.announceLoop(n.ctx) })
	n.work.Go(n.idleLoop)
	if cfg.LocalDiscovery {
		n.startLSD()
	}
	if cfg.MapPort {
		n.startMapping()
	}
	return nil
}

func parseListen(s string) (netip.AddrPort, error) {
	if len(s) > 0 && s[0] == ':' {
		s = "0.0.0.0" + s
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || !a.Addr().Is4() {
		return a, fmt.Errorf("listen address %q is not ADDR:PORT with an IPv4 address", s)
	}
	return a, nil
}

// clientConfig turns off all that the library does by itself.
func (n *Node) clientConfig(cfg Config) *torrent.ClientConfig {
	c := torrent.NewDefaultClientConfig()
	c.Slogger = slog.New(quietHandler{n.log.Handler()})
	c.DisableTCP, c.DisableUTP = true, true // no sockets of its own; see start
	c.DisableIPv6 = true
	c.NoDHT = true
	c.PeriodicallyAnnounceTorrentsToDht = false
	c.DisableTrackers = true
	c.DisableWebtorrent = true
	c.DisableWebseeds = true
	c.NoDefaultPortForwarding = true
	c.DefaultStorage = noStorage{}
	c.Seed = true
	c.AlwaysWantConns = true // the door has asked whether we have the torrent
	c.DropDuplicatePeerIds = true
	c.ExtendedHandshakeClientVersion = clientVersion
	// Plain first: obfuscation costs a round trip. Who insists on it is accepted.
	c.HeaderObfuscationPolicy = torrent.HeaderObfuscationPolicy{}
	c.EstablishedConnsPerTorrent = cmp.Or(cfg.ConnectionsPerTorrent, DefaultConnectionsPerTorrent)
	c.TotalHalfOpenConns = cmp.Or(cfg.HalfOpen, DefaultHalfOpen)
	c.DialRateLimiter = rate.NewLimiter(dialsPerSecond, dialsPerSecond)
	// So many are being made at the most anyhow; the default is half of that.
	c.HalfOpenConnsPerTorrent = c.EstablishedConnsPerTorrent + 5
	c.NominalDialTimeout, c.MinDialTimeout = dialTimeout, minDialTimeout
	c.HandshakesTimeout = handshakeTimeout
	c.KeepAliveTimeout = keepAlive
	c.IPBlocklist = n.bans
	if cfg.UploadRate > 0 {
		c.UploadRateLimiter = newLimiter(cfg.UploadRate)
	}
	if cfg.DownloadRate > 0 {
		c.DownloadRateLimiter = n.web.limiter // one for all
	}
	c.Callbacks.ReadMessage = n.onMessage
	c.Callbacks.PeerConnAdded = []func(*torrent.PeerConn){n.onPeerAdded}
	c.Callbacks.PeerClosed = []func(*torrent.Peer){n.onPeerClosed}
	c.Callbacks.SentRequest = []func(torrent.PeerRequestEvent){n.onRequest}
	c.Callbacks.DeletedRequest = []func(torrent.PeerRequestEvent){n.onRequestEnd}
	c.Callbacks.ReceivedUsefulData = []func(torrent.ReceivedUsefulDataEvent){n.onBlock}
	return c
}

// newLimiter limits to bytes a second.
func newLimiter(bytes int64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(bytes), int(max(minBurst, min(bytes, maxBurst))))
}

// Addr returns the address of both sockets.
func (n *Node) Addr() netip.AddrPort { return n.sockets.addr() }

// DHT returns the node's half of the DHT, which shares its UDP port.
func (n *Node) DHT() *DHT { return n.dht }

// Close ends all transfers, connections and sockets. Downloads fail with [ErrClosed]; their files
// remain, and a later fetch goes on with them.
func (n *Node) Close() error {
	err := n.end()
	n.work.Wait() // not with ops held: some wait for it
	return err
}

// end is Close without waiting.
func (n *Node) end() error {
	n.ops.Lock()
	defer n.ops.Unlock()
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	entries, offers := n.entries, n.offers
	n.entries, n.offers = make(map[refs.InfoHash]*entry), make(map[refs.InfoHash]*offer)
	var loading []*Download
	for _, e := range entries {
		if e.loading != nil {
			loading = append(loading, e.loading)
		}
	}
	n.mu.Unlock()
	n.cancel()
	for _, d := range loading {
		d.fail(ErrClosed)
	}
	for _, e := range entries {
		n.letGo(e)
	}
	errs := append(n.client.Close(), n.dht.Close(), n.sockets.close())
	n.web.close()
	for _, o := range offers {
		o.closeSource(n)
	}
	return errors.Join(errs...)
}

// newEntry makes the entry of a torrent that has one user.
func newEntry(hash refs.InfoHash, st *store, s *schedule) *entry {
	return &entry{hash: hash, store: st, found: make(chan []byte, 1), users: 1, suspended: newBans(), schedule: s}
}

// add gives a new entry to the library, with the info dictionary if it is known. The lock ops is
// held.
func (n *Node) add(e *entry, info []byte) (*entry, error) {
	e.mu.Lock() // until the torrent is known: the announce loop may take the entry at once
	defer e.mu.Unlock()
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, ErrClosed
	}
	n.entries[e.hash] = e // first, since connections can come as soon as the library knows the torrent
	n.mu.Unlock()
	e.torrent, _ = n.client.AddTorrentOpt(torrent.AddTorrentOpts{
		InfoHash:                 metainfo.Hash(e.hash),
		InfoBytes:                info,
		Storage:                  e.store,
		ChunkSize:                blockLength,
		DisableInitialPieceCheck: true,
	})
	n.wakeUp()
	return e, nil
}

// entry returns the torrent with a hash, or nil.
func (n *Node) entry(hash refs.InfoHash) *entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.entries[hash]
}

// spawn runs f in a goroutine that Close waits for, unless the node is closed already.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.work.Go(f)
	}
	return !n.closed
}

// busy reports whether a torrent is incomplete.
func (n *Node) busy(e *entry) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return e.loading != nil
}

// release drops a torrent that nobody uses any more.
func (n *Node) release(e *entry) {
	n.ops.Lock()
	defer n.ops.Unlock()
	n.releaseLocked(e)
}

// releaseLocked is release with the lock ops held.
func (n *Node) releaseLocked(e *entry) {
	if e.users--; e.users > 0 {
		return
	}
	n.mu.Lock()
	if n.entries[e.hash] == e {
		delete(n.entries, e.hash)
	}
	n.mu.Unlock()
	n.letGo(e)
}

// letGo drops a torrent that is no longer among the entries. Its connections end first, for what they
// would still send from then on is not what the torrent holds.
func (n *Node) letGo(e *entry) {
	n.mu.Lock()
	var last []*peerConn
	for _, p := range n.conns {
		if p.entry == e {
			last = append(last, p)
		}
	}
	n.mu.Unlock()
	for _, p := range last {
		p.hangUp()
	}
	e.drop()
}

// drop ends the torrent's connections.
func (e *entry) drop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.dropped {
		e.dropped = true
		e.torrent.Drop()
	}
}

// with calls f unless the torrent was dropped, and reports whether it did.
func (e *entry) with(f func(*torrent.Torrent)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dropped {
		return false
	}
	f(e.torrent)
	return true
}

// foundMetadata hands over metadata whose hash is right.
func (e *entry) foundMetadata(b []byte) {
	select {
	case e.found <- b:
	default:
	}
}

func infoHashOf(t *torrent.Torrent) refs.InfoHash {
	if t == nil {
		return refs.InfoHash{}
	}
	return refs.InfoHash(t.InfoHash())
}

// noStorage is the default storage: none. The library's writes a database beside the data.
type noStorage struct{}

func (noStorage) OpenTorrent(context.Context, *metainfo.Info, metainfo.Hash) (storage.TorrentImpl, error) {
	return storage.TorrentImpl{}, errors.New("swarm: no default storage")
}

// quietHandler lowers the library's levels: a peer that misbehaves is no warning to an operator, and
// what matters to a fetch, such as a full disk, is its error; the library says it for each block.
type quietHandler struct{ slog.Handler }

func (h quietHandler) level(l slog.Level) slog.Level {
	if l >= slog.LevelError {
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}

func (h quietHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, h.level(l))
}

func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = h.level(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h quietHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(a)}
}

func (h quietHandler) WithGroup(g string) slog.Handler { return quietHandler{h.Handler.WithGroup(g)} }
