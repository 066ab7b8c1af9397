package trust

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A Decision is the outcome of Decide.
type Decision struct {
	// Verdicts has one verdict for each ref of the snapshot, in its order, and
	// one for each pinned tag that is gone.
	Verdicts []Verdict
	// Notices report what is not refused and should be shown: branches that
	// are gone, refs whose commits were not checked, publishers that could not
	// be heard. Their code is OK.
	Notices []Verdict
	// Missing are the witnesses whose commits the objects lack, if a ref is
	// refused that might have a quorum with them.
	Missing []refs.Address

	snapshot     *refs.Snapshot
	introduction []refs.OID
	pins         map[refs.Name]Pin
	gone         map[refs.Name]refs.OID
	auth         []Authenticated
	previous     *Pins
	now          time.Time
	rewound      bool // a branch moved that only WithRewind let move
}

// Accept returns the value that the node may install, if every ref is
// accepted. One refused ref refuses the whole snapshot: a ref that silently
// stayed behind would be a deletion attack. The error is a *RefusedError.
func (d *Decision) Accept() (Accepted, error) {
	var refused []Verdict
	for _, v := range d.Verdicts {
		if v.Code != OK {
			refused = append(refused, v)
		}
	}
	if len(refused) > 0 {
		return Accepted{}, &RefusedError{Verdicts: refused}
	}
	if d.snapshot == nil {
		return Accepted{}, refuse(Internal, "nothing was decided", "")
	}
	return Accepted{d}, nil
}

// Accepted is a snapshot that the policy accepts as a whole. It can only come
// from Decision.Accept: what takes an Accepted cannot be given anything
// unchecked.
type Accepted struct {
	d *Decision
}

// Refs returns the refs, sorted by name.
func (a Accepted) Refs() []refs.Ref { return slices.Clone(a.d.snapshot.Refs) }

// Head returns the branch that HEAD names, "" if none.
func (a Accepted) Head() refs.Name { return a.d.snapshot.Head }

// ObjectFormat returns the repository's object format.
func (a Accepted) ObjectFormat() refs.ObjectFormat { return a.d.snapshot.ObjectFormat }

// Snapshot returns the accepted snapshot. It must not be changed.
func (a Accepted) Snapshot() *refs.Snapshot { return a.d.snapshot }

// Notices returns what should be shown although it was accepted.
func (a Accepted) Notices() []Verdict { return a.d.Notices }

// Pins returns the pins to write once the refs have moved, for the record that
// the snapshot came with.
func (a Accepted) Pins(r *Received) *Pins {
	p := &Pins{
		Repository: a.d.snapshot.Repository, Seq: r.Seq, Value: r.ValueDigest(),
		Number: a.d.snapshot.Number, Snapshot: r.Record.Snapshot, Seen: a.d.now.UTC().Truncate(time.Second),
		Introduction: a.d.introduction, Refs: a.d.pins, Gone: a.d.gone, Authenticated: a.d.auth,
	}
	if a.d.previous != nil && a.d.previous.Seen.After(p.Seen) {
		p.Seen = a.d.previous.Seen
	}
	return p
}

// Decide says for each ref of a snapshot whether the policy accepts it, given
// what was accepted before (nil: nothing), the raw objects, and what those
// publishers say that Policy.Witnesses names. Without them, a ref that needs a
// quorum which its pin does not have is refused. Objects should have what the
// witnesses' branches lead to; a branch that it lacks does not count, and then
// d.Missing says whose.
//
// It is pure: it reads no clock and does no input or output but through o. It
// returns a decision in every case; if it fails itself, one that refuses
// everything with Internal.
func Decide(p *Policy, pins *Pins, s *refs.Snapshot, o Objects, now time.Time, witnesses ...Witness) (d *Decision) {
	defer func() {
		if cause := recover(); cause != nil {
			d = refuseAll(s, now, Internal, fmt.Sprintf("the verifier failed: %v", cause))
		}
	}()
	scope := p.scope(s.Repository)
	if scope == nil {
		d := refuseAll(s, now, UnknownPeer, fmt.Sprintf("the publisher %s is not trusted", s.Repository.Publisher))
		d.hint("gitpeer trust add " + s.Repository.String())
		return d
	}
	if pins != nil && pins.Repository != s.Repository {
		return refuseAll(s, now, Internal, fmt.Sprintf("the pins are those of %s", pins.Repository))
	}
	j := &judge{scope: scope, pins: pins, snapshot: s, now: now}
	j.hear(witnesses)
	return j.decide(o)
}

