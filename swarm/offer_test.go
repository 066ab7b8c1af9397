package swarm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anacrolix/torrent/mse"

	"github.com/gitpeer/gitpeer/refs"
)

// shelf is the source of an offered pack, and counts.
type shelf struct {
	pseudo
	opened, closed atomic.Int32
}

func (s *shelf) Close() error { s.closed.Add(1); return nil }

// offerOf makes the function that opens a pack.
func (s *shelf) open(info *Info) func() (*Info, Source, error) {
	return func() (*Info, Source, error) { s.opened.Add(1); return info, s, nil }
}

func TestOffer(t *testing.T) {
	p := &shelf{pseudo: pseudo{5, 300_000}}
	info := p.info(t)
	hash := info.InfoHash()
	n := newNode(t)
	offered, err := n.Offer(hash, 0, p.open(info))
	if err != nil {
		t.Fatal(err)
	}
	for round := range int32(2) {
		if n.entry(hash) != nil || p.opened.Load() != round {
			t.Fatalf("round %d: loaded before anybody came, opened %d times", round, p.opened.Load())
		}
		b := newNode(t)
		readAll(t, fetch(t, b, FetchRequest{InfoHash: hash, Peers: addrs(n)}), p.pseudo)
		if p.opened.Load() != round+1 {
			t.Errorf("round %d: opened %d times", round, p.opened.Load())
		}
		b.Close()
		waitFor(t, "the torrent to be unloaded", func() bool {
			n.unloadIdle(time.Now().Add(time.Hour))
			return n.entry(hash) == nil
		})
		if got := n.TorrentStats(hash).Sent; got < int64(round+1)*p.size {
			t.Errorf("round %d: sent %d bytes in all, want %d", round, got, int64(round+1)*p.size)
		}
		if p.closed.Load() != round+1 {
			t.Errorf("round %d: closed %d times", round, p.closed.Load())
		}
	}
	// A fetch of what is offered is complete at once.
	d := fetch(t, n, FetchRequest{InfoHash: hash})
	n.unloadIdle(time.Now().Add(time.Hour))
	readAll(t, d, p.pseudo)
	d.Close()
	if err := offered.Close(); err != nil || n.entry(hash) != nil || p.closed.Load() != p.opened.Load() {
		t.Errorf("Close = %v, opened %d and closed %d times", err, p.opened.Load(), p.closed.Load())
	}
	if _, err := newNode(t).Fetch(t.Context(), FetchRequest{
		InfoHash: hash, Peers: addrs(n), File: t.TempDir() + "/pack", StallTimeout: 300 * time.Millisecond,
	}); err == nil {
		t.Error("fetched a withdrawn torrent")
	}
}

// Two offer the same torrent; one of them, of whose file it is served, goes.
func TestOfferTwice(t *testing.T) {
	p, q := &shelf{pseudo: pseudo{11, 100_000}}, &shelf{pseudo: pseudo{11, 100_000}}
	info := p.info(t)
	n := newNode(t)
	first, err := n.Offer(info.InfoHash(), 0, p.open(info))
	if err != nil {
		t.Fatal(err)
	}
	second, err := n.Offer(info.InfoHash(), 0, q.open(info))
	if err != nil {
		t.Fatal(err)
	}
	for _, loaded := range []bool{false, true} {
		if loaded {
			n.rouse(info.InfoHash())
			first.Close()
			if p.opened.Load() != 1 || p.closed.Load() != 1 || q.opened.Load() != 1 {
				t.Errorf("the first source was opened %d times and closed %d times, the second opened %d times, want once each", p.opened.Load(), p.closed.Load(), q.opened.Load())
			}
		}
		readAll(t, fetch(t, newNode(t), FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(n)}), p.pseudo)
	}
	second.Close()
	if n.rouse(info.InfoHash()) || q.closed.Load() != q.opened.Load() {
		t.Error("served after the last one was closed, or left open")
	}
}

