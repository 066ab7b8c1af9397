package packfile

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
)

// A table has a record of each entry of a pack, by number. It lies in memory, in
// pages, until there are more than have room; then pages that were not used
// lately go to a file, and come back when they are wanted. A file that fails is
// a panic; see scratchError.
//
// Records are added by one goroutine; from then on all of them may use it.
type table struct {
	scratch Scratch
	n       int32
	dir     []atomic.Pointer[page] // by page number: nil if it is in the file

	file scratchFile // nil as long as all pages are in memory

	mu    sync.Mutex // of whoever moves pages; taken before that of a page
	pages []*page    // in memory
	hand  int        // of the clock that goes over them
	buf   [4 * recordWords * pageRecords]byte
}

const (
	pageBits    = 7
	pageRecords = 1 << pageBits
)

// Words of a record.
const (
	wordStart = iota // offset of the entry in the pack, the lower 32 bits
	wordState        // flags (see indexer), and the upper 8 bits of the offset
	wordBack         // how many entries before it its delta base comes, 0 if it is no delta
	wordKids         // see cache
	wordAfter        // the next entry with the same base, 0 if none
	recordWords
)

const highShift = 24 // of the offset's upper bits, in wordState

// A page is the records of pageRecords entries.
type page struct {
	mu    sync.Mutex // guards the rest if there is a file
	at    int
	dirty bool
	used  bool // since the clock's hand went by
	words [recordWords * pageRecords]uint32
}

// A record is what a table knows of an entry.
type record struct {
	start             int64
	state             uint32
	back, kids, after int32
}

func newTable(s Scratch) *table { return &table{scratch: s} }

// add appends the record of an entry.
func (t *table) add(start int64, back int32) {
	if t.n%pageRecords == 0 {
		t.grow()
	}
	i := t.n
	t.n++
	t.set(i, wordStart, uint32(start))
	t.set(i, wordState, uint32(start>>32)<<highShift)
	t.set(i, wordBack, uint32(back))
}

// grow adds an empty page.
func (t *table) grow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &page{}
	if room := max(t.scratch.room(1<<31-1)/pageRecords, 2); len(t.pages) < room {
		t.pages = append(t.pages, p)
	} else {
		if t.file == nil {
			f, err := t.scratch.file()
			must(err)
			t.file = f
		}
		p = t.victim()
		defer p.mu.Unlock()
		clear(p.words[:])
	}
	p.at, p.dirty, p.used = len(t.dir), true, true
	t.dir = append(t.dir, atomic.Pointer[page]{})
	t.dir[p.at].Store(p)
}

// load gives the record of an entry.
func (t *table) load(i int32) record {
	if t.file == nil {
		return t.dir[i>>pageBits].Load().load(i)
	}
	p := t.hold(i)
	defer p.mu.Unlock()
	return p.load(i)
}

func (p *page) load(i int32) record {
	w := p.words[i%pageRecords*recordWords:][:recordWords]
	high := atomic.LoadUint32(&w[wordState])
	return record{
		start: int64(high>>highShift)<<32 | int64(atomic.LoadUint32(&w[wordStart])),
		state: high & (1<<highShift - 1),
		back:  int32(atomic.LoadUint32(&w[wordBack])),
		kids:  int32(atomic.LoadUint32(&w[wordKids])),
		after: int32(atomic.LoadUint32(&w[wordAfter])),
	}
}

// set changes one word of a record.
func (t *table) set(i int32, word int, v uint32) {
	if t.file == nil {
		atomic.StoreUint32(&t.dir[i>>pageBits].Load().words[int(i%pageRecords)*recordWords+word], v)
		return
	}
	p := t.hold(i)
	defer p.mu.Unlock()
	p.dirty = true
	atomic.StoreUint32(&p.words[int(i%pageRecords)*recordWords+word], v)
}

// or sets bits of a record's state, and gives the state before.
func (t *table) or(i int32, bits uint32) (before uint32) {
	if t.file == nil {
		return atomic.OrUint32(&t.dir[i>>pageBits].Load().words[i%pageRecords*recordWords+wordState], bits)
	}
	p := t.hold(i)
	defer p.mu.Unlock()
	p.dirty = true
	return atomic.OrUint32(&p.words[i%pageRecords*recordWords+wordState], bits)
}

// hold gives the page of an entry, locked.
func (t *table) hold(i int32) *page {
	at := int(i >> pageBits)
	if p := t.dir[at].Load(); p != nil {
		p.mu.Lock()
		if p.at == at {
			p.used = true
			return p
		}
		p.mu.Unlock()
	}
	return t.fetch(at)
}

// fetch gets a page out of the file, unless somebody was faster, and locks it.
func (t *table) fetch(at int) *page {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.dir[at].Load(); p != nil {
		p.mu.Lock()
		return p
	}
	p := t.victim()
	if err := t.read(p, at); err != nil {
		p.mu.Unlock()
		must(err)
	}
	p.at, p.used = at, true
	t.dir[at].Store(p)
	return p
}

// victim frees a page that was not used lately, and gives it, locked.
func (t *table) victim() *page {
	for {
		p := t.pages[t.hand]
		t.hand = (t.hand + 1) % len(t.pages)
		p.mu.Lock()
		if p.used {
			p.used = false
			p.mu.Unlock()
			continue
		}
		if err := t.write(p); err != nil {
			p.mu.Unlock()
			must(err)
		}
		if p.at >= 0 {
			t.dir[p.at].Store(nil)
		}
		p.at, p.dirty = -1, false
		return p
	}
}

func (t *table) write(p *page) error {
	if !p.dirty {
		return nil
	}
	for i, v := range p.words {
		binary.LittleEndian.PutUint32(t.buf[4*i:], v)
	}
	_, err := t.file.WriteAt(t.buf[:], int64(p.at)*int64(len(t.buf)))
	return err
}

func (t *table) read(p *page, at int) error {
	_, err := t.file.ReadAt(t.buf[:], int64(at)*int64(len(t.buf)))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	for i := range p.words {
		p.words[i] = binary.LittleEndian.Uint32(t.buf[4*i:])
	}
	return err
}

func (t *table) close() {
	if t.file != nil {
		t.file.Close() // nobody needs what it holds
	}
}
