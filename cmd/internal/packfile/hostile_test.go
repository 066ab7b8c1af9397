package packfile

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// lineOf is what a snapshot says of a pack.
func lineOf(pack []byte, objects int) refs.Pack {
	return refs.Pack{Bytes: int64(len(pack)), Objects: int64(objects)}
}

func entriesOf(tb testing.TB, pack []byte) *Entries {
	tb.Helper()
	return entriesIn(tb, pack, Scratch{})
}

// entriesIn is entriesOf with tables where s says.
func entriesIn(tb testing.TB, pack []byte, s Scratch) *Entries {
	tb.Helper()
	rec := NewRecorder(s)
	tb.Cleanup(rec.Close)
	stats, err := Scan(bytes.NewReader(pack), refs.SHA1, HardLimits, rec.Add)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := rec.Entries(stats)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func newIndex(tb testing.TB, pack []byte, e *Entries, edit func(*Options)) (*Index, error) {
	tb.Helper()
	o := optionsOf(pack, refs.SHA1)
	if edit != nil {
		edit(&o)
	}
	return NewIndex(tb.Context(), Source{Pack: bytes.NewReader(pack)}, e, o)
}

func parseHint(hint []byte, p refs.Pack) (*Entries, error) {
	return ParseHint(bytes.NewReader(hint), p, refs.SHA1, Scratch{})
}

// lists are Entries that a test can change: see Entries before they were a table.
type lists struct {
	starts []int64
	back   []int32
}

func (e *Entries) lists() (l lists) {
	for i := range e.t.n {
		r := e.t.load(i)
		l.starts, l.back = append(l.starts, r.start), append(l.back, r.back)
	}
	l.starts = append(l.starts, e.end)
	return l
}

func (l lists) entries(s Scratch) *Entries {
	e := &Entries{t: newTable(s), end: l.starts[len(l.back)]}
	for i, back := range l.back {
		e.t.add(l.starts[i], back)
	}
	return e
}

func TestHintFormat(t *testing.T) {
	pack := history(t, refs.SHA1, 10).pack()
	e := entriesOf(t, pack)
	hint := hintOf(t, e)
	line := lineOf(pack, e.Len())
	back, err := parseHint(hint, line)
	if err != nil || !bytes.Equal(hintOf(t, back), hint) {
		t.Fatalf("ParseHint(Format) = %v", err)
	}
	if int64(len(hint)) > MaxHintBytes(line.Objects) || len(hint) > 6*e.Len()+20 {
		t.Errorf("hint of %d objects has %d bytes", e.Len(), len(hint))
	}
	long := append(bytes.Clone(hint[:8]), 0x80|hint[8], 0)
	for name, bad := range map[string][]byte{
		"empty": nil, "magic": hint[1:], "version": append([]byte("gphint\x00\x02"), hint[8:]...),
		"cut": hint[:len(hint)-1], "more": append(bytes.Clone(hint), 0), "long number": append(long, hint[9:]...),
		"count":     binary.AppendUvarint(bytes.Clone(hint[:8]), 1<<40),
		"too many":  binary.AppendUvarint(bytes.Clone(hint[:8]), MaxEntries+1),
		"far base":  append(append(bytes.Clone(hint[:9]), hint[9:11]...), 0xff, 0xff, 3),
		"no length": append(bytes.Clone(hint[:9]), 0, 0),
	} {
		if _, err := parseHint(bad, line); !errors.Is(err, ErrHint) {
			t.Errorf("%s: ParseHint = %v, want ErrHint", name, err)
		}
	}
	line.Objects++
	if _, err := parseHint(hint, line); !errors.Is(err, ErrHint) {
		t.Errorf("another count: ParseHint = %v, want ErrHint", err)
	}
}

// Whatever entries are claimed, the outcome is git's index or ErrUnsure.
func TestLyingEntries(t *testing.T) {
	pack := history(t, refs.SHA1, 20).pack()
	honest := entriesOf(t, pack).lists()
	x, err := newIndex(t, pack, honest.entries(Scratch{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := idxOf(t, x)
	r := rand.New(rand.NewPCG(5, 6))
	rooms := []Scratch{{}, crowded(t)}
	for range 300 {
		e := lists{slices.Clone(honest.starts), slices.Clone(honest.back)}
		i := r.IntN(len(e.back))
		switch r.IntN(4) {
		case 0:
			e.back[i] = int32(r.IntN(i + 1))
		case 1:
			e.starts[max(i, 1)] += int64(r.IntN(3) - 1)
		case 2:
			e.starts = append(e.starts[:i+1], e.starts[min(i+2, len(e.starts)-1):]...)
			e.back = e.back[:len(e.starts)-1]
		case 3:
			e.back[i] = 0
		}
		x, err := newIndex(t, pack, e.entries(rooms[r.IntN(2)]), nil)
		switch {
		case err == nil && !bytes.Equal(idxOf(t, x), want):
			t.Fatal("a lie leads to another index")
		case err != nil && !errors.Is(err, ErrUnsure):
			t.Fatalf("a lie: %v, want ErrUnsure", err)
		}
	}
}

// Whatever byte of a pack is changed, nothing is accepted.
func TestDamagedPack(t *testing.T) {
	pack := history(t, refs.SHA1, 5).pack()
	rooms := []*Entries{entriesOf(t, pack), entriesIn(t, pack, crowded(t))}
	r := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		bad := bytes.Clone(pack)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		if r.IntN(2) == 0 { // with a checksum that is right
			sum := sha1.Sum(bad[:len(bad)-20])
			copy(bad[len(bad)-20:], sum[:])
		}
		if _, err := newIndex(t, bad, rooms[r.IntN(2)], nil); !errors.Is(err, ErrUnsure) && !bytes.Equal(bad, pack) {
			// A bit of a stream's header, or of a length in it, may mean nothing.
			if _, git := (&repo{tb: t, format: refs.SHA1}).indexed(bad); err != nil || git != nil {
				t.Fatalf("NewIndex = %v, git: %v", err, git)
			}
		}
	}
}

func TestIndexLimits(t *testing.T) {
	pack := history(t, refs.SHA1, 20).pack()
	e := entriesOf(t, pack)
	x, err := newIndex(t, pack, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	exact := Limits{Bytes: x.Stats.Bytes, Objects: x.Stats.Objects, Inflated: x.Stats.Inflated, Object: 1_600_000}
	if _, err := newIndex(t, pack, e, func(o *Options) { o.Limits = exact }); err != nil {
		t.Errorf("a pack of exactly what is allowed: %v", err)
	}
	for name, edit := range map[string]func(*Options){
		"bytes":    func(o *Options) { o.Limits.Bytes-- },
		"objects":  func(o *Options) { o.Limits.Objects-- },
		"inflated": func(o *Options) { o.Limits.Inflated-- },
		"object":   func(o *Options) { o.Limits.Object-- },
		"cache":    func(o *Options) { o.Cache = 1000 },
	} {
		if _, err := newIndex(t, pack, e, func(o *Options) { o.Limits = exact; edit(o) }); !errors.Is(err, ErrUnsure) {
			t.Errorf("%s: %v, want ErrUnsure", name, err)
		}
	}
}

// With hardly any cache, bases are resolved again and again, and the index is
// the same.
func TestSmallCache(t *testing.T) {
	r := history(t, refs.SHA1, 40)
	pack := r.pack("--depth=4000", "--window=300", "--no-reuse-delta")
	e, onDisk := entriesOf(t, pack), entriesIn(t, pack, crowded(t))
	full, err := newIndex(t, pack, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	const part = 700
	var order []int
	for i := range (len(pack) + part - 1) / part {
		order = append(order, i)
	}
	backward, shuffled := slices.Clone(order), slices.Clone(order)
	slices.Reverse(backward) // so that deltas wait for their bases
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for name, order := range map[string][]int{"forward": order, "backward": backward, "shuffled": shuffled} {
		from := Source{Pack: bytes.NewReader(pack), Follow: func(_ context.Context, ready func(off, n int64)) error {
			for _, i := range order {
				at := int64(i * part)
				n := min(part, int64(len(pack))-at)
				ready(at, n)
				ready(at, n) // twice is no news
			}
			return nil
		}}
		for _, size := range []int64{40_000, 100_000, 1 << 20} {
			for _, e := range []*Entries{e, onDisk} {
				o := optionsOf(pack, refs.SHA1)
				o.Cache = size
				x, err := NewIndex(t.Context(), from, e, o)
				if err != nil || !bytes.Equal(idxOf(t, x), idxOf(t, full)) {
					t.Errorf("%s, cache of %d bytes, tables on the disk: %v: %v", name, size, e == onDisk, err)
				}
			}
		}
	}
}

func TestIndexEnds(t *testing.T) {
	pack := history(t, refs.SHA1, 3).pack()
	e := entriesOf(t, pack)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	src := Source{Pack: bytes.NewReader(pack), Follow: func(ctx context.Context, ready func(off, n int64)) error {
		ready(0, int64(len(pack)/2))
		cancel(gone)
		<-ctx.Done()
		return context.Cause(ctx)
	}}
	if _, err := NewIndex(ctx, src, e, optionsOf(pack, refs.SHA1)); !errors.Is(err, gone) {
		t.Errorf("a context that ends: %v, want its cause", err)
	}
	src.Follow = func(context.Context, func(off, n int64)) error { return nil }
	if _, err := NewIndex(t.Context(), src, e, optionsOf(pack, refs.SHA1)); err == nil || errors.Is(err, ErrUnsure) {
		t.Errorf("a source that ends early: %v", err)
	}
}

// Offsets that do not fit into 31 bits go into a table of their own.
func TestIdxOfFarOffsets(t *testing.T) {
	table := newIdxTable(Scratch{}, 20, 3)
	starts := []int64{12, far, far<<8 + 5}
	oids := map[string]int64{}
	for i := range 3 {
		oid := sha1.Sum([]byte{byte(i)})
		table.add(oid[:], uint32(7+i), starts[i])
		oids[string(oid[:])] = starts[i]
	}
	if err := table.sort(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := table.write(&b, make([]byte, 20), sha1.New()); err != nil {
		t.Fatal(err)
	}
	idx := b.Bytes()
	if want := 8 + 1024 + 3*28 + 2*8 + 40; len(idx) != want {
		t.Fatalf("index of %d bytes, want %d", len(idx), want)
	}
	small, large := idx[8+1024+3*24:], idx[8+1024+3*28:]
	n := uint32(0)
	for rank, oid := range slices.Sorted(maps.Keys(oids)) {
		got := int64(binary.BigEndian.Uint32(small[4*rank:]))
		if got >= far {
			if k := uint32(got - far); k != n {
				t.Errorf("object %x refers to far offset %d, want %d", oid, k, n)
			}
			got = int64(binary.BigEndian.Uint64(large[8*n:]))
			n++
		}
		if want := oids[oid]; got != want {
			t.Errorf("object %x: offset %d, want %d", oid, got, want)
		}
	}
}

func FuzzParseHint(f *testing.F) {
	f.Add([]byte("gphint\x00\x01\x02\x0a\x00\x0b\x01"), uint16(12+21+20))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		objects := int64(0)
		if len(b) > 8 {
			n, _ := binary.Uvarint(b[8:])
			objects = int64(n)
		}
		e, err := parseHint(b, refs.Pack{Bytes: int64(size), Objects: objects})
		if err == nil && !bytes.Equal(hintOf(t, e), b) {
			t.Errorf("WriteHint(ParseHint(%x)) = %x", b, hintOf(t, e))
		}
	})
}

// Any pack under any hint: no panic, no hang, and what is accepted, git accepts
// with the same index.
func FuzzIndex(f *testing.F) {
	r := newRepo(f, refs.SHA1)
	for i := range 4 {
		r.write("file", strings.Repeat(fmt.Sprint("line ", i, "\n"), 30+i))
		r.write(".gitattributes", "* text\n")
		r.commit()
	}
	packs := [][]byte{r.pack(), r.pack("--depth=0"), r.pack("--compression=0")}
	want := make([][]byte, len(packs))
	for i, pack := range packs {
		hint := hintOf(f, entriesOf(f, pack))
		f.Add(uint8(i), hint, uint16(0), byte(0), byte(0))
		f.Add(uint8(i), hint, uint16(len(pack)/2), byte(1), byte(1))
		var err error
		if want[i], err = r.indexed(pack); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, hint []byte, at uint16, flip, room byte) {
		which %= uint8(len(packs))
		pack := bytes.Clone(packs[which])
		pack[int(at)%(len(pack)-20)] ^= flip
		sum := sha1.Sum(pack[:len(pack)-20])
		copy(pack[len(pack)-20:], sum[:])
		n := int64(binary.BigEndian.Uint32(pack[8:]))
		e, err := ParseHint(bytes.NewReader(hint), refs.Pack{Bytes: int64(len(pack)), Objects: n}, refs.SHA1, Scratch{Dir: t.TempDir(), Entries: int(room)})
		if err != nil {
			return
		}
		defer e.Close()
		o := optionsOf(pack, refs.SHA1)
		o.Limits = Limits{Bytes: 1 << 20, Objects: 1000, Inflated: 8 << 20, Object: 4 << 20}
		x, err := NewIndex(t.Context(), Source{Pack: bytes.NewReader(pack)}, e, o)
		if err != nil {
			if !errors.Is(err, ErrUnsure) {
				t.Fatalf("NewIndex = %v, want ErrUnsure", err)
			}
			return
		}
		idx := want[which]
		if !bytes.Equal(pack, packs[which]) {
			if idx, err = (&repo{tb: t, format: refs.SHA1}).indexed(pack); err != nil {
				t.Fatalf("accepted; git: %v", err)
			}
		}
		if !bytes.Equal(idx, idxOf(t, x)) {
			t.Fatal("the index is not git's")
		}
	})
}