// What was fetched goes on being served when it is offered.
func TestOfferFetched(t *testing.T) {
	p := &shelf{pseudo: pseudo{6, 100_000}}
	info := p.info(t)
	a, b, c := newNode(t), newNode(t), newNode(t)
	seed(t, a, p.pseudo)
	d := fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a)})
	if _, err := b.Offer(info.InfoHash(), 0, p.open(info)); !errors.Is(err, ErrBusy) && err != nil {
		t.Fatal(err)
	} else if errors.Is(err, ErrBusy) {
		d.Wait()
		if _, err := b.Offer(info.InfoHash(), 0, p.open(info)); err != nil {
			t.Fatal(err)
		}
	}
	d.Wait()
	d.Close()
	os.Remove(d.file.Name())
	a.Close()
	readAll(t, fetch(t, c, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(b)}), p.pseudo)
}

func TestOfferFails(t *testing.T) {
	p := &shelf{pseudo: pseudo{7, 1000}}
	info, other := p.info(t), pseudo{8, 1000}.info(t)
	n := newNode(t)
	gone := errors.New("gone")
	if _, err := n.Offer(info.InfoHash(), 0, func() (*Info, Source, error) { return nil, nil, gone }); err != nil {
		t.Fatal(err)
	}
	if n.rouse(info.InfoHash()) || n.rouse(refs.InfoHash{1}) {
		t.Error("roused what cannot be opened")
	}
	if _, err := n.Offer(other.InfoHash(), 0, p.open(info)); err != nil {
		t.Fatal(err)
	}
	if n.rouse(other.InfoHash()) || p.closed.Load() != 1 {
		t.Error("roused a torrent of another hash, or left it open")
	}
	n.Close()
	if _, err := n.Offer(info.InfoHash(), 0, p.open(info)); !errors.Is(err, ErrClosed) {
		t.Errorf("Offer after Close = %v, want ErrClosed", err)
	}
}

// Strangers can have torrents loaded, but not all of them at once.
func TestOfferIdleBound(t *testing.T) {
	n := newNode(t)
	var first refs.InfoHash
	for i := range uint64(maxIdle + 5) {
		p := &shelf{pseudo: pseudo{i, 100}}
		info := p.info(t)
		if i == 0 {
			first = info.InfoHash()
		}
		if _, err := n.Offer(info.InfoHash(), 0, p.open(info)); err != nil {
			t.Fatal(err)
		}
		if !n.rouse(info.InfoHash()) {
			t.Fatal("cannot rouse")
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.entries) != maxIdle || n.entries[first] != nil {
		t.Errorf("%d torrents are loaded, the first one too: %v, want the newest %d", len(n.entries), n.entries[first] != nil, maxIdle)
	}
}

// greeting is the first half of a handshake.
func greeting(hash refs.InfoHash) []byte {
	b := append([]byte(protocolHeader), bytes.Repeat([]byte{0xff}, 8)...)
	return append(append(b, hash[:]...), "-XX0000-123456789012"...)
}

func dialNode(t *testing.T, n *Node) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c
}

// An obfuscated connection has its torrent loaded, too; one for a torrent that is not here, or for
// nothing at all, gets no answer.
func TestAdmission(t *testing.T) {
	p := &shelf{pseudo: pseudo{9, 1000}}
	info := p.info(t)
	n := newNode(t)
	hash := info.InfoHash()
	if _, err := n.Offer(hash, 0, p.open(info)); err != nil {
		t.Fatal(err)
	}
	for _, method := range []mse.CryptoMethod{mse.CryptoMethodPlaintext, mse.CryptoMethodRC4} {
		c := dialNode(t, n)
		rw, _, err := mse.InitiateHandshake(c, hash[:], nil, method)
		if err != nil {
			t.Fatalf("MSE %v: %v", method, err)
		}
		if _, err := rw.Write(greeting(hash)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 68)
		if _, err := io.ReadFull(rw, answer); err != nil || refs.InfoHash(answer[28:48]) != hash {
			t.Errorf("MSE %v: answer %q, %v", method, answer, err)
		}
	}
	for name, b := range map[string][]byte{
		"another torrent": greeting(refs.InfoHash{1}),
		"http":            []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" + strings.Repeat("x", 2000)),
	} {
		c := dialNode(t, n)
		c.Write(b)
		c.(*net.TCPConn).CloseWrite()
		if got, _ := io.ReadAll(c); bytes.Contains(got, []byte("BitTorrent")) {
			t.Errorf("%s: answer %q", name, got)
		}
	}
}

