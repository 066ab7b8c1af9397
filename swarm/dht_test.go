package swarm_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs/bencode"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/testnet"
)

var dhtSalt = []byte("tools/HEAD")

func dhtItem(t *testing.T, seq int64, value string) *announce.Item {
	t.Helper()
	item, err := announce.SignItem(keys.FromSeed([32]byte{5}), dhtSalt, seq, fmt.Appendf(nil, "%d:%s", len(value), value))
	if err != nil {
		t.Fatal(err)
	}
	return item
}

// startDHT starts a node on net whose state is at path.
func startDHT(t *testing.T, net *testnet.Network, path string, bootstrap []string) *swarm.DHT {
	t.Helper()
	conn, err := net.Listen()
	if err != nil {
		t.Fatal(err)
	}
	d, err := swarm.NewDHT(swarm.DHTConfig{Conn: conn, Bootstrap: bootstrap, StateFile: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestNewDHTNeedsASocket(t *testing.T) {
	if _, err := swarm.NewDHT(swarm.DHTConfig{}); err == nil {
		t.Error("NewDHT without a socket = nil, want an error")
	}
}

// A node keeps its id, and finds its way by its table when the bootstrap
// nodes are gone.
func TestDHTState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dht")
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 20})
		d := startDHT(t, net, path, net.Bootstrap())
		if err := d.Bootstrap(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := d.ID()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		net.Kill(net.Node(0), net.Node(1), net.Node(2))

		d = startDHT(t, net, path, net.Bootstrap())
		if d.ID() != id {
			t.Errorf("the id was %v and is %v", id, d.ID())
		}
		if err := d.Bootstrap(t.Context()); err != nil {
			t.Errorf("Bootstrap with a table and dead bootstrap nodes = %v", err)
		}
		if got := d.Good(); got < 10 {
			t.Errorf("Good() = %d, want 10 at least", got)
		}
		d.Close()

		// A run that reaches nobody does not unlearn the table.
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range net.Size() {
			net.Kill(net.Node(i))
		}
		d = startDHT(t, net, path, nil)
		if err := d.Bootstrap(t.Context()); !errors.Is(err, announce.ErrNoNodes) {
			t.Errorf("Bootstrap with nobody there = %v, want ErrNoNodes", err)
		}
		d.Close()
		after, err := os.ReadFile(path)
		if err != nil || string(after) != string(before) {
			t.Errorf("the table changed from\n%s to\n%s", before, after)
		}
	})
}

// A table full of dead nodes must not keep a node out.
func TestDHTBootstrapDespiteDeadTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dht")
	var text strings.Builder
	fmt.Fprintf(&text, "gitpeer-dht v1\nid %s\n", strings.Repeat("42", 20))
	for i := range 200 {
		fmt.Fprintf(&text, "node %s%02x 10.99.0.%d:6881\n", strings.Repeat("43", 19), i+0x10, i%250)
	}
	os.WriteFile(path, []byte(text.String()), 0o600)
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 20})
		d := startDHT(t, net, path, net.Bootstrap())
		if d.ID().String() != strings.Repeat("42", 20) {
			t.Fatal("the table was not loaded")
		}
		time.Sleep(time.Second)
		if got := d.Good(); got < 3 {
			t.Errorf("after a second Good() = %d, want the bootstrap nodes at least", got)
		}
		begin := time.Now()
		if err := d.Bootstrap(t.Context()); err != nil {
			t.Errorf("Bootstrap = %v", err)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("Bootstrap took %v", took)
		}
		item := dhtItem(t, 1, "x")
		l, err := d.Lookup(t.Context(), item.Key, item.Salt)
		if err != nil || len(l.Closest) < 15 {
			t.Errorf("Lookup finds %d nodes, %v; want 15 at least", len(l.Closest), err)
		}
	})
}

func TestDHTDamagedState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dht")
	if err := os.WriteFile(path, []byte("not a table"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 5})
		d := startDHT(t, net, path, net.Bootstrap())
		if err := d.Bootstrap(t.Context()); err != nil {
			t.Errorf("Bootstrap = %v", err)
		}
	})
}

