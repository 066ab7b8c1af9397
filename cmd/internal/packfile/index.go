package packfile

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/gitpeer/gitpeer/refs"
)

// A Source is a pack in a file that may still be coming in.
type Source struct {
	Pack io.ReaderAt
	// Follow calls ready with each part of the pack that can be read, in any
	// order, and returns once all have been. Nil: all is there.
	Follow func(ctx context.Context, ready func(off, n int64)) error
}

// Options say what a pack is to be, and what indexing it may cost.
type Options struct {
	Format refs.ObjectFormat
	Limits Limits
	Bytes  int64 // length of the pack
	// Cache bounds the bytes of resolved objects that are kept for deltas to
	// come; 0 is DefaultCache. An object of more than half of it that is no
	// mere blob is for git.
	Cache   int64
	Workers int // goroutines; 0 is one for each processor
	// Checked, if not nil, counts the objects that were resolved and checked.
	Checked *atomic.Int64
}

// DefaultCache makes the node that indexes any pack stay below 128 MB, with the
// tables of DefaultEntries.
const DefaultCache = 32 << 20

// ErrUnsure means that this package does not vouch for a pack: the hint lies, or
// a limit is broken, or something in it is wrong or only unusual. git is to
// judge.
var ErrUnsure = errors.New("a matter for git")

func unsure(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnsure, fmt.Errorf(format, args...))
}

// An Index is a pack whose every object was checked.
type Index struct {
	Stats  Stats
	SHA256 refs.Digest // of the pack
	format refs.ObjectFormat
	table  *idxTable
	redone int64 // bytes of objects that had to be resolved again
}

// Close gives up what the index has on the disk. It is of no use then.
func (x *Index) Close() { x.table.close() }

// Hash is the name that git gives the pack: the hexadecimal digits of its
// trailer.
func (x *Index) Hash() string { return fmt.Sprintf("%x", x.Stats.Trailer) }

// WriteIdx writes the .idx file, byte for byte as git index-pack does.
func (x *Index) WriteIdx(w io.Writer) error {
	return x.table.write(w, x.Stats.Trailer, plainHash(x.format))
}

func plainHash(f refs.ObjectFormat) hash.Hash {
	if f == refs.SHA256 {
		return sha256.New()
	}
	return sha1.New()
}

// Flags of an entry, in its record's state.
const (
	hasBytes = 1 << iota // all bytes of the entry can be read
	hasBase              // it is no delta, or what it is against is resolved
	isDone
	isDue             // it waited for nothing when its bytes came: whoever gets its span does it
	kindShift  = 4    // then three bits: the kind, once done
	depthShift = 8    // then: how many deltas lead to it, once done
	maxDepth   = 4095 // git's own limit
)

// An indexer works on one pack.
type indexer struct {
	src   Source
	o     Options
	e     *Entries
	t     *table
	table *idxTable
	cache *cache
	links *links
	sched *scheduler
	seen  *arrivals

	inflated atomic.Int64 // sum of the sizes of the objects
	redone   atomic.Int64 // bytes of objects that were resolved again
}

