package swarm

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

func TestParseLSD(t *testing.T) {
	h := refs.InfoHash{1, 2, 3}
	want := &lsdMessage{Port: 6881, Hashes: []refs.InfoHash{h, {9}}, Cookie: "abc"}
	if got, err := parseLSD(want.format()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parseLSD(format) = %+v, %v, want %+v", got, err, want)
	}
	// As other clients write it.
	other := "BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nport: 7\r\nINFOHASH: " + strings.ToUpper(h.String()) + "\r\nX: y\r\n\r\n\r\n"
	if got, err := parseLSD([]byte(other)); err != nil || got.Port != 7 || got.Hashes[0] != h {
		t.Errorf("parseLSD(%q) = %+v, %v", other, got, err)
	}
	hash := "Infohash: " + h.String() + "\r\n"
	for _, bad := range []string{
		"", "GET / HTTP/1.1\r\n\r\n", "BT-SEARCH * HTTP/1.1\r\n\r\n", "BT-SEARCH * HTTP/1.1\r\nPort: 7\r\n\r\n",
		"BT-SEARCH * HTTP/1.1\r\n" + hash + "\r\n", "BT-SEARCH * HTTP/1.1\r\nPort: 0\r\n" + hash + "\r\n",
		"BT-SEARCH * HTTP/1.1\r\nPort: 70000\r\n" + hash + "\r\n", "BT-SEARCH * HTTP/1.1\r\nPort: 7\r\nPort: 8\r\n" + hash + "\r\n",
		"BT-SEARCH * HTTP/1.1\r\nPort: 7\r\nInfohash: xyz\r\n\r\n", "BT-SEARCH * HTTP/1.1\r\nPort: 7\r\n" + hash + "cookie: a b\r\n\r\n",
		"BT-SEARCH * HTTP/1.1\r\nPort: 7\r\n" + hash + "nothing\r\n\r\n", strings.Repeat("x", lsdMaxPacket+1),
	} {
		if m, err := parseLSD([]byte(bad)); err == nil {
			t.Errorf("parseLSD(%q) = %+v, want an error", bad, m)
		}
	}
	many := &lsdMessage{Port: 1, Cookie: strings.Repeat("c", 32)}
	for i := range lsdMaxHashes {
		many.Hashes = append(many.Hashes, refs.InfoHash{byte(i)})
	}
	if b := many.format(); len(b) > lsdMaxPacket {
		t.Errorf("the longest message has %d bytes, more than %d", len(b), lsdMaxPacket)
	}
	many.Hashes = append(many.Hashes, refs.InfoHash{255})
	if _, err := parseLSD(many.format()); err == nil {
		t.Error("parseLSD takes too many infohashes")
	}
}

func FuzzLSD(f *testing.F) {
	f.Add((&lsdMessage{Port: 6881, Hashes: []refs.InfoHash{{1}}, Cookie: "x"}).format())
	f.Add([]byte("BT-SEARCH * HTTP/1.1\r\nPort: 7\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseLSD(b)
		if err != nil {
			return
		}
		again, err := parseLSD(m.format())
		if err != nil || !reflect.DeepEqual(again, m) || !bytes.Equal(again.format(), m.format()) {
			t.Errorf("parseLSD(%q) = %+v, formatted %+v, %v", b, m, again, err)
		}
	})
}

// lan is a network on which whatever is sent comes to all, over sockets on loopback.
func lan(t *testing.T, members int) []lsdConn {
	t.Helper()
	conns := make([]lsdConn, members)
	var all []net.Addr
	for i := range conns {
		in, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, in.LocalAddr())
		conns[i] = lsdConn{in: in, local: netip.MustParsePrefix("127.0.0.0/8")}
	}
	for i := range conns {
		out, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conns[i].out = &toAll{out, all}
		t.Cleanup(conns[i].close)
	}
	return conns
}

type toAll struct {
	net.PacketConn
	all []net.Addr
}

func (a *toAll) WriteTo(b []byte, _ net.Addr) (int, error) {
	for _, to := range a.all {
		a.PacketConn.WriteTo(b, to)
	}
	return len(b), nil
}

// A reader that knows nobody asks the local network; a seed that has the torrent calls it.
func TestLSD(t *testing.T) {
	p := &shelf{pseudo: pseudo{31, 200_000}}
	info := p.info(t)
	seeder, reader, other := newNode(t), newNode(t), newNode(t)
	if _, err := seeder.Offer(info.InfoHash(), 0, p.open(info)); err != nil {
		t.Fatal(err)
	}
	for i, c := range lan(t, 3) {
		[]*Node{seeder, reader, other}[i].runLSD([]lsdConn{c})
	}
	readAll(t, fetch(t, reader, FetchRequest{InfoHash: info.InfoHash()}), p.pseudo)
	if other.entry(info.InfoHash()) != nil {
		t.Error("a node without the torrent has it now")
	}
}

// Who is not on the network is not listened to, and nobody is asked on loopback.
func TestLSDBounds(t *testing.T) {
	p := &shelf{pseudo: pseudo{32, 1000}}
	info := p.info(t)
	n := newNode(t)
	if _, err := n.Offer(info.InfoHash(), 0, p.open(info)); err != nil {
		t.Fatal(err)
	}
	conns := lan(t, 2)
	conns[0].local = netip.MustParsePrefix("192.0.2.0/24")
	n.runLSD(conns[:1])
	m := &lsdMessage{Port: 9, Hashes: []refs.InfoHash{info.InfoHash()}}
	conns[1].out.WriteTo(m.format(), nil)
	if got := listenLSD(netip.MustParseAddr("127.0.0.1")); got != nil {
		t.Errorf("local discovery listens on loopback: %v", got)
	}
	if d, err := n.Fetch(t.Context(), FetchRequest{InfoHash: refs.InfoHash{5}, File: filepath.Join(t.TempDir(), "x"), StallTimeout: 200 * time.Millisecond}); err == nil {
		d.Close()
		t.Error("fetched from nobody")
	}
	if p.opened.Load() != 0 {
		t.Error("a message from elsewhere had a torrent loaded")
	}
	l := &lsd{node: n, conns: conns[1:], next: map[refs.InfoHash]time.Time{}}
	now := time.Now()
	l.next[refs.InfoHash{1}] = now.Add(lsdInterval)
	if l.announce(now); len(l.next) != 1 {
		t.Error("a torrent may be asked for again at once")
	}
	if l.announce(now.Add(lsdLeast + time.Second)); len(l.next) != 0 {
		t.Error("what was asked for is remembered for ever")
	}
}

// TestLSDMulticast uses real multicast, on the address in GITPEER_TEST_LAN of a network namespace:
//
//	unshare -n sh -c 'ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 10.9.0.1/24 dev v0;
//	    ip link set v0 up; ip link set v1 up; GITPEER_TEST_LAN=10.9.0.1 go test -run LSDMulticast ./swarm'
func TestLSDMulticast(t *testing.T) {
	addr := os.Getenv("GITPEER_TEST_LAN")
	if addr == "" {
		t.Skip("GITPEER_TEST_LAN is not set")
	}
	p := &shelf{pseudo: pseudo{33, 200_000}}
	info := p.info(t)
	on := func(c *Config) { c.Listen, c.LocalDiscovery = addr+":0", true }
	seeder, reader := newNode(t, on), newNode(t, on)
	if _, err := seeder.Offer(info.InfoHash(), 0, p.open(info)); err != nil {
		t.Fatal(err)
	}
	readAll(t, fetch(t, reader, FetchRequest{InfoHash: info.InfoHash()}), p.pseudo)
}
