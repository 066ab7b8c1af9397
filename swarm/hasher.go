package swarm

import (
	"crypto/sha1"
	"crypto/sha256"
	"hash"

	"github.com/gitpeer/gitpeer/refs"
)

// maxPieces is the number of pieces that a pack's torrent aims to stay under. 4096 pieces are an
// info dictionary of 80 KB, which a peer sends in five messages before the first byte of the pack.
const maxPieces = 4096

// pieceLengths are the candidates, smallest first. A reader can pass on only whole pieces, so the
// smallest that keeps the info dictionary small is best. The last one takes whatever is left: up to
// [MaxInfoBytes] of hashes.
var pieceLengths = [...]int64{32 << 10, 128 << 10, 512 << 10, 2 << 20, 8 << 20, 16 << 20}

// A Hasher computes the info dictionary of a stream whose length is not known beforehand, in one
// pass, and the SHA-256 of the whole. It is an io.Writer that never fails. The same bytes and name
// always give the same infohash.
//
// It hashes at all piece lengths that are still possible, so its cost is up to six SHA-1 and one
// SHA-256; a candidate is dropped as soon as it has too many pieces. Its memory is that of the sums:
// at most 80 KB a candidate.
type Hasher struct {
	whole      hash.Hash
	size       int64
	candidates []*pieceHasher
}

// NewHasher returns a Hasher at the start of a stream.
func NewHasher() *Hasher {
	h := &Hasher{whole: sha256.New()}
	for _, n := range pieceLengths {
		h.candidates = append(h.candidates, &pieceHasher{length: n, sum: sha1.New()})
	}
	return h
}

// Write adds p to the stream.
func (h *Hasher) Write(p []byte) (int, error) {
	// Candidate by candidate over a part that stays in the processor's cache.
	const part = 32 << 10
	for rest := p; len(rest) > 0; {
		n := min(len(rest), part)
		h.whole.Write(rest[:n])
		for _, c := range h.candidates {
			c.write(rest[:n])
		}
		rest = rest[n:]
	}
	h.size += int64(len(p))
	for len(h.candidates) > 1 && h.size > h.candidates[0].length*maxPieces {
		h.candidates = h.candidates[1:]
	}
	return len(p), nil
}

// Size returns the number of bytes written.
func (h *Hasher) Size() int64 { return h.size }

// SHA256 returns the SHA-256 of the bytes written.
func (h *Hasher) SHA256() refs.Digest { return refs.Digest(h.whole.Sum(nil)) }

// Sum returns the info dictionary of the bytes written, under a name of [A-Za-z0-9._-]. It takes
// the smallest piece length that gives at most 4096 pieces. The error is an *[InfoError]: the name,
// an empty stream, or more than 840 GB.
func (h *Hasher) Sum(name string) (*Info, error) {
	c := h.candidates[0]
	return newInfo(name, h.size, c.length, string(c.sums()))
}

// pieceHasher computes the sums of pieces of one length.
type pieceHasher struct {
	length int64
	sum    hash.Hash
	filled int64 // bytes in the piece under way
	done   []byte
}

func (c *pieceHasher) write(p []byte) {
	for len(p) > 0 {
		n := min(int64(len(p)), c.length-c.filled)
		c.sum.Write(p[:n])
		c.filled += n
		p = p[n:]
		if c.filled == c.length {
			c.done = c.sum.Sum(c.done)
			c.sum.Reset()
			c.filled = 0
		}
	}
}

// sums returns all sums so far, the last of a partial piece, and leaves the stream open.
func (c *pieceHasher) sums() []byte {
	if c.filled == 0 {
		return c.done
	}
	return c.sum.Sum(c.done[:len(c.done):len(c.done)])
}
