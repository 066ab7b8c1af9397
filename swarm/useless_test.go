package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Peers that are of no use hold nobody up who has another one: not who claims everything and sends
// nothing, who stops after a block, or who chokes for ever. The library sees to most of that: who has
// nothing left to ask for takes over what others were asked for.
func TestUselessPeers(t *testing.T) {
	p := pseudo{8, 1 << 20}
	info := p.info(t)
	for name, answer := range map[string]func(r *rawPeer, requests int, index, begin, length int){
		"silent": func(*rawPeer, int, int, int, int) {},
		"one block": func(r *rawPeer, requests, index, begin, length int) {
			if requests == 1 {
				b := make([]byte, length)
				p.ReadAt(b, int64(index)*info.PieceLength()+int64(begin))
				r.send(7, index, begin, b)
			}
		},
		"chokes":  func(r *rawPeer, _, _, _, _ int) { r.send(0) },
		"rejects": func(r *rawPeer, _, index, begin, length int) { r.send(16, index, begin, length) },
		"floods":  func(r *rawPeer, _, index, begin, _ int) { repeat(100, func() { r.send(4, 1) })() },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newNode(t), newNode(t)
			seed(t, a, p)
			asked := make(chan struct{}, 1)
			useless := rawSeeder(t, info.InfoHash(), info.Bytes(), func(r *rawPeer) {
				for requests := 0; ; {
					kind, msg, ok := r.next()
					if !ok {
						return
					}
					r.giveMetadata(kind, msg, info.Bytes())
					if kind != 6 {
						continue
					}
					requests++
					select {
					case asked <- struct{}{}:
					default:
					}
					answer(r, requests, int(binary.BigEndian.Uint32(msg)), int(binary.BigEndian.Uint32(msg[4:])),
						int(binary.BigEndian.Uint32(msg[8:])))
				}
			})
			d := fetch(t, b, FetchRequest{
				InfoHash: info.InfoHash(), Peers: []netip.AddrPort{useless}, StallTimeout: time.Minute,
			})
			<-asked // it holds requests before there is anybody else
			b.AddPeers(info.InfoHash(), addrs(a))
			readAll(t, d, p)
		})
	}
}

// A bitfield of the wrong length, or with bits behind the end, ends the connection; the right one
// does not.
func TestBitfieldLength(t *testing.T) {
	n := newNode(t)
	info := seed(t, n, pseudo{9, 100_000}) // four pieces
	for bits, right := range map[string]bool{
		"\x00": true, "\xe0": true, "": false, "\xf0\x00": false, "\xf8": false,
	} {
		r := dialRaw(t, n, info.InfoHash())
		r.send(20, "\x00d1:md11:ut_metadatai1eee")
		r.send(5, bits)
		if right {
			if !r.alive() {
				t.Errorf("bitfield %q ended the connection", bits)
			}
			continue
		}
		for ok := true; ok; {
			_, _, ok = r.next()
		}
		if _, err := r.conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("bitfield %q did not end the connection", bits)
		}
	}
}

// So does, once the metadata is known, one that came before it.
func TestBitfieldBeforeMetadata(t *testing.T) {
	p := pseudo{11, 100_000} // four pieces
	for bits, right := range map[string]bool{
		"00000000": true, "11110000": true, "00010000": true,
		"": false, "0000000000000000": false, "1111000000000000": false, "00001000": false,
	} {
		var c claims
		q := new(peerConn)
		var set []bool
		for _, b := range bits {
			set = append(set, b == '1')
		}
		c.add(q, set)
		if got := c.disproved(4); len(got) == 0 != right {
			t.Errorf("bitfield %s of four pieces: taken for right: %v", bits, !right)
		}
		c.add(q, nil)
		c.remove(q)
		if got := c.disproved(4); len(got) > 0 {
			t.Errorf("a peer that has gone: %v", got)
		}
	}
	info := p.info(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		l.Close() // it is not called again
		r := shakeHands(t, c, info.InfoHash(), "-LIE-")
		r.send(5, "\xf0\x00")
		r.send(20, fmt.Sprintf("\x00d1:md11:ut_metadatai1ee13:metadata_sizei%dee", len(info.Bytes())))
		for ok := true; ok; {
			var kind byte
			var msg []byte
			if kind, msg, ok = r.next(); ok {
				r.giveMetadata(kind, msg, info.Bytes())
			}
		}
		_, err = c.Read(make([]byte, 1))
		ended <- err
	}()
	honest, reader := newNode(t), newNode(t)
	seed(t, honest, p)
	d := fetch(t, reader, FetchRequest{InfoHash: info.InfoHash(), Peers: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}})
	if err := <-ended; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a bitfield that was wrong did not end the connection")
	}
	reader.AddPeers(info.InfoHash(), addrs(honest))
	readAll(t, d, p)
}

// A reader that is ended again and again at any moment receives no verified piece twice.
func TestResumeAnywhere(t *testing.T) {
	p := pseudo{10, 4 << 20}
	a := newNode(t, func(c *Config) { c.UploadRate = 8 << 20 })
	info := seed(t, a, p)
	file := filepath.Join(t.TempDir(), "pack")
	rng := rand.New(rand.NewPCG(1, 2))
	for missing, round := p.size, 0; missing > 0; round++ {
		n := newNode(t)
		d := fetch(t, n, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a), File: file})
		enough := rng.Int64N(1 << 20)
		received := func() int64 { return n.TorrentStats(info.InfoHash()).Received }
		waitFor(t, "data", func() bool { return received() >= min(enough, missing) })
		got := received()
		n.Close()
		if got > missing {
			t.Errorf("round %d received %d bytes where %d were missing", round, got, missing)
		}
		d.Close()
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		missing = p.size
		if _, err := verify(t.Context(), info, f, func(n int64) { missing -= n }); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}
