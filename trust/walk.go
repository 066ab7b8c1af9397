package trust

import (
	"fmt"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// monotoneSkew is how much earlier than the history before it a signature is
// believed to have been made: clocks differ, and people rebase.
const monotoneSkew = 24 * time.Hour

// authenticate gives the candidates of a group their verdicts, by the mode of
// the rule.
func (j *judge) authenticate(g *group, introduction []refs.OID) {
	switch {
	case g.rule.Mode == ModePublisher:
		return
	case g.rule.Mode == ModeTip, j.first:
		j.authenticateTips(g)
	default:
		j.authenticateHistory(g, introduction)
	}
}

// open returns the candidates that still need a verdict, those with tags after
// the tag's own signature was judged.
func (j *judge) open(g *group) []*candidate {
	var open []*candidate
	for _, c := range g.refs {
		if c.settled() || c.known {
			continue
		}
		if c.tag != nil && g.rule.Tags != TagsAny {
			c.tag.fill(&c.verdict)
			if code, why := j.authorized(g, c.commit, c.ref.OID, c.tag); code != OK {
				c.refuse(code, "the tag "+why)
				c.verdict.Hint = j.cure(g, fault{code, c.ref, c.ref.OID, c.tag})
				continue
			}
		}
		open = append(open, c)
	}
	return open
}

// authenticateTips wants a signature on what each ref points at: mode tip, and
// the introduction at first contact. A signed tag vouches for its target.
func (j *judge) authenticateTips(g *group) {
	var accepted []refs.OID
	var loose []*candidate // unsigned tags under tags = any: fine on accepted commits
	for _, c := range j.open(g) {
		signedTag := c.tag != nil && g.rule.Tags != TagsAny
		switch {
		case signedTag:
		case c.commit == "":
			c.refuse(Unsigned, "it is an unsigned tag on something that is not a commit")
		default:
			j.judgeCommit(g, c, c.commit)
		}
		if g.rule.Mode == ModeTip && !c.settled() {
			j.descends(c)
		}
		if !c.settled() {
			accepted = append(accepted, c.commit)
		} else if c.ref.Name.IsTag() && c.commit != "" && c.verdict.Code != Internal {
			loose = append(loose, c)
		}
	}
	if g.rule.Mode == ModeTip || len(loose) == 0 {
		return
	}
	reach := j.history.frontier(j.history.ids(accepted))
	for _, c := range loose {
		if ok, err := reach.contains(j.history.id(c.commit)); err == nil && ok {
			c.verdict = Verdict{Ref: c.ref.Name, OID: c.ref.OID, Rule: g.rule.Name}
		}
	}
}

// descends refuses a tip that is of another history than the introduction that
// trust.conf names. One that was pinned is of other refs, and says nothing here.
func (j *judge) descends(c *candidate) {
	introduction := j.scope.repo.Introduction
	if len(introduction) == 0 || c.commit == "" {
		return
	}
	for _, oid := range introduction {
		ok, err := j.history.isAncestor(oid, c.commit)
		if err != nil {
			c.refuse(objectCode(err), "its history cannot be read: "+err.Error())
			return
		}
		if ok {
			return
		}
	}
	c.refuse(Moved, "it does not descend from the introduction")
}

// judgeCommit judges one commit by itself.
func (j *judge) judgeCommit(g *group, c *candidate, oid refs.OID) {
	i := j.history.id(oid)
	if err := j.history.load(i, forSignature); err != nil {
		c.refuse(objectCode(err), "its commit cannot be read: "+err.Error())
		return
	}
	att, _ := j.history.attestation(i)
	att.fill(&c.verdict)
	if code, why := j.authorized(g, oid, oid, &att); code != OK {
		c.refuse(code, "commit "+string(oid)+" "+why)
		c.verdict.Hint = j.cure(g, fault{code, c.ref, oid, &att})
	}
}

// authorized says whether the signer of an object may have signed it, times
// along the history aside. At is the commit that the object is, or is a tag on.
func (j *judge) authorized(g *group, at, oid refs.OID, a *attestation) (Code, string) {
	if j.good[oid] {
		return OK, ""
	}
	if a.code != OK {
		return a.code, a.why
	}
	signer := a.by.signer
	if !slices.Contains(g.rule.Signers, signer.Name) {
		if forge := signer.ForgeName(); forge != "" {
			return Untrusted, fmt.Sprintf("is signed by %s with the key of %s, for which no rule for this ref asks by name", signer.Name, forge)
		}
		return Untrusted, fmt.Sprintf("is signed by %s, whom the rule for this ref does not list", signer.Name)
	}
	if a.hard {
		if ok, why := j.within(j.scope.repo.Checkpoint, at); !ok {
			return BadTime, fmt.Sprintf("is signed by %s, whose key was revoked%s", signer.Name, why)
		}
	}
	if signer.RetiredAt != "" {
		if ok, why := j.within([]refs.OID{signer.RetiredAt}, at); !ok {
			return BadTime, fmt.Sprintf("is signed by %s, who retired at commit %s%s", signer.Name, signer.RetiredAt, why)
		}
	}
	if signer.mergesOnly() {
		return j.merged(at, oid, signer)
	}
	return OK, ""
}

// within reports whether a commit is one of the limits or an ancestor of one.
// A limit that this repository does not have has no ancestors in it.
func (j *judge) within(limits []refs.OID, at refs.OID) (ok bool, why string) {
	for _, limit := range limits {
		if at == "" {
			break
		}
		ok, err := j.ancestry(limit).contains(j.history.id(at))
		if ok {
			return true, ""
		}
		if err != nil && !isMissing(err) {
			why = " (" + err.Error() + ")"
		}
	}
	return false, why
}

// ancestry returns the frontier of one commit, which is grown only once.
func (j *judge) ancestry(of refs.OID) *frontier {
	f := j.ancestries[of]
	if f == nil {
		f = j.history.frontier([]int32{j.history.id(of)})
		j.ancestries[of] = f
	}
	return f
}

// A walk visits what a group's refs reach and the rule has not authenticated
// before, parents before children.
type walk struct {
	j      *judge
	g      *group
	h      *history
	base   *frontier       // the introduction and, in mode all, what was authenticated before
	chain  *frontier       // in mode chain: the first parents of what was authenticated before
	marks  map[int32]int64 // of base commits
	fresh  bitset          // what the store says is not in base
	visits chunks[visit]
	faults map[int32]wrong // of commits that are at fault themselves
	parent bitset          // reached as somebody's parent
}

// A visit is the outcome for one commit that is not in base.
type visit struct {
	mark   int64 // the latest signature time up to here
	failed int32 // the commit that is at fault, itself or an ancestor, + 1; 0: none
	made   bool
}

// ok reports whether neither the commit nor one before it is at fault.
func (v *visit) ok() bool { return v.failed == 0 }

// A wrong is what is wrong with one commit.
type wrong struct {
	code Code
	why  string
}

// authenticateHistory checks every commit that the group's refs reach beyond
// the introduction and what the rule authenticated before. In mode chain it
// follows only first parents.
func (j *judge) authenticateHistory(g *group, introduction []refs.OID) {
	open := j.open(g)
	var tips []refs.OID
	for _, c := range open {
		if c.commit == "" {
			c.refuse(Malformed, "it leads to no commit")
			continue
		}
		tips = append(tips, c.commit)
	}
	if tips = sortOIDs(tips); len(tips) == 0 {
		return
	}
	w := j.newWalk(g, introduction)
	if err := w.prefetch(tips, introduction); err != nil {
		for _, c := range open {
			c.refuse(objectCode(err), "its history cannot be read: "+err.Error())
		}
		return
	}
	for _, c := range open {
		if c.settled() {
			continue
		}
		tip := w.h.id(c.commit)
		if v := w.run(tip); v != nil && !v.ok() {
			w.explain(c, v.failed-1)
			continue
		}
		w.finish(c, tip)
	}
	g.auth = w.authenticated(tips)
}

func (j *judge) newWalk(g *group, introduction []refs.OID) *walk {
	w := &walk{j: j, g: g, h: j.history, marks: make(map[int32]int64), faults: make(map[int32]wrong)}
	var before []int32
	for _, a := range g.auth {
		i := w.h.id(a.OID)
		before = append(before, i)
		w.marks[i] = a.Mark
	}
	roots := w.h.ids(introduction)
	if g.rule.Mode == ModeChain {
		// What a chain merged is nobody's but the merger's: a ref that leads
		// there has a chain of its own to show.
		w.chain = w.h.frontier(before)
		w.chain.first, w.chain.optional = true, before
	} else {
		roots = append(roots, before...)
	}
	w.base = w.h.frontier(roots)
	w.base.optional = before
	return w
}

// known reports whether a commit is in base, as far as that is already clear.
func (w *walk) known(i int32) bool {
	return w.base.in.has(i) || w.chain != nil && w.chain.in.has(i)
}

// inBase reports whether a commit is taken as it is.
func (w *walk) inBase(i int32) (bool, error) {
	if w.chain != nil {
		if ok, err := w.chain.contains(i); ok || err != nil {
			return ok, err
		}
	}
	return w.base.contains(i)
}

func (w *walk) prefetch(tips, introduction []refs.OID) (err error) {
	not := slices.Clone(introduction)
	for _, a := range w.g.auth {
		not = append(not, a.OID)
	}
	tips = slices.DeleteFunc(slices.Clone(tips), func(oid refs.OID) bool { return slices.Contains(not, oid) })
	if len(tips) == 0 {
		return nil
	}
	w.fresh, err = w.h.stream(tips, not, forSignature)
	return err
}

// parents are those that the mode follows.
func (w *walk) parents(i int32) []int32 {
	parents := w.h.parentsOf(i)
	if w.g.rule.Mode == ModeChain && len(parents) > 1 {
		return parents[:1]
	}
	return parents
}

// visited returns the outcome for a commit, nil if there is none.
func (w *walk) visited(i int32) *visit {
	if int(i) >= w.visits.n {
		return nil
	}
	if v := w.visits.at(i); v.made {
		return v
	}
	return nil
}

// visit makes an outcome for a commit.
func (w *walk) visit(i int32) *visit {
	w.visits.grow(int(i) + 1)
	v := w.visits.at(i)
	*v = visit{made: true}
	return v
}

// enter makes a commit ready to be visited. It returns nil if the commit is in
// base: nothing to visit. What the store yielded is taken for new, as it says;
// what it did not yield must prove to be in base, and is new otherwise.
func (w *walk) enter(i int32) *visit {
	if v := w.visited(i); v != nil {
		return v
	}
	if !w.fresh.has(i) || w.known(i) {
		ok, err := w.inBase(i)
		if ok {
			return nil
		}
		if err != nil {
			return w.fault(i, objectCode(err), "cannot be compared with the introduction: "+err.Error())
		}
	}
	if err := w.h.load(i, forSignature); err != nil {
		return w.fault(i, objectCode(err), "cannot be read: "+err.Error())
	}
	return w.visit(i)
}

func (w *walk) fault(i int32, code Code, why string) *visit {
	v := w.visit(i)
	v.failed = i + 1
	w.faults[i] = wrong{code, why}
	return v
}

// run visits a commit and everything before it, without recursion. It returns
// nil if the commit is in base.
func (w *walk) run(tip int32) *visit {
	if v := w.visited(tip); v != nil {
		return v
	}
	type frame struct {
		i    int32
		next int32 // of the parents
	}
	first := w.enter(tip)
	if first == nil || !first.ok() {
		return first
	}
	stack := []frame{{i: tip}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		parents := w.parents(top.i)
		if int(top.next) == len(parents) {
			w.judge(top.i, parents)
			w.tell(top.i)
			stack = stack[:len(stack)-1]
			continue
		}
		parent := parents[top.next]
		top.next++
		w.parent.add(parent)
		if w.visited(parent) != nil {
			continue
		}
		if v := w.enter(parent); v != nil && v.ok() {
			stack = append(stack, frame{i: parent})
		}
	}
	return first
}

// judge decides about one commit when all of its parents are decided.
func (w *walk) judge(i int32, parents []int32) {
	v := w.visited(i)
	for _, p := range parents {
		if pv := w.visited(p); pv != nil {
			v.mark = max(v.mark, pv.mark)
			if v.ok() {
				v.failed = pv.failed
			}
		} else {
			v.mark = max(v.mark, w.baseMark(p))
		}
	}
	fail := func(code Code, why string) {
		w.faults[i] = wrong{code, why}
		if v.ok() {
			v.failed = i + 1
		}
	}
	att, _ := w.h.attestation(i)
	switch {
	case att.code == Malformed || att.code == Internal: // its parents are not known
		fail(att.code, att.why)
		return
	case len(parents) == 0:
		fail(Moved, "is a root that does not descend from the introduction")
		return
	}
	oid := w.h.oid(i)
	code, why := w.j.authorized(w.g, oid, oid, &att)
	good := w.j.good[oid]
	if code == OK && !good {
		if code, why = att.timely(v.mark); code == OK {
			v.mark = max(v.mark, att.time)
		}
	}
	if code != OK {
		fail(code, why)
	}
}

// tell reports the verdict about one commit, its ancestors aside.
func (w *walk) tell(i int32) {
	if w.j.each == nil {
		return
	}
	fault := w.faults[i]
	told := Verdict{OID: w.h.oid(i), Rule: w.g.rule.Name, Code: fault.code, Why: printable(fault.why)}
	att, _ := w.h.attestation(i)
	att.fill(&told)
	w.j.each(told)
}

// timely holds a signature against the latest one in the history before it. It
// cannot have been made before that, so the key must have been valid then as
// well, a day's skew aside: a key that expired, or was revoked softly, cannot
// sign on top of a history that is later than that, whatever time it claims.
//
// A signature that claims too early a time with a key that is still valid gains
// nothing by it, and is let be: in the 92 911 commits of guix there are 140.
func (a *attestation) timely(mark int64) (Code, string) {
	if a.by == nil || a.by.pgp == nil || mark == 0 {
		return OK, "" // SSH signatures carry no time: retired-at limits them
	}
	latest := time.Unix(mark, 0).UTC()
	made := latest.Add(-monotoneSkew)
	if made.Unix() <= a.time {
		return OK, ""
	}
	key := a.by.pgp
	after := fmt.Sprintf("claims to be signed on %s, but follows a commit signed on %s, when the key %s",
		time.Unix(a.time, 0).UTC().Format(time.DateOnly), latest.Format(time.DateOnly), key.Fingerprint)
	switch r := key.Revoked; {
	case key.At(made) != keys.KeyValid:
		return BadTime, after + " was no longer valid"
	case r != nil && !r.Hard && !made.Before(r.At):
		return BadTime, fmt.Sprintf("%s had been revoked (%s)", after, r.Reason)
	}
	return OK, ""
}

// baseMark returns the latest signature time up to a commit of base: what was
// recorded with it, or else its own, if the rule would accept it.
func (w *walk) baseMark(i int32) int64 {
	if mark, ok := w.marks[i]; ok {
		return mark
	}
	mark := int64(0)
	if err := w.h.load(i, forSignature); err == nil {
		att, _ := w.h.attestation(i)
		oid := w.h.oid(i)
		if code, _ := w.j.authorized(w.g, oid, oid, &att); code == OK {
			mark = att.time
		}
	}
	w.marks[i] = mark
	return mark
}

// explain makes the verdict about a ref name the commit at fault.
func (w *walk) explain(c *candidate, i int32) {
	att, _ := w.h.attestation(i)
	oid, found := w.h.oid(i), w.faults[i]
	c.verdict.Signer, c.verdict.Fingerprint, c.verdict.Time = "", "", time.Time{}
	att.fill(&c.verdict)
	c.verdict.Commit = oid
	c.refuse(found.code, "commit "+string(oid)+" "+found.why)
	c.verdict.Hint = w.j.cure(w.g, fault{found.code, c.ref, oid, &att})
	if found.code == Moved {
		c.verdict.Hint = w.j.join(oid)
	}
}

// finish completes the verdict about a ref whose history is accepted.
func (w *walk) finish(c *candidate, tip int32) {
	mark := w.marks[tip]
	if v := w.visited(tip); v != nil {
		mark = v.mark
	}
	if c.tag != nil && w.g.rule.Tags != TagsAny {
		if code, why := c.tag.timely(mark); code != OK && !w.j.good[c.ref.OID] {
			c.refuse(code, "the tag "+why)
			c.verdict.Hint = w.j.cure(w.g, fault{code, c.ref, c.ref.OID, c.tag})
		}
		return
	}
	if att, ok := w.h.attestation(tip); ok {
		att.fill(&c.verdict)
	}
}

// authenticated returns what the rule has authenticated after the walk: the
// new tips that no other new commit contains, and the old ones that none does.
func (w *walk) authenticated(tips []refs.OID) []Authenticated {
	var auth []Authenticated
	for _, oid := range tips {
		i := w.h.id(oid)
		if v := w.visited(i); v != nil && v.ok() && !w.parent.has(i) {
			auth = append(auth, Authenticated{Rule: w.g.digest, OID: oid, Mark: v.mark})
			w.g.grown = true
		}
	}
	for _, a := range w.g.auth {
		if !w.parent.has(w.h.id(a.OID)) {
			auth = append(auth, a)
		}
	}
	return auth
}
