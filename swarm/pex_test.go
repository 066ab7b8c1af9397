package swarm

import (
	"testing"
)

// A reader that knows one other reader hears from it of the seed (BEP 11), through the wire guard.
func TestPEX(t *testing.T) {
	p := pseudo{41, 400_000}
	info := p.info(t)
	seeder, middle, reader := newNode(t), newNode(t), newNode(t)
	g := newGate(t, p)
	if _, err := seeder.Seed(info, g); err != nil {
		t.Fatal(err)
	}
	first := fetch(t, middle, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(seeder)})
	second := fetch(t, reader, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(middle)})
	waitFor(t, "the seed's address", func() bool {
		reader.mu.Lock()
		defer reader.mu.Unlock()
		for _, c := range reader.conns {
			if c.dial == seeder.Addr() {
				return true
			}
		}
		return false
	})
	close(g.open)
	readAll(t, first, p)
	readAll(t, second, p)
}
