package swarm

import (
	"fmt"
	"io"
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
	began  time.Time
}

func newReaders(t *testing.T, n int) *readers {
	outlive(t)
	net := newShapedNet(10 * time.Millisecond)
	c := &readers{pack: pseudo{3, 12 << 20}, host: net.host(20e6, 100e6)}
	c.origin = c.host.node(t)
	c.info = seed(t, c.origin, c.pack)
	for range n {
		c.nodes = append(c.nodes, net.host(100e6, 100e6).node(t))
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
