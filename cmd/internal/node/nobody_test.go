package node

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// TestNobody: a record that is found, and nobody has what it names.
func TestNobody(t *testing.T) {
	net := loopback(t)
	dead := func(n int) (list []netip.AddrPort) {
		for port := range uint16(n) {
			list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port+1))
		}
		return list
	}
	for name, c := range map[string]struct {
		hints []netip.AddrPort
		want  string
	}{
		"empty": {nil, "no address of anybody is known, after "},
		"one":   {dead(1), "127.0.0.1:1 did not answer within "},
		"many":  {dead(6), "none of 6 addresses answered within "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForger(t, net)
			f.addr.Name = refs.RepoName("nobody-" + name)
			bob := victim(t, net, f)
			r := &refs.Record{InfoHash: refs.InfoHash([]byte(name + strings.Repeat(".", 20))[:20]), Number: 7, Peers: c.hints,
				Signed: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Expires: time.Now().Add(time.Hour).Truncate(time.Second)}
			value, err := r.Format()
			if err != nil {
				t.Fatal(err)
			}
			item, err := announce.SignItem(f.key, f.addr.Salt(), 1, value)
			if err != nil {
				t.Fatal(err)
			}
			l, err := f.swarm.DHT().Lookup(t.Context(), f.key.ID(), f.addr.Salt())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.swarm.DHT().Store(t.Context(), l.Closest, item); err != nil { // and nobody at the rendezvous
				t.Fatal(err)
			}
			_, err = bob.client.Fetch(t.Context(), FetchRequest{URL: f.addr.String()}, nil)
			e := wantCode(t, err, trust.TryLater)
			for _, want := range []string{f.addr.String() + " was found (number 7, signed 2026-01-02 03:04 UTC), but nobody who has it can be reached: ", c.want} {
				if !strings.Contains(e.Message, want) {
					t.Errorf("message %q, want %q in it", e.Message, want)
				}
			}
			if want := "GITPEER_PEERS=ADDRESS:PORT git ls-remote " + f.addr.String(); !strings.HasPrefix(e.Hint, want) {
				t.Errorf("hint %q, want %q", e.Hint, want)
			}
		})
	}
}

// TestOffline: no node of the DHT answers, and the error names whom it asked.
func TestOffline(t *testing.T) {
	net := loopback(t)
	bob := newPerson(t, net)
	bob.env["GITPEER_BOOTSTRAP"] = "127.0.0.1:9"
	bob.start()
	_, err := bob.client.Resolve(t.Context(), ResolveRequest{URL: someURL}, nil)
	if e := wantCode(t, err, trust.TryLater); !strings.Contains(e.Message, "127.0.0.1:9") || !strings.HasPrefix(e.Hint, "gitpeer status") {
		t.Errorf("%+v, want it to name the node that was asked, and what to type", e)
	}
}
