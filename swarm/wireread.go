package swarm

import (
	"encoding/binary"
	"sync/atomic"
)

// incoming is what is read from a peer. It passes unchanged, but for suggestions of ours between two
// messages. One that is obfuscated has none.
type incoming struct {
	plain  atomic.Bool // it began with a plain handshake
	begun  int         // bytes of the handshake
	head   []byte      // begin of the current message's length
	rest   int64       // bytes of the current message that are still to come
	wanted atomic.Bool // a suggestion
	given  int         // suggestions that the library has not read yet
}

// suggestion is a message (BEP 6) that makes the library look what it can ask the peer for.
const suggestion = "\x00\x00\x00\x05\x0d\x00\x00\x00\x00"

// nudge makes the library look what it can ask the peer for, once it reads.
func (w *wire) nudge() { w.in.wanted.Store(true) }

// nudged reports whether a suggestion that was read is ours; who sends some of its own may have one of
// them taken for it. It is for the goroutine that reads.
func (w *wire) nudged() bool {
	if w.in.given == 0 {
		return false
	}
	w.in.given--
	return true
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	in := &w.in
	if in.wanted.Load() && in.plain.Load() && len(b) >= len(suggestion) {
		if in.rest == 0 && len(in.head) == 0 {
			in.wanted.Store(false)
			in.given++
			return copy(b, suggestion), nil
		}
		b = b[:min(int64(len(b)), in.missing())]
	}
	n, err := w.Conn.Read(b)
	in.follow(b[:n])
	return n, err
}

// missing is how much there is to read at least before a message can begin.
func (in *incoming) missing() int64 {
	switch {
	case in.begun < handshakeBytes:
		return int64(handshakeBytes - in.begun)
	case in.rest > 0:
		return in.rest
	}
	return int64(4 - len(in.head))
}

// follow takes what was read.
func (in *incoming) follow(b []byte) {
	for len(b) > 0 && in.begun <= handshakeBytes {
		n := int(min(int64(len(b)), in.missing()))
		switch {
		case in.begun < handshakeBytes:
			in.greet(b[:n])
		case in.rest > 0:
			in.rest -= int64(n)
		default:
			if in.head = append(in.head, b[:n]...); len(in.head) == 4 {
				in.rest = int64(binary.BigEndian.Uint32(in.head))
				in.head = in.head[:0]
			}
		}
		b = b[n:]
	}
}

// greet takes a part of the handshake.
func (in *incoming) greet(b []byte) {
	if k := min(len(protocolHeader)-in.begun, len(b)); k > 0 && string(b[:k]) != protocolHeader[in.begun:in.begun+k] {
		in.begun = handshakeBytes + 1 // not followed any further
		return
	}
	if in.begun += len(b); in.begun == handshakeBytes {
		in.plain.Store(true)
	}
}
