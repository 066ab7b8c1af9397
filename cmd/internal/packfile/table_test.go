package packfile

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// crowded has hardly any room in memory: all but a few pages is on the disk.
func crowded(tb testing.TB) Scratch { return Scratch{Dir: tb.TempDir(), Entries: 1} }

// A builder writes a pack entry by entry.
type builder struct {
	pack   bytes.Buffer
	starts []int64
	z      *zlib.Writer
}

func (b *builder) entry(kind byte, size int, base int, data []byte) {
	if len(b.starts) == 0 {
		b.pack.Write(make([]byte, HeaderLen))
	}
	at := int64(b.pack.Len())
	c := kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b.pack.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
	}
	b.pack.WriteByte(c)
	if kind == entryOfsDelta {
		back := at - b.starts[base]
		digits := []byte{byte(back & 0x7f)}
		for back >>= 7; back > 0; back >>= 7 {
			back--
			digits = append(digits, byte(back&0x7f)|0x80)
		}
		slices.Reverse(digits)
		b.pack.Write(digits)
	}
	if b.z == nil {
		b.z = zlib.NewWriter(&b.pack)
	}
	b.z.Reset(&b.pack)
	b.z.Write(data)
	b.z.Close()
	b.starts = append(b.starts, at)
}

func (b *builder) blob(text string) { b.entry(kindBlob, len(text), 0, []byte(text)) }

// delta adds an object that is another one, of size bytes, and then text.
func (b *builder) delta(base, size int, text string) {
	d := binary.AppendUvarint(nil, uint64(size))
	d = binary.AppendUvarint(d, uint64(size+len(text)))
	d = append(append(d, 0x90, byte(size), byte(len(text))), text...)
	b.entry(entryOfsDelta, len(d), base, d)
}

func (b *builder) end() []byte {
	pack := b.pack.Bytes()
	copy(pack, "PACK\x00\x00\x00\x02")
	binary.BigEndian.PutUint32(pack[8:], uint32(len(b.starts)))
	sum := sha1.Sum(pack)
	return append(pack, sum[:]...)
}

// wide is a pack of one object and n deltas against it.
func wide(n int) []byte {
	var b builder
	b.blob("base")
	for i := range n {
		b.delta(0, 4, fmt.Sprint(i))
	}
	return b.end()
}

// However many deltas one object has, and whatever order the pack comes in, each
// is done once, by whoever is free.
func TestWideFamily(t *testing.T) {
	pack := wide(3000)
	r := &repo{tb: t, format: refs.SHA1}
	want, err := r.indexed(pack)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Scratch{{}, crowded(t)} {
		e := entriesIn(t, pack, s)
		for _, from := range []int64{0, 12, int64(len(pack) / 2)} {
			src := Source{Pack: bytes.NewReader(pack), Follow: func(_ context.Context, ready func(off, n int64)) error {
				for _, p := range []part{{from, from + 1}, {from + 1, int64(len(pack))}, {0, from}} {
					ready(p.from, p.to-p.from)
				}
				return nil
			}}
			o := optionsOf(pack, refs.SHA1)
			o.Workers = 4
			x, err := NewIndex(t.Context(), src, e, o)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(idxOf(t, x), want) {
				t.Errorf("from %d: the index is not git's", from)
			}
			x.Close()
		}
	}
}

// An object that is there twice, with thousands between, is for git.
func TestTwiceFarApart(t *testing.T) {
	for _, again := range []int{1, 2500, 4999} {
		var b builder
		for i := range 5000 {
			b.blob(fmt.Sprint(i))
			if i == again {
				b.blob("1")
			}
		}
		pack := b.end()
		if x, err := newIndex(t, pack, entriesIn(t, pack, crowded(t)), nil); !errors.Is(err, ErrUnsure) || !strings.Contains(err.Error(), "twice") {
			t.Errorf("blob 1 again after blob %d: %v, %v, want ErrUnsure", again, x, err)
		}
	}
}

