package packfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash"
	"io"
	"slices"
)

// An idxTable is what an index says of the entries of a pack, in pack order.
type idxTable struct {
	width  int // of an object id, in bytes
	oids   []byte
	crcs   []uint32
	starts []int64
}

func (t *idxTable) oid(i int32) []byte { return t.oids[int(i)*t.width : (int(i)+1)*t.width] }

// sorted lists the entries by their object ids: sorted into buckets by the
// first two bytes, then each of those.
func (t *idxTable) sorted() []int32 {
	n := len(t.crcs)
	var ends [1 << 16]int32
	for i := range n {
		ends[binary.BigEndian.Uint16(t.oids[i*t.width:])]++
	}
	sum := int32(0)
	for i, c := range ends {
		ends[i] = sum
		sum += c
	}
	order := make([]int32, n)
	for i := range n {
		k := binary.BigEndian.Uint16(t.oids[i*t.width:])
		order[ends[k]] = int32(i)
		ends[k]++
	}
	start := int32(0)
	for _, end := range ends {
		slices.SortFunc(order[start:end], func(a, b int32) int { return bytes.Compare(t.oid(a), t.oid(b)) })
		start = end
	}
	return order
}

// far is the first offset that does not fit into the 31 bits of the table of
// offsets; git index-pack puts it into the table of 64-bit ones.
const far = 1 << 31

// write writes an index, version 2 (gitformat-pack(5)), as git index-pack
// does: h is a new hash of the repository's kind, trailer that of the pack.
func (t *idxTable) write(w io.Writer, order []int32, trailer []byte, h hash.Hash) error {
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 64<<10)
	out.WriteString("\xfftOc\x00\x00\x00\x02") // errors stay with the writer
	var fan [256]uint32
	for _, i := range order {
		fan[t.oid(i)[0]]++
	}
	sum := uint32(0)
	for _, c := range fan {
		sum += c
		put32(out, sum)
	}
	for _, i := range order {
		out.Write(t.oid(i))
	}
	for _, i := range order {
		put32(out, t.crcs[i])
	}
	n := uint32(0)
	for _, i := range order {
		if off := t.starts[i]; off < far {
			put32(out, uint32(off))
		} else {
			put32(out, far|n)
			n++
		}
	}
	for _, i := range order {
		if off := t.starts[i]; off >= far {
			put32(out, uint32(off>>32))
			put32(out, uint32(off))
		}
	}
	out.Write(trailer)
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := w.Write(h.Sum(nil))
	return err
}

func put32(w *bufio.Writer, v uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	w.Write(b[:])
}
