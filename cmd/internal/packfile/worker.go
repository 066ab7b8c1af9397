package packfile

import (
	"compress/zlib"
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"io"
	"strconv"

	"github.com/pjbgf/sha1cd"

	"github.com/gitpeer/gitpeer/refs"
)

// A worker resolves entries.
type worker struct {
	ix    *indexer
	check checker
	z     inflater
	sum   hash.Hash
	head  []byte
	oid   [32]byte
	ready []siblings // to do next, the last first
	done  int        // since the scheduler was told

	window  []byte // bytes of the pack, all verified
	windowA int64  // where they begin
	raw     []byte // of one entry outside the window
	delta   []byte
	out     []byte    // an object that nothing is a delta against
	chain   []int32   // of redo
	scratch [2][]byte // of redo
}

func newWorker(ix *indexer) *worker {
	w := &worker{ix: ix, sum: sha1cd.New()}
	if ix.o.Format == refs.SHA256 {
		w.sum = sha256.New()
	}
	w.check = checker{recent: recent{links: ix.links}, width: ix.o.Format.Len(), text: newSpecials()}
	return w
}

// run works until nothing is left, or something is wrong.
func (w *worker) run() (err error) {
	defer caught(&err)
	for {
		ready, n, ok := w.ix.sched.next(w.done, w.ready[:0])
		w.done = 0
		if !ok {
			return nil // whoever failed says why
		}
		w.ready = ready
		if err := w.span(n); err != nil {
			return err
		}
		if err := w.family(); err != nil {
			return err
		}
	}
}

// maxWindow is how many bytes of the pack a worker reads at once.
const maxWindow = 256 << 10

// span does the entries that were due when their bytes came, each with all that
// wait for it.
func (w *worker) span(n span) error {
	for i := n.from; i < n.to; i++ {
		e := w.ix.place(i)
		if e.state&isDue == 0 {
			continue
		}
		if e.end > w.windowA+int64(len(w.window)) || e.start < w.windowA {
			end := min(w.ix.e.start(n.to), e.start+maxWindow)
			if err := w.fill(e.start, end); err != nil {
				return err
			}
		}
		if err := w.entry(e); err != nil {
			return err
		}
		if err := w.family(); err != nil {
			return err
		}
	}
	return nil
}

// A place is an entry and where it lies.
type place struct {
	i int32
	record
	end int64
}

func (ix *indexer) place(i int32) place {
	return place{i, ix.t.load(i), ix.e.start(i + 1)}
}

func (w *worker) fill(from, to int64) error {
	if cap(w.window) < maxWindow {
		w.window = make([]byte, maxWindow)
	}
	w.window, w.windowA = w.window[:to-from], from
	_, err := w.ix.src.Pack.ReadAt(w.window, from)
	if err == io.EOF {
		err = nil // at the end of the file
	}
	return err
}

// family does the entries of w.ready and those that get ready by that.
func (w *worker) family() error {
	for len(w.ready) > 0 {
		last := &w.ready[len(w.ready)-1]
		e := w.ix.place(last.first)
		if last.first, last.n = e.after, last.n-1; last.n == 0 {
			w.ready = w.ready[:len(w.ready)-1]
		}
		if w.ix.t.or(e.i, hasBase)&hasBytes == 0 {
			continue // it is due when they come
		}
		if err := w.entry(e); err != nil {
			return err
		}
		if w.ix.sched.idle.Load() > 0 {
			w.share()
		}
	}
	return nil
}

// minShared is how many entries against one base are worth to be shared.
const minShared = 4

// share gives half of what is ready to whoever waits.
func (w *worker) share() {
	n := len(w.ready)
	switch {
	case n > 1:
		w.ix.sched.give(w.ready[:n/2]...) // the older ones: those with the most to come
		w.ready = append(w.ready[:0], w.ready[n/2:]...)
	case n == 1 && w.ready[0].n >= minShared:
		all := &w.ready[0]
		half := siblings{all.first, all.n / 2} // the later ones
		all.n -= half.n
		for range all.n {
			half.first = w.ix.t.load(half.first).after
		}
		w.ix.sched.give(half)
	}
}

