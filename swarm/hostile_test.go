package swarm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"

	"github.com/gitpeer/gitpeer/refs"
)

// rawPeer speaks the peer protocol without anybody's library.
type rawPeer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// reserved bits: extension protocol (BEP 10), fast extension (BEP 6).
const reserved = "\x00\x00\x00\x00\x00\x10\x00\x04"

// shakeHands does the handshake of BEP 3 on a connection.
func shakeHands(t testing.TB, c net.Conn, hash refs.InfoHash, id string) *rawPeer {
	t.Helper()
	p := &rawPeer{t, c, bufio.NewReader(c)}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	fmt.Fprintf(c, "\x13BitTorrent protocol%s%s%-20.20s", reserved, hash[:], id)
	io.ReadFull(p.r, make([]byte, 68))
	return p
}

// dialRaw connects to a node as a peer of a torrent.
func dialRaw(t testing.TB, n *Node, hash refs.InfoHash) *rawPeer {
	t.Helper()
	c, err := net.Dial("tcp4", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return shakeHands(t, c, hash, "-RAW-"+c.LocalAddr().String())
}

func (p *rawPeer) send(kind byte, payload ...any) {
	var b []byte
	for _, x := range payload {
		switch x := x.(type) {
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(x))
		case string:
			b = append(b, x...)
		case []byte:
			b = append(b, x...)
		}
	}
	p.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b)+1)), append([]byte{kind}, b...)...))
}

// next returns the next message, or false when the connection has ended.
func (p *rawPeer) next() (kind byte, payload []byte, ok bool) {
	for {
		var length uint32
		if binary.Read(p.r, binary.BigEndian, &length) != nil || length > 1<<20 {
			return 0, nil, false
		}
		if length == 0 {
			continue
		}
		b := make([]byte, length)
		if _, err := io.ReadFull(p.r, b); err != nil {
			return 0, nil, false
		}
		return b[0], b[1:], true
	}
}

// await returns the payload of the next message of a kind.
func (p *rawPeer) await(kind byte) ([]byte, bool) {
	for {
		k, b, ok := p.next()
		if !ok || k == kind {
			return b, ok
		}
	}
}

// alive reports whether the node still answers on this connection: it asks for the metadata.
func (p *rawPeer) alive() bool {
	p.send(20, "\x01d8:msg_typei0e5:piecei0ee")
	b, ok := p.await(20)
	for ok && b[0] != 1 {
		b, ok = p.await(20)
	}
	return ok
}

func repeat(n int, f func()) func() {
	return func() {
		for range n {
			f()
		}
	}
}

