package swarm

import (
	"slices"
	"time"
)

// The library writes a have message to each peer for each piece, at once: one of ten readers of ten
// megabytes writes 3,000, half of its writes are nothing else, and each is a packet that wakes a process.
// So they are held back until something else is written, or haveInterval has passed since the last that
// were written alone. A piece comes to be known of at most that much later, and only where pieces come
// faster than that.
const haveInterval = 50 * time.Millisecond

const (
	havePrefix = "\x00\x00\x00\x05\x04" // length and type (BEP 3)
	haveLength = len(havePrefix) + 4
)

// haves are the have messages that a wire holds back; with its turn taken.
type haves struct {
	held []byte
	last time.Time // when some were written alone
}

// onlyHaves reports whether whole messages are nothing but have messages.
func onlyHaves(b []byte) bool {
	if len(b)%haveLength != 0 {
		return false
	}
	for ; len(b) > 0; b = b[haveLength:] {
		if string(b[:len(havePrefix)]) != havePrefix {
			return false
		}
	}
	return true
}

// writeRaw writes whole messages that pass unchanged, or holds them back. It is called with the turn taken.
func (w *wire) writeRaw(b []byte) (int, error) {
	h := &w.haves
	if w.in.plain.Load() && onlyHaves(b) {
		now := time.Now()
		if wait := haveInterval - now.Sub(h.last); wait > 0 {
			if len(h.held) == 0 {
				time.AfterFunc(wait, w.writeHaves)
			}
			h.held = append(h.held, b...)
			return len(b), nil
		}
		h.last = now
	}
	held := len(h.held)
	if held > 0 {
		b = slices.Concat(h.held, b)
		h.held = h.held[:0]
	}
	n, err := w.Conn.Write(b)
	return max(n-held, 0), err
}

// writeHaves writes what is still held back. An error comes again when the library writes.
func (w *wire) writeHaves() {
	select {
	case w.turn <- struct{}{}:
	case <-w.closed:
		return
	}
	defer func() { <-w.turn }()
	if h := &w.haves; len(h.held) > 0 {
		h.last = time.Now()
		w.Conn.Write(h.held)
		h.held = h.held[:0]
	}
}
