package refs

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// pk is a pack as far as the plan looks at it.
func pk(from, to uint64, bytes int64) Pack { return Pack{From: from, To: to, Bytes: bytes} }

func costOf(packs []Pack) (c cost) {
	for _, p := range packs {
		c = c.plus(p)
	}
	return c
}

func TestCover(t *testing.T) {
	list := []Pack{
		pk(0, 1, 1000), pk(0, 8, 1100), pk(1, 2, 10), pk(2, 3, 10), pk(3, 4, 10), pk(4, 5, 10), pk(5, 6, 10), pk(6, 7, 10),
		pk(7, 8, 10), pk(1, 8, 65), pk(8, 9, 5),
	}
	for _, c := range []struct {
		have, want uint64
		path       []Range
	}{
		{9, 9, nil},
		{8, 9, []Range{{8, 9}}},
		{7, 9, []Range{{7, 8}, {8, 9}}},
		{1, 9, []Range{{1, 8}, {8, 9}}}, // 65 is less than seven tens
		{2, 8, []Range{{2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}}}, // and more than six
		{0, 9, []Range{{0, 1}, {1, 8}, {8, 9}}},
		{0, 1, []Range{{0, 1}}},
		{9, 3, []Range{{0, 1}, {1, 2}, {2, 3}}}, // back: from nothing
	} {
		path, err := Cover(list, c.have, c.want)
		var got []Range
		for _, p := range path {
			got = append(got, p.Range())
		}
		if err != nil || !reflect.DeepEqual(got, c.path) {
			t.Errorf("Cover(%d, %d) = %v, %v, want %v", c.have, c.want, got, err, c.path)
		}
	}
	for _, c := range []struct {
		packs      []Pack
		have, want uint64
	}{
		{nil, 0, 1},
		{list, 0, 10},
		{[]Pack{pk(1, 2, 1)}, 0, 2},
		{[]Pack{pk(0, 1, 1), pk(2, 3, 1)}, 0, 3},
		{[]Pack{pk(0, 3, 1)}, 1, 2},
	} {
		if path, err := Cover(c.packs, c.have, c.want); !errors.Is(err, ErrNoCover) || path != nil {
			t.Errorf("Cover(%v, %d, %d) = %v, %v, want ErrNoCover", c.packs, c.have, c.want, path, err)
		}
	}
	// With equal bytes, fewer packs.
	path, err := Cover([]Pack{pk(1, 2, 10), pk(2, 3, 10), pk(1, 3, 20)}, 1, 3)
	if err != nil || len(path) != 1 {
		t.Errorf("Cover = %v, %v, want the one pack of 20 bytes", path, err)
	}
	// A base serves a reader anywhere below its end, if it is the cheapest.
	path, err = Cover([]Pack{pk(0, 9, 30), pk(1, 2, 20), pk(2, 9, 20)}, 1, 9)
	if err != nil || len(path) != 1 || path[0].From != 0 {
		t.Errorf("Cover = %v, %v, want the base", path, err)
	}
}

// cheapest tries every way.
func cheapest(packs []Pack, have, want uint64) (best cost, ok bool) {
	if have == want {
		return cost{}, true
	}
	for _, p := range packs {
		if have < p.From || have >= p.To || p.To > want {
			continue
		}
		if rest, found := cheapest(packs, p.To, want); found {
			if c := rest.plus(p); !ok || c.compare(best) < 0 {
				best, ok = c, true
			}
		}
	}
	return best, ok
}

func TestCoverAgainstBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		n := 1 + rng.Uint64N(10)
		var packs []Pack
		for range rng.IntN(14) {
			from := rng.Uint64N(n)
			packs = append(packs, pk(from, from+1+rng.Uint64N(n-from), 1+rng.Int64N(6)))
		}
		for have := range n {
			want, found := cheapest(packs, have, n)
			path, err := Cover(packs, have, n)
			at := have
			for _, p := range path {
				if at < p.From || at >= p.To {
					t.Fatalf("Cover(%v, %d, %d) = %v: no way", packs, have, n, path)
				}
				at = p.To
			}
			if found != (err == nil) || found && (at != n || costOf(path) != want) {
				t.Fatalf("Cover(%v, %d, %d) = %v, %v, want cost %v, %v", packs, have, n, path, err, want, found)
			}
			if to, ok := distances(n, packs)[have]; have == 0 && (ok != found || to != want) {
				t.Fatalf("distances(%d, %v)[0] = %v, %v, want %v, %v", n, packs, to, ok, want, found)
			}
		}
	}
}