// An object that is named and missing is noticed among thousands on the disk.
func TestMissingFarApart(t *testing.T) {
	oid := func(text string) []byte {
		sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text))
		return sum[:]
	}
	for _, missing := range []bool{false, true} {
		var b builder
		for i := range 5000 {
			b.blob(fmt.Sprint(i))
			if i%100 == 0 {
				named := fmt.Sprint(4999 - i)
				if missing && i == 2500 {
					named = "nobody has this"
				}
				tree := append([]byte(fmt.Sprintf("100644 f%d\x00", i)), oid(named)...)
				b.entry(kindTree, len(tree), 0, tree)
			}
		}
		pack := b.end()
		x, err := newIndex(t, pack, entriesIn(t, pack, crowded(t)), nil)
		if missing != errors.Is(err, ErrUnsure) || !missing && err != nil {
			t.Errorf("missing: %v: %v, %v", missing, x, err)
		}
	}
}

// links agree with a plain map, whatever has room in memory.
func TestLinks(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, c := range []struct{ room, objects int }{{1, 300}, {1, 1000}, {1000, 2000}, {0, 300}} {
		for _, fault := range []string{"", "missing", "twice", "too many"} {
			l := newLinks(Scratch{Dir: t.TempDir(), Entries: c.room}, c.objects)
			fine := true
			add := func(object int, mark uint64) {
				oid := sha1.Sum(binary.BigEndian.AppendUint32(nil, uint32(object)))
				had, ok := l.add(l.fingerprint(oid[:], kindBlob), mark)
				fine = fine && ok && (mark != isPresent || had&isPresent == 0)
			}
			for _, k := range r.Perm(c.objects) {
				switch {
				case fault == "missing" && k == c.objects/2:
				case fault == "twice" && k == c.objects/2:
					add(k, isPresent)
				default:
					add(k, isPresent)
				}
				for range 20 { // so many that runs become one
					add(r.IntN(c.objects), isNamed)
				}
			}
			add(c.objects/2, isNamed)
			switch fault {
			case "twice":
				add(c.objects/2, isPresent)
			case "too many":
				add(c.objects, isNamed)
			}
			if err := l.closed(); (err == nil && fine) != (fault == "") {
				t.Errorf("room for %d of %d, %s: %v", c.room, c.objects, fault, err)
			}
			for i := range l.shards {
				if n := len(l.shards[i].runs.parts); n > 17 {
					t.Errorf("room for %d of %d: %d runs", c.room, c.objects, n)
				}
			}
			l.close()
		}
	}
}

// Who names ever more objects is noticed before the end, though few of them are in
// memory at a time: the disk is not theirs to fill.
func TestLinksWithoutEnd(t *testing.T) {
	const objects = 1000
	l := newLinks(crowded(t), objects)
	defer l.close()
	for k := range 10 * objects {
		oid := sha1.Sum(binary.BigEndian.AppendUint32(nil, uint32(k)))
		if _, ok := l.add(l.fingerprint(oid[:], kindBlob), isNamed); !ok {
			if k < objects {
				t.Errorf("%d objects are too many, of %d", k+1, objects)
			}
			return
		}
	}
	t.Errorf("a pack of %d objects may name %d", objects, 10*objects)
}

// A table on the disk is the same as one in memory, whoever uses it.
func TestTableOnDisk(t *testing.T) {
	const n = 3000
	table := newTable(crowded(t))
	for i := range int32(n) {
		table.add(int64(i)<<27+5, i/2)
	}
	if table.file == nil {
		t.Fatal("the table lies in memory")
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for _, i := range rand.New(rand.NewPCG(1, uint64(g))).Perm(n) {
				table.or(int32(i), 1<<g)
				if i%4 == g {
					table.set(int32(i), wordKids, uint32(-i))
				}
			}
		})
	}
	wg.Wait()
	for i := range int32(n) {
		if got, want := table.load(i), (record{start: int64(i)<<27 + 5, state: 15, back: i / 2, kids: -i}); got != want {
			t.Fatalf("record %d is %+v, want %+v", i, got, want)
		}
	}
	table.close()
}

// A disk is a file system on which one operation fails.
type disk struct {
	dir    string
	fail   int64 // which operation; they count from 1
	err    error
	ops    atomic.Int64
	opened atomic.Int64 // files that are not closed
}

type diskFile struct {
	*os.File
	disk *disk
}

