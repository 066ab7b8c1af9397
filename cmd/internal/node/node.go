package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// Options configure a node.
type Options struct {
	Home    Home
	Getenv  func(string) string // GITPEER_LISTEN, GITPEER_BOOTSTRAP, GOGC
	Log     *slog.Logger
	Version string
	Stall   time.Duration               // how long a download waits for the next byte; 0: the swarm's default
	Ready   func(listen netip.AddrPort) // called once the node answers, if not nil
}

// A Node is a running node.
type Node struct {
	opts    Options
	home    Home
	config  *config
	log     *slog.Logger
	started time.Time
	heap    *heap
	stop    context.CancelFunc
	ctx     context.Context // of the node's life: background work that outlives a request ends with it

	swarm  *swarm.Node
	keeper *announce.Keeper
	filler *filler

	mu      sync.Mutex // guards what follows
	mirrors map[refs.Address]*mirror
	seeds   map[refs.Address]*seeding
	stopped map[refs.Address]string // repositories that are not served, and why
	signers map[keys.ID]keys.Signer // unlocked by a passphrase that a request brought
}

// Run is the node: it takes the home's lock, joins the DHT, seeds what the
// mirrors hold and answers requests until ctx ends or it is told to stop.
func Run(ctx context.Context, o Options) error {
	lock, err := awaitLock(ctx, o.Home)
	if errors.Is(err, errLocked) {
		return errorf(trust.TryLater, "gitpeer status", "a gitpeer node already runs for %s", o.Home.Data)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	cfg, err := loadConfig(o.Home.configFile(), o.Getenv)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n := &Node{
		opts: o, home: o.Home, config: cfg, log: o.Log, started: time.Now(), stop: stop, ctx: ctx,
		mirrors: map[refs.Address]*mirror{}, seeds: map[refs.Address]*seeding{}, signers: map[keys.ID]keys.Signer{},
	}
	n.heap = newHeap(o.Getenv("GOGC"))
	n.filler = newFiller(n)
	for _, dir := range []string{o.Home.stateDir(), o.Home.reposDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	n.swarm, err = swarm.Listen(ctx, n.swarmConfig())
	if err != nil {
		return fmt.Errorf("listen on %s: %w", cfg.Listen, err)
	}
	defer n.swarm.Close()
	n.keeper = announce.NewKeeper(n.swarm.DHT(), announce.KeeperHooks{Save: n.saveItem, Newer: n.newerSeen, Hints: n.hints})
	socket, err := listenSocket(o.Home.Socket())
	if err != nil {
		return err
	}
	defer os.Remove(o.Home.Socket())
	if err := sweepNew(n.home.reposDir()); err != nil {
		n.log.Warn("unfinished mirrors are left", "error", err)
	}
	n.openAll(ctx)
	if err := sweep(n.home.incoming(), time.Now()); err != nil {
		n.log.Warn("old downloads are left", "error", err)
	}
	n.sweepAccepted()
	n.log.Info("node runs", "listen", n.swarm.Addr().String(), "home", o.Home.Data, "pid", os.Getpid())
	if o.Ready != nil {
		o.Ready(n.swarm.Addr())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.serve(ctx, socket) })
	g.Go(func() error { return n.tidyAll(ctx) })
	g.Go(func() error {
		n.filler.run(ctx)
		return nil
	})
	g.Go(func() error {
		n.judgeNowAndThen(ctx)
		return nil
	})
	g.Go(func() error {
		if err := n.keeper.Run(ctx); ctx.Err() == nil {
			return err
		}
		return nil
	})
	return g.Wait()
}

// swarmConfig is the part of the configuration that the swarm is told.
func (n *Node) swarmConfig() swarm.Config {
	c := n.config
	return swarm.Config{
		Listen: c.Listen, Bootstrap: c.Bootstrap, StateDir: n.home.stateDir(), Logger: n.log,
		UploadRate: c.Limits.Upload, DownloadRate: c.Limits.Download,
		Connections: c.Limits.Connections, ConnectionsPerTorrent: c.Limits.PerTorrent, HalfOpen: c.Limits.HalfOpen,
		LocalDiscovery: c.LSD, MapPort: c.PortMap,
	}
}

// judgeNowAndThen asks the seeding policy again and again until ctx ends, and
// then counts once more.
func (n *Node) judgeNowAndThen(ctx context.Context) {
	tick := time.NewTicker(judgeInterval)
	defer tick.Stop()
	port := n.swarm.AnnouncePort()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if now := n.swarm.AnnouncePort(); now != port { // a router gave us another
			port = now
			n.keepAll()
		}
		if err := n.judgeAll(nil); err != nil {
			n.log.Error("seeding policy", "error", err)
		}
	}
}

// keepAll tells the keeper of all mirrors again.
func (n *Node) keepAll() {
	n.mu.Lock()
	mirrors := slices.Collect(maps.Values(n.mirrors))
	n.mu.Unlock()
	for _, m := range mirrors {
		if m.current() == nil {
			continue
		}
		if err := n.keep(m); err != nil {
			n.log.Error("record is not kept", "repository", m.addr.String(), "error", err)
		}
	}
	n.callReaders()
}

