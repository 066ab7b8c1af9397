package trust

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A Witness is what another publisher of a repository says its refs are, for
// rules that ask for a quorum.
type Witness struct {
	Publisher keys.ID
	Snapshot  *refs.Snapshot // as CheckSnapshot returned it; nil if there is a problem
	Problem   string         // why this publisher has no voice now
}

// Bounds of what is said about a quorum.
const (
	maxQuorumWhy = 1000 // bytes
	maxNamed     = 8    // publishers
	abbreviated  = 12   // digits of an object id
)

// WithoutQuorum returns the policy with every rule content with one publisher:
// for bringing in what a witness has, so that it can be compared. What is
// accepted under it is not accepted under the policy itself.
func (p *Policy) WithoutQuorum() *Policy {
	copied := *p
	copied.Rules = make([]*Rule, len(p.Rules))
	for i, r := range p.Rules {
		alone := *r
		alone.Quorum, alone.dropped = 1, max(r.Quorum, r.dropped)
		copied.Rules[i] = &alone
	}
	return &copied
}

// Witnesses returns whom a decision about a snapshot wants to hear besides its
// publisher. There are none if no rule asks for a quorum, or if all refs under
// such a rule are pinned as they are: then the quorum was there when they were.
func (p *Policy) Witnesses(pins *Pins, s *refs.Snapshot) []refs.Address {
	scope := p.scope(s.Repository)
	if scope == nil {
		return nil
	}
	j := &judge{scope: scope, pins: pins, snapshot: s}
	j.group(j.introduction())
	if !slices.ContainsFunc(j.groups, (*group).wantsQuorum) {
		return nil
	}
	var list []refs.Address
	for _, id := range scope.publishers(s.Repository.Publisher)[1:] {
		list = append(list, refs.Address{Publisher: id, Name: s.Repository.Name})
	}
	return list
}