// bytes gives the bytes of an entry, until the next call.
func (w *worker) bytes(e place) ([]byte, error) {
	if e.start >= w.windowA && e.end <= w.windowA+int64(len(w.window)) {
		return w.window[e.start-w.windowA : e.end-w.windowA], nil
	}
	n := e.end - e.start
	if n > w.ix.o.Cache/2 {
		return nil, unsure("entry of %d bytes", n)
	}
	w.raw = sized(w.raw, n)
	_, err := w.ix.src.Pack.ReadAt(w.raw, e.start)
	if err == io.EOF {
		err = nil
	}
	return w.raw, err
}

// sized is b with n bytes, or a new slice; a large one is not kept for long.
func sized(b []byte, n int64) []byte {
	if int64(cap(b)) >= n && (cap(b) <= 1<<20 || n > 1<<20) {
		return b[:n]
	}
	return make([]byte, n, n+n/4+64)
}

// A header is what an entry begins with.
type header struct {
	kind byte  // of the object, or entryOfsDelta
	size int64 // of what is deflated
	back int64 // how far before the entry its base begins, of a delta
	len  int
}

func parseEntry(b []byte) (h header, err error) {
	if len(b) == 0 {
		return h, unsure("empty entry")
	}
	c := b[0]
	h.kind, h.size, h.len = c>>4&7, int64(c&15), 1
	for shift := 4; c&0x80 != 0; shift += 7 {
		if h.len == len(b) || shift > 53 {
			return h, unsure("entry's size")
		}
		c = b[h.len]
		h.size |= int64(c&0x7f) << shift
		h.len++
	}
	switch {
	case h.kind >= kindCommit && h.kind <= kindTag:
		return h, nil
	case h.kind != entryOfsDelta:
		return h, unsure("entry of type %d", h.kind)
	}
	for i := 0; ; i++ {
		if h.len == len(b) || h.back > 1<<54 {
			return h, unsure("offset of a delta's base")
		}
		c = b[h.len]
		h.len++
		if i > 0 {
			h.back++
		}
		h.back = h.back<<7 | int64(c&0x7f)
		if c&0x80 == 0 {
			return h, nil
		}
	}
}

// entry resolves one entry whose base is resolved, and looks at the object.
func (w *worker) entry(e place) error {
	w.done++
	if e.isLarge() {
		return w.stream(e)
	}
	b, err := w.bytes(e)
	if err != nil {
		return err
	}
	crc := crc32.ChecksumIEEE(b)
	h, err := w.header(e, b)
	if err != nil {
		return err
	}
	first := e.kids // nobody else looks until this one is resolved
	if h.kind == kindBlob && first == 0 && h.size > maxHeld {
		return w.stream(e)
	}
	if err := w.ix.allow(h.size); err != nil {
		return err
	}
	var out []byte
	kind, depth := h.kind, uint32(0)
	if h.kind != entryOfsDelta {
		out = w.room(first, h.size)
		err = w.inflate(out, b[h.len:])
	} else {
		slot, data, is, err2 := w.base(e.i-e.back, e.i)
		if err2 != nil {
			return err2
		}
		kind, depth = byte(is>>kindShift&7), is>>depthShift+1
		if b, err = w.bytes(e); err == nil { // finding the base may have used the buffer
			out, err = w.apply(first, b[h.len:], data, h.size)
		}
		w.ix.cache.done(slot, e.i)
	}
	if err != nil {
		return err
	}
	if err := w.object(kind, out); err != nil {
		return err
	}
	if err := w.named(e, kind, crc); err != nil {
		return err
	}
	if depth > maxDepth {
		return unsure("delta chain of more than %d", maxDepth)
	}
	w.ix.done(e.i, uint32(kind)<<kindShift|depth<<depthShift)
	if first != 0 {
		w.wake(e.i, first, out)
	}
	return nil
}

// header reads the beginning of an entry, which must agree with the hint.
func (w *worker) header(e place, b []byte) (header, error) {
	h, err := parseEntry(b)
	if err != nil {
		return h, err
	}
	if h.kind == entryOfsDelta != (e.back != 0) || e.back != 0 && h.back != e.start-w.ix.e.start(e.i-e.back) {
		return h, unsure("entry %d has not the base that the hint says", e.i)
	}
	return h, nil
}