// A torrent stays loaded while somebody is connected.
func TestOfferInUse(t *testing.T) {
	p := &shelf{pseudo: pseudo{12, 1000}}
	info := p.info(t)
	n := newNode(t)
	if _, err := n.Offer(info.InfoHash(), 0, p.open(info)); err != nil {
		t.Fatal(err)
	}
	c := dialNode(t, n)
	c.Write(greeting(info.InfoHash()))
	if _, err := io.ReadFull(c, make([]byte, 68)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the connection", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return len(n.conns) == 1 })
	n.unloadIdle(time.Now().Add(time.Hour))
	if n.entry(info.InfoHash()) == nil {
		t.Error("unloaded while a peer was connected")
	}
}

func TestConnectionLimit(t *testing.T) {
	p := &shelf{pseudo: pseudo{10, 1000}}
	info := p.info(t)
	n := newNode(t, func(c *Config) { c.Connections = 4 })
	if _, err := n.Offer(info.InfoHash(), 0, p.open(info)); err != nil {
		t.Fatal(err)
	}
	answered := func() bool {
		c := dialNode(t, n)
		b := greeting(info.InfoHash())
		copy(b[len(b)-8:], strconv.Itoa(int(time.Now().UnixNano()%1e8) + 1e8)[1:])
		c.Write(b)
		_, err := io.ReadFull(c, make([]byte, 68))
		return err == nil
	}
	for i := range 4 {
		if !answered() {
			t.Errorf("connection %d of 4 was refused", i+1)
		}
	}
	if answered() {
		t.Error("a fifth connection was let in")
	}
	if _, err := (slotDialer{tcpDialer(), &n.slots}).Dial(t.Context(), "127.0.0.1:9"); !errors.Is(err, errNoSlot) {
		t.Errorf("Dial = %v, want errNoSlot", err)
	}
}

func TestGreetingBits(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go func() { b.Write(greeting(refs.InfoHash{7})); b.Close() }()
	c, hash, err := receiveGreeting(t.Context(), a, func(func(refs.InfoHash) bool) {})
	if err != nil || hash != (refs.InfoHash{7}) {
		t.Fatalf("receiveGreeting = %v, %v", hash, err)
	}
	got, _ := io.ReadAll(c)
	want := greeting(refs.InfoHash{7})
	copy(want[20:], []byte{0, 0, 0, 0, 0, 0x10, 0, 5})
	if !bytes.Equal(got, want) {
		t.Errorf("the library reads %q, want %q", got, want)
	}
}

// scripted is a connection from which certain bytes come.
type scripted struct {
	net.Conn
	r io.Reader
}

func (s scripted) Read(b []byte) (int, error)  { return s.r.Read(b) }
func (s scripted) Write(b []byte) (int, error) { return len(b), nil }

func FuzzGreeting(f *testing.F) {
	f.Add(greeting(refs.InfoHash{1}))
	f.Add(bytes.Repeat([]byte{3}, 700))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c, hash, err := receiveGreeting(ctx, scripted{r: bytes.NewReader(b)}, func(yield func(refs.InfoHash) bool) { yield(refs.InfoHash{1}) })
		if err != nil {
			return
		}
		again := make([]byte, greetingLength)
		if _, err := io.ReadFull(c, again); err != nil || refs.InfoHash(again[28:]) != hash || string(again[:20]) != protocolHeader {
			t.Errorf("greeting %q reads again as %q, %v", b, again, err)
		}
	})
}

// BenchmarkOffers says what a torrent costs that nobody wants, and what one that is loaded.
func BenchmarkOffers(b *testing.B) {
	for _, count := range []int{2_000, 10_000} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			for b.Loop() {
				n := newNode(b)
				before := resident(b)
				for i := range count {
					p := &shelf{pseudo: pseudo{uint64(i), 100}}
					hash := p.info(b).InfoHash()
					if _, err := n.Offer(hash, 0, func() (*Info, Source, error) { return p.info(b), p, nil }); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(resident(b))/(1<<20), "RSS-MiB")
				b.ReportMetric(float64(resident(b)-before)/float64(count), "B/torrent")
				n.Close()
			}
		})
	}
}

// resident is the memory of this process, in bytes.
func resident(b *testing.B) int64 {
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
