package packfile

import (
	"bufio"
	"bytes"
	"container/heap"
	"fmt"
	"io"
	"os"
)

// A Scratch says how much of the tables of a pack is kept in memory, and where
// the rest goes.
type Scratch struct {
	// Dir is the folder of the files for what has no room in memory: they have
	// no names while they are used. "" is the system's folder for such files.
	Dir string
	// Entries is how many entries of a pack have room in memory, at 64 bytes
	// each; 0 is DefaultEntries. What is beyond takes up to 100 bytes an entry on
	// the disk.
	Entries int

	open func() (scratchFile, error) // of tests
}

// DefaultEntries is 32 MB in memory. Most packs have less.
const DefaultEntries = 1 << 19

type scratchFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// room is how many of n entries have room in memory.
func (s Scratch) room(n int) int {
	if s.Entries == 0 {
		return min(n, DefaultEntries)
	}
	return min(n, s.Entries)
}

// file makes a file that is gone when it is closed, or the process ends. One
// that dies at this moment leaves an empty file tables-*.
func (s Scratch) file() (scratchFile, error) {
	if s.open != nil {
		return s.open()
	}
	f, err := os.CreateTemp(s.Dir, "tables-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A scratchError is a file of a table that cannot be written or read. It is
// raised by panic where a table is used as if it lay in memory, and does not
// leave the package but as an error; see caught.
type scratchError struct{ err error }

func (e *scratchError) Error() string {
	return fmt.Sprintf("the file for the tables of a large pack: %v", e.err)
}
func (e *scratchError) Unwrap() error { return e.err }

// must raises an error of a table's file.
func must(err error) {
	if err != nil {
		panic(&scratchError{err})
	}
}

// caught is deferred where a table is used: it makes an error of what must has
// raised.
func caught(err *error) {
	switch r := recover().(type) {
	case nil:
	case *scratchError:
		*err = r
	default:
		panic(r)
	}
}

// runs are sorted lists of records of one width, in one file.
type runs struct {
	scratch Scratch
	width   int
	file    scratchFile // nil until there is one
	parts   []part
}

// add writes one more run: fill writes its records, in order, to a writer that
// keeps the errors to itself.
func (r *runs) add(fill func(w *bufio.Writer) error) error {
	if r.file == nil {
		f, err := r.scratch.file()
		if err != nil {
			return err
		}
		r.file = f
	}
	from := int64(0)
	if n := len(r.parts); n > 0 {
		from = r.parts[n-1].to
	}
	at := io.NewOffsetWriter(r.file, from)
	w := bufio.NewWriterSize(at, 16<<10)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	to, err := at.Seek(0, io.SeekCurrent)
	r.parts = append(r.parts, part{from, from + to})
	return err
}

// mergeBuffers bounds the bytes that a merge has in memory.
const mergeBuffers = 4 << 20

// merge gives all records, in order. The slice is valid until yield returns.
func (r *runs) merge(yield func(rec []byte) error) error {
	var h cursors
	for _, p := range r.parts {
		size := min(mergeBuffers/len(r.parts), 16<<10)
		c := &cursor{left: (p.to - p.from) / int64(r.width), rec: make([]byte, r.width)}
		c.in = bufio.NewReaderSize(io.NewSectionReader(r.file, p.from, p.to-p.from), size)
		if err := c.next(); err != nil {
			return err
		}
		h = append(h, c)
	}
	heap.Init(&h)
	for len(h) > 0 {
		c := h[0]
		if err := yield(c.rec); err != nil {
			return err
		}
		if c.left == 0 {
			heap.Pop(&h)
			continue
		}
		if err := c.next(); err != nil {
			return err
		}
		heap.Fix(&h, 0)
	}
	return nil
}

func (r *runs) close() {
	if r.file != nil {
		r.file.Close() // nobody needs what it holds
	}
	r.file, r.parts = nil, nil
}

// A cursor reads one run, which is not empty.
type cursor struct {
	in   *bufio.Reader
	rec  []byte
	left int64 // records after rec
}

func (c *cursor) next() error {
	c.left--
	_, err := io.ReadFull(c.in, c.rec)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// cursors are a heap, the lowest record first.
type cursors []*cursor

func (h cursors) Len() int           { return len(h) }
func (h cursors) Less(i, j int) bool { return bytes.Compare(h[i].rec, h[j].rec) < 0 }
func (h cursors) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(c any)        { *h = append(*h, c.(*cursor)) }
func (h *cursors) Pop() any {
	c := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return c
}
