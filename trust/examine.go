package trust

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A Query asks what a policy says about refs of any repository, whether or not
// a publisher ever listed them: `gitpeer trust check`, also in places that have
// no network.
type Query struct {
	Repository   refs.Address // whose rules of trust.conf apply; zero: the default rule
	Signers      []string     // whom the default rule lists; nil: all who are no forges
	Mode         Mode         // of the default rule; "" is all
	Introduction []refs.OID   // instead of the entry's; with A..B it is A
	ObjectFormat refs.ObjectFormat
	Refs         []refs.Ref
	// Each, if set, is given a verdict about every commit that is checked, in
	// modes all and chain, parents before children.
	Each func(Verdict)
	// Known, if set, gives what was authenticated before under the rule with a
	// digest, and Keep takes what is now, if that is more: see Cache. What Known
	// gives is not looked at again, and Each is not told of it.
	Known func(rule refs.Digest) []Authenticated
	Keep  func(rule refs.Digest, tips []Authenticated)
}

// Examine gives the verdict about each ref of a query, sorted by name. Without
// an introduction only the tips are checked, as at first contact. No
// publisher is asked, so no quorum is. The error is a *NotFoundError.
func Examine(p *Policy, q Query, o Objects, now time.Time) (verdicts []Verdict, err error) {
	s, err := q.scope(p.WithoutQuorum())
	if err != nil {
		return nil, err
	}
	snapshot := &refs.Snapshot{Repository: q.Repository, ObjectFormat: q.ObjectFormat, Refs: slices.SortedFunc(slices.Values(q.Refs), func(a, b refs.Ref) int {
		return cmp.Compare(a.Name, b.Name)
	})}
	defer func() {
		if cause := recover(); cause != nil {
			verdicts = refuseAll(snapshot, now, Internal, fmt.Sprintf("the verifier failed: %v", cause)).Verdicts
		}
	}()
	j := &judge{scope: s, snapshot: snapshot, now: now, each: q.Each, recall: q.Known}
	verdicts = j.decide(o).Verdicts
	if q.Keep != nil && !j.first {
		q.keep(j.groups)
	}
	return verdicts, nil
}

// keep hands out what was authenticated, once for each digest: two rules may
// have one.
func (q Query) keep(groups []*group) {
	tips := make(map[refs.Digest][]Authenticated)
	grown := make(map[refs.Digest]bool)
	for _, g := range groups {
		for _, a := range g.auth {
			if !slices.ContainsFunc(tips[g.digest], func(b Authenticated) bool { return a.OID == b.OID }) {
				tips[g.digest] = append(tips[g.digest], a)
			}
		}
		grown[g.digest] = grown[g.digest] || g.grown
	}
	for digest, more := range grown {
		if more {
			q.Keep(digest, tips[digest])
		}
	}
}

// scope is the part of a policy that the query is about.
func (q Query) scope(p *Policy) (*scope, error) {
	s := &scope{policy: p, repo: &Repo{}}
	if q.Repository != (refs.Address{}) {
		if s = p.scope(q.Repository); s == nil {
			return nil, &NotFoundError{Section: "repo", Name: q.Repository.String()}
		}
	} else if q.Mode != "" || q.Signers != nil {
		r := s.defaultRule()
		r.Name, r.Pattern, r.Mode = "check", "*", cmp.Or(q.Mode, ModeAll) // also what is no ref
		if q.Signers != nil {
			r.Signers = q.Signers
		}
		s.rules = []*Rule{r}
	}
	if q.Introduction != nil {
		repo := *s.repo
		repo.Introduction = q.Introduction
		s.repo = &repo
	}
	return s, nil
}