// openAll opens every mirror and seeds it. A mirror that cannot be opened is
// left alone and reported: the others work.
func (n *Node) openAll(ctx context.Context) {
	dirs, err := filepath.Glob(filepath.Join(n.home.reposDir(), "gp1*", "*.git"))
	if err != nil {
		n.log.Error("list mirrors", "error", err)
	}
	var opened []*mirror
	for _, dir := range dirs {
		a, err := refs.ParseAddress("gitpeer://" + filepath.Base(filepath.Dir(dir)) + "/" + strings.TrimSuffix(filepath.Base(dir), ".git"))
		if err != nil {
			n.log.Warn("not a mirror", "dir", dir, "error", err)
			continue
		}
		m, err := n.mirror(ctx, a)
		if err != nil {
			n.log.Error("mirror is left out", "repository", a.String(), "error", err)
			continue
		}
		if m.current() != nil {
			opened = append(opened, m)
		}
	}
	// All of them first: what the policy says of one depends on the others.
	if _, err := n.judge(time.Now()); err != nil {
		n.log.Error("seeding policy", "error", err)
	}
	for _, m := range opened {
		if err := n.serveMirror(m); err != nil {
			n.log.Error("mirror is left out", "repository", m.addr.String(), "error", err)
		}
	}
	n.callReaders()
}

// mirror gives the one mirror of a repository, opening it when first asked.
func (n *Node) mirror(ctx context.Context, a refs.Address) (*mirror, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.mirrors[a]; m != nil {
		return m, nil
	}
	m, err := openMirror(ctx, n.home, a)
	if err != nil {
		return nil, err
	}
	n.mirrors[a] = m
	return m, nil
}

// policy reads the user's trust policy. It is read for each operation, so that
// what `gitpeer trust` writes holds at once.
func (n *Node) policy() (*trust.Policy, error) { return trust.Load(n.home.Config) }

// address resolves a URL whose host may be a petname.
func (n *Node) address(url string) (refs.Address, *trust.Policy, error) {
	policy, err := n.policy()
	if err != nil {
		return refs.Address{}, nil, err
	}
	host, name, err := refs.SplitURL(url)
	if err != nil {
		return refs.Address{}, nil, err
	}
	a, err := policy.ResolveURL(host, name)
	return a, policy, err
}

// identity is the user's own publisher id, if there is one.
func (n *Node) identity() (keys.ID, bool) {
	id, err := keys.ReadPublic(n.home.KeyFile())
	return id, err == nil
}

// signer unlocks the user's publisher key: by what this node remembers, by the
// key file, by the caller's ssh-agent, by the caller's passphrase.
func (n *Node) signer(c Credentials) (keys.Signer, error) {
	id, err := keys.ReadPublic(n.home.KeyFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, errorf(trust.Usage, "gitpeer init", "you have no publisher key yet")
	}
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	known := n.signers[id]
	n.mu.Unlock()
	if known != nil {
		return known, nil
	}
	// Not under the lock: an agent that hangs would stop the node.
	s, err := keys.Load(n.home.KeyFile(), nil)
	// Of a key that only the agent has, there is only the .pub file.
	if (errors.Is(err, keys.ErrPassphrase) || errors.Is(err, os.ErrNotExist)) && c.AgentSocket != "" {
		if agent, agentErr := keys.AgentSigner(c.AgentSocket, id); agentErr == nil {
			return agent, nil // asked each time: the agent may lock it
		}
	}
	if errors.Is(err, keys.ErrPassphrase) && len(c.Passphrase) > 0 {
		s, err = keys.Load(n.home.KeyFile(), func(string) ([]byte, error) { return c.Passphrase, nil })
	}
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signers[id] = s
	return s, nil
}

// hints are the addresses that a record names: where this node can be reached,
// as far as it knows.
func (n *Node) hints(refs.Address) []netip.AddrPort {
	if a, ok := n.swarm.PublicAddr(); ok {
		return []netip.AddrPort{a}
	}
	return nil
}

// saveItem stores a record that the keeper has renewed.
func (n *Node) saveItem(a refs.Address, item *announce.Item) error {
	m, err := n.mirror(n.ctx, a)
	if err != nil {
		return err
	}
	return m.replaceItem(n.ctx, item)
}

// newerSeen is told of a record that replaces one we keep alive.
func (n *Node) newerSeen(a refs.Address, item *announce.Item) {
	n.told(a, glimpse{item: item}, nil)
	n.log.Info("a newer record was published", "repository", a.String(), "seq", item.Seq)
}

// told notes a record that was met elsewhere than in a fetch, and the peers that
// a lookup has found with it; see mirror.saw.
func (n *Node) told(a refs.Address, g glimpse, peers []netip.AddrPort) {
	n.mu.Lock()
	m := n.mirrors[a]
	n.mu.Unlock()
	if m != nil {
		m.saw(g)
		if !g.asked.IsZero() {
			m.meet(peers, g.asked)
		}
	}
}
