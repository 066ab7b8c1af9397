package trust

import (
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// The tests of this file are named after the rows of TRUST.md §5 whose
// required behaviour falls to this package.

// received makes a record for a snapshot, as announce would deliver it.
func received(a refs.Address, seq int64, s *refs.Snapshot, note []byte) *Received {
	head, _ := s.HeadOID()
	r := &refs.Record{Signed: now.Add(-time.Hour), Expires: now.Add(6 * 24 * time.Hour), Number: s.Number, Head: head, Snapshot: refs.DigestOf(note)}
	value, err := r.Format()
	if err != nil {
		panic(err)
	}
	return &Received{Address: a, Seq: seq, Value: value, Record: r}
}

// A statement is a signed snapshot and its record.
type statement struct {
	received *Received
	note     []byte
}

func (w *world) statement(seq int64, s *refs.Snapshot) statement {
	w.t.Helper()
	if s.Number > 1 && s.Previous == nil {
		s.Previous = []refs.Link{{Number: s.Number - 1, Digest: w.last}}
	}
	note, err := refs.Sign(s, w.publisher)
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = refs.DigestOf(note)
	return statement{received(s.Repository, seq, s, note), note}
}

// check runs the checks before any pack.
func (st statement) check(p *Policy, pins *Pins) error {
	before := pins.text()
	err := CheckRecord(p, pins, st.received, now)
	if err == nil {
		_, err = CheckSnapshot(pins, st.received, st.note)
	}
	if pins.text() != before {
		panic("a check changed the pins")
	}
	return err
}

func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	got := OK
	if err != nil {
		refused, ok := err.(*RefusedError)
		if !ok {
			t.Fatalf("error = %T %v, want a *RefusedError", err, err)
		}
		got = refused.Code()
	}
	if got != want {
		t.Fatalf("code = %v (%v), want %v", got, err, want)
	}
}

const seq0 = int64(1_750_000_000_000)

// published is a world with one accepted statement.
func published(t *testing.T) (w *world, p *Policy, pins *Pins, first statement, tip refs.OID, alice *person) {
	w = newWorld(t)
	alice = newPerson(t, "alice")
	w.signer(alice)
	w.repo()
	p = w.policy()
	tip = w.commit(alice, day(1))
	s := w.publish(branch("main", tip))
	first = w.statement(seq0, s)
	if err := first.check(p, nil); err != nil {
		t.Fatal(err)
	}
	accepted, err := Decide(p, nil, s, w.objects, now).Accept()
	if err != nil {
		t.Fatal(err)
	}
	return w, p, accepted.Pins(first.received), first, tip, alice
}

func TestA2Rollback(t *testing.T) {
	w, p, pins, first, tip, alice := published(t)
	wantCode(t, first.check(p, pins), OK) // the same again
	s := w.publish(branch("main", w.commit(alice, day(2), tip)))
	wantCode(t, w.statement(seq0-1, s).check(p, pins), Rollback)
	wantCode(t, w.statement(seq0, s).check(p, pins), Equivocation)
	wantCode(t, w.statement(seq0+1, s).check(p, pins), OK)
	older := w.publish(branch("main", tip))
	older.Number, older.Previous = 1, nil
	wantCode(t, w.statement(seq0+1, older).check(p, &Pins{Repository: w.address, Seq: seq0, Number: 2}), Rollback)
}

func TestA3Freeze(t *testing.T) {
	w, p, pins, first, _, _ := published(t)
	expires := first.received.Record.Expires
	wantCode(t, CheckRecord(p, pins, first.received, expires), OK)
	err := CheckRecord(p, pins, first.received, expires.Add(ClockSkew+time.Second))
	wantCode(t, err, Stale)
	if !strings.Contains(err.Error(), "clock") {
		t.Errorf("error %q does not name the clock", err)
	}
	w.conf.Reset()
	w.conf.WriteString("[gitpeer]\n\tversion = 1\n")
	w.repo("max-stale = 2h")
	wantCode(t, CheckRecord(w.policy(), pins, first.received, now), OK)
	wantCode(t, CheckRecord(w.policy(), pins, first.received, now.Add(2*time.Hour)), Stale)
}

