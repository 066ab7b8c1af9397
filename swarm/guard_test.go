package swarm

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

const (
	testID = "aaaaaaaaaaaaaaaaaaaa"
	argsID = "2:id20:" + testID
)

// Each of these kills a process that runs anacrolix/dht v2.24.0 without guard
// (the last one when it uses exts/getput).
var killers = map[string]string{
	"put without arguments":      "d1:q3:put1:t2:aa1:y1:qe",
	"announce without arguments": "d1:q13:announce_peer1:t2:aa1:y1:qe",
	"ip of one byte":             "d1:ad" + argsID + "e2:ip1:x1:q4:ping1:t2:aa1:y1:qe",
	"ip of no bytes":             "d1:ad" + argsID + "e2:ip0:1:q4:ping1:t2:aa1:y1:qe",
	"value of one byte":          "d1:rd" + argsID + "6:valuesl1:xee1:t2:aa1:y1:re",
	"item without seq":           "d1:rd" + argsID + "1:k32:" + testKey + "5:token1:t1:v1:xe1:t2:aa1:y1:re",
}

const testKey = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

func TestCheckPacket(t *testing.T) {
	query := func(method, args string) string {
		return fmt.Sprintf("d1:ad%s%se1:q%d:%s1:t2:aa1:y1:qe", argsID, args, len(method), method)
	}
	answer := func(fields string) string { return "d1:rd" + argsID + fields + "e1:t2:aa1:y1:re" }
	target, infoHash := "6:target20:"+testID, "9:info_hash20:"+testID
	sig := "3:sig64:" + strings.Repeat("s", 64)
	many := ""
	for i := range 300 { // a field beyond any bound on their number is still looked at
		many += fmt.Sprintf("4:m%03d0:", i)
	}

	for name, c := range map[string]struct {
		packet string
		kind   byte // 0: dropped
	}{
		"ping":              {query("ping", ""), 'q'},
		"find_node":         {query("find_node", target), 'q'},
		"get_peers":         {query("get_peers", infoHash+"4:wantl2:n42:n6e"), 'q'},
		"announce_peer":     {query("announce_peer", "12:implied_porti1e"+infoHash+"4:porti6881e5:token1:t"), 'q'},
		"get":               {query("get", target), 'q'},
		"put":               {query("put", "1:k32:"+testKey+"4:salt1:s3:seqi1e"+sig+"5:token1:t1:v1:x"), 'q'},
		"put, immutable":    {query("put", "5:token1:t1:vd1:ai1ee"), 'q'},
		"sample_infohashes": {query("sample_infohashes", target), 'q'},
		"read-only":         {"d1:ad" + argsID + "e1:q4:ping2:roi1e1:t2:aa1:v4:LT201:y1:qe", 'q'},
		"empty answer":      {answer(""), 'r'},
		"nodes":             {answer("5:nodes26:" + strings.Repeat("n", 26) + "6:nodes638:" + strings.Repeat("n", 38)), 'r'},
		"values":            {answer("6:valuesl6:aaaaaa18:aaaaaaaaaaaaaaaaaae"), 'r'},
		"item":              {answer("1:k32:" + testKey + "3:seqi1e" + sig + "5:token1:t1:v1:x"), 'r'},
		"seq only":          {answer("3:seqi7e5:token1:t"), 'r'},
		"seen as":           {"d2:ip6:aaaaaa1:rd" + argsID + "e1:t2:aa1:y1:re", 'r'},
		"unknown field":     {"d1:rd" + argsID + "e1:t2:aa1:y1:r3:zzzlee", 'r'},
		"error":             {"d1:eli203e4:Oopse1:t2:aa1:y1:ee", 'e'},
		"error as a string": {"d1:e4:Oops1:t12:aaaaaaaaaaaa1:y1:ee", 'e'},

		"nothing":               {"", 0},
		"uTP":                   {"\x41\x00" + strings.Repeat("\x00", 40), 0},
		"too long":              {query("ping", "1:v5000:"+strings.Repeat("x", 5000)), 0},
		"trailing bytes":        {query("ping", "") + "x", 0},
		"unsorted keys":         {"d1:y1:q1:t2:aa1:q4:ping1:ad" + argsID + "ee", 0},
		"a key twice":           {"d1:ad" + argsID + "e1:q4:ping1:q4:ping1:t2:aa1:y1:qe", 0},
		"no transaction":        {"d1:ad" + argsID + "e1:q4:ping1:y1:qe", 0},
		"no kind":               {"d1:ad" + argsID + "e1:q4:ping1:t2:aae", 0},
		"unknown kind":          {"d1:ad" + argsID + "e1:q4:ping1:t2:aa1:y1:xe", 0},
		"no id":                 {"d1:ade1:q4:ping1:t2:aa1:v4:xxxx1:y1:qe", 0},
		"short id":              {"d1:ad2:id19:" + testID[1:] + "e1:q4:ping1:t2:aa1:y1:qe", 0},
		"id as integer":         {"d1:ad2:idi20ee1:q4:ping1:t2:aa1:y1:qe", 0},
		"no method":             {"d1:ad" + argsID + "e1:t2:aa1:y1:qe", 0},
		"unknown method":        {query("vote", ""), 0},
		"find_node, no target":  {query("find_node", ""), 0},
		"get_peers, no hash":    {query("get_peers", target), 0},
		"put without v":         {query("put", "5:token1:t"), 0},
		"short target":          {query("get", "6:target3:abc"), 0},
		"port as string":        {query("announce_peer", infoHash+"4:port4:68815:token1:t"), 0},
		"port 65536":            {query("announce_peer", infoHash+"4:porti65536e5:token1:t"), 0},
		"port -1":               {query("announce_peer", infoHash+"4:porti-1e5:token1:t"), 0},
		"want as string":        {query("get_peers", infoHash+"4:want2:n4"), 0},
		"long salt":             {query("put", "4:salt65:"+strings.Repeat("s", 65)+"5:token1:t1:v1:x"), 0},
		"short key":             {query("put", "1:k3:abc5:token1:t1:v1:x"), 0},
		"query with answer":     {"d1:ad" + argsID + "e1:q4:ping1:rd" + argsID + "e1:t2:aa1:y1:qe", 0},
		"answer with arguments": {"d1:ad" + argsID + "e1:rd" + argsID + "e1:t2:aa1:y1:re", 0},
		"answer without r":      {"d1:ale1:t30:" + strings.Repeat("t", 30) + "1:y1:re", 0},
		"odd nodes":             {answer("5:nodes27:" + strings.Repeat("n", 27)), 0},
		"odd nodes6":            {answer("6:nodes626:" + strings.Repeat("n", 26)), 0},
		"values as string":      {answer("6:values6:aaaaaa"), 0},
		"value of seven bytes":  {answer("6:valuesl7:aaaaaaae"), 0},
		"value as list":         {answer("6:valueslleee"), 0},
		"short value at last":   {answer(many + "6:valuesl1:xee"), 0},
		"item without sig":      {answer("1:k32:" + testKey + "3:seqi1e1:v1:x"), 0},
		"seq as string":         {answer("3:seq1:1"), 0},
		"seq too large":         {answer("3:seqi9223372036854775808e"), 0},
		"error list of one":     {"d1:eli203ee1:t12:aaaaaaaaaaaa1:y1:ee", 0},
		"error the wrong way":   {"d1:el4:Oopsi203ee1:t2:aa1:y1:ee", 0},
		"error without e":       {"d1:t30:" + strings.Repeat("t", 30) + "1:y1:ee", 0},
		"error as integer":      {"d1:ei203e1:t12:aaaaaaaaaaaa1:y1:ee", 0},
	} {
		kind, err := checkPacket([]byte(c.packet))
		if kind != c.kind || (err == nil) != (c.kind != 0) {
			t.Errorf("%s: checkPacket(%q) = %q, %v; want %q", name, c.packet, kind, err, c.kind)
		}
	}
	for name, packet := range killers {
		if kind, err := checkPacket([]byte(packet)); err == nil {
			t.Errorf("%s: checkPacket(%q) = %q, want an error", name, packet, kind)
		}
	}
}

