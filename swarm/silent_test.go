package swarm

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// One peer is found among many addresses from which nothing comes, as somebody announces who wants that it
// is not, before a download gives up.
func TestOneAmongTheSilent(t *testing.T) {
	for _, silent := range []int{20, 60, 120, maxKnownPeers - 1} {
		for place := range 8 {
			t.Run(fmt.Sprint(silent, "/", place), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					outlive(t)
					net := newShapedNet(50 * time.Millisecond)
					net.silent = true
					here := net.host(1e9, 1e9).node(t)
					for range place { // whom the library prefers depends on the addresses
						net.host(1, 1)
					}
					there := net.host(1e9, 1e9).node(t)
					info := seed(t, there, pseudo{1, 20_000})
					var peers []netip.AddrPort
					for i := range silent {
						peers = append(peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18 + byte(place), byte(i >> 8), byte(i)}), 6881))
					}
					peers = append(peers, addrs(there)...)
					began := time.Now()
					d, err := here.Fetch(t.Context(), FetchRequest{InfoHash: info.InfoHash(), Peers: peers, File: filepath.Join(t.TempDir(), "x")})
					if err != nil {
						t.Fatalf("after %v: %v", time.Since(began), err)
					}
					defer d.Close()
					if err := d.Wait(); err != nil {
						t.Fatal(err)
					}
					t.Logf("found after %v", time.Since(began))
				})
			})
		}
	}
}