// NewIndex reads, resolves, hashes and checks every object of a pack that
// stands by itself, while it comes in, and returns what is needed to write its
// index. Everything e says is checked against the pack: a lie ends in ErrUnsure.
//
// Other errors are the source's, those of the tables' files, or the cause of the
// context's end. Two indexes cannot be made of the same Entries at a time.
func NewIndex(ctx context.Context, src Source, e *Entries, o Options) (x *Index, err error) {
	if o.Cache == 0 {
		o.Cache = DefaultCache
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	n := e.Len()
	switch {
	case n > MaxEntries || int64(n) > o.Limits.Objects:
		return nil, unsure("%d objects", n)
	case o.Bytes > o.Limits.Bytes || e.end != o.Bytes-int64(o.Format.Len()):
		return nil, unsure("the entries do not end where the pack does")
	}
	ix := &indexer{
		src: src, o: o, e: e, t: e.t,
		table: newIdxTable(e.t.scratch, o.Format.Len(), n),
		cache: newCache(o.Cache, e.t),
		links: newLinks(e.t.scratch, n),
		sched: newScheduler(n),
	}
	defer ix.links.close()
	defer func() {
		if err != nil {
			ix.table.close()
		}
	}()
	defer caught(&err)
	ix.seen = newArrivals(ix)
	e.link()
	return ix.run(ctx)
}

// link links the deltas of each base, first to last, and forgets what an indexer
// has noted before.
func (e *Entries) link() {
	if e.used {
		for i := range e.t.n {
			e.t.set(i, wordState, uint32(e.t.load(i).start>>32)<<highShift)
			e.t.set(i, wordKids, 0)
		}
	}
	e.used = true
	for i := e.t.n - 1; i >= 0; i-- {
		if back := e.t.load(i).back; back != 0 {
			e.t.set(i, wordAfter, uint32(e.t.load(i-back).kids))
			e.t.set(i-back, wordKids, uint32(i))
		}
	}
}

func (ix *indexer) run(ctx context.Context) (*Index, error) {
	x := &Index{format: ix.o.Format}
	specials := newSpecials()
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { ix.stop(context.Cause(ctx)) })
	defer stop()
	g.Go(func() error {
		if ix.src.Follow == nil {
			ix.seen.add(0, ix.o.Bytes)
			return ix.seen.end()
		}
		if err := ix.src.Follow(ctx, ix.seen.add); err != nil {
			return err
		}
		return ix.seen.end()
	})
	g.Go(func() error { return ix.digest(x) })
	workers := make([]*worker, ix.o.Workers)
	for i := range workers {
		workers[i] = newWorker(ix)
		g.Go(workers[i].run)
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, w := range workers {
		if !specials.merge(w.check.text) {
			return nil, unsure("too many files that fsck reads")
		}
	}
	if err := ix.links.closed(); err != nil {
		return nil, err
	}
	must(ix.table.sort())
	x.table = ix.table
	x.Stats.Objects, x.Stats.Inflated, x.Stats.Bytes = int64(ix.e.Len()), ix.inflated.Load(), ix.o.Bytes
	x.redone = ix.redone.Load()
	return x, x.checkSpecials(specials, workers[0])
}

// done notes that an entry is resolved and checked, and what it is.
func (ix *indexer) done(i int32, what uint32) {
	ix.t.or(i, isDone|what)
	if ix.o.Checked != nil {
		ix.o.Checked.Add(1)
	}
}

// stop ends all waiting.
func (ix *indexer) stop(err error) {
	ix.sched.fail(err)
	ix.seen.fail(err)
}

// checkSpecials reads the blobs that trees name as files whose content fsck
// judges, now that their entries are known.
func (x *Index) checkSpecials(s specials, w *worker) error {
	var oids []string
	for _, list := range []map[string]bool{s.modules, s.attributes} {
		oids = slices.AppendSeq(oids, maps.Keys(list))
	}
	slices.Sort(oids)
	oids = slices.Compact(oids)
	if len(oids) == 0 {
		return nil
	}
	err := x.table.each(func(rec []byte) error {
		if len(oids) == 0 || string(x.table.oid(rec)) < oids[0] {
			return nil
		}
		if string(x.table.oid(rec)) != oids[0] {
			return unsure("file that fsck reads is not in the pack")
		}
		i, _ := w.ix.e.search(x.table.start(rec))
		data, err := w.redo(i)
		if err == nil {
			err = asUnsure(s.blob(oids[0], data))
		}
		oids = oids[1:]
		return err
	})
	if err == nil && len(oids) > 0 {
		err = unsure("file that fsck reads is not in the pack")
	}
	return err
}

func asUnsure(err error) error {
	if err != nil {
		return unsure("%w", err)
	}
	return nil
}

// digest hashes the pack from its beginning, as far as it is there, for the
// snapshot's SHA-256 and git's trailer, and checks header and trailer.
func (ix *indexer) digest(x *Index) error {
	whole, own := sha256.New(), plainHash(ix.o.Format)
	body := ix.o.Bytes - int64(ix.o.Format.Len())
	buf := make([]byte, 256<<10)
	for at := int64(0); at < ix.o.Bytes; {
		upto, err := ix.seen.wait(at)
		if err != nil {
			return err
		}
		for at < upto {
			b := buf[:min(int64(len(buf)), upto-at)]
			if _, err := io.ReadFull(io.NewSectionReader(ix.src.Pack, at, int64(len(b))), b); err != nil {
				return err
			}
			whole.Write(b)
			if at < body {
				own.Write(b[:min(int64(len(b)), body-at)])
			}
			at += int64(len(b))
		}
	}
	x.Stats.Trailer = own.Sum(nil)
	whole.Sum(x.SHA256[:0])
	trailer := make([]byte, len(x.Stats.Trailer))
	if _, err := ix.src.Pack.ReadAt(trailer, body); err != nil && err != io.EOF {
		return err
	}
	if string(trailer) != string(x.Stats.Trailer) {
		return unsure("the pack's checksum is wrong")
	}
	if _, err := ix.src.Pack.ReadAt(x.Stats.Header[:], 0); err != nil {
		return err
	}
	n, err := parseHeader(x.Stats.Header[:])
	if err != nil || n != int64(ix.e.Len()) {
		return unsure("the pack has %d objects, not %d (%v)", n, ix.e.Len(), err)
	}
	return nil
}