// FuzzCheckPacket feeds what passes to the real library, which must live.
func FuzzCheckPacket(f *testing.F) {
	for _, packet := range killers {
		f.Add([]byte(packet))
	}
	for _, packet := range []string{
		"d1:ad" + argsID + "e1:q4:ping1:t2:aa1:y1:qe",
		"d1:ad" + argsID + "6:target20:" + testID + "e1:q3:get1:t2:aa1:y1:qe",
		"d1:ad" + argsID + "9:info_hash20:" + testID + "4:porti1e5:token1:te1:q13:announce_peer1:t2:aa1:y1:qe",
		"d1:ad" + argsID + "5:token1:t1:vd1:ai1eee1:q3:put1:t2:aa1:y1:qe",
		"d1:rd" + argsID + "1:k32:" + testKey + "3:seqi1e3:sig64:" + strings.Repeat("s", 64) + "1:v1:xe1:t2:aa1:y1:re",
		"d1:eli203e4:Oopse1:t2:aa1:y1:ee",
	} {
		f.Add([]byte(packet))
	}
	conn := newScriptedConn()
	d, err := NewDHT(DHTConfig{Conn: conn, QueryRate: 1 << 30})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { d.Close() })
	f.Fuzz(func(t *testing.T, packet []byte) {
		before := d.guard.passed.Load() + d.guard.malformed.Load()
		conn.in <- packet
		conn.in <- nil // read only when the first one has been handled
		if d.guard.passed.Load()+d.guard.malformed.Load() == before {
			t.Error("the packet was not looked at")
		}
	})
}

// scriptedConn is a socket on which packets arrive as a test sends them.
type scriptedConn struct {
	in     chan []byte
	errs   chan error
	out    chan []byte // what the node sends; nil for nobody looks
	from   net.Addr
	closed chan struct{}
}

func newScriptedConn() *scriptedConn {
	return &scriptedConn{
		in: make(chan []byte), errs: make(chan error), closed: make(chan struct{}),
		from: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 6881},
	}
}