// What a node answers to a put decides the outcome.
func TestStoreOutcomes(t *testing.T) {
	ours, same, older, newer := dhtItem(t, 5, "ours"), dhtItem(t, 5, "ours"), dhtItem(t, 4, "older"), dhtItem(t, 6, "newer")
	other := dhtItem(t, 5, "other")
	for _, c := range []struct {
		name   string
		behave testnet.Behaviour
		want   announce.Status
		code   int
	}{
		{"takes it", testnet.Holds(older), announce.Stored, 0},
		{"302, holds the same", testnet.RefusesPuts(302, "seq", same), announce.Same, 302},
		{"302, holds a newer one", testnet.RefusesPuts(302, "seq", newer), announce.Newer, 302},
		{"302, holds another one", testnet.RefusesPuts(302, "seq", other), announce.Newer, 302},
		{"302, holds an older one", testnet.RefusesPuts(302, "seq", older), announce.Refused, 302},
		{"302, shows nothing", testnet.RefusesPuts(302, "seq", nil), announce.Refused, 302},
		{"301", testnet.RefusesPuts(301, "cas", nil), announce.Refused, 301},
		{"long words", testnet.RefusesPuts(201, strings.Repeat("x", 1000), nil), announce.Refused, 201},
		{"silent", func(q testnet.Query) []byte {
			if q.Method == "put" {
				return nil
			}
			return testnet.Holds(older)(q)
		}, announce.Silent, 0},
		{"no token", func(q testnet.Query) []byte { return testnet.Reply(q, nil) }, announce.Refused, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := testnet.New(t, testnet.Options{Nodes: 3})
				d := net.Join()
				if err := net.AddHostile(ours.Target(), 1, c.behave); err != nil {
					t.Fatal(err)
				}
				l, err := d.Lookup(t.Context(), ours.Key, ours.Salt)
				if err != nil {
					t.Fatal(err)
				}
				outcomes, err := d.Store(t.Context(), l.Closest[:1], ours)
				if err != nil || len(outcomes) != 1 {
					t.Fatalf("Store = %v, %v", outcomes, err)
				}
				o := outcomes[0]
				if o.Status != c.want || o.Code != c.code || len(o.Message) > 128 {
					t.Errorf("outcome = %v, code %d, %d bytes of words; want %v, %d", o.Status, o.Code, len(o.Message), c.want, c.code)
				}
			})
		})
	}
}

func TestAnnounceRefusesPortZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 3})
		if n, err := net.Join().Announce(t.Context(), nil, announce.Target{}, 0); n != 0 || err == nil {
			t.Errorf("Announce with port 0 = %d, %v; want an error", n, err)
		}
	})
}

// Many lookups at once must neither disturb nor block each other.
func TestManyLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 20, Latency: 10 * time.Millisecond})
		d := net.Join()
		done := make(chan error)
		for i := range 20 {
			go func() {
				_, err := d.Lookup(t.Context(), keys.FromSeed([32]byte{byte(i)}).ID(), dhtSalt)
				done <- err
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Errorf("Lookup = %v", err)
			}
		}
	})
}

func TestDHTStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := testnet.New(t, testnet.Options{Nodes: 10})
		d := net.Join()
		stray, err := net.Listen()
		if err != nil {
			t.Fatal(err)
		}
		defer stray.Close()
		stray.WriteTo([]byte("stray packet"), udpAddr(d.Addr()))
		time.Sleep(time.Second)
		s := d.Stats()
		if s.Good < 8 || s.Known < s.Good || s.Malformed != 1 || s.Passed == 0 || s.Limited != 0 || s.ReadErrors != 0 {
			t.Errorf("Stats = %+v", s)
		}
		if !slices.Contains([]netip.Addr{d.Addr().Addr()}, netip.MustParseAddr("10.0.0.11")) {
			t.Errorf("Addr = %v, want the eleventh of the network", d.Addr())
		}
	})
}

func udpAddr(a netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(a) }

// exchange sends a query and returns the answer, the zero Value if none came
// in a second. args are the encoded arguments that stand after id.
func exchange(t *testing.T, conn net.PacketConn, to *swarm.DHT, args, method string) bencode.Value {
	t.Helper()
	return exchangeArgs(t, conn, to, "2:id20:abcdefghij0123456789"+args, method)
}

