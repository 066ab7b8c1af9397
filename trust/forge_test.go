package trust

import (
	"errors"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// A merger is a store that knows what some merges come to.
type merger struct {
	*Memory
	trees map[[2]refs.OID]refs.OID
	err   error
}

func (m merger) Merge(a, b refs.OID) (refs.OID, error) { return m.trees[[2]refs.OID{a, b}], m.err }

// TestForgeMergesOnly: the key of a forge may sign a merge that git makes the same
// of its parents, and nothing else unless trust.conf says so.
func TestForgeMergesOnly(t *testing.T) {
	w := newWorld(t)
	alice, forge := newPerson(t, "alice"), newPerson(t, "forge")
	w.signer(alice)
	people := w.conf.String()
	root := w.commit(nil, day(1))
	a, b := w.commit(alice, day(2), root), w.commit(alice, day(2), root)
	unsigned := w.commit(nil, day(2), root)
	merge := func(parents ...refs.OID) refs.OID { return w.commit(forge, day(3), parents...) }
	store := merger{Memory: w.objects, trees: map[[2]refs.OID]refs.OID{{a, b}: emptyTree, {a, unsigned}: emptyTree, {b, a}: root}}
	policy := func(lines ...string) *Policy {
		w.conf.Reset()
		w.conf.WriteString(people)
		w.signer(forge, append([]string{"forge = true"}, lines...)...)
		w.repo("introduction = " + string(root))
		w.rule("all", "ref = refs/*", "signers = alice forge")
		return w.policy()
	}
	limited, free := policy(), policy("forge-merges-only = false")
	good := merge(a, b)
	for name, test := range map[string]struct {
		tip   refs.OID
		store Objects
		want  Code // limited
		why   string
		free  Code
	}{
		"merge":            {good, store, OK, "", OK},
		"with more in it":  {merge(b, a), store, Untrusted, "its content is not what git makes of its parents", OK},
		"with conflicts":   {merge(a, w.commit(alice, day(2), b)), store, Untrusted, "its parents conflict", OK},
		"of an unsigned":   {merge(a, unsigned), store, Unsigned, "is not signed", Unsigned},
		"squashed":         {merge(a), store, Untrusted, "it has 1 parents", OK},
		"of three":         {merge(a, b, w.commit(alice, day(2), root)), store, Untrusted, "it has 3 parents", OK},
		"nobody can merge": {good, w.objects, Untrusted, "nothing here can make the merge anew", OK},
		"git fails":        {good, merger{Memory: w.objects, err: errors.New("no space left")}, Internal, "no space left", OK},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.publish(branch("main", test.tip))
			v := Decide(limited, nil, s, test.store, now).Verdicts[0]
			if v.Code != test.want || !strings.Contains(v.Why, test.why) {
				t.Errorf("merges only: %v %q, want %v %q", v.Code, v.Why, test.want, test.why)
			}
			if v := Decide(free, nil, s, test.store, now).Verdicts[0]; v.Code != test.free {
				t.Errorf("anything: %v %q, want %v", v.Code, v.Why, test.free)
			}
		})
	}
	// A tag is no merge; and what was accepted under the one rule is not under
	// the other.
	s := w.publish(branch("main", good), w.tag(forge, "v1", day(4), a))
	if v := Decide(limited, nil, s, store, now).Verdicts[1]; v.Code != Untrusted || !strings.Contains(v.Why, "it is a tag") {
		t.Errorf("tag: %v %q, want it refused", v.Code, v.Why)
	}
	squashed := w.publish(branch("main", merge(a)))
	pins := w.accept(free, nil, squashed)
	w.want(free, pins, squashed, "main", OK)
	w.want(limited, pins, squashed, "main", Untrusted)
	if _, err := Parse("[gitpeer]\n\tversion = 1\n[signer \"a\"]\n\tssh = "+testSSH+"\n\tforge-merges-only = false\n", nil); err == nil || !strings.Contains(err.Error(), "forge = true") {
		t.Errorf("Parse(forge-merges-only without forge) = %v, want an error", err)
	}
}
