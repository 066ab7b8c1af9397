package packfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/gitpeer/gitpeer/refs"
)

// Entries are where the entries of a pack lie and what each is a delta against:
// what a hint says. The package comment has its format.
type Entries struct {
	// starts are the offsets of the entries, in order, and then that of the
	// pack's trailer.
	starts []int64
	// back is how many entries before each its delta base comes, 0 if it is no
	// delta.
	back []int32
}

// Len is the number of entries.
func (e *Entries) Len() int { return len(e.back) }

const (
	hintMagic   = "gphint\x00\x01" // the last byte is the version
	maxHintItem = 6 + 5            // bytes of two numbers, of 40 and of 32 bits
)

// MaxEntries is how many entries a pack may have that this package indexes: the
// tables for so many take 1.2 GB, and the largest public histories have a
// fraction. What is larger is for git.
const MaxEntries = 1 << 24

// MaxHintBytes bounds the hint of a pack of so many objects.
func MaxHintBytes(objects int64) int64 {
	return int64(len(hintMagic)) + binary.MaxVarintLen64 + maxHintItem*objects
}

// ErrHint means that something is no hint.
var ErrHint = errors.New("malformed hint")

// ErrNoHint means that a pack has entries that hints cannot describe: more
// than MaxEntries, or deltas whose base is named by its object id.
var ErrNoHint = errors.New("no hint describes the pack")

// Format writes a hint.
func (e *Entries) Format() []byte {
	b := make([]byte, 0, len(hintMagic)+binary.MaxVarintLen64+4*len(e.back))
	b = append(b, hintMagic...)
	b = binary.AppendUvarint(b, uint64(len(e.back)))
	for i, back := range e.back {
		b = binary.AppendUvarint(b, uint64(e.starts[i+1]-e.starts[i]))
		b = binary.AppendUvarint(b, uint64(back))
	}
	return b
}

// ParseHint reads the hint of a pack of so many objects and bytes. What Format
// does not write is ErrHint.
func ParseHint(b []byte, p refs.Pack, format refs.ObjectFormat) (*Entries, error) {
	if len(b) < len(hintMagic) || string(b[:len(hintMagic)]) != hintMagic {
		return nil, fmt.Errorf("%w: another version, or none", ErrHint)
	}
	r := hintReader{b[len(hintMagic):]}
	n, ok := r.number(MaxEntries)
	if !ok || int64(n) != p.Objects || n > uint64(len(r.b)/2) { // so that what is made is in proportion
		return nil, fmt.Errorf("%w: not of a pack of %d objects", ErrHint, p.Objects)
	}
	e := &Entries{starts: make([]int64, 1, n+1), back: make([]int32, 0, n)}
	e.starts[0] = HeaderLen
	at, end := int64(HeaderLen), p.Bytes-int64(format.Len())
	for i := range n {
		length, ok := r.number(refs.MaxPackBytes)
		if !ok || length == 0 || int64(length) > end-at {
			return nil, fmt.Errorf("%w: length of entry %d", ErrHint, i)
		}
		back, ok := r.number(i)
		if !ok {
			return nil, fmt.Errorf("%w: base of entry %d", ErrHint, i)
		}
		at += int64(length)
		e.starts, e.back = append(e.starts, at), append(e.back, int32(back))
	}
	if len(r.b) > 0 || at != end {
		return nil, fmt.Errorf("%w: the entries end at %d, the pack's at %d", ErrHint, at, end)
	}
	return e, nil
}

// A hintReader takes numbers off the front of b.
type hintReader struct{ b []byte }

// number reads a number of at most limit, in its shortest form.
func (r *hintReader) number(limit uint64) (uint64, bool) {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit || n > 1 && r.b[n-1] == 0 {
		return 0, false
	}
	r.b = r.b[n:]
	return v, true
}

// A Recorder makes Entries of what a scan finds.
type Recorder struct {
	e   Entries
	err error
}

// Add notes the next entry; it is for [Scan]. It never fails: a pack that hints
// cannot describe is told by Entries.
func (r *Recorder) Add(e Entry) error {
	if r.err != nil {
		return nil
	}
	back := 0
	if e.Base != 0 {
		i, ok := slices.BinarySearch(r.e.starts, e.Base)
		if back = len(r.e.starts) - i; !ok {
			r.err = ErrNoHint
			return nil
		}
	}
	if len(r.e.starts) == MaxEntries {
		r.err = ErrNoHint
		return nil
	}
	r.e.starts, r.e.back = append(r.e.starts, e.Offset), append(r.e.back, int32(back))
	return nil
}

// Entries gives what was noted of a pack whose scan has ended. The error is
// ErrNoHint.
func (r *Recorder) Entries(s *Stats) (*Entries, error) {
	if r.err != nil {
		return nil, r.err
	}
	e := r.e
	e.starts = append(e.starts, s.Bytes-int64(len(s.Trailer)))
	if len(e.back) == 0 {
		e.starts = []int64{HeaderLen}
	}
	return &e, nil
}
