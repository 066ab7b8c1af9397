package refs

import (
	"cmp"
	"errors"
	"maps"
	"slices"
)

// The pack plan; the package comment explains it.

const (
	// Radix is how many packs of one level the next level's replaces: a pack
	// of level j leads from a multiple of Radix^j to the next.
	Radix = 8
	// patience is how many lengths of a pack must follow it before the packs
	// inside it leave the list even though fewer bytes than its own followed.
	patience = 4
)

// ErrNoCover means that the packs do not lead from where the reader stands to
// where it wants to go.
var ErrNoCover = errors.New("no packs lead to the snapshot")

// A Range is where a pack stands in the plan: it brings a reader that holds any
// snapshot k, From ≤ k < To, to snapshot To.
type Range struct {
	From, To uint64
}

// Range returns p's range.
func (p Pack) Range() Range { return Range{p.From, p.To} }

// cost compares ways through the plan: bytes first, then number of packs.
type cost struct {
	bytes int64
	packs int
}

func (c cost) plus(p Pack) cost { return cost{c.bytes + p.Bytes, c.packs + 1} }

func (c cost) compare(d cost) int {
	return cmp.Or(cmp.Compare(c.bytes, d.bytes), cmp.Compare(c.packs, d.packs))
}

// Cover returns the packs that bring a reader that holds snapshot have (0 if
// none) to snapshot want, in the order in which they must be indexed: of all
// ways the one with the fewest bytes, of those the one with the fewest packs.
// It is empty if have equals want. A reader that stands past want may hold
// nothing of it and is treated as holding nothing. ErrNoCover if there is no
// way.
func Cover(packs []Pack, have, want uint64) ([]Pack, error) {
	if have == want {
		return nil, nil
	}
	if have > want {
		have = 0
	}
	from := arrivals(packs, have)
	var path []Pack
	for at := want; at != have; {
		step, ok := from[at]
		if !ok {
			return nil, ErrNoCover
		}
		path = append(path, step.by)
		at = step.start
	}
	slices.Reverse(path)
	return path, nil
}

// An arrival is the cheapest way to come to a snapshot.
type arrival struct {
	cost  cost
	by    Pack   // the last pack on the way
	start uint64 // the snapshot before it
}

// arrivals returns the cheapest way from have to each snapshot that packs lead
// to. Every way only ever moves up, so one pass in the order of To sees each
// snapshot after all from which it can be reached.
func arrivals(packs []Pack, have uint64) map[uint64]arrival {
	sorted := slices.Clone(packs)
	slices.SortFunc(sorted, func(a, b Pack) int {
		return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(b.From, a.From))
	})
	best := map[uint64]arrival{have: {}}
	at := []uint64{have} // the keys of best, ascending
	for _, p := range sorted {
		for _, k := range at {
			if k < p.From || k >= p.To {
				continue
			}
			c := best[k].cost.plus(p)
			if old, ok := best[p.To]; ok && old.cost.compare(c) <= 0 {
				continue
			}
			best[p.To] = arrival{cost: c, by: p, start: k}
		}
		if _, ok := best[p.To]; ok && at[len(at)-1] != p.To {
			at = append(at, p.To)
		}
	}
	return best
}

// distances returns, for have 0 and every To in packs, the cheapest cost from
// there to n; what is missing has no way.
func distances(n uint64, packs []Pack) map[uint64]cost {
	sorted := slices.Clone(packs)
	slices.SortFunc(sorted, func(a, b Pack) int { return cmp.Compare(b.To, a.To) })
	starts := []uint64{0}
	for _, p := range sorted {
		starts = append(starts, p.To)
	}
	slices.Sort(starts)
	out := map[uint64]cost{n: {}}
	for _, k := range slices.Backward(slices.Compact(starts)) {
		for _, p := range sorted {
			rest, ok := out[p.To]
			if k < p.From || k >= p.To || !ok {
				continue
			}
			c := rest.plus(p)
			if old, ok := out[k]; !ok || c.compare(old) < 0 {
				out[k] = c
			}
		}
	}
	return out
}