func TestA4FastForwardOfSeq(t *testing.T) {
	w, p, pins, _, tip, _ := published(t)
	s := w.publish(branch("main", tip))
	for _, seq := range []int64{now.Add(25 * time.Hour).UnixMilli(), 1<<63 - 1} {
		wantCode(t, w.statement(seq, s).check(p, pins), BadTime)
	}
}

func TestA5Equivocation(t *testing.T) {
	w, p, pins, first, tip, alice := published(t)
	other := w.publish(branch("main", tip))
	other.Number, other.Time = 1, now.Add(time.Second)
	wantCode(t, w.statement(seq0+1, other).check(p, pins), Equivocation)
	// A chain that holds another snapshot 1 than the one that was accepted.
	next := w.publish(branch("main", w.commit(alice, day(2), tip)))
	next.Number, next.Previous = 2, []refs.Link{{Number: 1, Digest: refs.DigestOf([]byte("another"))}}
	wantCode(t, w.statement(seq0+1, next).check(p, pins), Equivocation)
	next.Previous[0].Digest = refs.DigestOf(first.note)
	wantCode(t, w.statement(seq0+1, next).check(p, pins), OK)
}

// TestRecordAndSnapshotAgree: both are signed by the publisher, so a difference
// is the publisher's doing.
func TestRecordAndSnapshotAgree(t *testing.T) {
	w, p, pins, _, tip, _ := published(t)
	s := w.publish(branch("main", tip))
	s.Head = "refs/heads/main"
	for name, change := range map[string]func(*statement){
		"number": func(st *statement) { st.received.Record.Number++ },
		"head":   func(st *statement) { st.received.Record.Head = emptyTree },
		"unborn": func(st *statement) { st.received.Record.Head = "" },
	} {
		t.Run(name, func(t *testing.T) {
			st := w.statement(seq0+1, s)
			wantCode(t, st.check(p, pins), OK)
			change(&st)
			wantCode(t, st.check(p, pins), Equivocation)
		})
	}
	st := w.statement(seq0+1, s)
	st.note = append(st.note, '\n')
	wantCode(t, st.check(p, pins), BadPack)
	other := keys.FromSeed([32]byte{9})
	forged, err := refs.Sign(&refs.Snapshot{Repository: refs.Address{Publisher: other.ID(), Name: "tools"}, Number: 1, Time: now, ObjectFormat: refs.SHA1}, other)
	if err != nil {
		t.Fatal(err)
	}
	st = statement{received(w.address, seq0+1, s, forged), forged}
	wantCode(t, st.check(p, pins), BadSignature)
}

func TestA6StolenPublisherKey(t *testing.T) {
	w, p, pins, _, tip, _ := published(t)
	mallory := newPerson(t, "mallory")
	w.want(p, pins, w.publish(branch("main", w.commit(mallory, day(2), tip))), "main", Untrusted)
	w.want(p, pins, w.publish(branch("main", tip), branch("evil", w.commit(mallory, day(2)))), "evil", Moved)
}

func TestA7ReplayAcrossRepositories(t *testing.T) {
	w, p, _, first, _, _ := published(t)
	other := refs.Address{Publisher: w.publisher.ID(), Name: "other"}
	moved := *first.received
	moved.Address = other
	_, err := CheckSnapshot(nil, &moved, first.note)
	wantCode(t, err, Malformed)
	wantCode(t, CheckRecord(p, nil, &moved, now), UnknownPeer) // a repo entry trusts one repository
}

func TestA17TeleportNeedsFastForward(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	feature := w.commit(alice, day(2), tip)
	side := w.commit(alice, day(3), tip)
	pins = w.accept(p, pins, w.publish(branch("main", feature)))
	v := w.want(p, pins, w.publish(branch("main", side)), "main", Moved)
	if !strings.Contains(v.Hint, "ALLOW_REWIND") {
		t.Errorf("hint = %q, want it to name the way to allow it", v.Hint)
	}
	w.want(p.WithRewind(), pins, w.publish(branch("main", side)), "main", OK)
}