func (d *disk) next() error {
	if d.ops.Add(1) == d.fail {
		return d.err
	}
	return nil
}

func (d *disk) scratch() Scratch {
	return Scratch{Entries: 1, open: func() (scratchFile, error) {
		if err := d.next(); err != nil {
			return nil, err
		}
		f, err := Scratch{Dir: d.dir}.file()
		if err == nil {
			d.opened.Add(1)
			f = diskFile{f.(*os.File), d}
		}
		return f, err
	}}
}

func (f diskFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.disk.next(); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], off) // the rest has no room
		return n, err
	}
	return f.File.WriteAt(b, off)
}

func (f diskFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.disk.next(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f diskFile) Close() error {
	f.disk.opened.Add(-1)
	return f.File.Close()
}

// Whichever operation on the tables' files fails, that is the error: no ErrUnsure,
// for git would need the disk as well, no wrong index, and no file is left.
func TestScratchFails(t *testing.T) {
	r := history(t, refs.SHA1, 40)
	pack := r.pack()
	want, err := r.indexed(pack)
	if err != nil {
		t.Fatal(err)
	}
	all := &disk{dir: t.TempDir()}
	if err := throughDisk(t, all, pack, want); err != nil {
		t.Fatal(err)
	}
	total := all.ops.Load()
	rnd := rand.New(rand.NewPCG(13, 14))
	for k := range int64(150) {
		d := &disk{dir: all.dir, fail: k + 1, err: syscall.ENOSPC}
		if k >= 50 {
			d.fail = 1 + rnd.Int64N(total)
		}
		if k%3 == 0 {
			d.err = io.EOF // a file that is shorter than what was written to it
		}
		err := throughDisk(t, d, pack, want)
		var failed *scratchError
		if d.ops.Load() >= d.fail && !errors.As(err, &failed) {
			t.Fatalf("operation %d of %d fails: %v, want a scratchError", d.fail, total, err)
		}
	}
	if left, err := os.ReadDir(all.dir); err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v, %v", left, err)
	}
}

// throughDisk makes a hint and an index of a pack, with tables on a disk.
func throughDisk(t *testing.T, d *disk, pack, want []byte) error {
	t.Helper()
	defer func() {
		if n := d.opened.Load(); n != 0 {
			t.Errorf("operation %d fails: %d files are open", d.fail, n)
		}
	}()
	rec := NewRecorder(d.scratch())
	defer rec.Close()
	stats, err := Scan(bytes.NewReader(pack), refs.SHA1, HardLimits, rec.Add)
	if err != nil {
		return err
	}
	made, err := rec.Entries(stats)
	if err != nil {
		return err
	}
	var hint bytes.Buffer
	if err := made.WriteHint(&hint); err != nil {
		return err
	}
	e, err := ParseHint(&hint, refs.Pack{Bytes: stats.Bytes, Objects: stats.Objects}, refs.SHA1, d.scratch())
	if err != nil {
		return err
	}
	defer e.Close()
	x, err := NewIndex(t.Context(), Source{Pack: bytes.NewReader(pack)}, e, optionsOf(pack, refs.SHA1))
	if err != nil {
		return err
	}
	defer x.Close()
	var idx bytes.Buffer
	if err := x.WriteIdx(&idx); err != nil {
		return err
	}
	if !bytes.Equal(idx.Bytes(), want) {
		t.Errorf("operation %d fails: the index is not git's", d.fail)
	}
	return nil
}

// The tables' file fails while bytes are reported: whoever reports them need not
// know, and the index ends.
func TestScratchFailsOnArrival(t *testing.T) {
	pack := wide(2000)
	d := &disk{dir: t.TempDir(), err: syscall.EIO}
	e := entriesIn(t, pack, d.scratch())
	src := Source{Pack: bytes.NewReader(pack), Follow: func(_ context.Context, ready func(off, n int64)) error {
		d.fail = d.ops.Load() + 1
		ready(0, int64(len(pack)))
		return nil
	}}
	if _, err := NewIndex(t.Context(), src, e, optionsOf(pack, refs.SHA1)); !errors.Is(err, syscall.EIO) {
		t.Errorf("NewIndex = %v, want EIO", err)
	}
}