func (c *scriptedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-c.in:
		return copy(b, p), c.from, nil
	case err := <-c.errs:
		return 0, nil, err
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *scriptedConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	if c.out != nil {
		select {
		case c.out <- append([]byte(nil), b...):
		case <-c.closed:
		}
	}
	return len(b), nil
}

func (c *scriptedConn) Close() error                     { close(c.closed); return nil }
func (c *scriptedConn) LocalAddr() net.Addr              { return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 1} }
func (c *scriptedConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptedConn) SetWriteDeadline(time.Time) error { return nil }

const pingPacket = "d1:ad" + argsID + "e1:q4:ping1:t2:aa1:y1:qe"

// TestNodeSurvivesKillers sends each killer to a real node, then a ping that
// it must answer. Without the guard the test binary dies.
func TestNodeSurvivesKillers(t *testing.T) {
	for name, packet := range killers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := newScriptedConn()
				conn.out = make(chan []byte, 1)
				d, err := NewDHT(DHTConfig{Conn: conn})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				conn.in <- []byte(packet)
				synctest.Wait()
				if got := d.Stats().Malformed; got != 1 {
					t.Errorf("Malformed = %d after a killer, want 1", got)
				}
				conn.in <- []byte(pingPacket)
				if reply := string(<-conn.out); !strings.Contains(reply, "1:t2:aa1:y1:re") {
					t.Errorf("ping is answered by %q", reply)
				}
			})
		})
	}
}

func TestGuardSwallowsReadErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedConn()
		conn.out = make(chan []byte, 1)
		d, err := NewDHT(DHTConfig{Conn: conn})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			conn.errs <- errors.New("no buffer space available")
		}
		conn.in <- []byte(pingPacket)
		<-conn.out
		if got := d.Stats().ReadErrors; got != 5 {
			t.Errorf("ReadErrors = %d, want 5", got)
		}
		// The socket's owner closes it first: the node must wait for its own Close.
		conn.errs <- net.ErrClosed
		synctest.Wait()
		time.Sleep(time.Hour)
		if err := d.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second Close() = %v", err)
		}
	})
}

func TestGuardDropsForeignFamilies(t *testing.T) {
	g := newGuard(newScriptedConn(), newQueryLimit(10, 10), slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		from net.Addr
		want string
	}{
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}, "192.0.2.1:5"}, // 16 bytes inside
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 5}, "192.0.2.1:5"},
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 0}, ""},
		{&net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 5}, ""},
		{&net.UnixAddr{Name: "/x", Net: "unixgram"}, ""},
		{nil, ""},
	} {
		got := g.accept([]byte(pingPacket), c.from)
		if c.want == "" && got != nil || c.want != "" && (got == nil || got.String() != c.want) {
			t.Errorf("accept from %v = %v, want %q", c.from, got, c.want)
		}
	}
	if ip := g.accept([]byte(pingPacket), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}).(*net.UDPAddr).IP; len(ip) != 4 {
		t.Errorf("the address has %d bytes, want 4", len(ip))
	}
}

func TestQueryLimit(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	q := newQueryLimit(rate.Limit(10), 20)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	count := func(from netip.Addr, n int) (allowed int) {
		for range n {
			if q.allow(from, now) {
				allowed++
			}
		}
		return allowed
	}
	if got := count(a, 50); got != 20 {
		t.Errorf("%d of 50 queries at once pass, want the burst of 20", got)
	}
	if got := count(b, 5); got != 5 {
		t.Errorf("%d of 5 queries of another address pass, want 5", got)
	}
	now = now.Add(time.Second)
	if got := count(a, 50); got != 10 {
		t.Errorf("%d of 50 queries a second later pass, want 10", got)
	}
	if got := count(netip.MustParseAddr("127.0.0.1"), 1000); got != 1000 {
		t.Errorf("%d of 1000 queries from loopback pass, want all", got)
	}
	for i := range 3 * maxLimited { // strangers do not make it grow, nor free an address that keeps asking
		q.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
		if i%1000 == 0 && q.allow(a, now) {
			t.Fatalf("after %d strangers a is allowed again", i)
		}
	}
	if n := len(q.recent) + len(q.old); n > 2*maxLimited {
		t.Errorf("%d addresses are remembered, want at most %d", n, 2*maxLimited)
	}
}

func TestLastHeardIsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	h := newLastHeard()
	node := netip.MustParseAddrPort("192.0.2.1:6881")
	if got := h.since(node, now); got < 1000*time.Hour {
		t.Errorf("since(stranger) = %v, want very long", got)
	}
	h.note(node, now)
	for i := range maxLimited {
		h.note(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), now)
	}
	if got := h.since(node, now.Add(time.Minute)); got != time.Minute {
		t.Errorf("since = %v, want 1m", got)
	}
	if n := len(h.recent) + len(h.old); n > 2*maxLimited {
		t.Errorf("%d nodes are remembered, want at most %d", n, 2*maxLimited)
	}
}
