package trust

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A council is a repository with four publishers, of whom the world's own,
// called ann, proposes.
type council struct {
	*world
	ids                      map[string]keys.ID
	alice                    *person
	root, tip, later, behind refs.OID // one line, in the order root, behind, tip, later
	aside                    refs.OID // on another line, after root
	v1, other                refs.Ref // two tags of one name
}

func newCouncil(t testing.TB, rule ...string) *council {
	c := &council{world: newWorld(t), ids: make(map[string]keys.ID), alice: newPerson(t, "alice")}
	c.world.signer(c.alice)
	for i, name := range []string{"ann", "bob", "carol", "dan", "eve"} {
		c.ids[name] = keys.FromSeed([32]byte{byte(i + 1)}).ID()
		fmt.Fprintf(&c.conf, "[publisher %q]\n\tkey = %s\n", name, c.ids[name])
	}
	c.root = c.commit(c.alice, day(1))
	c.behind = c.commit(c.alice, day(2), c.root)
	c.tip = c.commit(c.alice, day(3), c.behind)
	c.later = c.commit(c.alice, day(5), c.commit(c.alice, day(4), c.tip))
	c.aside = c.commit(c.alice, day(3), c.root)
	c.v1, c.other = c.tag(c.alice, "v1", day(4), c.tip), c.tag(c.alice, "v1", day(5), c.tip)
	c.repo("publishers = bob carol dan bob ann", "introduction = "+string(c.root))
	c.world.rule("all", append([]string{"ref = refs/*", "signers = alice"}, rule...)...)
	return c
}

// says is a publisher's snapshot; a ref without id is left out.
func (c *council) says(name string, main refs.OID, tag refs.Ref) Witness {
	s := &refs.Snapshot{Repository: refs.Address{Publisher: c.ids[name], Name: "tools"}, Number: 1, Time: now, ObjectFormat: refs.SHA1}
	for _, r := range []refs.Ref{branch("main", main), tag} {
		if r.OID != "" {
			s.Refs = append(s.Refs, r)
		}
	}
	return Witness{Publisher: c.ids[name], Snapshot: s}
}

func (c *council) silent(name, problem string) Witness {
	return Witness{Publisher: c.ids[name], Problem: problem}
}

// code is the code of one ref's verdict.
func code(t *testing.T, d *Decision, ref string) Verdict {
	t.Helper()
	i := slices.IndexFunc(d.Verdicts, func(v Verdict) bool { return v.Ref.Short() == ref })
	if i < 0 {
		t.Fatalf("no verdict about %s", ref)
	}
	return d.Verdicts[i]
}