// allow refuses sizes beyond the limits.
func (ix *indexer) allow(size int64) error {
	if size > ix.o.Limits.Object || size > ix.o.Cache/2 {
		return unsure("object of %d bytes", size)
	}
	return nil
}

// room is a buffer for an object: one of the cache's if deltas follow.
func (w *worker) room(first int32, n int64) []byte {
	if first != 0 {
		return w.ix.cache.buffer(int(n))
	}
	w.out = sized(w.out, n)
	return w.out
}

// inflate fills out from a stream that must take up all of in.
func (w *worker) inflate(out, in []byte) error {
	n, err := w.z.inflate(out, in)
	if err != nil {
		return unsure("%w", err)
	}
	if n != len(in) {
		return unsure("%d bytes between two entries", len(in)-n)
	}
	return nil
}

// apply inflates a delta of size bytes and carries it out on base.
func (w *worker) apply(first int32, in, base []byte, size int64) ([]byte, error) {
	w.delta = sized(w.delta, size)
	if err := w.inflate(w.delta, in); err != nil {
		return nil, err
	}
	from, n, ops, err := deltaSizes(w.delta)
	if err != nil || from != int64(len(base)) {
		return nil, unsure("delta for a base of %d bytes, not %d (%v)", from, len(base), err)
	}
	if err := w.ix.allow(n); err != nil {
		return nil, err
	}
	out := w.room(first, n)
	return out, asUnsure(applyDelta(out, base, ops))
}

// object begins the hash of an object and checks it.
func (w *worker) object(kind byte, data []byte) error {
	if w.ix.inflated.Add(int64(len(data))) > w.ix.o.Limits.Inflated {
		return unsure("more than %d inflated bytes", w.ix.o.Limits.Inflated)
	}
	w.begin(kind, int64(len(data)))
	w.sum.Write(data)
	return asUnsure(w.check.check(kind, data))
}

// begin starts the hash of an object.
func (w *worker) begin(kind byte, size int64) {
	w.sum.Reset()
	w.head = append(append(w.head[:0], kindName(kind)...), ' ')
	w.head = append(strconv.AppendInt(w.head, size, 10), 0)
	w.sum.Write(w.head)
}

// named ends the hash of an object and notes its id.
func (w *worker) named(e place, kind byte, crc uint32) error {
	oid := w.oid[:w.ix.o.Format.Len()]
	if cd, ok := w.sum.(sha1cd.CollisionResistantHash); ok {
		if _, collision := cd.CollisionResistantSum(oid[:0]); collision {
			return unsure("SHA-1 collision")
		}
	} else {
		w.sum.Sum(oid[:0])
	}
	had, ok := w.ix.links.add(w.ix.links.fingerprint(oid, kind), isPresent)
	if !ok || had&isPresent != 0 {
		return unsure("an object twice, or one that is named and missing")
	}
	w.ix.table.add(oid, crc, e.start)
	return nil
}

// wake makes the deltas against a resolved entry ready.
func (w *worker) wake(i, first int32, data []byte) {
	left := int32(0)
	for k := first; k != 0; k = w.ix.t.load(k).after {
		left++
	}
	c := w.ix.cache
	c.done(c.put(i, first, left, data), 0)
	w.ready = append(w.ready, siblings{first, left})
}

// base gives a resolved entry and its state, out of the cache or by resolving it
// again for the delta kid; it is used until cache.done.
func (w *worker) base(id, kid int32) (slot int32, data []byte, state uint32, err error) {
	c := w.ix.cache
	state = w.ix.t.load(id).state
	if slot, data, ok := c.get(id); ok {
		return slot, data, state, nil
	}
	if data, err = w.redo(id); err != nil {
		return 0, nil, 0, err
	}
	kept := c.buffer(len(data))
	copy(kept, data)
	slot, kept = c.restore(id, kid, kept)
	return slot, kept, state, nil
}