func TestA18CrossRepositoryTeleport(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	foreign := w.commit(alice, day(2)) // alice signs a root of another project
	w.want(p, pins, w.publish(branch("main", tip), branch("x", foreign)), "x", Moved)
	w.want(p, pins, w.publish(branch("main", w.commit(alice, day(3), tip, foreign))), "main", Moved)
}

func TestA19BranchRollback(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	next := w.commit(alice, day(2), tip)
	pins = w.accept(p, pins, w.publish(branch("main", next)))
	w.want(p, pins, w.publish(branch("main", tip)), "main", Moved)
	back := w.accept(p.WithRewind(), pins, w.publish(branch("main", tip)))
	w.want(p, back, w.publish(branch("main", next)), "main", OK)
}

func TestA20Deletion(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	v1 := w.tag(alice, "v1", day(2), tip)
	pins = w.accept(p, pins, w.publish(branch("main", tip), branch("dev", tip), v1))
	d := Decide(p, pins, w.publish(branch("main", tip), v1), w.objects, now)
	if _, err := d.Accept(); err != nil || len(d.Notices) != 1 || d.Notices[0].Ref != "refs/heads/dev" {
		t.Errorf("missing branch: %v, notices %v, want it accepted and reported", err, d.Notices)
	}
	w.want(p, pins, w.publish(branch("main", tip)), "v1", Moved)
}

func TestA21TagRepointing(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	next := w.commit(alice, day(2), tip)
	v1 := w.tag(alice, "v1", day(2), tip)
	pins = w.accept(p, pins, w.publish(branch("main", next), v1))
	for name, again := range map[string]refs.Ref{
		"other commit":     w.tag(alice, "v1", day(3), next),
		"other tag object": w.tag(alice, "v1", day(3), tip),
	} {
		t.Run(name, func(t *testing.T) {
			w.want(p, pins, w.publish(branch("main", next), again), "v1", Moved)
			w.want(p.WithRewind(), pins, w.publish(branch("main", next), again), "v1", Moved)
		})
	}
}

func TestA22TagTeleport(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	v1 := w.tag(alice, "v1", day(2), tip)
	v1.Name = "refs/tags/v9"
	w.want(p, pins, w.publish(branch("main", tip), v1), "v9", Moved)
	w.want(p, pins, w.publish(branch("main", tip), refs.Ref{Name: "refs/tags/light", OID: tip}), "light", Unsigned)
	lying := w.tag(alice, "v2", day(2), tip)
	lying.Peeled = w.commit(alice, day(3), tip)
	w.want(p, pins, w.publish(branch("main", tip), lying), "v2", Malformed)
	w.want(p, pins, w.publish(branch("main", tip), w.tag(nil, "v3", day(2), tip)), "v3", Unsigned)
	evil := w.commit(newPerson(t, "mallory"), day(3), tip)
	w.want(p, pins, w.publish(branch("main", tip), w.tag(alice, "v4", day(4), evil)), "v4", Untrusted)
}

func TestA23UnsignedCommitMidHistory(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	unsigned := w.commit(nil, day(2), tip)
	top := w.commit(alice, day(3), unsigned)
	if v := w.want(p, pins, w.publish(branch("main", top)), "main", Unsigned); v.Commit != unsigned {
		t.Errorf("commit at fault = %s, want %s", v.Commit, unsigned)
	}
	// An authorised merge does not launder it.
	merge := w.commit(alice, day(4), w.commit(alice, day(3), tip), unsigned)
	w.want(p, pins, w.publish(branch("main", merge)), "main", Unsigned)
}

