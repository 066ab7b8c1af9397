package packfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/gitpeer/gitpeer/refs"
)

// Entries are where the entries of a pack lie and what each is a delta against:
// what a hint says. The package comment has its format. They may have a file:
// whoever has made them closes them.
type Entries struct {
	t    *table
	end  int64 // where the pack's trailer begins
	used bool  // the table has the marks of an indexer
}

// Len is the number of entries.
func (e *Entries) Len() int { return int(e.t.n) }

// Close gives up what the entries have on the disk. They are of no use then.
func (e *Entries) Close() { e.t.close() }

// start is where entry i begins, or the trailer if i is Len.
func (e *Entries) start(i int32) int64 {
	if i == e.t.n {
		return e.end
	}
	return e.t.load(i).start
}

const (
	hintMagic   = "gphint\x00\x01" // the last byte is the version
	maxHintItem = 6 + 5            // bytes of two numbers, of 40 and of 32 bits
)

// MaxEntries is how many entries a pack may have that this package indexes: the
// tables for so many take 10 GB on the disk, and the largest public histories
// have a tenth. What is larger is for git.
const MaxEntries = 1 << 27

// MaxHintBytes bounds the hint of a pack of so many objects.
func MaxHintBytes(objects int64) int64 {
	return int64(len(hintMagic)) + binary.MaxVarintLen64 + maxHintItem*objects
}

// ErrHint means that something is no hint.
var ErrHint = errors.New("malformed hint")

// ErrNoHint means that a pack has entries that hints cannot describe: more
// than MaxEntries, or deltas whose base is named by its object id.
var ErrNoHint = errors.New("no hint describes the pack")

// WriteHint writes a hint. The error is w's, or that of the entries' file.
func (e *Entries) WriteHint(w io.Writer) (err error) {
	defer caught(&err)
	out := bufio.NewWriterSize(w, 64<<10)
	b := append([]byte{}, hintMagic...)
	out.Write(binary.AppendUvarint(b, uint64(e.Len()))) // errors stay with the writer
	for i := range e.t.n {
		r := e.t.load(i)
		b = binary.AppendUvarint(b[:0], uint64(e.start(i+1)-r.start))
		out.Write(binary.AppendUvarint(b, uint64(r.back)))
	}
	return out.Flush()
}

// ParseHint reads the hint of a pack of so many objects and bytes, all that is
// in r. What WriteHint does not write is ErrHint; other errors are r's, or that
// of the entries' file.
func ParseHint(r io.Reader, p refs.Pack, format refs.ObjectFormat, s Scratch) (e *Entries, err error) {
	e = &Entries{t: newTable(s)}
	defer func() {
		if err != nil {
			e.Close()
			e = nil
		}
	}()
	defer caught(&err)
	return e, e.parse(&hintReader{bufio.NewReaderSize(r, 64<<10)}, p, format)
}

func (e *Entries) parse(r *hintReader, p refs.Pack, format refs.ObjectFormat) error {
	var magic [len(hintMagic)]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil || string(magic[:]) != hintMagic {
		return malformed(err, "another version, or none")
	}
	n, err := r.number(MaxEntries)
	if err != nil || int64(n) != p.Objects {
		return malformed(err, "not of a pack of %d objects", p.Objects)
	}
	at, end := int64(HeaderLen), p.Bytes-int64(format.Len())
	for i := range n {
		length, err := r.number(refs.MaxPackBytes)
		if err != nil || length == 0 || int64(length) > end-at {
			return malformed(err, "length of entry %d", i)
		}
		back, err := r.number(i)
		if err != nil {
			return malformed(err, "base of entry %d", i)
		}
		e.t.add(at, int32(back))
		at += int64(length)
	}
	e.end = at
	if _, err := r.ReadByte(); err != io.EOF || at != end {
		return malformed(err, "the entries end at %d, the pack's at %d", at, end)
	}
	return nil
}

// malformed is ErrHint, unless err says that the hint could not be read.
func malformed(err error, format string, args ...any) error {
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF && err != errNumber {
		return err
	}
	return fmt.Errorf("%w: %s", ErrHint, fmt.Sprintf(format, args...))
}

var errNumber = errors.New("malformed number")

type hintReader struct{ *bufio.Reader }

// number reads a number of at most limit, in its shortest form.
func (r *hintReader) number(limit uint64) (uint64, error) {
	v := uint64(0)
	for shift := 0; shift < 63; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if c == 0 && shift > 0 || v > limit {
				return 0, errNumber
			}
			return v, nil
		}
	}
	return 0, errNumber // limits have less than 63 bits
}

// A Recorder makes Entries of what a scan finds.
type Recorder struct {
	e   Entries
	err error
}

// NewRecorder is a recorder whose entries have their tables where s says.
func NewRecorder(s Scratch) *Recorder { return &Recorder{e: Entries{t: newTable(s)}} }

// Add notes the next entry; it is for [Scan]. The error is that of the entries'
// file: a pack that hints cannot describe is told by Entries.
func (r *Recorder) Add(e Entry) (err error) {
	if r.err != nil {
		return nil
	}
	defer caught(&err)
	back := int32(0)
	if e.Base != 0 {
		i, ok := r.e.search(e.Base)
		if back = r.e.t.n - i; !ok {
			r.err = ErrNoHint
			return nil
		}
	}
	if r.e.t.n == MaxEntries {
		r.err = ErrNoHint
		return nil
	}
	r.e.t.add(e.Offset, back)
	return nil
}

// search gives the first entry that begins at off or after it, and whether it
// begins there. It is fastest for what is near the end.
func (e *Entries) search(off int64) (int32, bool) {
	lo, hi := e.t.n, e.t.n // it is in [lo, hi]
	for step := int32(1); lo > 0 && e.t.load(lo-1).start >= off; step *= 2 {
		hi = lo - 1
		lo = max(hi-step, 0)
	}
	i := lo + int32(sort.Search(int(hi-lo), func(i int) bool { return e.t.load(lo+int32(i)).start >= off }))
	return i, i < e.t.n && e.t.load(i).start == off
}

// Entries gives what was noted of a pack whose scan has ended. The error is
// ErrNoHint.
func (r *Recorder) Entries(s *Stats) (*Entries, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.e.end = s.Bytes - int64(len(s.Trailer))
	return &r.e, nil
}

// Close gives up the entries, as their own Close does.
func (r *Recorder) Close() { r.e.Close() }
