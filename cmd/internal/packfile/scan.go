package packfile

import (
	"bufio"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gitpeer/gitpeer/refs"
)

// Limits bound what a pack may make of us while it streams in. They are what the
// signed snapshot declares, or our own where nothing is declared.
type Limits struct {
	Bytes    int64 // length of the pack
	Objects  int64 // entries
	Inflated int64 // sum of the sizes of the objects that the entries resolve to
	Object   int64 // size of one object
}

// HardLimits hold whatever a snapshot declares: a pack beyond them is refused.
var HardLimits = Limits{
	Bytes:    256 << 30, // ten times the largest public history
	Objects:  200e6,
	Inflated: 64 << 40,  // delta chains make a hundred bytes of one
	Object:   512 << 20, // whoever reads one has it in memory, and often twice
}

// minEntryBytes is the least that an entry of a pack takes: its type and size,
// and the shortest zlib stream.
const minEntryBytes = 1 + 8

// LimitsOf are the bounds for a pack that a snapshot declares. A declaration
// beyond the hard limits is refused before anything is downloaded.
func LimitsOf(p refs.Pack) (Limits, error) {
	declared := Limits{Bytes: p.Bytes, Objects: p.Objects, Inflated: p.Inflated, Object: min(p.Inflated, HardLimits.Object)}
	for _, c := range []struct {
		what       string
		got, limit int64
	}{
		{"bytes", declared.Bytes, HardLimits.Bytes},
		{"objects", declared.Objects, HardLimits.Objects},
		{"inflated bytes", declared.Inflated, HardLimits.Inflated},
	} {
		if err := limit(c.what, c.got, c.limit); err != nil {
			return declared, err
		}
	}
	// Memory is set aside by the count before the first entry is read.
	return declared, limit("objects", declared.Objects, declared.Bytes/minEntryBytes)
}

// A LimitError is a pack that goes beyond what was declared or allowed.
type LimitError struct {
	What       string // "bytes", "objects", "inflated bytes", "bytes in one object"
	Got, Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("pack has at least %d %s, %d are allowed", e.Got, e.What, e.Limit)
}

// ErrFormat means that something is no pack.
var ErrFormat = errors.New("malformed pack")

// Stats are what is counted in a pack.
type Stats struct {
	Bytes    int64
	Objects  int64
	Inflated int64
	Header   [HeaderLen]byte
	Trailer  []byte // the checksum that ends the pack
}

// HeaderLen is the length of a pack's header.
const HeaderLen = 12

// Types of pack entries (gitformat-pack(5)).
const (
	entryCommit   = 1
	entryTag      = 4
	entryOfsDelta = 6
	entryRefDelta = 7
)

// A scanner reads a pack entry by entry as it streams by and stops at the
// first byte that breaks a limit: the bound on what index-pack, which reads the
// same bytes, can be made to do. It holds no object in memory.
type scanner struct {
	r      *bufio.Reader
	n      int64 // bytes consumed
	limits Limits
	format refs.ObjectFormat
	zr     io.ReadCloser
	short  *inflater
	out    []byte // of short
}

// Scan reads one whole pack from r, which must end after it. each, if not nil,
// is told of every entry, in order.
//
// The error is a *[LimitError] at the first byte that breaks a limit, an
// [ErrFormat], or that of r or each.
func Scan(r io.Reader, format refs.ObjectFormat, limits Limits, each func(Entry) error) (*Stats, error) {
	s := &scanner{r: bufio.NewReaderSize(r, 256<<10), limits: limits, format: format}
	stats := &Stats{}
	if err := s.full(stats.Header[:]); err != nil {
		return nil, err
	}
	var err error
	if stats.Objects, err = parseHeader(stats.Header[:]); err != nil {
		return nil, err
	}
	if err := limit("objects", stats.Objects, limits.Objects); err != nil {
		return nil, err
	}
	for range stats.Objects {
		e, err := s.entry()
		if err != nil {
			return nil, err
		}
		stats.Inflated += e.Size
		if err := limit("inflated bytes", stats.Inflated, limits.Inflated); err != nil {
			return nil, err
		}
		if each != nil {
			if err := each(e); err != nil {
				return nil, err
			}
		}
	}
	stats.Trailer = make([]byte, format.Len()) // index-pack compares it
	if _, err := io.ReadFull(s.r, stats.Trailer); err != nil {
		return nil, fmt.Errorf("%w: truncated: %w", ErrFormat, err)
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("%w: bytes after its end", ErrFormat)
	}
	stats.Bytes = s.n + int64(len(stats.Trailer))
	return stats, limit("bytes", stats.Bytes, limits.Bytes)
}

// parseHeader gives the number of entries that a pack's header declares.
func parseHeader(b []byte) (int64, error) {
	version := binary.BigEndian.Uint32(b[4:])
	if string(b[:4]) != "PACK" || version != 2 && version != 3 {
		return 0, fmt.Errorf("%w: no pack header", ErrFormat)
	}
	return int64(binary.BigEndian.Uint32(b[8:])), nil
}

// An Entry is one entry of a pack.
type Entry struct {
	Offset int64 // of its first byte, from the beginning of the pack
	Size   int64 // of the object that it resolves to
	// Base is the offset of the entry that it is a delta against, 0 if it is
	// none, and NoOffset if the base is named by its object id.
	Base int64
}

