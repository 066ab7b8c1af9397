package packfile

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"hash"
	"io"
	"slices"
	"sync"
)

// An idxTable is what an index says of the entries of a pack: a record of each,
// of its object id, its CRC-32, and its offset in 5 bytes. What has no room in
// memory is on the disk, in sorted runs.
type idxTable struct {
	width  int // of an object id, in bytes
	shards [idShards]idxShard

	sorting sync.Mutex // taken after that of a shard
	keys    []idxKey   // of the shard that is sorted
}

// An idxKey is the beginning of a record, and where it is.
type idxKey struct {
	first uint64
	at    int
}

// idShards is how many parts a table has: by the first bits of an object's id,
// so that those who add to one do not wait for who sorts another, and the parts
// one after the other are the whole in order.
const (
	shardBits = 4
	idShards  = 1 << shardBits
)

type idxShard struct {
	mu   sync.Mutex
	buf  []byte // as long as its capacity allows
	runs runs
	fan  [256 / idShards]uint32 // objects, by the first byte of their ids
}

func newIdxTable(s Scratch, width, n int) *idxTable {
	t := &idxTable{width: width}
	for i := range t.shards {
		t.shards[i].runs = runs{scratch: s, width: t.record()}
		t.shards[i].buf = make([]byte, 0, t.record()*shardRoom(s.room(n)))
	}
	return t
}

// shardRoom is how many of n records one shard has room for. They are spread
// evenly, or somebody has tried hard.
func shardRoom(n int) int { return n/idShards + n/(16*idShards) + 16 }

func (t *idxTable) record() int { return t.width + 4 + 5 }

// add notes an entry.
func (t *idxTable) add(oid []byte, crc uint32, start int64) {
	s := &t.shards[oid[0]>>(8-shardBits)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fan[oid[0]%(256/idShards)]++
	if len(s.buf) == cap(s.buf) {
		must(t.spill(s))
	}
	s.buf = append(s.buf, oid...)
	s.buf = binary.BigEndian.AppendUint32(s.buf, crc)
	s.buf = append(s.buf, byte(start>>32))
	s.buf = binary.BigEndian.AppendUint32(s.buf, uint32(start))
}

// spill makes a run of what is in memory.
func (t *idxTable) spill(s *idxShard) error {
	err := s.runs.add(func(w *bufio.Writer) error {
		t.inOrder(s.buf, func(rec []byte) { w.Write(rec) })
		return nil
	})
	s.buf = s.buf[:0]
	return err
}

// inOrder gives records that lie one after the other in order.
func (t *idxTable) inOrder(buf []byte, yield func(rec []byte)) {
	t.sorting.Lock()
	defer t.sorting.Unlock()
	keys := t.keys[:0]
	for at := 0; at < len(buf); at += t.record() {
		keys = append(keys, idxKey{binary.BigEndian.Uint64(buf[at:]), at})
	}
	slices.SortFunc(keys, func(a, b idxKey) int {
		if a.first != b.first {
			return cmp.Compare(a.first, b.first)
		}
		return bytes.Compare(buf[a.at:][:t.record()], buf[b.at:][:t.record()])
	})
	for _, k := range keys {
		yield(buf[k.at:][:t.record()])
	}
	t.keys = keys
}

// sort prepares the table for each: all was added.
func (t *idxTable) sort() error {
	var spare []byte
	for i := range t.shards {
		s := &t.shards[i]
		if len(s.runs.parts) > 0 {
			if err := t.spill(s); err != nil {
				return err
			}
			s.buf = nil
			continue
		}
		spare = slices.Grow(spare[:0], len(s.buf))
		t.inOrder(s.buf, func(rec []byte) { spare = append(spare, rec...) })
		s.buf, spare = spare, s.buf
	}
	t.keys = nil
	return nil
}

// each gives all records, in the order of the object ids. A slice is valid until
// yield returns.
func (t *idxTable) each(yield func(rec []byte) error) error {
	for i := range t.shards {
		s := &t.shards[i]
		for rec := range slices.Chunk(s.buf, t.record()) {
			if err := yield(rec); err != nil {
				return err
			}
		}
		if err := s.runs.merge(yield); err != nil {
			return &scratchError{err}
		}
	}
	return nil
}

func (t *idxTable) oid(rec []byte) []byte { return rec[:t.width] }
func (t *idxTable) crc(rec []byte) uint32 { return binary.BigEndian.Uint32(rec[t.width:]) }

func (t *idxTable) start(rec []byte) int64 {
	rec = rec[t.width+4:]
	return int64(rec[0])<<32 | int64(binary.BigEndian.Uint32(rec[1:]))
}

func (t *idxTable) close() {
	for i := range t.shards {
		t.shards[i].runs.close()
	}
}

// far is the first offset that does not fit into the 31 bits of the table of
// offsets; git index-pack puts it into the table of 64-bit ones.
const far = 1 << 31

// write writes an index, version 2 (gitformat-pack(5)), as git index-pack
// does: h is a new hash of the repository's kind, trailer that of the pack.
func (t *idxTable) write(w io.Writer, trailer []byte, h hash.Hash) error {
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 64<<10)
	out.WriteString("\xfftOc\x00\x00\x00\x02") // errors stay with the writer
	sum := uint32(0)
	for i := range t.shards {
		for _, c := range t.shards[i].fan {
			sum += c
			put32(out, sum)
		}
	}
	n := uint32(0)
	for _, column := range []func(rec []byte){
		func(rec []byte) { out.Write(t.oid(rec)) },
		func(rec []byte) { put32(out, t.crc(rec)) },
		func(rec []byte) {
			off := t.start(rec)
			if off >= far {
				off = far | int64(n)
				n++
			}
			put32(out, uint32(off))
		},
		func(rec []byte) {
			if off := t.start(rec); off >= far {
				put32(out, uint32(off>>32))
				put32(out, uint32(off))
			}
		},
	} {
		if err := t.each(func(rec []byte) error { column(rec); return nil }); err != nil {
			return err
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
	w.Write(binary.BigEndian.AppendUint32(w.AvailableBuffer(), v))
}