// refuseAll is a decision that refuses every ref, and is not accepted when
// there are none.
func refuseAll(s *refs.Snapshot, now time.Time, code Code, why string) *Decision {
	d := &Decision{now: now}
	why = printable(why)
	for _, r := range s.Refs {
		d.Verdicts = append(d.Verdicts, Verdict{Code: code, Ref: r.Name, OID: r.OID, Why: why})
	}
	if len(d.Verdicts) == 0 {
		d.Verdicts = []Verdict{{Code: code, Why: why}}
	}
	return d
}

func (d *Decision) hint(command string) {
	for i := range d.Verdicts {
		if d.Verdicts[i].Hint == "" {
			d.Verdicts[i].Hint = command
		}
	}
}

// A judge decides about one snapshot.
type judge struct {
	scope      *scope
	pins       *Pins
	snapshot   *refs.Snapshot
	now        time.Time
	history    *history
	groups     []*group
	ancestries map[refs.OID]*frontier // of retirements, checkpoints and witnesses' branches
	good       map[refs.OID]bool      // what trust.conf lists as such
	intro      []refs.OID
	first      bool // nothing was introduced yet: the tips introduce themselves
	rewound    bool
	each       func(Verdict)                     // told about every commit that is walked over; may be nil
	recall     func(refs.Digest) []Authenticated // see Query.Known; may be nil
	voices     []voice                           // of the publishers, the snapshot's own first
	missing    []refs.Address                    // see Decision.Missing
}

// A group is the refs of a snapshot that one rule decides, so that their common
// history is walked once.
type group struct {
	rule   *Rule
	digest refs.Digest // of what makes a commit acceptable: see Authenticated
	pin    refs.Digest // of that and the quorum: see Pin
	refs   []*candidate
	auth   []Authenticated // what the rule authenticated before, then now
	grown  bool            // something new is in auth
}

// A candidate is a ref on its way to a verdict.
type candidate struct {
	ref     refs.Ref
	verdict Verdict
	commit  refs.OID     // the commit that the ref leads to; "" if it leads to none
	tag     *attestation // of an annotated tag that is signed; else nil
	known   bool         // pinned as it is, under the same rule
}

// settled reports whether the verdict is not OK.
func (c *candidate) settled() bool { return c.verdict.Code != OK }

func (c *candidate) refuse(code Code, why string) {
	c.verdict.Code, c.verdict.Why = code, printable(why)
}

// decide goes through the steps in order; each refuses candidates and leaves
// the others to the next.
func (j *judge) decide(o Objects) *Decision {
	j.ancestries = make(map[refs.OID]*frontier)
	j.good = make(map[refs.OID]bool, len(j.scope.repo.Good))
	for _, oid := range j.scope.repo.Good {
		j.good[oid] = true
	}
	j.history = newHistory(&verifier{policy: j.scope.policy, format: j.snapshot.ObjectFormat, now: j.now}, o)
	introduction := j.introduction()
	j.first, j.intro = len(introduction) == 0, introduction
	candidates := j.group(introduction)
	for _, g := range j.groups {
		j.peel(g)
	}
	for _, g := range j.groups {
		j.pinned(g)
		j.quorum(g)
	}
	for _, g := range j.groups {
		j.authenticate(g, introduction)
	}
	for _, g := range j.groups {
		j.forward(g)
	}
	return j.decision(candidates, introduction)
}

// introduction returns the commits that are taken as given: what trust.conf
// names, or else what was pinned at first contact.
func (j *judge) introduction() []refs.OID {
	if len(j.scope.repo.Introduction) > 0 {
		return sortOIDs(j.scope.repo.Introduction)
	}
	if j.pins != nil {
		return sortOIDs(j.pins.Introduction)
	}
	return nil
}