// Messages that crash anacrolix/torrent v1.61.0, or might, sent to a seeder and to a node that has
// no metadata yet. The process has to live, and the torrent has to close without a panic.
func TestHostileMessages(t *testing.T) {
	const extended, ours = 20, "\x01"
	handshake := "\x00d1:md11:ut_metadatai1e6:ut_pexi2e12:ut_holepunchi3eee"
	p := pseudo{1, 100_000}
	seeder := newNode(t)
	info := seed(t, seeder, p)
	unknown := refs.InfoHash{9}
	for name, attack := range map[string]func(*rawPeer){
		"metadata request of a negative piece": func(r *rawPeer) {
			r.send(extended, ours, "d8:msg_typei0e5:piecei-1ee")
		},
		"metadata request of a huge piece": func(r *rawPeer) {
			r.send(extended, ours, "d8:msg_typei0e5:piecei1125899906842624ee")
		},
		"metadata of a negative piece": func(r *rawPeer) {
			r.send(extended, ours, "d8:msg_typei1e5:piecei-1e10:total_sizei16384ee", strings.Repeat("x", 16384))
		},
		"metadata unasked": func(r *rawPeer) {
			r.send(extended, ours, "d8:msg_typei1e5:piecei0e10:total_sizei2eede")
		},
		"metadata size": func(r *rawPeer) {
			r.send(extended, "\x00d1:md11:ut_metadatai1ee13:metadata_sizei-5ee")
		},
		"metadata size, huge": func(r *rawPeer) {
			r.send(extended, "\x00d1:md11:ut_metadatai1ee13:metadata_sizei999999999999eee")
		},
		"hashes":              func(r *rawPeer) { r.send(byte(pp.Hashes), strings.Repeat("\x00", 32+4*4+32)) },
		"hashes with a proof": func(r *rawPeer) { r.send(byte(pp.Hashes), strings.Repeat("\x01", 32+4*4+32)) },
		"hash request":        func(r *rawPeer) { r.send(byte(pp.HashRequest), strings.Repeat("\x00", 32+4*4)) },
		"hash reject":         func(r *rawPeer) { r.send(byte(pp.HashReject), strings.Repeat("\x00", 32+4*4)) },
		"have all, have none, have": func(r *rawPeer) {
			r.send(14)
			r.send(15)
			r.send(4, 0)
		},
		"have, bitfield, have all": func(r *rawPeer) {
			r.send(4, 1)
			r.send(5, "\xf0")
			r.send(14)
			r.send(5, "\x00")
		},
		"have, far out":     func(r *rawPeer) { r.send(4, 0xffffffff) },
		"have, far":         func(r *rawPeer) { r.send(4, MaxInfoBytes/20-1) },
		"long bitfield":     func(r *rawPeer) { r.send(5, strings.Repeat("\xff", 60_000)) },
		"empty bitfield":    func(r *rawPeer) { r.send(5) },
		"block, unasked":    func(r *rawPeer) { r.send(7, 0, 0, strings.Repeat("x", 16384)) },
		"block, far out":    func(r *rawPeer) { r.send(7, 0xffffffff, 0xffffffff, "x") },
		"request, far out":  func(r *rawPeer) { r.send(6, 0xffffffff, 0, 16384) },
		"request, too long": func(r *rawPeer) { r.send(6, 0, 0, 1<<30) },
		"request, wraps":    func(r *rawPeer) { r.send(6, 0, 16384, 0xffffffff) },
		"request, nothing":  func(r *rawPeer) { r.send(6, 0, 0, 0) },
		"cancel, far out":   func(r *rawPeer) { r.send(8, 0xffffffff, 0, 16384) },
		"reject":            func(r *rawPeer) { r.send(16, 0, 0, 16384) },
		"suggest, far out":  func(r *rawPeer) { r.send(13, 0xffffffff) },
		"allowed, far out":  func(r *rawPeer) { r.send(17, 0xffffffff) },
		"port":              func(r *rawPeer) { r.send(9, "\x00\x00") },
		"short have":        func(r *rawPeer) { r.send(4, "\x00") },
		"unknown type":      func(r *rawPeer) { r.send(99, "x") },
		"unknown extension": func(r *rawPeer) { r.send(extended, "\x63x") },
		"empty extended":    func(r *rawPeer) { r.send(extended) },
		"pex":               func(r *rawPeer) { r.send(extended, "\x03d5:added6:\x7f\x00\x00\x01\x00\x09e") },
		"pex, short":        func(r *rawPeer) { r.send(extended, "\x03d5:added5:aaaaae") },
		"pex, flags":        func(r *rawPeer) { r.send(extended, "\x03d5:added6:aaaaaa7:added.f3:abce") },
		"pex, no dict":      func(r *rawPeer) { r.send(extended, "\x03") },
		"handshake, deep":   func(r *rawPeer) { r.send(extended, "\x00", strings.Repeat("l", 60_000)) },
		"handshake, types":  func(r *rawPeer) { r.send(extended, "\x00d1:mi1e4:reqq1:xe") },
		"handshake, empty":  func(r *rawPeer) { r.send(extended, "\x00") },
		"handshakes": func(r *rawPeer) {
			repeat(2*maxExtendedHandshakes, func() { r.send(extended, handshake) })()
		},
		"holepunch": func(r *rawPeer) {
			r.send(extended, handshake)
			repeat(2*maxHolepunches, func() { r.send(extended, "\x02\x01\x00\x7f\x00\x00\x01\x00\x09\x00\x00\x00\x00") })()
		},
		"holepunch, short": func(r *rawPeer) { r.send(extended, "\x02\x01") },
	} {
		for _, hash := range []refs.InfoHash{info.InfoHash(), unknown} {
			t.Run(fmt.Sprintf("%s/%v", name, hash == unknown), func(t *testing.T) {
				n := seeder
				if hash == unknown {
					n = newNode(t)
					done := make(chan struct{})
					go func() {
						defer close(done)
						n.Fetch(t.Context(), FetchRequest{InfoHash: hash, File: filepath.Join(t.TempDir(), "pack")})
					}()
					defer func() { n.Close(); <-done }()
					waitFor(t, "torrent", func() bool { return n.entry(hash) != nil })
				}
				r := dialRaw(t, n, hash)
				r.send(extended, handshake)
				if hash != unknown {
					r.send(2) // interested
					r.await(1)
				}
				attack(r)
				// Whatever becomes of this connection, the node answers on another one.
				r.alive()
				second := dialRaw(t, n, hash)
				second.send(extended, handshake)
				if !second.alive() {
					t.Error("the node is gone")
				}
			})
		}
	}
}