// exchangeArgs is exchange with all arguments.
func exchangeArgs(t *testing.T, conn net.PacketConn, to *swarm.DHT, args, method string) bencode.Value {
	t.Helper()
	packet := fmt.Sprintf("d1:ad%se1:q%d:%s1:t2:aa1:y1:qe", args, len(method), method)
	conn.WriteTo([]byte(packet), udpAddr(to.Addr()))
	conn.SetReadDeadline(time.Now().Add(time.Second))
	buf := make([]byte, 4096)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return bencode.Value{}
		}
		if m, err := bencode.Parse(buf[:n]); err == nil && m.Get("q").Kind() == bencode.None {
			return m
		}
	}
}

// The library answers these wrongly unless the query is repaired on its way.
func TestQueriesAreRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := testnet.New(t, testnet.Options{Nodes: 100})
		conn, err := network.Listen()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// find_node and get name the nodes near target, not those near
		// info_hash, which is absent and so 000….
		d, target := network.Node(0), network.Node(0).ID()
		for i := 0; d.ID()[0] >= 0x80; i++ {
			d = network.Node(i)
		}
		target[0] = 0xff
		for _, method := range []string{"find_node", "get"} {
			m := exchange(t, conn, d, "6:target20:"+string(target[:]), method)
			nodes, _ := m.Get("r").Get("nodes").Str()
			if len(nodes) != 8*26 {
				t.Errorf("%s names %d nodes, want 8", method, len(nodes)/26)
			}
			for i := 0; i < len(nodes); i += 26 {
				if nodes[i] < 0x80 {
					t.Errorf("%s for ff… names a node at %02x…", method, nodes[i])
				}
			}
		}

		// No IPv4 nodes in IPv6 clothes.
		for _, args := range []string{"6:target20:" + string(target[:]) + "4:wantl2:n42:n6e", "6:target20:" + string(target[:]) + "4:wantl2:n6e"} {
			m := exchange(t, conn, d, args, "get")
			if m.Get("r").Get("nodes6").Kind() != bencode.None || m.Get("r").Get("nodes").Kind() != bencode.String {
				t.Errorf("get with %q is answered by %q", args[26:], m.Raw())
			}
		}

		// An immutable item needs no seq.
		token, _ := exchange(t, conn, d, "6:target20:"+string(target[:]), "get").Get("r").Get("token").Str()
		tokenArg := string(bencode.AppendString([]byte("5:token"), token))
		if m := exchange(t, conn, d, tokenArg+"1:v5:hello", "put"); m.Get("r").Kind() != bencode.Dict {
			t.Errorf("an immutable put is answered by %q", m.Raw())
		}

		// A put with cas does not lock out one without.
		for i, cas := range []string{"3:casi7e", ""} {
			item := dhtItem(t, int64(i), "x")
			args := cas + "2:id20:abcdefghij0123456789" + string(bencode.AppendString([]byte("1:k"), item.Key[:])) +
				string(bencode.AppendString([]byte("4:salt"), item.Salt)) + fmt.Sprintf("3:seqi%de", item.Seq) +
				string(bencode.AppendString([]byte("3:sig"), item.Sig[:])) + tokenArg + "1:v" + string(item.Value)
			if m := exchangeArgs(t, conn, d, args, "put"); m.Get("r").Kind() != bencode.Dict {
				t.Errorf("put of seq %d with %q is answered by %q", i, cas, m.Raw())
			}
		}
	})
}

// A stranger that asks too much is not answered; others are.
func TestQueriesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := testnet.New(t, testnet.Options{Nodes: 1})
		d := startDHT(t, network, "", nil)
		greedy, err := network.Listen()
		if err != nil {
			t.Fatal(err)
		}
		defer greedy.Close()
		modest, err := network.Listen()
		if err != nil {
			t.Fatal(err)
		}
		defer modest.Close()
		const burst = 100 // of the default of 25 a second
		for i := range burst {
			if m := exchange(t, greedy, d, "", "ping"); m.Kind() != bencode.Dict {
				t.Fatalf("ping %d is not answered", i)
			}
		}
		if m := exchange(t, greedy, d, "", "ping"); m.Kind() != bencode.None {
			t.Errorf("ping %d at once is answered", burst)
		}
		if m := exchange(t, modest, d, "", "ping"); m.Kind() != bencode.Dict {
			t.Error("a modest node is not answered")
		}
		if s := d.Stats(); s.Limited != 1 {
			t.Errorf("Limited = %d, want 1", s.Limited)
		}
	})
}