func TestNextRanges(t *testing.T) {
	chain := func(base int64, first, last uint64) []Pack {
		out := []Pack{pk(0, first, base)}
		for n := first + 1; n <= last; n++ {
			out = append(out, pk(n-1, n, 10))
		}
		return out
	}
	for _, c := range []struct {
		name  string
		n     uint64
		packs []Pack
		want  []Range
	}{
		{"first", 1, nil, []Range{{0, 1}}},
		{"second", 2, chain(1000, 1, 1), []Range{{1, 2}}},
		{"eighth: not from 0", 8, chain(1000, 1, 7), []Range{{7, 8}, {1, 8}}},
		{"sixteenth", 16, chain(1000, 1, 15), []Range{{15, 16}, {8, 16}}},
		{"sixty-fourth", 64, chain(10000, 1, 63), []Range{{63, 64}, {56, 64}, {1, 64}}},
		{"new chain on a level", 64, chain(1000, 63, 63), []Range{{63, 64}}},
		{"new chain below it", 64, chain(1000, 60, 63), []Range{{63, 64}, {60, 64}}},
		{"half the base", 7, chain(100, 1, 6), []Range{{6, 7}}},
		{"more than half the base", 8, chain(100, 1, 7), []Range{{7, 8}, {1, 8}, {0, 8}}},
		{"half the newest base", 8, append(chain(100, 1, 7), pk(0, 3, 100)), []Range{{7, 8}, {1, 8}}},
		{"no base", 5, []Pack{pk(3, 4, 1)}, []Range{{0, 5}}},
		{"broken chain", 5, []Pack{pk(0, 1, 1000), pk(2, 3, 1), pk(3, 4, 1)}, []Range{{0, 5}}},
		{"base ahead", 5, []Pack{pk(0, 5, 1000)}, []Range{{0, 5}}},
		{"empty until now", 5, nil, []Range{{0, 5}}},
	} {
		if got := NextRanges(c.n, c.packs); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: NextRanges(%d) = %v, want %v", c.name, c.n, got, c.want)
		}
	}
}

func TestRetire(t *testing.T) {
	for _, c := range []struct {
		name        string
		n           uint64
		packs, gone []Pack
	}{
		{"as little follows", 3, []Pack{pk(0, 1, 99), pk(1, 2, 5), pk(2, 3, 5)}, nil},
		{"older base", 3, []Pack{pk(0, 3, 60), pk(2, 3, 5), pk(0, 1, 50), pk(1, 2, 5)}, nil},
		{"inside, enough follows", 4, []Pack{pk(0, 1, 99), pk(1, 3, 20), pk(3, 4, 20)}, []Pack{pk(1, 2, 10), pk(2, 3, 10)}},
		{"inside, less follows", 4, []Pack{pk(0, 1, 99), pk(1, 3, 20), pk(3, 4, 19), pk(1, 2, 10), pk(2, 3, 10)}, nil},
		{"inside, enough publications", 11, []Pack{pk(0, 1, 99), pk(1, 3, 20), pk(3, 11, 1)}, []Pack{pk(1, 2, 10), pk(2, 3, 10)}},
		{"inside, one too few", 10, []Pack{pk(0, 1, 99), pk(1, 3, 20), pk(3, 10, 1), pk(1, 2, 10), pk(2, 3, 10)}, nil},
		{"inside a base only", 9, []Pack{pk(0, 1, 999), pk(1, 2, 1), pk(2, 9, 200)}, nil},
		{"inside a base, cheaper", 30, []Pack{pk(0, 4, 1000), pk(3, 4, 5), pk(4, 30, 10)}, nil},
		{"before the base", 9, []Pack{pk(0, 8, 100), pk(0, 5, 90), pk(5, 6, 50), pk(6, 7, 91), pk(7, 8, 9), pk(8, 9, 5)}, nil},
	} {
		all := append(slices.Clone(c.packs), c.gone...)
		want := slices.SortedFunc(slices.Values(c.packs), comparePacks)
		if got := Retire(c.n, all); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: Retire(%d, %v) = %v, want %v", c.name, c.n, all, got, want)
		}
	}
}

