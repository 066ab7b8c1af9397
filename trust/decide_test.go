package trust

import (
	"slices"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

func TestFirstContactAndUpdate(t *testing.T) {
	w := newWorld(t)
	alice, mallory := newPerson(t, "alice"), newPerson(t, "mallory")
	w.signer(alice)
	w.repo()
	p := w.policy()

	root := w.commit(nil, day(1))
	first := w.commit(alice, day(2), root)
	s := w.publish(branch("main", first), w.tag(alice, "v1", day(2), first))
	v := w.want(p, nil, s, "main", OK)
	if v.Signer != "alice" || v.Fingerprint == "" || !v.Time.Equal(day(2)) {
		t.Errorf("verdict = %+v, want alice, her fingerprint, and %v", v, day(2))
	}
	pins := w.accept(p, nil, s)
	if len(pins.Introduction) != 1 || pins.Introduction[0] != first {
		t.Fatalf("introduction = %v, want %v", pins.Introduction, first)
	}
	text := pins.Format()
	if again, err := ParsePins(text); err != nil || string(again.Format()) != string(text) {
		t.Fatalf("ParsePins(Format()) = %v", err)
	}

	second := w.commit(alice, day(3), first)
	v1 := s.Refs[1]
	pins2 := w.accept(p, pins, w.publish(branch("main", second), v1))
	if len(pins2.Authenticated) != 1 || pins2.Authenticated[0].OID != second {
		t.Errorf("authenticated = %v, want %v", pins2.Authenticated, second)
	}

	unsigned := w.commit(nil, day(4), second)
	w.want(p, pins2, w.publish(branch("main", unsigned), v1), "main", Unsigned)
	top := w.commit(alice, day(5), unsigned)
	if v := w.want(p, pins2, w.publish(branch("main", top), v1), "main", Unsigned); v.Commit != unsigned {
		t.Errorf("commit at fault = %s, want %s", v.Commit, unsigned)
	}
	foreign := w.commit(mallory, day(4), second)
	if v := w.want(p, pins2, w.publish(branch("main", foreign), v1), "main", Untrusted); v.Hint == "" {
		t.Errorf("no hint in %+v", v)
	}
	w.want(p, pins2, w.publish(branch("main", first), v1), "main", Moved)
	w.want(p, pins2, w.publish(branch("main", second)), "v1", Moved)
}

func TestUnknownPublisher(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	p := w.policy()
	s := w.publish(branch("main", w.commit(alice, day(1))))
	w.want(p, nil, s, "main", UnknownPeer)
	err := Introduce(p, s, w.objects, now)
	want := "gitpeer trust add " + w.address.String() + " --signer alice"
	if err.Code() != UnknownPeer || err.Hint() != want {
		t.Errorf("Introduce() = %v, hint %q, want %q", err, err.Hint(), want)
	}
}

func TestModes(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	root := w.commit(nil, day(1))
	signed := w.commit(alice, day(2), root)
	side := w.commit(nil, day(3), signed)
	merge := w.commit(alice, day(4), signed, side)
	loose := w.commit(nil, day(5), merge)
	w.repo("introduction = " + string(signed))
	for name, mode := range map[string]string{"a": "all", "c": "chain", "t": "tip"} {
		w.rule(name, "ref = refs/heads/"+name, "mode = "+mode, "signers = alice")
	}
	w.rule("p", "ref = refs/heads/p", "mode = publisher")
	p := w.policy()
	for _, test := range []struct {
		ref  string
		tip  refs.OID
		want Code
	}{
		{"a", signed, OK}, {"a", root, OK}, {"a", merge, Unsigned}, {"a", loose, Unsigned},
		{"c", merge, OK}, {"c", loose, Unsigned},
		{"t", merge, OK}, {"t", loose, Unsigned},
		{"p", loose, OK}, {"other", signed, Untrusted},
	} {
		t.Run(test.ref, func(t *testing.T) {
			w.want(p, nil, w.publish(branch(test.ref, test.tip)), test.ref, test.want)
		})
	}
}

func TestExamine(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	p := w.policy()
	root := w.commit(nil, day(1))
	first := w.commit(alice, day(2), root)
	second := w.commit(nil, day(3), first)
	third := w.commit(alice, day(4), second)
	var seen []refs.OID
	var codes []Code
	q := Query{ObjectFormat: refs.SHA1, Introduction: []refs.OID{root}, Refs: []refs.Ref{branch("main", third)}, Each: func(v Verdict) {
		seen, codes = append(seen, v.OID), append(codes, v.Code)
	}}
	verdicts, err := Examine(p, q, w.objects, now)
	if err != nil || len(verdicts) != 1 || verdicts[0].Code != Unsigned || verdicts[0].Commit != second {
		t.Errorf("Examine() = %+v, %v, want unsigned %s", verdicts, err, second)
	}
	if !slices.Equal(seen, []refs.OID{first, second, third}) || !slices.Equal(codes, []Code{OK, Unsigned, OK}) {
		t.Errorf("each commit: %v %v, want first ok, second unsigned, third ok", seen, codes)
	}
	q.Mode, q.Each = ModeTip, nil
	if verdicts, err := Examine(p, q, w.objects, now); err != nil || verdicts[0].Code != OK {
		t.Errorf("Examine(tip) = %+v, %v, want ok", verdicts, err)
	}
	q.Repository = refs.Address{Publisher: w.address.Publisher, Name: "absent"}
	if _, err := Examine(p, q, w.objects, now); err == nil {
		t.Error("Examine(absent entry) = nil, want an error")
	}
}
