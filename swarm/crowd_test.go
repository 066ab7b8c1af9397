package swarm

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// readers is readers that begin at once to fetch a pack from an origin with 20 Mbit/s, of which they
// alone are told. Themselves they have 100 Mbit/s, and it is 10 ms from anybody to anybody.
type readers struct {
	pack   pseudo
	info   *Info
	host   *shapedHost
	origin *Node
	nodes  []*Node
	hosts  []*shapedHost // of nodes
	began  time.Time
}

func newReaders(t *testing.T, n int) *readers { return newReadersOf(t, pseudo{3, 12 << 20}, n, 1) }

// newReadersOf is newReaders of a pack, with links that are slower.
func newReadersOf(t *testing.T, pack pseudo, n int, slower float64) *readers {
	outlive(t)
	net := newShapedNet(10 * time.Millisecond)
	c := &readers{pack: pack, host: net.host(20e6/slower, 100e6/slower)}
	c.origin = c.host.node(t)
	c.info = seed(t, c.origin, c.pack)
	for range n {
		h := net.host(100e6/slower, 100e6/slower)
		c.nodes, c.hosts = append(c.nodes, h.node(t)), append(c.hosts, h)
	}
	c.began = time.Now()
	return c
}

// outlive waits, last of all, for the library's goroutines, which end by themselves. It is called
// in a bubble before the nodes are made.
func outlive(t *testing.T) { t.Cleanup(func() { time.Sleep(time.Minute) }) }

// fetch lets all begin and returns how long the last one took.
func (c *readers) fetch(t *testing.T) time.Duration {
	dir := t.TempDir()
	done := make(chan error, len(c.nodes))
	for i, n := range c.nodes {
		go func() {
			d, err := n.Fetch(t.Context(), FetchRequest{
				InfoHash: c.info.InfoHash(), Peers: addrs(c.origin), File: filepath.Join(dir, fmt.Sprint(i)),
			})
			if err == nil {
				t.Cleanup(func() { d.Close() })
				_, err = io.Copy(io.Discard, d)
			}
			done <- err
		}()
	}
	for range c.nodes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return time.Since(c.began)
}

// oneCopy is how long the origin needs to send the pack once.
func (c *readers) oneCopy() float64 { return float64(c.pack.size) / c.host.up.rate }

// However many read at once, it takes little longer than one copy, and costs the origin little more.
func TestCrowd(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReaders(t, n)
				ratio := c.fetch(t).Seconds() / c.oneCopy()
				copies := float64(c.host.up.carried()) / float64(c.pack.size)
				t.Logf("last reader after %.2f × one copy; %.2f copies sent", ratio, copies)
				if ratio > 1.3 || copies > 1.3 {
					t.Errorf("last reader after %.2f × one copy, %.2f copies sent, want 1.3", ratio, copies)
				}
			})
		})
	}
}

// When everything was shown to somebody, the origin does not send it again to those who soon have it from
// others. Of the hint of a pack, which has three pieces, it sent more than one copy for each reader.
func TestSmallCrowd(t *testing.T) {
	for size, most := range map[int64]float64{80 << 10: 3, 1 << 20: 1.15} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReadersOf(t, pseudo{3, size}, 8, 5)
				took := c.fetch(t).Seconds()
				copies := float64(c.host.up.carried()) / float64(size)
				t.Logf("last reader after %.2f s, one copy takes %.2f s; %.2f copies sent", took, c.oneCopy(), copies)
				if copies > most || took > 1.2*c.oneCopy()+0.5 {
					t.Errorf("last reader after %.2f s, one copy takes %.2f s; %.2f copies sent, want %.2f", took, c.oneCopy(), copies, most)
				}
			})
		})
	}
}

// Readers that cannot reach each other get everything from the origin; that they wait for each other costs
// them half a second.
func TestCrowdOfUnreachable(t *testing.T) {
	for _, size := range []int64{80 << 10, 2 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReadersOf(t, pseudo{3, size}, 4, 5)
				for _, h := range c.hosts {
					h.deaf.Store(true)
				}
				took, copies := c.fetch(t).Seconds(), 4*c.oneCopy()
				t.Logf("last reader after %.3f s, the copies take %.3f s", took, copies)
				if took > 1.1*copies+spread.Seconds()+0.5 {
					t.Errorf("last reader after %.3f s, the copies take %.3f s", took, copies)
				}
			})
		})
	}
}

// Once the pieces are out, the readers need the origin no more.
func TestCrowdOriginDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReaders(t, 5)
		go func() {
			state := &c.origin.entry(c.info.InfoHash()).superseed
			for out := false; !out; {
				time.Sleep(10 * time.Millisecond)
				state.mu.Lock()
				out = len(state.holders) > 0 && state.lacked == 0
				state.mu.Unlock()
			}
			c.origin.Close()
		}()
		c.fetch(t)
		if sent := float64(c.host.up.carried()) / float64(c.pack.size); sent > 1.2 {
			t.Errorf("the origin sent %.2f copies before every piece was out, want 1.2", sent)
		}
	})
}

// Readers that know the same peer soon know each other.
func TestPeerExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReaders(t, 5)
		go c.fetch(t)
		time.Sleep(3 * time.Second)
		for _, n := range c.nodes {
			if peers := len(n.peersOf(n.entry(c.info.InfoHash()))); peers != len(c.nodes) {
				t.Errorf("%s is connected to %d peers, want %d", n.Addr(), peers, len(c.nodes))
			}
		}
		time.Sleep(10 * time.Second)
	})
}

// Who has everything does not call who has everything: eight readers that were done called each other
// 365 times a second, for ever, since each connection tells of others.
func TestSeedsDoNotCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReadersOf(t, pseudo{3, 80 << 10}, 8, 1)
		c.fetch(t)
		time.Sleep(5 * time.Second)
		calls := func() (sum int32) {
			for _, h := range append(c.hosts, c.host) {
				sum += h.dials.Load()
			}
			return sum
		}
		before := calls()
		time.Sleep(20 * time.Second)
		if n := calls() - before; n > 8 {
			t.Errorf("seeds called each other %d times in 20 s, %d times before", n, before)
		}
		// A while later they may lack something again.
		n, x := c.nodes[0], netip.MustParseAddrPort("10.9.9.9:6881")
		e := n.entry(c.info.InfoHash())
		n.mu.Lock()
		e.sated[x] = time.Now().Add(time.Second)
		n.mu.Unlock()
		for _, want := range []int{0, 1} {
			if got := n.strangers(e, []netip.AddrPort{x}); len(got) != want {
				t.Errorf("%d addresses of a seed are to be called, want %d", len(got), want)
			}
			time.Sleep(time.Second)
		}
	})
}

// An origin that learns from the DHT who reads does not call who has called: one of two connections is
// dropped, perhaps that which has come up to speed.
func TestConnectedIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReaders(t, 1)
		go func() {
			time.Sleep(time.Second)
			if n := c.origin.AddPeers(c.info.InfoHash(), addrs(c.nodes...)); n != 1 {
				t.Errorf("%d addresses were new, want 1", n)
			}
		}()
		c.fetch(t)
		if n := c.host.dials.Load(); n != 0 {
			t.Errorf("the origin called the reader %d times", n)
		}
	})
}