// profiles are sizes of publications; the first is the first base's.
func profiles() map[string]func(rng *rand.Rand, n uint64) int64 {
	return map[string]func(rng *rand.Rand, n uint64) int64{
		"equal": func(_ *rand.Rand, n uint64) int64 {
			if n == 1 {
				return 1_000_000
			}
			return 1000
		},
		"all equal":  func(*rand.Rand, uint64) int64 { return 1000 },
		"small base": func(_ *rand.Rand, n uint64) int64 { return 32 + 10*int64(n) },
		"random": func(rng *rand.Rand, n uint64) int64 {
			if n == 1 {
				return 10_000_000
			}
			return 100 + rng.Int64N(10_000)
		},
		"skewed": func(rng *rand.Rand, n uint64) int64 { // some a million times others
			if n == 1 {
				return 1 << 40
			}
			return 100 + int64(100*math.Pow(rng.Float64()+1e-6, -1.5))
		},
		"empty": func(_ *rand.Rand, n uint64) int64 {
			if n%50 == 1 {
				return 100_000
			}
			return 32
		},
		"falling": func(_ *rand.Rand, n uint64) int64 { // each less than all before it
			return 32 + int64(math.Exp(25-float64(n)/25))
		},
		"rising": func(_ *rand.Rand, n uint64) int64 {
			return 32 + int64(math.Exp(5+float64(n)/50))
		},
	}
}

// A publisher has published n times; sum[k] is the bytes of the first k
// publications, so that sum[n]−sum[k] is what a reader at k lacks.
type publisher struct {
	n     uint64
	packs []Pack
	sum   []int64
	bases int
}

func (p *publisher) publish(bytes int64) {
	p.n++
	p.sum = append(p.sum, p.sum[p.n-1]+bytes)
	for _, r := range NextRanges(p.n, p.packs) {
		p.packs = append(p.packs, pk(r.From, r.To, p.sum[r.To]-p.sum[r.From]))
		if r.From == 0 {
			p.bases++
		}
	}
	p.packs = Retire(p.n, p.packs)
}

// check checks the cover of each reader in ks.
func (p *publisher) check(t *testing.T, name string, ks []uint64) {
	t.Helper()
	levels := math.Log(float64(p.n)) / math.Log(Radix)
	for _, k := range ks {
		path, err := Cover(p.packs, k, p.n)
		if err != nil {
			t.Fatalf("%s: reader at %d of %d: %v", name, k, p.n, err)
		}
		if most := 8*levels + 10; float64(len(path)) > most {
			t.Errorf("%s: reader at %d of %d needs %d packs, want at most %.0f", name, k, p.n, len(path), most)
		}
		// Twice what it lacks; or, where the list had to be kept short,
		// nothing that lies further back than a quarter of its distance.
		got, lacks := costOf(path).bytes, p.sum[p.n]-p.sum[k]
		back := k - min(k, (p.n-k)/patience)
		if most := max(2*lacks, p.sum[p.n]-p.sum[back]); got > most {
			t.Errorf("%s: reader at %d of %d downloads %d bytes for %d, want at most %d", name, k, p.n, got, lacks, most)
		}
	}
}

func TestThousandPublications(t *testing.T) {
	const last = 1000
	for name, size := range profiles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(3, 4))
			p := &publisher{sum: []int64{0}}
			most := 0
			for n := uint64(1); n <= last; n++ {
				p.publish(size(rng, n))
				most = max(most, len(p.packs))
				ks := []uint64{0, n - 1, rng.Uint64N(n), rng.Uint64N(n)}
				if n == 512 || n == last-1 || n == last {
					ks = nil
					for k := range n {
						ks = append(ks, k)
					}
				}
				p.check(t, name, ks)
			}
			// Three levels are full at a thousand.
			if levels := 3; most > 40*(levels+1) || most > MaxPacks {
				t.Errorf("%s: %d packs listed, want at most 40 a level", name, most)
			}
			t.Logf("%s: at most %d packs, %d bases", name, most, p.bases)
		})
	}
}

// Whoever cloned any base and followed can serve a newcomer also when the
// publisher, who alone may have the newer bases, is away.
func TestFollowersServeNewcomers(t *testing.T) {
	for name, size := range profiles() {
		rng := rand.New(rand.NewPCG(7, 8))
		p := &publisher{sum: []int64{0}}
		for n := uint64(1); n <= 300; n++ {
			p.publish(size(rng, n))
			for _, base := range p.packs {
				if base.From != 0 {
					break // sorted: no more bases
				}
				held := slices.DeleteFunc(slices.Clone(p.packs), func(q Pack) bool { return q.From == 0 && q != base })
				if _, err := Cover(held, 0, n); err != nil {
					t.Fatalf("%s: at %d, followers since base %v cannot serve a newcomer: %v", name, n, base.Range(), err)
				}
			}
		}
	}
}

