package trust

import (
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// verdictOn is the verdict about one ref of a statement.
func (w *world) verdictOn(p *Policy, pins *Pins, s *refs.Snapshot, ref string) Verdict {
	w.t.Helper()
	for _, v := range Decide(p, pins, s, w.objects, now).Verdicts {
		if v.Ref.Short() == ref {
			return v
		}
	}
	w.t.Fatalf("no verdict about %s", ref)
	return Verdict{}
}

// TestHints: every refusal that somebody can do something about says what.
func TestHints(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve, gone, revoked := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "eve"), newPerson(t, "gone"), newPerson(t, "revoked")
	w.signer(alice)
	w.signer(bob)
	root := w.commit(nil, day(1))
	w.signer(gone, "retired-at = "+string(root))
	w.signer(revoked, "revoked = true")
	w.repo("introduction = " + string(root))
	w.rule("all", "ref = refs/*", "signers = alice gone revoked", "mode = chain", "quorum = 1")
	w.rule("tags", "ref = refs/tags/*", "signers = alice")
	p := w.policy()
	url := w.address.String()

	unsigned := w.commit(nil, day(2), root)
	bobs := w.commit(bob, day(2), root)
	foreign := w.commit(alice, day(1))
	first := w.commit(alice, day(2), root)
	light := refs.Ref{Name: "refs/tags/light", OID: first}
	v1 := w.tag(alice, "v1", day(3), first)
	moved := w.tag(alice, "v1", day(4), first)
	pins := &Pins{Repository: w.address, Introduction: []refs.OID{root}, Refs: map[refs.Name]Pin{v1.Name: {OID: v1.OID, Peeled: v1.Peeled}}}
	v2 := w.tag(alice, "v2", day(3), first)
	v2.Name = "refs/tags/v9"
	for name, test := range map[string]struct {
		pins *Pins
		ref  refs.Ref
		want []string // parts of the hint
	}{
		"unsigned tip":   {nil, branch("main", unsigned), []string{"its author types: git commit --amend --no-edit -S; to take it as it is: ", "gitpeer trust add " + url + " --good " + string(unsigned)}},
		"unsigned below": {nil, branch("main", w.commit(alice, day(3), unsigned)), []string{"git rebase -r --exec 'git commit --amend --no-edit -S' " + string(unsigned) + "^"}},
		"not listed":     {nil, branch("main", bobs), []string{"gitpeer trust add " + url + " --signer alice --signer gone --signer revoked --signer bob --mode chain"}},
		"unknown":        {nil, branch("main", w.commit(eve, day(2), root)), []string{"gitpeer trust add 0x" + eve.cert().Fingerprint}},
		"future":         {nil, branch("main", w.commit(alice, day(2000), root)), []string{"date"}},
		"retired":        {nil, branch("main", w.commit(gone, day(2), root)), []string{"gitpeer trust show gone"}},
		"revoked":        {nil, branch("main", w.commit(revoked, day(2), root)), []string{"gitpeer trust show revoked", "checkpoint = OID"}},
		"foreign root":   {nil, branch("main", foreign), []string{"gitpeer trust add " + url + " --intro " + string(root) + " --intro " + string(foreign)}},
		"lightweight":    {nil, light, []string{"git tag -s -f light 'light^{}'", "gitpeer trust add " + url + " --signer alice --ref 'refs/tags/*' --tags any"}},
		"renamed tag":    {nil, v2, []string{"git tag -s -f v9 'v9^{}'"}},
		"moved tag":      {pins, moved, []string{"gitpeer trust log " + url}},
		"rewind":         {&Pins{Repository: w.address, Introduction: []refs.OID{root}, Refs: map[refs.Name]Pin{"refs/heads/main": {OID: w.commit(alice, day(5), first)}}}, branch("main", first), []string{"GITPEER_ALLOW_REWIND=1 git fetch"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := w.verdictOn(p, test.pins, w.publish(test.ref), test.ref.Name.Short())
			for _, want := range test.want {
				if v.Code == OK || !strings.Contains(v.Hint, want) {
					t.Errorf("%s %q has the hint\n%s\nwant %q in it", v.Code, v.Why, v.Hint, want)
				}
			}
		})
	}
	vanished := w.verdictOn(p, pins, w.publish(branch("main", first)), "v1")
	if vanished.Code != Moved || !strings.HasPrefix(vanished.Hint, "gitpeer trust log "+url) {
		t.Errorf("a tag that is gone: %v %q", vanished.Code, vanished.Hint)
	}
}

