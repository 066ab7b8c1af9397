package trust

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// A modelCommit is a commit of a random history, as the model sees it.
type modelCommit struct {
	oid     refs.OID
	parents []int
	signer  int // index into people; -1: unsigned
}

// oracle is mode all or chain in its simplest form: recursive, without cache,
// over the model.
func oracle(history []modelCommit, mode Mode, allowed []bool, intro, tip int) bool {
	base := make(map[int]bool)
	var mark func(int)
	mark = func(i int) {
		if !base[i] {
			base[i] = true
			for _, p := range history[i].parents {
				mark(p)
			}
		}
	}
	mark(intro)
	var ok func(int) bool
	ok = func(i int) bool {
		if base[i] {
			return true
		}
		c := history[i]
		if c.signer < 0 || !allowed[c.signer] || len(c.parents) == 0 {
			return false
		}
		for n, p := range c.parents {
			if mode == ModeChain && n > 0 {
				break
			}
			if !ok(p) {
				return false
			}
		}
		return true
	}
	return ok(tip)
}

// randomHistory makes commits of which each has up to two parents among the
// three before it, and a random signer or none.
func randomHistory(w *world, rng *rand.Rand, crowd []*person, commits int) []modelCommit {
	var history []modelCommit
	for i := range commits {
		c := modelCommit{signer: rng.IntN(len(crowd)+4) % (len(crowd) + 1)}
		var parents []refs.OID
		if i > 0 && rng.IntN(8) > 0 {
			for range 1 + rng.IntN(2) {
				p := max(0, i-1-rng.IntN(3))
				if !slices.Contains(c.parents, p) {
					c.parents = append(c.parents, p)
					parents = append(parents, history[p].oid)
				}
			}
		}
		var by *person
		if c.signer < len(crowd) {
			by = crowd[c.signer]
		} else {
			c.signer = -1
		}
		c.oid = w.commit(by, day(1), parents...)
		history = append(history, c)
	}
	return history
}

// TestModel decides about random histories and compares with the oracle; and
// checks that removing a signer never turns a refusal into an acceptance, nor
// does a cache, nor a store that gives no hints.
func TestModel(t *testing.T) {
	const people, commits, histories = 3, 12, 60
	var crowd []*person
	for i := range people {
		crowd = append(crowd, newPerson(t, fmt.Sprintf("p%d", i)))
	}
	accepted := 0
	for seed := range uint64(histories) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		history := randomHistory(w, rng, crowd, commits)
		intro, tip := rng.IntN(commits/2), commits-1
		for _, mode := range []Mode{ModeAll, ModeChain} {
			var verdict [1 << people]bool
			for mask := range 1 << people {
				allowed := make([]bool, people)
				var names []string
				for i := range people {
					if allowed[i] = mask>>i&1 == 1; allowed[i] {
						names = append(names, crowd[i].name)
					}
				}
				w.conf.Reset()
				w.conf.WriteString("[gitpeer]\n\tversion = 1\n")
				for _, p := range crowd {
					w.signer(p)
				}
				w.repo("introduction = " + string(history[intro].oid))
				if names == nil {
					w.rule("main", "ref = refs/*", "mode = "+string(mode))
				} else {
					w.rule("main", "ref = refs/*", "mode = "+string(mode), "signers = "+strings.Join(names, " "))
				}
				p := w.policy()
				s := w.publish(branch("main", history[tip].oid))
				d := Decide(p, nil, s, w.objects, now)
				_, err := d.Accept()
				verdict[mask] = err == nil
				if want := oracle(history, mode, allowed, intro, tip); verdict[mask] != want {
					t.Fatalf("seed %d, mode %s, signers %v: accepted %t (%v), want %t", seed, mode, names, verdict[mask], err, want)
				}
				blind := lyingStore{Objects: w.objects, commits: noHints}
				if _, err := Decide(p, nil, s, blind, now).Accept(); (err == nil) != verdict[mask] {
					t.Fatalf("seed %d, mode %s, signers %v: without hints accepted %t, with them %t", seed, mode, names, err == nil, verdict[mask])
				}
				if verdict[mask] {
					accepted++
					again := w.accept(p, nil, s)
					w.want(p, again, s, "main", OK)
					w.want(p, again.WithoutCache(), s, "main", OK)
					// Nor does it matter for another branch, wherever that is.
					s := w.publish(branch("main", history[tip].oid), branch("other", history[rng.IntN(commits)].oid))
					_, cold := Decide(p, nil, s, w.objects, now).Accept()
					if _, warm := Decide(p, again, s, w.objects, now).Accept(); (cold == nil) != (warm == nil) {
						t.Fatalf("seed %d, mode %s, signers %v: another branch is, without a cache, %v; with one %v", seed, mode, names, cold, warm)
					}
				}
			}
			for mask := range 1 << people {
				for i := range people {
					if less := mask &^ (1 << i); verdict[less] && !verdict[mask] {
						t.Fatalf("seed %d, mode %s: removing signer %d from %b turns a refusal into an acceptance", seed, mode, i, mask)
					}
				}
			}
		}
	}
	if accepted < histories/2 {
		t.Errorf("only %d acceptances: the histories are too hostile to test anything", accepted)
	}
}