// A publisher may put off all but level 0 and the first base.
func TestPlanSurvivesOmissions(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	p := &publisher{sum: []int64{0}}
	for n := uint64(1); n <= 120; n++ {
		p.n++
		p.sum = append(p.sum, p.sum[n-1]+100+rng.Int64N(1000))
		for i, r := range NextRanges(n, p.packs) {
			if i == 0 || rng.IntN(3) == 0 {
				p.packs = append(p.packs, pk(r.From, r.To, p.sum[r.To]-p.sum[r.From]))
			}
		}
		p.packs = Retire(n, p.packs)
		for k := range n {
			if _, err := Cover(p.packs, k, n); err != nil {
				t.Fatalf("reader at %d of %d: %v", k, n, err)
			}
		}
	}
}

// Whether a cover really brings a reader there: objects are numbers, each
// snapshot a set of them, and refs go forward, back, away and come again.
func TestPlanCarriesObjects(t *testing.T) {
	type set = map[int]bool
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 7))
		snapshots := []set{{}} // number 0 has nothing
		next, branches := 0, map[int]set{}
		var packs []Pack
		carried := map[Range]set{}
		for n := uint64(1); n <= 150; n++ {
			for range 1 + rng.IntN(3) {
				b := rng.IntN(5)
				switch rng.IntN(6) {
				case 0: // deleted
					delete(branches, b)
				case 1: // made from another, or rewound to it
					branches[b] = union(branches[rng.IntN(5)])
				case 2: // merged
					branches[b] = union(branches[b], branches[rng.IntN(5)])
				case 3: // what was there once comes back
					branches[b] = union(snapshots[rng.Uint64N(n)])
				default: // a commit
					next++
					branches[b] = union(branches[b], set{next: true})
				}
			}
			now := set{}
			for _, b := range branches {
				now = union(now, b)
			}
			snapshots = append(snapshots, now)
			for _, r := range NextRanges(n, packs) {
				// What all of from … to−1 have need not be carried.
				common := union(snapshots[r.From])
				for _, s := range snapshots[r.From:r.To] {
					for o := range common {
						if !s[o] {
							delete(common, o)
						}
					}
				}
				carried[r] = set{}
				for o := range now {
					if !common[o] {
						carried[r][o] = true
					}
				}
				packs = append(packs, pk(r.From, r.To, 32+int64(len(carried[r]))))
			}
			packs = Retire(n, packs)
			for k := range n {
				path, err := Cover(packs, k, n)
				if err != nil {
					t.Fatal(err)
				}
				has := union(snapshots[k])
				for _, p := range path {
					has = union(has, carried[p.Range()])
				}
				for o := range now {
					if !has[o] {
						t.Fatalf("seed %d: reader at %d of %d lacks object %d after %v", seed, k, n, o, path)
					}
				}
			}
		}
	}
}

func union(sets ...map[int]bool) map[int]bool {
	out := map[int]bool{}
	for _, s := range sets {
		for o := range s {
			out[o] = true
		}
	}
	return out
}

func TestBases(t *testing.T) {
	snap := func(tips ...OID) *Snapshot {
		s := &Snapshot{}
		for i, o := range tips {
			s.Refs = append(s.Refs, Ref{Name: Name(fmt.Sprintf("refs/heads/%d", i)), OID: o})
		}
		return s
	}
	// a ← b ← c, and x by itself.
	above := map[OID][]OID{"a": {"b", "c"}, "b": {"c"}}
	reaches := func(s *Snapshot, tip OID) (bool, error) {
		return slices.ContainsFunc(s.Refs, func(r Ref) bool { return slices.Contains(above[tip], r.OID) }), nil
	}
	for _, c := range []struct {
		snapshots []*Snapshot
		want      []OID
	}{
		{nil, nil},
		{[]*Snapshot{snap("b", "x", "b")}, []OID{"b", "x"}},
		{[]*Snapshot{snap("b", "x"), snap("c", "x"), snap("c", "x")}, []OID{"b", "x"}}, // forward
		{[]*Snapshot{snap("b", "x"), snap("a", "x"), snap("c", "x")}, []OID{"x"}},      // back and forward
		{[]*Snapshot{snap("a", "b", "x"), snap("b"), snap("x", "b")}, []OID{"a", "b"}}, // away and come again
		{[]*Snapshot{snap("a"), snap()}, nil},
	} {
		if got, err := Bases(c.snapshots, reaches); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Bases = %v, %v, want %v", got, err, c.want)
		}
	}
	errGit := errors.New("no such object")
	if got, err := Bases([]*Snapshot{snap("a"), snap("b")}, func(*Snapshot, OID) (bool, error) { return false, errGit }); !errors.Is(err, errGit) || got != nil {
		t.Errorf("Bases = %v, %v, want %v", got, err, errGit)
	}
}
