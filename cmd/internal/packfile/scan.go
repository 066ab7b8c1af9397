package node

import (
	"bufio"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gitpeer/gitpeer/refs"
)

// packLimits bound what a pack may make of us while it streams in. They are
// what the signed snapshot declares, or our own where nothing is declared.
type packLimits struct {
	Bytes    int64 // length of the pack
	Objects  int64 // entries
	Inflated int64 // sum of the sizes of the objects that the entries resolve to
	Object   int64 // size of one object
}

// hardLimits hold whatever a snapshot declares: a pack beyond them is refused.
var hardLimits = packLimits{
	Bytes:    256 << 30, // ten times the largest public history
	Objects:  200e6,
	Inflated: 64 << 40, // delta chains make a hundred bytes of one
	Object:   2 << 30,  // what git itself reads into one buffer on every system
}

// A packLimitError is a pack that goes beyond what was declared or allowed.
type packLimitError struct {
	What       string // "bytes", "objects", "inflated bytes", "bytes in one object"
	Got, Limit int64
}

func (e *packLimitError) Error() string {
	return fmt.Sprintf("pack has at least %d %s, %d are allowed", e.Got, e.What, e.Limit)
}

var errPackFormat = errors.New("malformed pack")

// packStats are what a scan counts.
type packStats struct {
	Bytes    int64
	Objects  int64
	Inflated int64
	Header   [packHeaderLen]byte
	Trailer  []byte // the checksum that ends the pack
}

const packHeaderLen = 12

// Types of pack entries (gitformat-pack(5)).
const (
	entryCommit   = 1
	entryTag      = 4
	entryOfsDelta = 6
	entryRefDelta = 7
)

// A packScanner reads a pack entry by entry as it streams by and stops at the
// first byte that breaks a limit: the bound on what index-pack, which reads the
// same bytes, can be made to do. It holds no object in memory.
type packScanner struct {
	r      *bufio.Reader
	n      int64 // bytes consumed
	limits packLimits
	format refs.ObjectFormat
	zr     io.ReadCloser
}

// scanPack reads one whole pack from r, which must end after it.
func scanPack(r io.Reader, format refs.ObjectFormat, limits packLimits) (*packStats, error) {
	s := &packScanner{r: bufio.NewReaderSize(r, 256<<10), limits: limits, format: format}
	stats := &packStats{}
	if err := s.full(stats.Header[:]); err != nil {
		return nil, err
	}
	version := binary.BigEndian.Uint32(stats.Header[4:])
	if string(stats.Header[:4]) != "PACK" || version != 2 && version != 3 {
		return nil, fmt.Errorf("%w: no pack header", errPackFormat)
	}
	stats.Objects = int64(binary.BigEndian.Uint32(stats.Header[8:]))
	if err := limit("objects", stats.Objects, limits.Objects); err != nil {
		return nil, err
	}
	for range stats.Objects {
		size, err := s.entry()
		if err != nil {
			return nil, err
		}
		stats.Inflated += size
		if err := limit("inflated bytes", stats.Inflated, limits.Inflated); err != nil {
			return nil, err
		}
	}
	stats.Trailer = make([]byte, format.Len()) // index-pack compares it
	if _, err := io.ReadFull(s.r, stats.Trailer); err != nil {
		return nil, fmt.Errorf("%w: truncated: %w", errPackFormat, err)
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: bytes after its end", errPackFormat)
	}
	stats.Bytes = s.n + int64(len(stats.Trailer))
	return stats, limit("bytes", stats.Bytes, limits.Bytes)
}

func limit(what string, got, allowed int64) error {
	if got > allowed {
		return &packLimitError{What: what, Got: got, Limit: allowed}
	}
	return nil
}

// entry reads one entry and gives the size of the object that it resolves to.
func (s *packScanner) entry() (int64, error) {
	c, err := s.ReadByte()
	if err != nil {
		return 0, err
	}
	kind := c >> 4 & 7
	size, shift := int64(c&15), uint(4)
	for c&0x80 != 0 {
		if c, err = s.ReadByte(); err != nil {
			return 0, err
		}
		if shift > 53 {
			return 0, fmt.Errorf("%w: object size overflows", errPackFormat)
		}
		size |= int64(c&0x7f) << shift
		shift += 7
	}
	if err := limit("bytes in one object", size, s.limits.Object); err != nil {
		return 0, err
	}
	switch {
	case kind >= entryCommit && kind <= entryTag:
		return size, s.inflate(size, nil)
	case kind == entryOfsDelta:
		for c = 0x80; c&0x80 != 0; {
			if c, err = s.ReadByte(); err != nil {
				return 0, err
			}
		}
	case kind == entryRefDelta:
		var base [32]byte
		if err := s.full(base[:s.format.Len()]); err != nil {
			return 0, err
		}
	default:
		return 0, fmt.Errorf("%w: entry of type %d", errPackFormat, kind)
	}
	var head deltaHead
	if err := s.inflate(size, &head); err != nil {
		return 0, err
	}
	result, err := head.resultSize()
	if err != nil {
		return 0, err
	}
	return result, limit("bytes in one object", result, s.limits.Object)
}

// inflate reads a zlib stream that must hold exactly size bytes, and keeps its
// beginning in head, if that is not nil.
func (s *packScanner) inflate(size int64, head *deltaHead) error {
	var err error
	if s.zr == nil {
		s.zr, err = zlib.NewReader(s)
	} else {
		err = s.zr.(zlib.Resetter).Reset(s, nil)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errPackFormat, err)
	}
	in := io.LimitReader(s.zr, size+1)
	var n int64
	if head != nil {
		k, err := io.ReadFull(in, head.b[:])
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
			return fmt.Errorf("%w: %w", errPackFormat, err)
		}
		head.n, n = k, int64(k)
	}
	k, err := io.Copy(io.Discard, in)
	if err != nil {
		return fmt.Errorf("%w: %w", errPackFormat, err)
	}
	if n+k != size {
		return fmt.Errorf("%w: an entry does not have the %d bytes that it declares", errPackFormat, size)
	}
	return nil
}

// A deltaHead is the beginning of a delta: two sizes of at most ten bytes each.
type deltaHead struct {
	b [20]byte
	n int
}

func (h *deltaHead) resultSize() (int64, error) {
	rest := h.b[:h.n]
	var size uint64
	for range 2 { // of the base, then of the result
		n := 0
		size, n = binary.Uvarint(rest)
		if n <= 0 || size > 1<<62 {
			return 0, fmt.Errorf("%w: delta without sizes", errPackFormat)
		}
		rest = rest[n:]
	}
	return int64(size), nil
}

// ReadByte and Read make the scanner the source of the zlib reader, which takes
// no byte more than it needs from an io.ByteReader.
func (s *packScanner) ReadByte() (byte, error) {
	c, err := s.r.ReadByte()
	if err != nil {
		return 0, fmt.Errorf("%w: truncated: %w", errPackFormat, err)
	}
	s.n++
	return c, s.over()
}

func (s *packScanner) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err == nil {
		err = s.over()
	}
	return n, err
}

func (s *packScanner) full(p []byte) error {
	if _, err := io.ReadFull(s, p); err != nil {
		return fmt.Errorf("%w: truncated: %w", errPackFormat, err)
	}
	return nil
}

func (s *packScanner) over() error {
	if s.n > s.limits.Bytes {
		return limit("bytes", s.n, s.limits.Bytes)
	}
	return nil
}
