package trust

import (
	"container/heap"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/gitpeer/gitpeer/refs"
)

// A history is the graph of the commits that one decision has looked at. Each
// was hashed and parsed here; ancestry is followed over nothing else.
//
// A commit costs about 60 bytes, whatever its size.
type history struct {
	verifier *verifier
	objects  Objects
	mu       sync.Mutex // while stream runs: guards what follows
	index    *idTable
	commits  chunks[commit]
	parents  arena
	kinds    map[attestation]uint32 // to the numbers in attested
	attested []attestation          // the different ones, without their times; the first is none
	trees    *treeList              // nil: not wanted
	single   int                    // reads one by one so far
	streamed bool                   // a whole ancestry was loaded; not done twice
}

// A commit is a node of the graph.
type commit struct {
	parents uint32 // in the arena
	date    uint32 // of the committer, Unix seconds: orders walks, decides nothing
	made    uint32 // the time of its signature, which has 32 bits in OpenPGP; 0: none
	att     uint32 // in attested; 0: it is not yet
	count   uint8  // of parents
	loaded  bool
}

// A treeList has the trees of commits.
type treeList struct {
	ids *idTable
	of  chunks[int32] // by commit: number in ids + 1; 0: not known
}

// maxSingle is how many commits are read one by one before the whole ancestry
// is asked for in one stream.
const maxSingle = 2000

func newHistory(v *verifier, o Objects) *history {
	return &history{verifier: v, objects: o, index: newIDs(v.format), kinds: make(map[attestation]uint32), attested: make([]attestation, 1)}
}

// wantTrees makes the history remember the trees of the commits it loads.
func (h *history) wantTrees() { h.trees = &treeList{ids: newIDs(h.verifier.format)} }

// id returns the number of a commit, loaded or not.
func (h *history) id(oid refs.OID) int32 {
	i := h.index.number(oid)
	h.commits.grow(int(h.index.n))
	return i
}

// oid returns the id of a commit with a number.
func (h *history) oid(i int32) refs.OID { return h.index.oid(i) }

// parentsOf returns the parents of a loaded commit; they must not be changed.
func (h *history) parentsOf(i int32) []int32 {
	c := h.commits.at(i)
	return h.parents.get(c.parents, c.count)
}

// attestation returns what the signature of a commit is worth; ok is false if
// that is not known yet.
func (h *history) attestation(i int32) (a attestation, ok bool) {
	c := h.commits.at(i)
	a = h.attested[c.att]
	a.time = int64(c.made)
	return a, c.att != 0
}

// A purpose says what a commit is loaded for.
type purpose int

const (
	forAncestry  purpose = iota // its parents
	forSignature                // its parents and its attestation
)

// A loadedCommit is the outcome of looking at one commit's bytes.
type loadedCommit struct {
	oid     refs.OID
	tree    refs.OID
	parents []refs.OID
	date    int64
	att     *attestation
	err     error
}

// examine hashes, splits and, if asked to, attests a commit. A panic in it is
// a verdict of its own (A39), because it may run on any goroutine.
func (v *verifier) examine(o Object, why purpose) (l loadedCommit) {
	l.oid = o.OID
	defer func() {
		if p := recover(); p != nil {
			l.att, l.err = &attestation{code: Internal, why: fmt.Sprintf("made the verifier fail: %v", p)}, nil
		}
	}()
	if o.Kind != KindCommit {
		l.err = &CorruptError{OID: o.OID, Reason: fmt.Sprintf("a %s where a commit is needed", o.Kind)}
		return l
	}
	if l.err = o.check(v.format, o.OID); l.err != nil {
		return l
	}
	var s *splitObject
	if why == forAncestry {
		s, l.err = splitCommit(v.format, o.Data)
		if l.err != nil {
			l.err = &CorruptError{OID: o.OID, Reason: "not well-formed: " + l.err.Error()}
			return l
		}
	} else {
		var a attestation
		s, a = v.commit(o.Data)
		l.att = &a
	}
	if s != nil {
		l.tree, l.parents, l.date = s.tree, s.parents, s.date
	}
	return l
}

// add enters an examined commit into the graph.
func (h *history) add(l loadedCommit) {
	i := h.id(l.oid)
	if c := h.commits.at(i); c.loaded && (c.att != 0 || l.att == nil) {
		return
	}
	var numbers [maxParents]int32
	for k, oid := range l.parents {
		numbers[k] = h.id(oid)
	}
	c := h.commits.at(i)
	if !c.loaded {
		c.parents, c.count = h.parents.add(numbers[:len(l.parents)]), uint8(len(l.parents))
	}
	c.date, c.loaded = uint32(max(0, min(l.date, math.MaxUint32))), true
	if h.trees != nil && l.tree != "" {
		h.trees.of.grow(int(h.index.n))
		*h.trees.of.at(i) = h.trees.ids.number(l.tree) + 1
	}
	if l.att != nil {
		c.att, c.made = h.kind(*l.att), uint32(l.att.time)
	}
}

// kind returns the number of an attestation, its time aside: of the commits of a
// history most have one of a few.
func (h *history) kind(a attestation) uint32 {
	a.time = 0
	n, ok := h.kinds[a]
	if !ok {
		n = uint32(len(h.attested))
		h.attested = append(h.attested, a)
		h.kinds[a] = n
	}
	return n
}

// load makes sure that a commit is in the graph.
func (h *history) load(i int32, why purpose) error {
	c := h.commits.at(i)
	if c.loaded && (c.att != 0 || why == forAncestry) {
		return nil
	}
	h.single++
	oid := h.oid(i)
	o, err := h.objects.Read(oid)
	if err != nil {
		return err
	}
	if o.OID != oid {
		return &CorruptError{OID: oid, Reason: fmt.Sprintf("the store answered with %q", o.OID)}
	}
	l := h.verifier.examine(o, why)
	if l.err != nil {
		return l.err
	}
	h.add(l)
	return nil
}