// TestHintOfOutsideNames: the name of a ref is a publisher's choice, and does
// nothing to whoever types the hint (A38).
func TestHintOfOutsideNames(t *testing.T) {
	for word, want := range map[string]string{"v1.0": "v1.0", "a;reboot": "'a;reboot'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "`x`": "'`x`'", "": "''"} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
	w := newWorld(t)
	w.signer(newPerson(t, "alice"))
	root := w.commit(nil, day(1))
	w.repo("introduction = " + string(root))
	name, err := refs.ParseName("refs/tags/a;$(reboot)&b")
	if err != nil {
		t.Fatal(err)
	}
	v := w.verdictOn(w.policy(), nil, w.publish(refs.Ref{Name: name, OID: root}), name.Short())
	if !strings.HasPrefix(v.Hint, "its author types: git tag -s -f 'a;$(reboot)&b' 'a;$(reboot)&b^{}'; ") {
		t.Errorf("the hint is %s, want the name quoted", v.Hint)
	}
}

// TestForges: the key of a forge signs only where a rule names it.
func TestForges(t *testing.T) {
	if got := KnownForge("5de3e0509c47ea3cf04a42d34aee18f83afdeb23"); got != "GitHub" {
		t.Errorf("KnownForge(web-flow) = %q, want GitHub", got)
	}
	w := newWorld(t)
	alice, forge := newPerson(t, "alice"), newPerson(t, "forge")
	w.signer(alice)
	w.signer(forge, "forge = true")
	root := w.commit(nil, day(1))
	stranger := newWorld(t)
	stranger.signer(forge, "forge = true")
	met := stranger.publish(branch("main", stranger.commit(forge, day(1))))
	if err := Introduce(stranger.policy(), met, stranger.objects, now); !strings.Contains(err.Hint(), " --signer forge --forge    #") || !strings.Contains(err.Verdicts[1].Why, "the key of a forge") {
		t.Errorf("Introduce() = %q, hint %q; want the forge named, and asked for", err.Verdicts[1].Why, err.Hint())
	}
	met = stranger.publish(branch("main", stranger.commit(forge, day(1))), branch("other", stranger.commit(alice, day(1))))
	if hint := Introduce(stranger.policy(), met, stranger.objects, now).Hint(); !strings.HasSuffix(hint, " --signer 0x"+alice.cert().Fingerprint) {
		t.Errorf("the hint is %q, want it to propose alice and no forge", hint)
	}
	w.repo("introduction = " + string(root))
	merged := w.publish(branch("main", w.commit(forge, day(2), root)))
	v := w.verdictOn(w.policy(), nil, merged, "main")
	if v.Code != Untrusted || !strings.Contains(v.Hint, "--signer alice --signer forge") {
		t.Errorf("without a rule: %v %q, hint %q; want untrusted-signer, and the rule to add", v.Code, v.Why, v.Hint)
	}
	w.rule("all", "ref = refs/*", "signers = alice forge")
	if v := w.verdictOn(w.policy(), nil, merged, "main"); v.Code != Untrusted || !strings.Contains(v.Why, "may sign merges only: it has 1 parents") || !strings.HasPrefix(v.Hint, "its author types: ") {
		t.Errorf("with a rule: %v %q, hint %q; want it refused as no merge, and the author to sign it", v.Code, v.Why, v.Hint)
	}
}

func TestExtend(t *testing.T) {
	alice := newPerson(t, "alice")
	p, err := (&Policy{}).Extend(Signer{Name: "a", Cert: alice.cert()})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	tip := w.commit(alice, day(1))
	q := Query{ObjectFormat: refs.SHA1, Signers: []string{"a"}, Refs: []refs.Ref{{OID: tip}}}
	if v, err := Examine(p, q, w.objects, now); err != nil || v[0].Code != OK || v[0].Signer != "a" {
		t.Errorf("Examine() = %+v, %v, want ok by a", v, err)
	}
	q.Signers = []string{}
	if v, err := Examine(p, q, w.objects, now); err != nil || v[0].Code != Untrusted {
		t.Errorf("Examine(no signers) = %+v, %v, want untrusted", v, err)
	}
	if _, err := p.Extend(Signer{Name: "b", Cert: alice.cert()}); err == nil {
		t.Error("Extend() takes a key twice")
	}
}

// TestAddGood adds to what is there.
func TestAddGood(t *testing.T) {
	dir := t.TempDir()
	a := refs.Address{Publisher: keys.FromSeed([32]byte{1}).ID(), Name: "tools"}
	one, two := refs.OID(strings.Repeat("1", 40)), refs.OID(strings.Repeat("2", 40))
	for i, change := range []func(*Editor) error{
		func(e *Editor) error { return e.AddRepo(Repo{Name: "tools", URL: a, Good: []refs.OID{two}}) },
		func(e *Editor) error { return e.AddGood("tools", one) },
		func(e *Editor) error { return e.AddGood("tools", one) },
	} {
		p, err := Edit(dir, change)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(i+1, 2); len(p.Repos[0].Good) != want {
			t.Errorf("after change %d: good = %v, want %d of them", i, p.Repos[0].Good, want)
		}
	}
	if _, err := Edit(dir, func(e *Editor) error { return e.AddGood("absent", one) }); err == nil {
		t.Error("AddGood(absent) = nil, want an error")
	}
}