// publishers returns who has a voice in the scope, first of all the one who
// proposes; each key once.
func (s *scope) publishers(first keys.ID) []keys.ID {
	list := []keys.ID{first}
	add := func(id keys.ID) {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	if !s.repo.URL.Publisher.IsZero() {
		add(s.repo.URL.Publisher)
	}
	for _, q := range s.policy.Publishers {
		if slices.Contains(s.repo.Publishers, q.Name) {
			add(q.Key)
		}
	}
	return list
}

// wantsQuorum reports whether a ref of the group needs the voices of others.
func (g *group) wantsQuorum() bool {
	return g.rule.Quorum > 1 && slices.ContainsFunc(g.refs, func(c *candidate) bool { return !c.settled() && !c.known })
}

// A voice is a publisher that a quorum counts.
type voice struct {
	publisher keys.ID
	name      string         // for people
	snapshot  *refs.Snapshot // nil if it has nothing to say
	problem   string         // why
	asked     bool           // a witness was given for it
}

// hear gives each publisher of the scope one voice: the snapshot's publisher by
// the snapshot itself, the others by the first witness with their key.
func (j *judge) hear(witnesses []Witness) {
	own := j.snapshot.Repository
	for i, id := range j.scope.publishers(own.Publisher) {
		v := voice{publisher: id, name: j.scope.policy.Petname(id), problem: "it was not asked"}
		if v.name == "" {
			v.name = id.Short()
		}
		w := slices.IndexFunc(witnesses, func(w Witness) bool { return w.Publisher == id })
		switch {
		case i == 0:
			v.snapshot, v.asked, v.problem = j.snapshot, true, ""
		case w >= 0:
			v.asked = true
			v.snapshot, v.problem = witnesses[w].statement(own.Name, j.snapshot.ObjectFormat)
		}
		j.voices = append(j.voices, v)
	}
}

// statement returns what the witness says about a repository, or why it says
// nothing.
func (w *Witness) statement(name refs.RepoName, format refs.ObjectFormat) (*refs.Snapshot, string) {
	s := w.Snapshot
	switch {
	case w.Problem != "":
		return nil, printable(w.Problem)
	case s == nil:
		return nil, "it has no snapshot"
	case s.Repository != (refs.Address{Publisher: w.Publisher, Name: name}):
		return nil, "its snapshot is of " + s.Repository.String()
	case s.ObjectFormat != format:
		return nil, fmt.Sprintf("its repository is in %s", s.ObjectFormat)
	}
	return s, ""
}

// quorum refuses refs that too few of the repository's publishers have.
func (j *judge) quorum(g *group) {
	if !g.wantsQuorum() {
		return
	}
	for _, c := range g.refs {
		if c.settled() || c.known {
			continue
		}
		t := j.count(c.ref, g.rule.Quorum)
		if len(t.agree) >= g.rule.Quorum {
			continue
		}
		c.refuse(NoQuorum, "")
		c.verdict.Why = keys.Printable(t.explain(g.rule.Quorum, len(j.voices)), maxQuorumWhy)
		c.verdict.Hint = t.hint
		for _, a := range t.missing {
			if !slices.Contains(j.missing, a) {
				j.missing = append(j.missing, a)
			}
		}
	}
}

// A tally is what the publishers say about one ref.
type tally struct {
	agree   []string       // names
	against []string       // with what they have instead
	missing []refs.Address // whose commits are not here, so that nothing can be said
	hint    string
}

// count asks the voices about a ref. Those that have the very same are counted
// first; the ancestry of the others matters only if these are too few.
func (j *judge) count(r refs.Ref, quorum int) *tally {
	t := &tally{}
	var others []voice
	for _, v := range j.voices {
		theirs, ok := v.lookup(r.Name)
		if ok && theirs.OID == r.OID && theirs.Peeled == r.Peeled {
			t.agree = append(t.agree, v.name)
		} else {
			others = append(others, v)
		}
	}
	if len(t.agree) >= quorum {
		return t
	}
	for _, v := range others {
		address := refs.Address{Publisher: v.publisher, Name: j.snapshot.Repository.Name}
		theirs, ok := v.lookup(r.Name)
		switch {
		case v.snapshot == nil:
			t.against = append(t.against, v.name+" could not be heard: "+v.problem)
			continue
		case !ok:
			t.against = append(t.against, v.name+" does not list it")
		case !r.Name.IsBranch():
			t.against = append(t.against, fmt.Sprintf("%s has it at %s", v.name, abbreviate(theirs.OID)))
		default:
			j.countBranch(t, v, theirs, r)
		}
		if t.hint == "" {
			t.hint = "gitpeer show " + address.String()
		}
	}
	return t
}

// countBranch counts a publisher whose branch is at another commit: it agrees
// if that is a descendant.
func (j *judge) countBranch(t *tally, v voice, theirs, ours refs.Ref) {
	at := fmt.Sprintf("%s is at %s", v.name, abbreviate(theirs.OID))
	if err := j.history.load(j.history.id(theirs.OID), forAncestry); err != nil {
		if isMissing(err) {
			t.missing = append(t.missing, v.snapshot.Repository)
		}
		t.against = append(t.against, at+", which cannot be read: "+printable(err.Error()))
		return
	}
	switch r, err := j.relate(theirs.OID, ours.OID); {
	case err != nil:
		t.against = append(t.against, at+", which cannot be compared: "+printable(err.Error()))
	case r == ahead:
		t.agree = append(t.agree, v.name)
	case r == behind:
		t.against = append(t.against, at+", which is behind")
	default:
		t.against = append(t.against, at+", which is on another line")
	}
}

func (v *voice) lookup(name refs.Name) (refs.Ref, bool) {
	if v.snapshot == nil {
		return refs.Ref{}, false
	}
	return v.snapshot.Lookup(name)
}

func abbreviate(oid refs.OID) string { return string(oid[:min(len(oid), abbreviated)]) }

// explain says in one sentence why a ref has no quorum.
func (t *tally) explain(quorum, voices int) string {
	text := fmt.Sprintf("the rule asks for %d of %d publishers, and only %s says so", quorum, voices, list(t.agree))
	if len(t.agree) > 1 {
		text = fmt.Sprintf("the rule asks for %d of %d publishers, and only %s say so", quorum, voices, list(t.agree))
	}
	slices.Sort(t.against) // the same words for the same facts, in whatever order they were heard
	if len(t.against) > 0 {
		more := ""
		if len(t.against) > maxNamed {
			more = fmt.Sprintf("; and %d more", len(t.against)-maxNamed)
		}
		text += ": " + strings.Join(t.against[:min(len(t.against), maxNamed)], "; ") + more
	}
	return text
}

// list writes names as people do, the first few of them.
func list(names []string) string {
	switch n := len(names); {
	case n > maxNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), n-maxNamed)
	case n > 1:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// silent are notices about publishers that were asked and have no voice.
func (j *judge) silent() []Verdict {
	var notices []Verdict
	for _, v := range j.voices {
		if v.asked && v.snapshot == nil {
			notices = append(notices, Verdict{Why: printable(fmt.Sprintf("%s could not be heard, and was not counted: %s", v.name, v.problem))})
		}
	}
	return notices
}

// A relation says where a commit is as seen from another.
type relation int

const (
	ahead  relation = iota // the same, or a descendant
	behind                 // an ancestor
	aside                  // neither
)

// relate says where theirs is as seen from ours. It grows both ancestries at
// once, so that commits near to each other cost little in a long history.
func (j *judge) relate(theirs, ours refs.OID) (relation, error) {
	a, b := j.ancestry(theirs), j.ancestry(ours)
	for growing := true; growing; {
		switch {
		case a.in.has(j.history.id(ours)):
			return ahead, nil
		case b.in.has(j.history.id(theirs)):
			return behind, nil
		}
		growing = false
		for _, f := range []*frontier{a, b} {
			more, err := f.step()
			if err != nil {
				return aside, err
			}
			growing = growing || more
		}
	}
	return aside, nil
}