// group finds the rule of each ref.
func (j *judge) group(introduction []refs.OID) []*candidate {
	groups := make(map[*Rule]*group)
	fallback := j.scope.defaultRule()
	candidates := make([]*candidate, 0, len(j.snapshot.Refs))
	for _, r := range j.snapshot.Refs {
		c := &candidate{ref: r, verdict: Verdict{Ref: r.Name, OID: r.OID}}
		candidates = append(candidates, c)
		rule, err := j.scope.rule(r.Name)
		if err != nil {
			c.refuse(Untrusted, err.Error())
			if url := j.url(); url != "" {
				c.verdict.Hint = "gitpeer trust add " + url + " --signer NAME --ref " + shellWord(string(r.Name))
			}
			continue
		}
		if rule.Name == "" {
			rule = fallback
		}
		c.verdict.Rule = rule.Name
		g := groups[rule]
		if g == nil {
			g = &group{rule: rule, digest: j.scope.digest(rule, introduction), pin: j.scope.pinDigest(rule, introduction)}
			g.auth = j.pins.authenticated(g.digest)
			if j.recall != nil {
				g.auth = append(g.auth, j.recall(g.digest)...)
			}
			groups[rule] = g
			j.groups = append(j.groups, g)
		}
		g.refs = append(g.refs, c)
		if pin, ok := j.pins.pin(r.Name); ok {
			c.known = pin.OID == r.OID && pin.Peeled == r.Peeled && pin.Rule == g.pin
		}
	}
	return candidates
}

// peel finds the commit that each ref leads to, and checks the tag on the way.
func (j *judge) peel(g *group) {
	for _, c := range g.refs {
		switch {
		case c.settled():
		case c.ref.Peeled != "":
			j.peelTag(g, c)
		case c.ref.Name.IsTag() && g.rule.Mode != ModePublisher && g.rule.Tags != TagsAny:
			c.refuse(Unsigned, "it is a lightweight tag, which carries no signature")
			c.verdict.Hint = j.sign(g, fault{code: Unsigned, ref: c.ref, oid: c.ref.OID}, "")
		default:
			c.commit = c.ref.OID
		}
	}
}

// peelTag reads an annotated tag.
func (j *judge) peelTag(g *group, c *candidate) {
	if !c.ref.Name.IsTag() {
		c.refuse(Malformed, "a branch leads to a tag object")
		return
	}
	if c.known {
		c.commit = c.ref.Peeled
		return
	}
	if g.rule.Mode == ModePublisher {
		return // its target may be anything; the publisher vouches for it
	}
	o, err := j.history.objects.Read(c.ref.OID)
	if err == nil {
		err = o.check(j.snapshot.ObjectFormat, c.ref.OID)
	}
	if err != nil {
		c.refuse(objectCode(err), "the tag cannot be read: "+err.Error())
		return
	}
	if o.Kind != KindTag {
		c.refuse(Malformed, fmt.Sprintf("the snapshot calls it an annotated tag, but it is a %s", o.Kind))
		return
	}
	s, err := splitTag(j.snapshot.ObjectFormat, o.Data)
	switch {
	case err != nil:
		c.refuse(Malformed, "the tag is not well-formed: "+err.Error())
	case s.tag != c.ref.Name.Short():
		c.refuse(Moved, fmt.Sprintf("the tag object calls itself %q", shorten(s.tag)))
		c.verdict.Hint = j.sign(g, fault{code: Moved, ref: c.ref, oid: c.ref.OID}, "")
	case s.target != c.ref.Peeled:
		c.refuse(Malformed, "the snapshot has another target for it than the tag object")
	case s.kind != KindCommit && g.rule.Mode != ModeTip:
		c.refuse(Malformed, fmt.Sprintf("the tag is on a %s; only tags on commits are accepted in mode %s", s.kind, g.rule.Mode))
	default:
		if s.kind == KindCommit {
			c.commit = s.target
		}
		a := j.history.verifier.attest(s)
		c.tag = &a
	}
}

// objectCode tells an object that is missing from one that is not what it
// should be.
func objectCode(err error) Code {
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		return Malformed
	case isMissing(err):
		return BadPack
	}
	return Internal
}

// pinned refuses tags that changed.
func (j *judge) pinned(g *group) {
	for _, c := range g.refs {
		pin, ok := j.pins.pin(c.ref.Name)
		if !ok || !c.ref.Name.IsTag() || c.settled() {
			continue
		}
		if pin.OID != c.ref.OID || pin.Peeled != c.ref.Peeled {
			c.refuse(Moved, fmt.Sprintf("tags do not change, and this one was %s before", pin.OID))
			c.verdict.Hint = j.moved()
		}
	}
}

