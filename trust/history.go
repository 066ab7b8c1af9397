package trust

import (
	"container/heap"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/gitpeer/gitpeer/refs"
)

// A history is the graph of the commits that one decision has looked at. Each
// was hashed and parsed here; ancestry is followed over nothing else.
//
// A commit costs about 150 bytes, whatever its size.
type history struct {
	verifier *verifier
	objects  Objects
	mu       sync.Mutex // while stream runs: guards what follows
	index    map[refs.OID]int32
	commits  []commit
	trees    map[int32]refs.OID // of the commits' trees; nil: not wanted
	single   int                // reads one by one so far
	streamed bool               // a whole ancestry was loaded; not done twice
}

// A commit is a node of the graph.
type commit struct {
	oid      refs.OID
	parents  []int32
	date     int64 // of the committer: orders walks, decides nothing
	loaded   bool
	attested bool
	att      attestation
}

// maxSingle is how many commits are read one by one before the whole ancestry
// is asked for in one stream.
const maxSingle = 2000

func newHistory(v *verifier, o Objects) *history {
	return &history{verifier: v, objects: o, index: make(map[refs.OID]int32)}
}

// id returns the number of a commit, loaded or not.
func (h *history) id(oid refs.OID) int32 {
	i, ok := h.index[oid]
	if !ok {
		i = int32(len(h.commits))
		h.index[oid] = i
		h.commits = append(h.commits, commit{oid: oid})
	}
	return i
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
	if c := &h.commits[i]; c.loaded && (c.attested || l.att == nil) {
		return
	}
	parents := make([]int32, len(l.parents))
	for k, oid := range l.parents {
		parents[k] = h.id(oid)
	}
	c := &h.commits[i]
	c.parents, c.date, c.loaded = parents, l.date, true
	if h.trees != nil {
		h.trees[i] = l.tree
	}
	if l.att != nil {
		c.attested, c.att = true, *l.att
	}
}

// load makes sure that a commit is in the graph.
func (h *history) load(i int32, why purpose) error {
	c := &h.commits[i]
	if c.loaded && (c.attested || why == forAncestry) {
		return nil
	}
	h.single++
	o, err := h.objects.Read(c.oid)
	if err != nil {
		return err
	}
	if o.OID != c.oid {
		return &CorruptError{OID: c.oid, Reason: fmt.Sprintf("the store answered with %q", o.OID)}
	}
	l := h.verifier.examine(o, why)
	if l.err != nil {
		return l.err
	}
	h.add(l)
	return nil
}

// has reports whether a commit needs no more work for the purpose.
func (h *history) has(oid refs.OID, why purpose) bool {
	i, ok := h.index[oid]
	return ok && h.commits[i].loaded && (h.commits[i].attested || why == forAncestry)
}

// stream loads what is reachable from tips and not from not, on all cores, and
// returns the numbers of what was yielded. It is only a faster way of loading:
// errors of single objects are left for load to find when the object turns out
// to matter.
func (h *history) stream(tips, not []refs.OID, why purpose) (map[int32]bool, error) {
	const batch = 64
	yielded := make(map[int32]bool)
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
			yielded[h.id(o.OID)] = true
			known := h.has(o.OID, why)
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
	in    map[int32]bool // known to be in the ancestry, roots included
	fresh []int32        // in, but not yet in queue: their dates are not known
	queue dateQueue      // loaded, parents not yet in
}

func (h *history) frontier(roots []int32) *frontier {
	f := &frontier{h: h, roots: roots, in: make(map[int32]bool, len(roots)), queue: dateQueue{h: h}}
	for _, i := range roots {
		f.reach(i)
	}
	return f
}

func (f *frontier) reach(i int32) {
	if !f.in[i] {
		f.in[i] = true
		f.fresh = append(f.fresh, i)
	}
}

// contains reports whether commit i is one of the roots or an ancestor.
func (f *frontier) contains(i int32) (bool, error) {
	for !f.in[i] {
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
		if err := f.h.load(j, forAncestry); err != nil {
			return false, err
		}
		heap.Push(&f.queue, j)
	}
	f.fresh = f.fresh[:0]
	if f.queue.Len() == 0 {
		return false, nil
	}
	for _, parent := range f.h.commits[heap.Pop(&f.queue).(int32)].parents {
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
	tips := make([]refs.OID, len(f.roots))
	for k, root := range f.roots {
		tips[k] = f.h.commits[root].oid
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
	return q.h.commits[q.items[a]].date > q.h.commits[q.items[b]].date
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
