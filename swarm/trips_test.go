package swarm

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// far is two hosts with fast links, a second there and back. In a bubble the time that something takes
// is how often it waits for the other side, since nothing else takes any.
func far(t *testing.T) (here, there *Node, trip time.Duration) {
	outlive(t)
	net := newShapedNet(time.Second / 2)
	net.buffer = 2 << 20
	return net.host(1e12, 1e12).node(t), net.host(1e12, 1e12).node(t), time.Second
}

// fetchFar fetches torrents at once and returns how long the last one took.
func fetchFar(t *testing.T, here, there *Node, infos ...*Info) time.Duration {
	began := time.Now()
	done := make(chan error, len(infos))
	dir := t.TempDir()
	for _, info := range infos {
		go func() {
			d, err := here.Fetch(t.Context(), FetchRequest{
				InfoHash: info.InfoHash(), Peers: addrs(there), File: filepath.Join(dir, info.InfoHash().String()),
			})
			if err == nil {
				t.Cleanup(func() { d.Close() })
				err = d.Wait()
			}
			done <- err
		}()
	}
	for range infos {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return time.Since(began)
}

// A torrent of one block, as a snapshot of some refs is with a commit behind it, takes four round
// trips: to connect, to greet, for the metadata, and for the data. Many at once take no more, and what has
// several blocks neither: of those of a MiB all are asked for at once.
func TestRoundTrips(t *testing.T) {
	for _, c := range []struct {
		what  string
		sizes []int64
	}{
		{"a snapshot", []int64{16_000}},
		{"four blocks", []int64{4 << 14}},
		{"16 blocks", []int64{16 << 14}},
		{"64 blocks", []int64{64 << 14}},
		{"small packs", []int64{300, 5_000, 16_384, 5_001, 301, 9_000, 8_000, 9_001, 700, 701, 702, 703}},
	} {
		t.Run(c.what, func(t *testing.T) {
			for try := 1; ; try++ {
				took, trip := tripsOf(t, c.sizes)
				if took <= 4*trip+trip/100 {
					return
				}
				if try == 10 { // once in a while the library forgets a connection until it is nudged
					t.Fatalf("came after %v, at %v there and back; want 4 round trips", took, trip)
				}
			}
		})
	}
}

// tripsOf fetches torrents of these lengths at once from far away.
func tripsOf(t *testing.T, sizes []int64) (took, trip time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		var here, there *Node
		here, there, trip = far(t)
		var infos []*Info
		for i, size := range sizes {
			infos = append(infos, seed(t, there, pseudo{uint64(i), size}))
		}
		took = fetchFar(t, here, there, infos...)
	})
	return took, trip
}

// told reports whether a torrent was looked up and announced in the DHT, and when it is due.
func (n *Node) told(hash refs.InfoHash) (bool, time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.entries[hash].schedule
	return s.done, s.due
}

// A fetch that is done soon asks the DHT for nothing, and is announced some time later.
func TestShortFetchLeavesTheDHTAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outlive(t)
		net := newShapedNet(10 * time.Millisecond)
		here, there := net.host(1e12, 1e12).node(t), net.host(1e12, 1e12).node(t)
		info := seed(t, there, pseudo{1, 20_000})
		fetchFar(t, here, there, info)
		now := time.Now()
		if told, due := here.told(info.hash); told || due.Before(now) || due.After(now.Add(AnnounceLater)) {
			t.Errorf("announced %v, due in %v, want later, but within %v", told, due.Sub(now), AnnounceLater)
		}
		time.Sleep(AnnounceLater + time.Second)
		if told, _ := here.told(info.hash); !told {
			t.Errorf("not announced after %v", AnnounceLater)
		}
	})
}

// Peers that do not send anything are no reason to wait for them long.
func TestFetchSearchesAfterAWhile(t *testing.T) {
	for name, c := range map[string]struct {
		peers bool
		told  time.Duration
	}{"with peers": {true, searchAfter}, "without": {false, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				outlive(t)
				net := newShapedNet(10 * time.Millisecond)
				here, there := net.host(1e12, 1e12).node(t), net.host(1e12, 1e12).node(t)
				req := FetchRequest{InfoHash: refs.InfoHash{1}, File: filepath.Join(t.TempDir(), "pack")}
				if c.peers {
					req.Peers = append(addrs(there), addrs(here)...)
				}
				go here.Fetch(t.Context(), req)
				if c.told > 0 {
					time.Sleep(c.told - time.Millisecond)
					if told, _ := here.told(req.InfoHash); told {
						t.Errorf("the DHT was asked before %v", c.told)
					}
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if told, _ := here.told(req.InfoHash); !told {
					t.Errorf("the DHT was not asked after %v", c.told)
				}
				time.Sleep(DefaultAloneTimeout + time.Second)
			})
		})
	}
}

// Of what is offered, the first announcement can wait.
func TestOfferLater(t *testing.T) {
	if s := later(refs.InfoHash{1}, 0); !s.due.IsZero() {
		t.Errorf("at once is due at %v", s.due)
	}
	n := newNode(t)
	p := &shelf{pseudo: pseudo{1, 1000}}
	info := p.info(t)
	before := time.Now()
	if _, err := n.Offer(info.hash, time.Hour, p.open(info)); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.offers[info.hash].schedule; s.due.Before(before) || s.due.After(time.Now().Add(time.Hour)) {
		t.Errorf("due in %v, want within an hour", s.due.Sub(before))
	}
}
