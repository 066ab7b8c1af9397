package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// pseudo is size bytes that look random, made again at each read.
type pseudo struct {
	seed uint64
	size int64
}

func (p pseudo) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) && off < p.size {
		var word [8]byte
		x := (uint64(off/8)+p.seed)*0x9e3779b97f4a7c15 + 1
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(word[:], x^x>>31)
		m := copy(b[n:], word[off%8:min(8, off%8+p.size-off)])
		n, off = n+m, off+int64(m)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (p pseudo) reader() io.Reader { return io.NewSectionReader(p, 0, p.size) }

func (p pseudo) info(t testing.TB) *Info {
	t.Helper()
	h := NewHasher()
	if _, err := io.Copy(h, p.reader()); err != nil {
		t.Fatal(err)
	}
	info, err := h.Sum("pack")
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func (p pseudo) digest() refs.Digest {
	h := sha256.New()
	io.Copy(h, p.reader())
	return refs.Digest(h.Sum(nil))
}

func testLogger(t testing.TB) *slog.Logger {
	if os.Getenv("SWARM_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
}

func newNode(t testing.TB, change ...func(*Config)) *Node {
	t.Helper()
	cfg := Config{Listen: "127.0.0.1:0", Logger: testLogger(t)}
	for _, f := range change {
		f(&cfg)
	}
	n, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

func seed(t testing.TB, n *Node, p pseudo) *Info {
	t.Helper()
	info := p.info(t)
	s, err := n.Seed(info, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return info
}

func addrs(nodes ...*Node) []netip.AddrPort {
	var a []netip.AddrPort
	for _, n := range nodes {
		a = append(a, n.Addr())
	}
	return a
}

func fetch(t testing.TB, n *Node, req FetchRequest) *Download {
	t.Helper()
	if req.File == "" {
		req.File = filepath.Join(t.TempDir(), "pack")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	d, err := n.Fetch(ctx, req)
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// readAll reads a download to its end and compares it.
func readAll(t testing.TB, d *Download, want pseudo) {
	t.Helper()
	h := sha256.New()
	n, err := io.Copy(h, d)
	if err != nil || n != want.size {
		t.Fatalf("read %d bytes, %v, want %d", n, err, want.size)
	}
	if refs.Digest(h.Sum(nil)) != want.digest() {
		t.Fatal("read other bytes than were seeded")
	}
}

func TestFetch(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"tcp": func(c *Config) { c.noUTP = true },
		"utp": func(c *Config) { c.noTCP = true },
	} {
		t.Run(name, func(t *testing.T) {
			p := pseudo{1, 3<<20 + 17}
			a, b := newNode(t, change), newNode(t, change)
			info := seed(t, a, p)
			var last Progress
			d := fetch(t, b, FetchRequest{
				InfoHash: info.InfoHash(), Length: p.size, Peers: addrs(a),
				Progress: func(p Progress) { last = p },
			})
			if !bytes.Equal(d.Info().Bytes(), info.Bytes()) {
				t.Errorf("Info = %q", d.Info().Bytes())
			}
			readAll(t, d, p)
			if err := d.Wait(); err != nil {
				t.Errorf("Wait = %v", err)
			}
			if last.Stage != StageDone || last.Verified != p.size || last.Length != p.size || last.Peers > 1 {
				t.Errorf("last progress %+v", last)
			}
		})
	}
}

// A third node gets the pack from the second, after the first has gone.
func TestFetchedIsSeeded(t *testing.T) {
	p := pseudo{2, 1 << 20}
	a, b, c := newNode(t), newNode(t), newNode(t)
	info := seed(t, a, p)
	d := fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a)})
	if err := d.Wait(); err != nil {
		t.Fatal(err)
	}
	a.Close()
	s, err := b.Seed(d.Info(), p) // from elsewhere, from now on
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.file.Name()); err != nil {
		t.Fatal(err)
	}
	readAll(t, fetch(t, c, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(b)}), p)
	s.Close()
	if b.entry(info.InfoHash()) != nil {
		t.Error("torrent is still there after the last Close")
	}
}

func TestFetchErrors(t *testing.T) {
	p := pseudo{3, 100_000}
	a := newNode(t)
	info := seed(t, a, p)
	short := 300 * time.Millisecond
	for name, test := range map[string]struct {
		req   FetchRequest
		check func(error) bool
	}{
		"no peers": {
			FetchRequest{InfoHash: info.InfoHash(), StallTimeout: short},
			func(err error) bool { var e *NoPeersError; return errors.As(err, &e) && len(e.Tried) == 0 },
		},
		"dead peer": {
			FetchRequest{InfoHash: info.InfoHash(), StallTimeout: short, Peers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}},
			func(err error) bool { var e *NoPeersError; return errors.As(err, &e) && len(e.Tried) == 1 },
		},
		"other torrent": {
			FetchRequest{InfoHash: refs.InfoHash{1}, StallTimeout: short, Peers: addrs(a)},
			func(err error) bool { var e *NoPeersError; return errors.As(err, &e) && len(e.Tried) == 1 },
		},
		"length": {
			FetchRequest{InfoHash: info.InfoHash(), Length: p.size + 1, Peers: addrs(a)},
			func(err error) bool { var e *SizeError; return errors.As(err, &e) && e.Length == p.size },
		},
		"too long": {
			FetchRequest{InfoHash: info.InfoHash(), MaxBytes: p.size - 1, Peers: addrs(a)},
			func(err error) bool { var e *SizeError; return errors.As(err, &e) && e.Max == p.size-1 },
		},
		"file": {
			FetchRequest{InfoHash: info.InfoHash(), File: t.TempDir(), Peers: addrs(a)},
			func(err error) bool { var e *os.PathError; return errors.As(err, &e) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.req.File == "" {
				test.req.File = filepath.Join(t.TempDir(), "pack")
			}
			b := newNode(t)
			_, err := b.Fetch(t.Context(), test.req)
			if !test.check(err) {
				t.Errorf("Fetch = %v (%T)", err, err)
			}
			if err != nil && err.Error() == "" {
				t.Error("empty message")
			}
			if b.entry(test.req.InfoHash) != nil {
				t.Error("torrent is still there")
			}
		})
	}
}

func sha1Of(s string) [20]byte { return sha1.Sum([]byte(s)) }

// The library panics if a block that it reads for a peer cannot be read while
// the torrent is being closed.
func TestReadAfterClose(t *testing.T) {
	p := pseudo{1, 100_000}
	info := p.info(t)
	st := newSeedStore(info, p)
	piece := &storePiece{st, 0}
	b := make([]byte, 100)
	if n, err := piece.ReadAt(b, 5); n != len(b) || err != nil || bytes.Equal(b, make([]byte, len(b))) {
		t.Fatalf("ReadAt = %d, %v of %x", n, err, b)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	if n, err := piece.ReadAt(b, 5); n != len(b) || err != nil || !bytes.Equal(b, make([]byte, len(b))) {
		t.Errorf("after close: ReadAt = %d, %v of %x, want zeros", n, err, b)
	}
	if _, err := st.readAt(b, 5); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: what is hashed = %v, want os.ErrClosed", err)
	}
}
