package swarm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	pp "github.com/anacrolix/torrent/peer_protocol"

	"github.com/gitpeer/gitpeer/refs"
)

// pieceConn gives what it holds in parts of random lengths, and takes what is written.
type pieceConn struct {
	net.Conn
	rnd     *rand.Rand
	in      []byte
	written []byte
}

func (c *pieceConn) Read(b []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.in[:min(len(c.in), 1+c.rnd.IntN(40))])
	c.in = c.in[n:]
	return n, nil
}

func (c *pieceConn) Write(b []byte) (int, error) {
	c.written = append(c.written, b...)
	return len(b), nil
}

func (c *pieceConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// someMessages are messages of random lengths, some of them empty.
func someMessages(rnd *rand.Rand, n int) (list [][]byte) {
	for range n {
		m := make([]byte, 4+rnd.IntN(60)*rnd.IntN(2))
		binary.BigEndian.PutUint32(m, uint32(len(m)-4))
		for i := 4; i < len(m); i++ {
			m[i] = byte(rnd.Uint32())
		}
		list = append(list, m)
	}
	return list
}

// Suggestions come between two messages, as many as there were nudges, and change nothing else.
func TestWireSuggests(t *testing.T) {
	for round := range 300 {
		rnd := rand.New(rand.NewPCG(uint64(round), 1))
		list := someMessages(rnd, 30)
		c := &pieceConn{rnd: rnd, in: append(greeting(refs.InfoHash{1}), bytes.Join(list, nil)...)}
		w := (&Node{}).newWire(c)
		var got []byte
		nudges := 0
		for b := make([]byte, 64); ; {
			if rnd.IntN(4) == 0 && !w.in.wanted.Load() && len(c.in) > 0 {
				w.nudge()
				nudges++
			}
			n, err := w.Read(b[:len(suggestion)+rnd.IntN(len(b)-len(suggestion))])
			got = append(got, b[:n]...)
			if err == io.EOF {
				break
			}
		}
		if !bytes.HasPrefix(got, greeting(refs.InfoHash{1})) {
			t.Fatalf("round %d: the handshake was changed", round)
		}
		got = got[handshakeBytes:]
		given := 0
		for len(list) > 0 {
			if bytes.HasPrefix(got, []byte(suggestion)) && !bytes.Equal(list[0], []byte(suggestion)) {
				given++
				got = got[len(suggestion):]
				continue
			}
			if !bytes.HasPrefix(got, list[0]) {
				t.Fatalf("round %d: %x, want the message %x", round, got, list[0])
			}
			got, list = got[len(list[0]):], list[1:]
		}
		if given += len(got) / len(suggestion); given != nudges && given != nudges-1 { // the last may have come too late
			t.Fatalf("round %d: %d suggestions after %d nudges", round, given, nudges)
		}
		for range given {
			if !w.nudged() {
				t.Fatalf("round %d: a suggestion of ours is taken for the peer's", round)
			}
		}
		if w.nudged() {
			t.Fatalf("round %d: a suggestion of the peer is taken for ours", round)
		}
	}
}

// What does not begin as BitTorrent does is left alone.
func TestWireLeavesObfuscated(t *testing.T) {
	in := make([]byte, 400)
	c := &pieceConn{rnd: rand.New(rand.NewPCG(3, 1)), in: in}
	w := (&Node{}).newWire(c)
	w.nudge()
	got, err := io.ReadAll(w)
	if err != nil || !bytes.Equal(got, in) {
		t.Errorf("read %d bytes, %v, want %d as they were", len(got), err, len(in))
	}
}

// However what is written is divided, a reader that is to see only some pieces sees no other ones, and
// the pieces that it is shown come between two messages.
func TestWireHides(t *testing.T) {
	bitfield := append([]byte{0, 0, 0, 17, byte(pp.Bitfield)}, bytes.Repeat([]byte{0xff}, 16)...)
	nothing := append([]byte{0, 0, 0, 17, byte(pp.Bitfield)}, make([]byte, 16)...)
	for _, c := range []struct {
		name           string
		says, passesAs []byte
	}{
		{"bitfield", bitfield, nothing},
		{"have all", []byte{0, 0, 0, 1, byte(pp.HaveAll)}, []byte{0, 0, 0, 1, byte(pp.HaveNone)}},
	} {
		for round := range 200 {
			rnd := rand.New(rand.NewPCG(uint64(round), 2))
			conn := &pieceConn{rnd: rnd}
			p := &peerConn{entry: &entry{}}
			w := (&Node{wires: map[wireKey]*wire{}}).newWire(conn)
			out := greeting(refs.InfoHash{1})
			if _, err := w.Write(out); err != nil {
				t.Fatal(err)
			}
			w.peer, w.info, w.mode = p, pseudo{1, 1 << 20}.info(t), wireHiding
			rest := bytes.Clone(c.says)
			rest = append(rest, bytes.Join(someMessages(rnd, 5), nil)...)
			kept := bytes.Clone(rest)
			want := append(bytes.Clone(c.passesAs), rest[len(c.says):]...)
			w.show([]int{7})
			for part := rest; len(part) > 0; {
				n := 1 + rnd.IntN(min(len(part), 30))
				if _, err := w.Write(part[:n]); err != nil {
					t.Fatal(err)
				}
				part = part[n:]
			}
			if !bytes.Equal(rest, kept) {
				t.Fatalf("%s, round %d: the caller's bytes were changed", c.name, round)
			}
			if err := sameButHave(conn.written[handshakeBytes:], want, 7); err != nil {
				t.Fatalf("%s, round %d: %v", c.name, round, err)
			}
		}
	}
}

// sameButHave compares what was written with what was to be, but for one have message between two others.
func sameButHave(got, want []byte, piece byte) error {
	have := []byte{0, 0, 0, 5, byte(pp.Have), 0, 0, 0, piece}
	for at := 0; at <= len(want); {
		if bytes.HasPrefix(got[at:], have) && bytes.Equal(append(bytes.Clone(got[:at]), got[at+len(have):]...), want) {
			return nil
		}
		if at == len(want) {
			break
		}
		at += 4 + int(binary.BigEndian.Uint32(want[at:]))
	}
	return fmt.Errorf("written %x, want %x and the message %x", got, want, have)
}

// Whatever a peer sends, in whatever parts, the library reads that, and suggestions besides.
func FuzzWire(f *testing.F) {
	f.Add(append(greeting(refs.InfoHash{1}), "\x00\x00\x00\x00\x00\x00\x00\x01\x00\xff\xff\xff\xff\x07"...), uint64(1))
	f.Add([]byte(suggestion), uint64(2))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		w := (&Node{}).newWire(&pieceConn{rnd: rnd, in: bytes.Clone(in)})
		var got []byte
		for b := make([]byte, 64); ; {
			if rnd.IntN(2) == 0 {
				w.nudge()
			}
			given := w.in.given
			n, err := w.Read(b)
			if w.in.given == given {
				got = append(got, b[:n]...)
			} else if string(b[:n]) != suggestion {
				t.Fatalf("%x is no suggestion", b[:n])
			}
			if err == io.EOF {
				break
			}
		}
		if !bytes.Equal(got, in) {
			t.Fatalf("read %x, want %x", got, in)
		}
	})
}