// NoOffset is the Base of an entry whose base is named by its object id.
const NoOffset = -1

func limit(what string, got, allowed int64) error {
	if got > allowed {
		return &LimitError{What: what, Got: got, Limit: allowed}
	}
	return nil
}

// entry reads one entry.
func (s *scanner) entry() (Entry, error) {
	e := Entry{Offset: s.n}
	c, err := s.ReadByte()
	if err != nil {
		return e, err
	}
	kind := c >> 4 & 7
	size, shift := int64(c&15), uint(4)
	for c&0x80 != 0 {
		if c, err = s.ReadByte(); err != nil {
			return e, err
		}
		if shift > 53 {
			return e, fmt.Errorf("%w: object size overflows", ErrFormat)
		}
		size |= int64(c&0x7f) << shift
		shift += 7
	}
	if err := limit("bytes in one object", size, s.limits.Object); err != nil {
		return e, err
	}
	switch {
	case kind >= entryCommit && kind <= entryTag:
		e.Size = size
		return e, s.inflate(size, nil)
	case kind == entryOfsDelta:
		if e.Base, err = s.baseOffset(e.Offset); err != nil {
			return e, err
		}
	case kind == entryRefDelta:
		e.Base = NoOffset
		var base [32]byte
		if err := s.full(base[:s.format.Len()]); err != nil {
			return e, err
		}
	default:
		return e, fmt.Errorf("%w: entry of type %d", ErrFormat, kind)
	}
	var head deltaHead
	if err := s.inflate(size, &head); err != nil {
		return e, err
	}
	if e.Size, err = head.resultSize(); err != nil {
		return e, err
	}
	return e, limit("bytes in one object", e.Size, s.limits.Object)
}

// baseOffset reads how far before an entry its base is.
func (s *scanner) baseOffset(entry int64) (int64, error) {
	var distance int64
	for i := 0; ; i++ {
		c, err := s.ReadByte()
		if err != nil {
			return 0, err
		}
		if i > 0 {
			distance++
		}
		if distance > 1<<54 {
			return 0, fmt.Errorf("%w: offset of a delta's base overflows", ErrFormat)
		}
		distance = distance<<7 | int64(c&0x7f)
		if c&0x80 == 0 {
			break
		}
	}
	if distance == 0 || distance > entry-HeaderLen {
		return 0, fmt.Errorf("%w: a delta's base lies outside the pack", ErrFormat)
	}
	return entry - distance, nil
}

// inflate reads a zlib stream that must hold exactly size bytes, and keeps its
// beginning in head, if that is not nil.
func (s *scanner) inflate(size int64, head *deltaHead) error {
	if done, err := s.inflateShort(size, head); done || err != nil {
		return err
	}
	var err error
	if s.zr == nil {
		s.zr, err = zlib.NewReader(s)
	} else {
		err = s.zr.(zlib.Resetter).Reset(s, nil)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	in := io.LimitReader(s.zr, size+1)
	var n int64
	if head != nil {
		k, err := io.ReadFull(in, head.b[:])
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		head.n, n = k, int64(k)
	}
	k, err := io.Copy(io.Discard, in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if n+k != size {
		return fmt.Errorf("%w: an entry does not have the %d bytes that it declares", ErrFormat, size)
	}
	return nil
}

// maxShort is the size up to which a stream is inflated in memory at once.
const maxShort = 64 << 10

// inflateShort is inflate for what is short enough to lie in the buffer as a
// whole, which nearly everything is; done is false if the stream is not.
func (s *scanner) inflateShort(size int64, head *deltaHead) (done bool, err error) {
	if size > maxShort {
		return false, nil
	}
	in, err := s.r.Peek(int(size) + int(size)>>8 + 64) // as long as deflate ever makes it
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("%w: truncated: %w", ErrFormat, err)
	}
	if s.short == nil {
		s.short = new(inflater)
		s.out = make([]byte, maxShort)
	}
	out := s.out[:size]
	n, err := s.short.inflate(out, in)
	if err != nil {
		return false, nil // may be unusual only: zlib decides
	}
	if head != nil {
		head.n = copy(head.b[:], out)
	}
	s.r.Discard(n) // was peeked at
	s.n += int64(n)
	return true, s.over()
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
			return 0, fmt.Errorf("%w: delta without sizes", ErrFormat)
		}
		rest = rest[n:]
	}
	return int64(size), nil
}

// ReadByte and Read make the scanner the source of the zlib reader, which takes
// no byte more than it needs from an io.ByteReader.
func (s *scanner) ReadByte() (byte, error) {
	c, err := s.r.ReadByte()
	if err != nil {
		return 0, fmt.Errorf("%w: truncated: %w", ErrFormat, err)
	}
	s.n++
	return c, s.over()
}

func (s *scanner) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err == nil {
		err = s.over()
	}
	return n, err
}

func (s *scanner) full(p []byte) error {
	if _, err := io.ReadFull(s, p); err != nil {
		return fmt.Errorf("%w: truncated: %w", ErrFormat, err)
	}
	return nil
}

func (s *scanner) over() error {
	if s.n > s.limits.Bytes {
		return limit("bytes", s.n, s.limits.Bytes)
	}
	return nil
}