func TestA6Quorum(t *testing.T) {
	c := newCouncil(t, "quorum = 2")
	three := newCouncil(t, "quorum = 3")
	stranger := c.says("bob", c.tip, c.v1)
	stranger.Snapshot.Repository.Name = "other"
	borrowed := c.says("bob", c.tip, c.v1)
	borrowed.Publisher = c.ids["carol"]
	wide := c.says("bob", c.tip, c.v1)
	wide.Snapshot.ObjectFormat = refs.SHA256
	both := c.says("bob", c.tip, c.v1)
	both.Problem = "signed two records with seq 7"
	moved := c.v1
	moved.Peeled = c.later
	for name, test := range map[string]struct {
		c         *council
		witnesses []Witness
		main, tag Code
		why       string // in the branch's verdict, or the tag's if the branch is accepted
	}{
		"nobody is asked":      {c, nil, NoQuorum, NoQuorum, "asks for 2 of 4 publishers, and only ann says so: bob could not be heard: it was not asked"},
		"bob agrees":           {c, []Witness{c.says("bob", c.tip, c.v1)}, OK, OK, ""},
		"bob is ahead":         {c, []Witness{c.says("bob", c.later, c.v1)}, OK, OK, ""},
		"bob is behind":        {c, []Witness{c.says("bob", c.behind, c.v1)}, NoQuorum, OK, "bob is at " + abbreviate(c.behind) + ", which is behind"},
		"bob is far behind":    {c, []Witness{c.says("bob", c.root, c.v1)}, NoQuorum, OK, "which is behind"},
		"bob diverged":         {c, []Witness{c.says("bob", c.aside, c.v1)}, NoQuorum, OK, "bob is at " + abbreviate(c.aside) + ", which is on another line"},
		"bob has not the refs": {c, []Witness{c.says("bob", "", refs.Ref{})}, NoQuorum, NoQuorum, "bob does not list it"},
		"bob's commit missing": {c, []Witness{c.says("bob", refs.OID(strings.Repeat("9", 40)), c.v1)}, NoQuorum, OK, "cannot be read"},
		"bob has another tag":  {c, []Witness{c.says("bob", c.tip, c.other)}, OK, NoQuorum, "bob has it at " + abbreviate(c.other.OID)},
		"bob peels it wrongly": {c, []Witness{c.says("bob", c.tip, moved)}, OK, NoQuorum, "bob has it at"},
		"bob is offline":       {c, []Witness{c.silent("bob", "no peers")}, NoQuorum, NoQuorum, "bob could not be heard: no peers"},
		"bob offline, carol agrees": {c, []Witness{c.silent("bob", "no peers"), c.says("carol", c.tip, c.v1)},
			OK, OK, ""},
		"bob equivocates":               {c, []Witness{both}, NoQuorum, NoQuorum, "bob could not be heard: signed two records"},
		"bob equivocates, carol agrees": {c, []Witness{both, c.says("carol", c.tip, c.v1)}, OK, OK, ""},
		"bob frozen, carol ahead":       {c, []Witness{c.says("bob", c.root, refs.Ref{}), c.says("carol", c.later, c.v1)}, OK, OK, ""},
		"eve is no publisher":           {c, []Witness{c.says("eve", c.tip, c.v1)}, NoQuorum, NoQuorum, "only ann says so"},
		"ann a second time":             {c, []Witness{c.says("ann", c.tip, c.v1)}, NoQuorum, NoQuorum, "only ann says so"},
		"bob twice":                     {three, []Witness{three.says("bob", three.tip, three.v1), three.says("bob", three.later, three.v1)}, NoQuorum, NoQuorum, "only ann and bob say so"},
		"bob's first word counts":       {c, []Witness{c.says("bob", c.root, refs.Ref{}), c.says("bob", c.tip, c.v1)}, NoQuorum, NoQuorum, "bob is at"},
		"of another repository":         {c, []Witness{stranger}, NoQuorum, NoQuorum, "its snapshot is of"},
		"bob's in carol's name":         {c, []Witness{borrowed}, NoQuorum, NoQuorum, "its snapshot is of"},
		"of another format":             {c, []Witness{wide}, NoQuorum, NoQuorum, "its repository is in sha256"},
		"three of four":                 {three, []Witness{three.says("bob", three.tip, three.v1), three.says("dan", three.later, three.v1)}, OK, OK, ""},
		"two of the three wanted":       {three, []Witness{three.says("bob", three.tip, three.v1), three.says("dan", three.behind, three.other)}, NoQuorum, NoQuorum, "ann and bob say so"},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.c.publish(branch("main", test.c.tip), test.c.v1)
			d := Decide(test.c.policy(), nil, s, test.c.objects, now, test.witnesses...)
			main, tag := code(t, d, "main"), code(t, d, "v1")
			if main.Code != test.main || tag.Code != test.tag {
				t.Errorf("main %v (%s), v1 %v (%s), want %v and %v", main.Code, main.Why, tag.Code, tag.Why, test.main, test.tag)
			}
			why := main.Why
			if main.Code == OK {
				why = tag.Why
			}
			if !strings.Contains(why, test.why) {
				t.Errorf("why = %q, want it to say %q", why, test.why)
			}
		})
	}
}

// A quorum takes the place of no signature.
func TestA6QuorumOfUnsigned(t *testing.T) {
	c := newCouncil(t, "quorum = 2")
	loose := c.commit(nil, day(6), c.tip)
	s := c.publish(branch("main", loose))
	if v := code(t, Decide(c.policy(), nil, s, c.objects, now, c.says("bob", loose, refs.Ref{})), "main"); v.Code != Unsigned {
		t.Errorf("an unsigned commit of a whole quorum: %v, want %v", v.Code, Unsigned)
	}
}

// Publishers without a voice are reported, whether they were needed or not.
func TestQuorumNotices(t *testing.T) {
	c := newCouncil(t, "quorum = 2")
	s := c.publish(branch("main", c.tip))
	d := Decide(c.policy(), nil, s, c.objects, now, c.says("bob", c.tip, refs.Ref{}), c.silent("carol", "signed two\nrecords with seq 7"))
	accepted, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if n := accepted.Notices(); len(n) != 1 || n[0].Code != OK || !strings.Contains(n[0].Why, "carol could not be heard") || strings.Contains(n[0].Why, "\n") {
		t.Errorf("notices = %+v, want one line about carol", n)
	}
}

// What witnesses have and the objects lack is named, but only if it matters.
func TestQuorumMissing(t *testing.T) {
	c := newCouncil(t, "quorum = 2")
	s := c.publish(branch("main", c.tip), branch("next", c.tip))
	absent := refs.OID(strings.Repeat("9", 40))
	bob := c.says("bob", absent, refs.Ref{})
	bob.Snapshot.Refs = append(bob.Snapshot.Refs, branch("next", absent))
	d := Decide(c.policy(), nil, s, c.objects, now, bob)
	if want := []refs.Address{bob.Snapshot.Repository}; !slices.Equal(d.Missing, want) {
		t.Errorf("Missing = %v, want %v", d.Missing, want)
	}
	s = c.publish(branch("main", c.tip))
	if d := Decide(c.policy(), nil, s, c.objects, now, bob, c.says("carol", c.tip, refs.Ref{})); d.Missing != nil {
		t.Errorf("Missing = %v with a quorum, want none", d.Missing)
	}
}