// redo resolves an entry again that was resolved before: from the nearest base
// above it that the cache holds. The result is valid until the next call.
func (w *worker) redo(id int32) ([]byte, error) {
	w.chain = w.chain[:0]
	var data []byte
	for at := id; ; {
		if slot, held, ok := w.ix.cache.get(at); ok {
			w.scratch[1] = append(sized(w.scratch[1], int64(len(held)))[:0], held...)
			data = w.scratch[1]
			w.ix.cache.done(slot, 0)
			break
		}
		w.chain = append(w.chain, at)
		back := w.ix.t.load(at).back
		if back == 0 {
			break
		}
		at -= back
	}
	for k := len(w.chain) - 1; k >= 0; k-- {
		at := w.ix.place(w.chain[k])
		b, err := w.bytes(at)
		if err != nil {
			return nil, err
		}
		h, err := w.header(at, b)
		if err != nil {
			return nil, err
		}
		if err := w.ix.allow(h.size); err != nil {
			return nil, err
		}
		in := b[h.len:]
		if at.back == 0 {
			w.scratch[0] = sized(w.scratch[0], h.size)
			if err := w.inflate(w.scratch[0], in); err != nil {
				return nil, err
			}
		} else if err := w.reapply(in, data, h.size); err != nil {
			return nil, err
		}
		w.scratch[0], w.scratch[1] = w.scratch[1], w.scratch[0]
		data = w.scratch[1]
		if w.ix.redone.Add(int64(len(data))) > maxRedone*w.ix.o.Limits.Inflated/8+1<<30 {
			return nil, unsure("too many objects have to be resolved again")
		}
	}
	return data, nil
}

// maxRedone bounds, in eighths of the bytes of all objects, what is resolved
// again: a pack can be made such that it never ends.
const maxRedone = 24

func (w *worker) reapply(in, base []byte, size int64) error {
	w.delta = sized(w.delta, size)
	if err := w.inflate(w.delta, in); err != nil {
		return err
	}
	_, n, ops, err := deltaSizes(w.delta)
	if err != nil {
		return unsure("%w", err)
	}
	w.scratch[0] = sized(w.scratch[0], n)
	return asUnsure(applyDelta(w.scratch[0], base, ops))
}

// maxHeld is the size from which a blob that nothing is a delta against is
// streamed, not held in memory.
const maxHeld = 1 << 20

// isLarge reports whether an entry is streamed without a look at its header.
func (e *place) isLarge() bool {
	return e.end-e.start > maxWindow && e.back == 0 && e.kids == 0
}

// stream is entry of a large blob that nothing is a delta against.
func (w *worker) stream(e place) error {
	var start [16]byte
	if _, err := w.ix.src.Pack.ReadAt(start[:], e.start); err != nil {
		return err
	}
	h, err := parseEntry(start[:])
	if err != nil {
		return err
	}
	if h.kind != kindBlob || h.size > w.ix.o.Limits.Object || w.ix.inflated.Add(h.size) > w.ix.o.Limits.Inflated {
		return unsure("object of %d bytes", h.size)
	}
	crc := crc32.NewIEEE()
	crc.Write(start[:h.len])
	src := &byteReader{r: io.TeeReader(io.NewSectionReader(w.ix.src.Pack, e.start+int64(h.len), e.end-e.start-int64(h.len)), crc)}
	zr, err := zlib.NewReader(src)
	if err != nil {
		return unsure("%w", err)
	}
	w.begin(h.kind, h.size)
	n, err := io.Copy(w.sum, io.LimitReader(zr, h.size+1))
	if err != nil || n != h.size || src.left() > 0 {
		return unsure("blob of %d bytes, not %d (%v)", n, h.size, err)
	}
	w.ix.done(e.i, uint32(h.kind)<<kindShift)
	return w.named(e, h.kind, crc.Sum32())
}

// A byteReader is a buffer that flate takes no more from than it needs.
type byteReader struct {
	r   io.Reader
	buf [16 << 10]byte
	b   []byte
}

func (r *byteReader) more() error {
	if len(r.b) > 0 {
		return nil
	}
	n, err := r.r.Read(r.buf[:])
	r.b = r.buf[:n]
	if n > 0 {
		return nil
	}
	return err
}

func (r *byteReader) Read(p []byte) (int, error) {
	if err := r.more(); err != nil {
		return 0, err
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func (r *byteReader) ReadByte() (byte, error) {
	if err := r.more(); err != nil {
		return 0, err
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c, nil
}

// left is how many bytes nobody took, at least.
func (r *byteReader) left() int {
	r.more() // an error means that there are none
	return len(r.b)
}
