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
	Repo         string     // entry of trust.conf whose rules apply; "" for the default rule
	Introduction []refs.OID // instead of the entry's; with A..B it is A
	Mode         Mode       // of the default rule; "" is all
	ObjectFormat refs.ObjectFormat
	Refs         []refs.Ref
	// Each, if set, is given a verdict about every commit that is checked, in
	// modes all and chain, parents before children.
	Each func(Verdict)
}

// Examine gives the verdict about each ref of a query, sorted by name. Without
// an introduction only the tips are checked, as at first contact. The error is
// a *NotFoundError. No publisher is asked, so no quorum is.
func Examine(p *Policy, q Query, o Objects, now time.Time) (verdicts []Verdict, err error) {
	p = p.WithoutQuorum()
	s := &scope{policy: p, repo: &Repo{}}
	if q.Repo != "" {
		i := slices.IndexFunc(p.Repos, func(r *Repo) bool { return r.Name == q.Repo })
		if i < 0 {
			return nil, &NotFoundError{Section: "repo", Name: q.Repo}
		}
		copied := *p.Repos[i]
		s.repo = &copied
		for _, r := range p.Rules {
			if r.Repo == q.Repo {
				s.rules = append(s.rules, r)
			}
		}
	} else if q.Mode != "" {
		r := s.defaultRule()
		r.Name, r.Mode = "check", q.Mode
		s.rules = []*Rule{r}
	}
	if q.Introduction != nil {
		s.repo.Introduction = q.Introduction
	}
	snapshot := &refs.Snapshot{ObjectFormat: q.ObjectFormat, Refs: slices.SortedFunc(slices.Values(q.Refs), func(a, b refs.Ref) int {
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