// A pin keeps its quorum as long as the rule and the publishers are the same,
// and what a witness's mirror holds has none.
func TestQuorumPinned(t *testing.T) {
	c := newCouncil(t, "quorum = 2")
	p := c.policy()
	s := c.publish(branch("main", c.tip))
	if w := p.Witnesses(nil, s); len(w) != 3 || slices.ContainsFunc(w, func(a refs.Address) bool { return a.Publisher == c.ids["ann"] || a.Name != "tools" }) {
		t.Errorf("Witnesses = %v, want those of bob, carol and dan", w)
	}
	accept := func(p *Policy, pins *Pins, witnesses ...Witness) *Pins {
		t.Helper()
		accepted, err := Decide(p, pins, s, c.objects, now, witnesses...).Accept()
		if err != nil {
			t.Fatal(err)
		}
		return accepted.Pins(&Received{Address: c.address, Record: &refs.Record{Number: s.Number}})
	}
	pins := accept(p, nil, c.says("bob", c.tip, refs.Ref{}))
	if w := p.Witnesses(pins, s); w != nil {
		t.Errorf("Witnesses of what is pinned = %v, want none", w)
	}
	accept(p, pins)
	next := c.publish(branch("main", c.later))
	if v := code(t, Decide(p, pins, next, c.objects, now, c.says("bob", c.tip, refs.Ref{})), "main"); v.Code != NoQuorum {
		t.Errorf("the next commit without quorum: %v, want %v", v.Code, NoQuorum)
	}
	for name, change := range map[string][2]string{
		"another publisher": {"publishers = bob carol dan bob ann", "publishers = bob carol dan eve"},
		"a publisher less":  {"publishers = bob carol dan bob ann", "publishers = bob carol"},
		"a higher quorum":   {"quorum = 2", "quorum = 3"},
	} {
		changed, err := Parse(strings.Replace(c.conf.String(), change[0], change[1], 1), func(name string) ([]byte, error) { return c.certs[name], nil })
		if err != nil {
			t.Fatal(err)
		}
		if v := code(t, Decide(changed, pins, s, c.objects, now), "main"); v.Code != NoQuorum {
			t.Errorf("%s: %v, want %v", name, v.Code, NoQuorum)
		}
	}
	alone := p.WithoutQuorum()
	if w := alone.Witnesses(nil, s); w != nil {
		t.Errorf("Witnesses without quorum = %v, want none", w)
	}
	pins = accept(alone, nil)
	if v := code(t, Decide(p, pins, s, c.objects, now), "main"); v.Code != NoQuorum {
		t.Errorf("what was accepted without quorum: %v, want %v", v.Code, NoQuorum)
	}
	if _, left := p.Repo(c.address); !left || p.Rules[0].Quorum != 2 {
		t.Error("WithoutQuorum changed the policy itself")
	}
}

// A quorum that the list of publishers cannot make up is refused, and says so.
func TestQuorumOutOfReach(t *testing.T) {
	c := newCouncil(t, "quorum = 5")
	s := c.publish(branch("main", c.tip))
	var all []Witness
	for _, name := range []string{"bob", "carol", "dan", "eve"} {
		all = append(all, c.says(name, c.tip, refs.Ref{}))
	}
	v := code(t, Decide(c.policy(), nil, s, c.objects, now, all...), "main")
	if v.Code != NoQuorum || !strings.Contains(v.Why, "5 of 4 publishers, and only ann, bob, carol and dan say so") {
		t.Errorf("%v: %s, want %v", v.Code, v.Why, NoQuorum)
	}
}

// Near commits of a long history are compared without reading all of it.
func TestRelateReadsLittle(t *testing.T) {
	w := newWorld(t)
	var line []refs.OID
	for n := range 500 {
		line = append(line, w.commit(nil, day(n), line[max(0, n-1):n]...))
	}
	for name, test := range map[string]struct {
		theirs, ours refs.OID
		want         relation
	}{
		"ahead": {line[499], line[495], ahead}, "behind": {line[495], line[499], behind}, "same": {line[499], line[499], ahead},
	} {
		j := &judge{ancestries: make(map[refs.OID]*frontier)}
		j.history = newHistory(&verifier{format: refs.SHA1, now: now}, w.objects)
		if got, err := j.relate(test.theirs, test.ours); err != nil || got != test.want || j.history.single > 20 {
			t.Errorf("%s: %v, %v after reading %d commits, want %v after a few", name, got, err, j.history.single, test.want)
		}
	}
}
