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
	j := &judge{scope: s, snapshot: snapshot, now: now, each: q.Each}
	return j.decide(o).Verdicts, nil
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