// has reports whether a commit needs no more work for the purpose.
func (h *history) has(i int32, why purpose) bool {
	c := h.commits.at(i)
	return c.loaded && (c.att != 0 || why == forAncestry)
}

// stream loads what is reachable from tips and not from not, on all cores, and
// returns the numbers of what was yielded. It is only a faster way of loading:
// errors of single objects are left for load to find when the object turns out
// to matter.
func (h *history) stream(tips, not []refs.OID, why purpose) (bitset, error) {
	const batch = 64
	var yielded bitset
	work := make(chan []Object)
	done := make(chan []loadedCommit, runtime.GOMAXPROCS(0))
	var workers, collector sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for objects := range work {
				out := make([]loadedCommit, len(objects))
				for i, o := range objects {
					out[i] = h.verifier.examine(o, why)
				}
				done <- out
			}
		})
	}
	collector.Go(func() {
		for batch := range done {
			h.mu.Lock()
			for _, l := range batch {
				if l.err == nil {
					h.add(l)
				}
			}
			h.mu.Unlock()
		}
	})
	err := func() error {
		defer func() { // also when the iterator panics
			close(work)
			workers.Wait()
			close(done)
			collector.Wait()
		}()
		pending := make([]Object, 0, batch)
		for o, err := range h.objects.Commits(tips, not) {
			if err != nil {
				return err
			}
			h.mu.Lock()
			i := h.id(o.OID)
			yielded.add(i)
			known := h.has(i, why)
			h.mu.Unlock()
			if known {
				continue
			}
			if pending = append(pending, o); len(pending) == batch {
				work <- pending
				pending = make([]Object, 0, batch)
			}
		}
		work <- pending
		return nil
	}()
	return yielded, err
}

// A frontier grows the ancestry of some commits, newest first, only as far as
// the questions asked of it need. The dates are the committers' claims: with
// wrong ones it reads more, and answers the same.
type frontier struct {
	h     *history
	roots []int32
	in    bitset    // known to be in the ancestry, roots included
	fresh []int32   // in, but not yet in queue: their dates are not known
	queue dateQueue // loaded, parents not yet in
	first bool      // only first parents are followed
	// roots that may be missing: what was verified once may be gone, with a
	// branch that was deleted, and then reaches nothing
	optional []int32
}

func (h *history) frontier(roots []int32) *frontier {
	f := &frontier{h: h, roots: roots, queue: dateQueue{h: h}}
	for _, i := range roots {
		f.reach(i)
	}
	return f
}

func (f *frontier) reach(i int32) {
	if !f.in.has(i) {
		f.in.add(i)
		f.fresh = append(f.fresh, i)
	}
}

// contains reports whether commit i is one of the roots or an ancestor.
func (f *frontier) contains(i int32) (bool, error) {
	for !f.in.has(i) {
		if more, err := f.step(); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// step reaches the parents of the newest commit whose parents are not in yet.
// More is false once the whole ancestry is in.
func (f *frontier) step() (more bool, err error) {
	for _, j := range f.fresh {
		if err := f.bulk(); err != nil {
			return false, err
		}
		switch err := f.h.load(j, forAncestry); {
		case err == nil:
			heap.Push(&f.queue, j)
		case !isMissing(err) || !slices.Contains(f.optional, j):
			return false, err
		}
	}
	f.fresh = f.fresh[:0]
	if f.queue.Len() == 0 {
		return false, nil
	}
	parents := f.h.parentsOf(heap.Pop(&f.queue).(int32))
	if f.first && len(parents) > 1 {
		parents = parents[:1]
	}
	for _, parent := range parents {
		f.reach(parent)
	}
	return true, nil
}

// bulk loads the whole ancestry in one stream, once reading it commit by commit
// has become the slower way.
func (f *frontier) bulk() error {
	if f.h.single < maxSingle || f.h.streamed {
		return nil
	}
	f.h.streamed = true
	var tips []refs.OID
	for _, root := range f.roots {
		if f.h.commits.at(root).loaded { // else it is one of many, or missing
			tips = append(tips, f.h.oid(root))
		}
	}
	_, err := f.h.stream(tips, nil, forAncestry)
	return err
}

// A dateQueue is a heap of loaded commits, newest first.
type dateQueue struct {
	h     *history
	items []int32
}

func (q *dateQueue) Len() int { return len(q.items) }

func (q *dateQueue) Less(a, b int) bool {
	return q.h.commits.at(q.items[a]).date > q.h.commits.at(q.items[b]).date
}

func (q *dateQueue) Swap(a, b int) { q.items[a], q.items[b] = q.items[b], q.items[a] }
func (q *dateQueue) Push(x any)    { q.items = append(q.items, x.(int32)) }

func (q *dateQueue) Pop() any {
	last := len(q.items) - 1
	x := q.items[last]
	q.items = q.items[:last]
	return x
}

// isAncestor reports whether old is tip or one of its ancestors.
func (h *history) isAncestor(old, tip refs.OID) (bool, error) {
	if old == tip {
		return true, nil
	}
	return h.frontier([]int32{h.id(tip)}).contains(h.id(old))
}

// ids returns the numbers of commits.
func (h *history) ids(oids []refs.OID) []int32 {
	numbers := make([]int32, len(oids))
	for k, oid := range oids {
		numbers[k] = h.id(oid)
	}
	return slices.Compact(slices.Sorted(slices.Values(numbers)))
}