// newestBase returns the base that leads furthest, and whether there is one.
func newestBase(packs []Pack) (base Pack, ok bool) {
	for _, p := range packs {
		if p.From == 0 && p.To > base.To {
			base, ok = p, true
		}
	}
	return base, ok
}

// increments returns the packs that are no bases.
func increments(packs []Pack) []Pack {
	return slices.DeleteFunc(slices.Clone(packs), func(p Pack) bool { return p.From == 0 })
}

// NextRanges returns the ranges of the packs that publication n makes, given
// the packs listed at n−1: the shortest first, the base, if one is due, last.
// n is at least 1.
func NextRanges(n uint64, packs []Pack) []Range {
	base, ok := newestBase(packs)
	grown := increments(packs)
	tail, err := Cover(grown, base.To, n-1)
	if !ok || base.To >= n || err != nil {
		return []Range{{0, n}}
	}
	// The oldest snapshot that a pack leads on from.
	first := base.To
	for _, p := range grown {
		first = min(first, p.From)
	}
	out := []Range{{n - 1, n}}
	for length := uint64(Radix); n%length == 0; length *= Radix {
		r := Range{max(n-length, first), n}
		if r != out[len(out)-1] {
			out = append(out, r)
		}
	}
	var followed int64
	for _, p := range tail {
		followed += p.Bytes
	}
	if followed > base.Bytes/2 {
		out = append(out, Range{0, n})
	}
	return out
}

// Retire returns those of packs, all that were listed at n−1 and those made at
// n, that snapshot n lists. Every reader that has a cover keeps one, and so does
// every way from nothing: bases stay listed, with a way on from each, so that
// whoever ever cloned and followed can serve a newcomer.
func Retire(n uint64, packs []Pack) []Pack {
	to := distances(n, packs)
	keep := slices.DeleteFunc(slices.Clone(packs), func(p Pack) bool {
		return p.From != 0 && slices.ContainsFunc(packs, func(q Pack) bool {
			return supersedes(q, p, n, to)
		})
	})
	slices.SortFunc(keep, comparePacks)
	return keep
}

// supersedes reports whether q can stand for p from now on: it spans p, and so
// much follows q that a reader inside it, who takes all of q for a part of it,
// downloads at most twice what it needs.
func supersedes(q, p Pack, n uint64, to map[uint64]cost) bool {
	if q.From == 0 || q.From > p.From || q.To < p.To || q.Range() == p.Range() {
		return false
	}
	rest, ok := to[q.To]
	return ok && (rest.bytes >= q.Bytes || n-q.To >= patience*(q.To-q.From))
}

// Bases returns what a pack with range (from, to] may take for granted, the
// negative tips of git pack-objects: those tips of snapshot from that every
// later snapshot up to to−1 reaches, each once. snapshots are from, from+1, …,
// to−1. reaches reports whether tip is one of s's tips or an ancestor of one;
// it is not asked about tips that s lists.
func Bases(snapshots []*Snapshot, reaches func(s *Snapshot, tip OID) (bool, error)) ([]OID, error) {
	if len(snapshots) == 0 {
		return nil, nil
	}
	bases := slices.Sorted(maps.Keys(tipsOf(snapshots[0])))
	for _, s := range snapshots[1:] {
		listed := tipsOf(s)
		var kept []OID
		for _, tip := range bases {
			ok := listed[tip]
			if !ok {
				var err error
				if ok, err = reaches(s, tip); err != nil {
					return nil, err
				}
			}
			if ok {
				kept = append(kept, tip)
			}
		}
		bases = kept
	}
	return bases, nil
}

func tipsOf(s *Snapshot) map[OID]bool {
	tips := make(map[OID]bool, len(s.Refs))
	for _, r := range s.Refs {
		tips[r.OID] = true
	}
	return tips
}