// forward refuses branches that do not continue what was accepted.
func (j *judge) forward(g *group) {
	for _, c := range g.refs {
		floor, ok := j.pins.floor(c.ref.Name)
		if !ok || c.settled() || c.ref.Name.IsTag() || floor == c.ref.OID {
			continue
		}
		if g.rule.Rewind {
			continue
		}
		ancestor, err := j.history.isAncestor(floor, c.ref.OID)
		switch {
		case j.scope.policy.rewind:
			j.rewound = j.rewound || !ancestor
		case err != nil:
			c.refuse(objectCode(err), "its history cannot be read: "+err.Error())
		case !ancestor:
			c.refuse(Moved, fmt.Sprintf("it no longer contains %s, which was accepted before", floor))
			c.verdict.Hint = "GITPEER_ALLOW_REWIND=1 git fetch"
		}
	}
}

// decision collects verdicts, what is gone, and the pins that would follow.
func (j *judge) decision(candidates []*candidate, introduction []refs.OID) *Decision {
	d := &Decision{Notices: j.silent(), Missing: j.missing, snapshot: j.snapshot, previous: j.pins, now: j.now, rewound: j.rewound, pins: make(map[refs.Name]Pin)}
	for _, c := range candidates {
		d.Verdicts = append(d.Verdicts, c.verdict)
	}
	j.missed(d)
	var tips []refs.OID
	for _, g := range j.groups {
		for _, c := range g.refs {
			if (g.rule.Mode == ModeAll || g.rule.Mode == ModeChain) && c.commit != "" {
				tips = append(tips, c.commit)
			}
		}
		d.auth = append(d.auth, g.auth...)
		if g.rule.Mode == ModePublisher {
			d.Notices = append(d.Notices, Verdict{Rule: g.rule.Name, Asked: true, Why: fmt.Sprintf(
				"signatures of commits were not checked (%s)", describe(g))})
		}
	}
	d.introduction = introduction
	if j.first {
		// The digest of every rule changes with the introduction, so what was
		// authenticated before there was one would not be found again. The
		// introduction itself takes its place.
		d.introduction, d.auth = sortOIDs(tips), nil
	}
	for _, g := range j.groups {
		digest := j.scope.pinDigest(g.rule, d.introduction)
		for _, c := range g.refs {
			d.pins[c.ref.Name] = Pin{OID: c.ref.OID, Peeled: c.ref.Peeled, Rule: digest}
		}
	}
	if len(d.auth) > maxAuthenticated {
		d.auth = d.auth[:maxAuthenticated]
	}
	return d
}

// missed reports what is pinned and no longer listed, and keeps where branches
// were: see Pins.floor.
func (j *judge) missed(d *Decision) {
	if j.pins == nil {
		return
	}
	d.gone = make(map[refs.Name]refs.OID)
	for name, oid := range j.pins.Gone {
		if _, ok := j.snapshot.Lookup(name); !ok {
			d.gone[name] = oid
		}
	}
	for _, name := range slices.Sorted(maps.Keys(j.pins.Refs)) {
		if _, ok := j.snapshot.Lookup(name); ok {
			continue
		}
		gone := Verdict{Ref: name, OID: j.pins.Refs[name].OID, Why: "the publisher no longer lists it"}
		if name.IsTag() {
			gone.Code, gone.Hint = Moved, j.lost(gone)
			d.Verdicts = append(d.Verdicts, gone)
			continue
		}
		d.Notices = append(d.Notices, gone)
		d.gone[name] = gone.OID
	}
	switch {
	case len(d.gone) <= maxGone:
	case j.scope.policy.rewind:
		d.gone = nil
	default:
		d.Verdicts = append(d.Verdicts, Verdict{Code: Moved, Hint: "GITPEER_ALLOW_REWIND=1 git fetch    # forgets where they were",
			Why: fmt.Sprintf("%d branches that were accepted are no longer listed, more than %d", len(d.gone), maxGone)})
	}
}

// describe names the refs of a group for people.
func describe(g *group) string {
	const shown = 3
	var names []string
	for _, c := range g.refs {
		if len(names) == shown {
			names = append(names, fmt.Sprintf("and %d more", len(g.refs)-shown))
			break
		}
		names = append(names, string(c.ref.Name))
	}
	return printable(strings.Join(names, ", "))
}