// waitFor polls until a condition holds.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// rawSeeder listens as a peer that gives wrong answers. Its handler runs for each connection, after
// the handshakes, and may answer requests.
func rawSeeder(t testing.TB, hash refs.InfoHash, metadata []byte, handler func(*rawPeer)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return rawSeederOn(t, l, hash, metadata, handler)
}

// rawSeederOn does it on a listener, which it closes.
func rawSeederOn(t testing.TB, l net.Listener, hash refs.InfoHash, metadata []byte, handler func(*rawPeer)) netip.AddrPort {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := shakeHands(t, c, hash, "-LIE-"+l.Addr().String())
				r.send(20, fmt.Sprintf("\x00d1:md11:ut_metadatai1ee13:metadata_sizei%de1:pi%dee",
					len(metadata), l.Addr().(*net.TCPAddr).Port))
				r.send(14)
				r.send(1)
				handler(r)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// giveMetadata answers one metadata request if the message is one.
func (p *rawPeer) giveMetadata(kind byte, b, metadata []byte) {
	if kind != 20 || b[0] != 1 {
		return
	}
	var piece int
	if _, err := fmt.Sscanf(string(b[1:]), "d8:msg_typei0e5:piecei%dee", &piece); err != nil {
		return
	}
	part := metadata[piece*metadataBlock:]
	p.send(20, "\x01", fmt.Sprintf("d8:msg_typei1e5:piecei%de10:total_sizei%dee", piece, len(metadata)),
		part[:min(metadataBlock, len(part))])
}

// Metadata of another hash never reaches the library or the caller, and its sender is banned.
func TestWrongMetadata(t *testing.T) {
	p := pseudo{4, 200_000}
	a, b := newNode(t), newNode(t)
	info := seed(t, a, p)
	for name, lie := range map[string][]byte{
		"another pack":   pseudo{5, 200_000}.info(t).Bytes(),
		"not a torrent":  []byte("d1:ai1ee"),
		"not bencode":    []byte("garbage"),
		"v2, short root": []byte("d9:file treed1:ad0:d6:lengthi70000e11:pieces root1:xeee12:meta versioni2e4:name1:a12:piece lengthi16384ee"),
	} {
		t.Run(name, func(t *testing.T) {
			given := make(chan struct{}, 100)
			liar := rawSeeder(t, info.InfoHash(), lie, func(r *rawPeer) {
				for {
					kind, msg, ok := r.next()
					if !ok {
						return
					}
					r.giveMetadata(kind, msg, lie)
					select {
					case given <- struct{}{}:
					default:
					}
				}
			})
			banned, enough := b.banned.Load(), errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := b.Fetch(ctx, FetchRequest{
					InfoHash: info.InfoHash(), File: filepath.Join(t.TempDir(), "pack"), Peers: []netip.AddrPort{liar},
				})
				ended <- err
			}()
			<-given
			waitFor(t, "the ban", func() bool { return b.banned.Load() > banned })
			cancel(enough)
			if err := <-ended; !errors.Is(err, enough) {
				t.Errorf("Fetch = %v, want that it went on until it was cancelled", err)
			}
			// And beside an honest peer it does no harm.
			readAll(t, fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: append(addrs(a), liar)}), p)
		})
	}
}