func TestA24SignerOfAnotherRef(t *testing.T) {
	w := newWorld(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	w.signer(alice)
	w.signer(bob)
	root := w.commit(alice, day(1))
	w.repo("introduction = " + string(root))
	w.rule("main", "ref = refs/heads/main", "signers = alice")
	w.rule("rest", "ref = refs/heads/*", "signers = alice bob")
	p := w.policy()
	bobs := w.commit(bob, day(2), root)
	w.want(p, nil, w.publish(branch("dev", bobs)), "dev", OK)
	if v := w.want(p, nil, w.publish(branch("main", bobs)), "main", Untrusted); v.Rule != "main" || v.Signer != "bob" {
		t.Errorf("verdict = %+v, want rule main and signer bob", v)
	}
	// What dev authenticated does not count for main.
	pins := w.accept(p, nil, w.publish(branch("dev", bobs)))
	w.want(p, pins, w.publish(branch("dev", bobs), branch("main", bobs)), "main", Untrusted)
}

func TestA26BackdatedByExpiredKey(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	old := newPerson(t, "old", func(c *packet.Config) { c.KeyLifetimeSecs = 100 * 86400 })
	w.signer(alice)
	w.signer(old)
	root := w.commit(alice, day(1))
	w.repo("introduction = " + string(root))
	p := w.policy()
	w.want(p, nil, w.publish(branch("main", w.commit(old, day(50), root))), "main", OK)
	w.want(p, nil, w.publish(branch("main", w.commit(old, day(150), root))), "main", BadTime)
	late := w.commit(alice, day(200), root)
	backdated := w.commit(old, day(99), late)
	w.want(p, nil, w.publish(branch("main", backdated)), "main", BadTime)
	// Neither small steps back nor a cached tip change that.
	step := late
	for i := range 5 {
		step = w.commit(alice, day(200).Add(-time.Duration(i)*20*time.Hour), step)
	}
	w.want(p, nil, w.publish(branch("main", w.commit(old, day(99), step))), "main", BadTime)
	pins := w.accept(p, nil, w.publish(branch("main", late)))
	w.want(p, pins, w.publish(branch("main", backdated)), "main", BadTime)
	// A clock that went back is no harm while the key is valid.
	w.want(p, nil, w.publish(branch("main", w.commit(alice, day(100), late))), "main", OK)
	// An expired key cannot tag it either.
	w.want(p, pins, w.publish(branch("main", late), w.tag(old, "v1", day(99), late)), "v1", BadTime)
}

func TestA26BackdatedBySupersededKey(t *testing.T) {
	w := newWorld(t)
	alice, old := newPerson(t, "alice"), newPerson(t, "old")
	root := w.commit(alice, day(1))
	before := w.commit(old, day(50), root)
	late := w.commit(alice, day(200), before)
	backdated := w.commit(old, day(99), late)
	if err := old.entity.Revoke(packet.KeySuperseded, "", old.at(day(100))); err != nil {
		t.Fatal(err)
	}
	w.signer(alice)
	w.signer(old)
	w.repo("introduction = " + string(root))
	p := w.policy()
	w.want(p, nil, w.publish(branch("main", late)), "main", OK)
	w.want(p, nil, w.publish(branch("main", backdated)), "main", BadTime)
}

func TestA26RetiredSigner(t *testing.T) {
	w := newWorld(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	root := w.commit(alice, day(1))
	first := w.commit(bob, day(2), root)
	last := w.commit(bob, day(3), first)
	w.signer(alice)
	w.signer(bob, "retired-at = "+string(last))
	w.repo("introduction = " + string(root))
	p := w.policy()
	w.want(p, nil, w.publish(branch("main", w.commit(alice, day(5), last))), "main", OK)
	w.want(p, nil, w.publish(branch("main", w.commit(bob, day(4), last))), "main", BadTime)
	w.want(p, nil, w.publish(branch("main", w.commit(bob, day(2), root))), "main", BadTime)
	w.want(p, nil, w.publish(branch("main", last), w.tag(bob, "v1", day(3), last)), "v1", OK)
}

// TestA27ForgedDates: the dates in a commit are claims that nothing follows.
func TestA27ForgedDates(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	for _, when := range []time.Time{time.Unix(0, 0), day(100000)} {
		payload := w.payload(when, tip)
		oid := w.add(KindCommit, withSignature(payload, "gpgsig", armored(t, alice.sign([]byte(payload), day(2)))))
		w.want(p, pins, w.publish(branch("main", oid)), "main", OK)
	}
}

// A lyingStore changes what another Objects answers.
type lyingStore struct {
	Objects
	read    func(refs.OID) (Object, error)
	commits func(tips, not []refs.OID) iter.Seq2[Object, error]
}

func (l lyingStore) Read(oid refs.OID) (Object, error) {
	if l.read != nil {
		return l.read(oid)
	}
	return l.Objects.Read(oid)
}

func (l lyingStore) Commits(tips, not []refs.OID) iter.Seq2[Object, error] {
	if l.commits != nil {
		return l.commits(tips, not)
	}
	return l.Objects.Commits(tips, not)
}

// TestA31ReplacedObjects: neither refs/replace, nor a shallow file, nor a wrong
// answer about what is reachable changes a verdict to OK.
func TestA31ReplacedObjects(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	unsigned := w.commit(nil, day(2), tip)
	top := w.commit(alice, day(3), unsigned)
	signed := w.commit(alice, day(2), tip)
	substitute, _ := w.objects.Read(signed)
	substitute.OID = unsigned
	nothing := func(func(Object, error) bool) {}
	for name, store := range map[string]Objects{
		"replaced on read": lyingStore{Objects: w.objects, read: func(oid refs.OID) (Object, error) {
			if oid == unsigned {
				return substitute, nil
			}
			return w.objects.Read(oid)
		}, commits: func(_, _ []refs.OID) iter.Seq2[Object, error] { return nothing }},
		"replaced in the stream": lyingStore{Objects: w.objects, commits: func(tips, not []refs.OID) iter.Seq2[Object, error] {
			return func(yield func(Object, error) bool) {
				for o, err := range w.objects.Commits(tips, not) {
					if o.OID == unsigned {
						o = substitute
					}
					if !yield(o, err) {
						return
					}
				}
			}
		}},
		"left out": lyingStore{Objects: w.objects, commits: func(_, _ []refs.OID) iter.Seq2[Object, error] { return nothing }},
		"cut short": lyingStore{Objects: w.objects, commits: func(tips, not []refs.OID) iter.Seq2[Object, error] {
			return func(yield func(Object, error) bool) {
				o, err := w.objects.Read(top)
				yield(o, err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(p, pins, w.publish(branch("main", top)), store, now)
			if _, err := d.Accept(); err == nil {
				t.Errorf("Accept() = nil, want a refusal")
			}
		})
	}
}

func TestA15MissingObjects(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	absent := refs.OID(strings.Repeat("a", 40))
	w.want(p, pins, w.publish(branch("main", absent)), "main", BadPack)
	w.want(p, pins, w.publish(branch("main", w.commit(alice, day(2), tip, absent))), "main", BadPack)
	w.want(p, pins, w.publish(branch("main", tip), refs.Ref{Name: "refs/tags/x", OID: absent, Peeled: tip}), "x", BadPack)
}

func TestA34Lookalikes(t *testing.T) {
	w := newWorld(t)
	id := w.publisher.ID()
	fmtPublisher := func(name string, id keys.ID) {
		w.conf.WriteString("[publisher \"" + name + "\"]\n\tkey = " + id.String() + "\n")
	}
	fmtPublisher("alice", id)
	p := w.policy()
	near := id
	near[31] ^= 1
	if found := p.Lookalikes(near); len(found) != 1 || found[0].Name != "alice" {
		t.Errorf("Lookalikes(near) = %v, want alice", found)
	}
	if found := p.Lookalikes(id); len(found) != 0 {
		t.Errorf("Lookalikes(same) = %v, want none", found)
	}
	fmtPublisher("again", id)
	if _, err := Parse(w.conf.String(), nil); err == nil {
		t.Error("two petnames for one key: no error")
	}
	for _, name := range []string{"аlice", "Alice", "alice ", "-x", "a\u202eb", ""} {
		if checkEntryName(name) == nil {
			t.Errorf("checkEntryName(%q) = nil, want an error", name)
		}
	}
}

func TestA38TerminalEscapes(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	payload := "object " + string(tip) + "\ntype commit\ntag v1\x1b[2J\u202e\ntagger A <a@b> 1 +0000\n\nx\n"
	oid := w.add(KindTag, payload+armored(t, alice.sign([]byte(payload), day(2))))
	s := w.publish(branch("main", tip), refs.Ref{Name: "refs/tags/v1", OID: oid, Peeled: tip})
	v := w.want(p, pins, s, "v1", Moved)
	if strings.ContainsAny(v.Why, "\x1b\u202e\n") {
		t.Errorf("why = %q, want no control characters", v.Why)
	}
}

// TestA39PanicIsNoSuccess injects panics where the verifier calls out.
func TestA39PanicIsNoSuccess(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	s := w.publish(branch("main", w.commit(alice, day(2), tip)))
	boom := func(refs.OID) (Object, error) { panic("boom") }
	for name, store := range map[string]Objects{
		"read":   lyingStore{Objects: w.objects, read: boom, commits: func(_, _ []refs.OID) iter.Seq2[Object, error] { return func(func(Object, error) bool) {} }},
		"stream": lyingStore{Objects: w.objects, commits: func(_, _ []refs.OID) iter.Seq2[Object, error] { panic("boom") }},
		"iterate": lyingStore{Objects: w.objects, commits: func(_, _ []refs.OID) iter.Seq2[Object, error] {
			return func(yield func(Object, error) bool) { panic("boom") }
		}},
		"nil store": nil,
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(p, pins, s, store, now)
			if _, err := d.Accept(); err == nil {
				t.Fatal("Accept() = nil, want a refusal")
			}
			wantCode(t, &RefusedError{d.Verdicts}, Internal)
		})
	}
	for _, v := range []Verdict{
		SequoiaQuery{ObjectFormat: refs.SHA1, Root: tip, Tip: s.Refs[0].OID}.Examine(nil, now),
		GuixQuery{ObjectFormat: refs.SHA1, Introduction: tip, Signer: "x", Tip: s.Refs[0].OID}.Examine(nil, now),
	} {
		if v.Code != Internal || !strings.Contains(v.Why, "failed") {
			t.Errorf("Examine() by %s = %v (%s), want internal", v.Rule, v.Code, v.Why)
		}
	}
	// A verifier without a policy panics in the worker, not in the caller.
	v := &verifier{format: refs.SHA1, now: now}
	o, _ := w.objects.Read(tip)
	if l := v.examine(o, forSignature); l.att == nil || l.att.code != Internal {
		t.Errorf("examine() = %+v, want internal", l.att)
	}
}

func TestA40CacheOfAnotherPolicy(t *testing.T) {
	w := newWorld(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	w.signer(alice)
	conf := w.conf.String()
	w.signer(bob)
	root := w.commit(alice, day(1))
	w.repo("introduction = " + string(root))
	both := w.policy()
	tip := w.commit(bob, day(2), root)
	s := w.publish(branch("main", tip))
	pins := w.accept(both, nil, s)
	w.conf.Reset()
	w.conf.WriteString(conf)
	w.repo("introduction = " + string(root))
	w.want(w.policy(), pins, s, "main", Untrusted)
	if n := len(pins.WithoutCache().Authenticated); n != 0 {
		t.Errorf("WithoutCache() leaves %d tips", n)
	}
}

func TestA44WrongClock(t *testing.T) {
	_, p, pins, first, _, _ := published(t)
	err := CheckRecord(p, pins, first.received, pins.Seen.Add(-time.Hour))
	wantCode(t, err, BadTime)
	if !strings.Contains(err.Error(), "clock") {
		t.Errorf("error %q does not name the clock", err)
	}
}

// noHints is a Commits that yields nothing.
func noHints(_, _ []refs.OID) iter.Seq2[Object, error] {
	return func(func(Object, error) bool) {}
}