// The infohash may name something that is no torrent of ours. Its metadata never reaches the
// library, which crashes on this one.
func TestForeignMetadata(t *testing.T) {
	for name, metadata := range map[string]string{
		"v2, short root": "d9:file treed1:ad0:d6:lengthi70000e11:pieces root1:xeee12:meta versioni2e4:name1:a12:piece lengthi16384ee",
		"v2":             "d9:file treed1:ad0:d6:lengthi70000e11:pieces root32:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxeee12:meta versioni2e4:name1:a12:piece lengthi16384ee",
		"directory":      "d5:filesld6:lengthi5e4:pathl1:aeee4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
		"path":           "d6:lengthi5e4:name4:../a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae",
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			hash := refs.InfoHash(sha1Of(metadata))
			peer := rawSeeder(t, hash, []byte(metadata), func(r *rawPeer) {
				for {
					kind, msg, ok := r.next()
					if !ok {
						return
					}
					r.giveMetadata(kind, msg, []byte(metadata))
				}
			})
			dir := t.TempDir()
			_, err := n.Fetch(t.Context(), FetchRequest{
				InfoHash: hash, File: filepath.Join(dir, "pack"), Peers: []netip.AddrPort{peer}, StallTimeout: time.Minute,
			})
			if e := new(InfoError); !errors.As(err, &e) {
				t.Errorf("Fetch = %v, want an InfoError", err)
			}
			if files, _ := os.ReadDir(dir); len(files) != 0 {
				t.Errorf("%s was made", files[0].Name())
			}
		})
	}
}

// A block that reaches over the end of its piece stops a process that runs the bare library.
func TestWrongBlocks(t *testing.T) {
	p := pseudo{6, 100_000}
	info := p.info(t)
	for name, block := range map[string]func(index, begin, length int) (int, int, []byte){
		"long":      func(i, b, n int) (int, int, []byte) { return i, b, make([]byte, 16384) },
		"shifted":   func(i, b, n int) (int, int, []byte) { return i, b + 1, make([]byte, n) },
		"short":     func(i, b, n int) (int, int, []byte) { return i, b, make([]byte, n-1) },
		"empty":     func(i, b, n int) (int, int, []byte) { return i, b, nil },
		"elsewhere": func(i, b, n int) (int, int, []byte) { return i + 1000, b, make([]byte, n) },
		"wrong":     func(i, b, n int) (int, int, []byte) { return i, b, make([]byte, n) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newNode(t), newNode(t)
			seed(t, a, p)
			liar := rawSeeder(t, info.InfoHash(), info.Bytes(), func(r *rawPeer) {
				for {
					kind, msg, ok := r.next()
					if !ok {
						return
					}
					r.giveMetadata(kind, msg, info.Bytes())
					if kind == 6 {
						index := int(binary.BigEndian.Uint32(msg))
						begin := int(binary.BigEndian.Uint32(msg[4:]))
						length := int(binary.BigEndian.Uint32(msg[8:]))
						i, o, data := block(index, begin, length)
						r.send(7, i, o, data)
					}
				}
			})
			d := fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: []netip.AddrPort{liar}})
			b.AddPeers(info.InfoHash(), addrs(a))
			readAll(t, d, p)
		})
	}
}
