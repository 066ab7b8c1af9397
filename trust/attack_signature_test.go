package trust

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/refs"
)

// The rows of TRUST.md §5 that are about signatures and hashes; the tables of
// pgp_test.go, ssh_test.go and grammar_test.go have every kind of distortion,
// and here each ends as a decision about a repository.

// TestA25HardRevocation: a key that was compromised, or revoked without a reason,
// counts for nothing, but for what the policy exempts.
func TestA25HardRevocation(t *testing.T) {
	for _, reason := range []packet.ReasonForRevocation{packet.NoReason, packet.KeyCompromised} {
		w := newWorld(t)
		alice := newPerson(t, "alice")
		root := w.commit(alice, day(1))
		old := w.commit(alice, day(2), root)
		later := w.commit(alice, day(3), old)
		if err := alice.entity.Revoke(reason, "", alice.at(day(100))); err != nil {
			t.Fatal(err)
		}
		w.signer(alice)
		conf := w.conf.String()
		w.repo("introduction = " + string(root))
		w.want(w.policy(), nil, w.publish(branch("main", old)), "main", BadTime)

		w.conf.Reset()
		w.conf.WriteString(conf)
		w.repo("introduction = "+string(root), "checkpoint = "+string(old))
		w.want(w.policy(), nil, w.publish(branch("main", old)), "main", OK)
		w.want(w.policy(), nil, w.publish(branch("main", later)), "main", BadTime)

		w.conf.Reset()
		w.conf.WriteString(conf)
		w.repo("introduction = "+string(root), "good = "+string(old))
		w.want(w.policy(), nil, w.publish(branch("main", old)), "main", OK)
	}
}

// signedBy adds a commit on tip with a signature that sign makes.
func (w *world) signedBy(sign func(payload []byte) []byte, tip refs.OID) refs.OID {
	w.t.Helper()
	payload := w.payload(day(2), tip)
	return w.add(KindCommit, withSignature(payload, "gpgsig", armored(w.t, sign([]byte(payload)))))
}

// TestA28WeakAlgorithms: no flag makes a weak hash or algorithm good.
func TestA28WeakAlgorithms(t *testing.T) {
	w := newWorld(t)
	rsa := newPerson(t, "rsa", func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 })
	w.signer(rsa)
	root := w.commit(rsa, day(1))
	w.repo("introduction = " + string(root))
	p := w.policy()
	pins := w.accept(p, nil, w.publish(branch("main", root)))
	good := rsa.sign([]byte("x"), day(2))
	for name, sign := range map[string]func([]byte) []byte{
		"SHA-1":   func(b []byte) []byte { return rsa.sign(b, day(2), func(d *draft) { d.Hash = crypto.SHA1 }) },
		"SHA-224": func(b []byte) []byte { return patched(good, 3, 11) },
		"MD5":     func(b []byte) []byte { return patched(good, 3, 1) },
		"RIPEMD":  func(b []byte) []byte { return patched(good, 3, 3) },
		"DSA":     func(b []byte) []byte { return patched(good, 2, 17) },
		"ElGamal": func(b []byte) []byte { return patched(good, 2, 16) },
		"X25519":  func(b []byte) []byte { return patched(good, 2, 25) },
	} {
		t.Run(name, func(t *testing.T) {
			s := w.publish(branch("main", w.signedBy(sign, root)))
			w.want(p, pins, s, "main", WeakAlgorithm)
			w.want(p.WithRewind(), pins, s, "main", WeakAlgorithm)
		})
	}
	w.want(p, pins, w.publish(branch("main", w.signedBy(func(b []byte) []byte { return rsa.sign(b, day(2)) }, root))), "main", OK)
}

// patched changes one byte of a signature packet's body.
func patched(raw []byte, at int, to byte) []byte {
	raw = bytes.Clone(raw)
	header := len(raw) - len(mustBody(raw))
	raw[header+at] = to
	return raw
}

func mustBody(raw []byte) []byte {
	body, err := onePacket(raw)
	if err != nil {
		panic(err)
	}
	return body
}

// TestA29OneSignature: several signatures, other packets and types, and bytes
// that follow, in the packets and around the armor.
func TestA29OneSignature(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	mallory := newPerson(t, "mallory")
	literal := []byte{0xcb, 0x06, 'b', 0, 0, 0, 0, 0}
	for name, sign := range map[string]func([]byte) []byte{
		"unknown, then good": func(b []byte) []byte { return slices.Concat(mallory.sign(b, day(2)), alice.sign(b, day(2))) },
		"good, then unknown": func(b []byte) []byte { return slices.Concat(alice.sign(b, day(2)), mallory.sign(b, day(2))) },
		"good twice":         func(b []byte) []byte { return slices.Concat(alice.sign(b, day(2)), alice.sign(b, day(2))) },
		"literal before":     func(b []byte) []byte { return slices.Concat(literal, alice.sign(b, day(2))) },
		"literal after":      func(b []byte) []byte { return slices.Concat(alice.sign(b, day(2)), literal) },
		"bytes after":        func(b []byte) []byte { return append(alice.sign(b, day(2)), 0) },
		"text mode": func(b []byte) []byte {
			return alice.sign(b, day(2), func(d *draft) { d.SigType = packet.SigTypeText })
		},
		"certification": func(b []byte) []byte {
			m := alice.standard(day(2))
			m.kind = 0x13
			return alice.forge(b, m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.want(p, pins, w.publish(branch("main", w.signedBy(sign, tip))), "main", BadSignature)
		})
	}
	payload := w.payload(day(2), tip)
	good := armored(t, alice.sign([]byte(payload), day(2)))
	for name, test := range map[string]struct {
		data string
		want Code
	}{
		"good":                 {withSignature(payload, "gpgsig", good), OK},
		"two headers":          {withSignature(withSignature(payload, "gpgsig", good), "gpgsig", good), Malformed},
		"other header":         {withSignature(withSignature(payload, "gpgsig", good), "gpgsig-sha256", good), Malformed},
		"two blocks":           {withSignature(payload, "gpgsig", good+good), BadSignature},
		"text after the armor": {withSignature(payload, "gpgsig", good+"x\n"), BadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			w.want(p, pins, w.publish(branch("main", w.add(KindCommit, test.data))), "main", test.want)
		})
	}
}

// shattered are the first 320 bytes of the two files of https://shattered.io
// (Stevens, Bursztein, Karpman, Albertini, Markov 2017), as far as they agree,
// and then each: two messages with one SHA-1.
const (
	shatteredPrefix = "JVBERi0xLjMKJeLjz9MKCgoxIDAgb2JqCjw8L1dpZHRoIDIgMCBSL0hlaWdodCAzIDAgUi9UeXBlIDQgMCBSL1N1YnR5cGUgNSAwIFIvRmlsdGVyIDYgMCBSL0NvbG9yU3BhY2UgNyAwIFIvTGVuZ3RoIDggMCBSL0JpdHNQZXJDb21wb25lbnQgOD4+CnN0cmVhbQr/2P/+ACRTSEEtMSBpcyBkZWFkISEhISGFL+wJIzl1nDmxocY8TJfh//4B"
	shatteredOne    = "c0bckWa2fhGPApq2IbJWD/nKZ8yox/hbqEx5AwwrPeIY+G2zqQkB1d9FwU8m/t+z3DjpasIv571yjw5FvOBG0jxXD+sUE5i7VS71oKgr4zH+pIA3uLXXHw4zLt+TrDUA603cDezBqGR5DHgsdiFWYN0wl5HQa9CvP5jNpLxGKbE="
	shatteredTwo    = "f0bck6a2fgE7ApqqHbJWC0XKZ9aIx/hLjEx5H+ArPfYU+G2xaQkBxWtFwVMK/t+3YDjpcnIv561yjw5JBOBGwjBXD+nUE5ir4S71vJQr4zVCpIAtmLXXDyozLsN/rDUU503cDyzBqHTNDHgwWiFWZGEwl4lga9C/P5jNqARGKaE="
)

// TestA30Collision hashes two objects that differ and have the same id. No
// collision is known that begins as a git object does, with the name of a kind
// and a length, so the known one stands where the kind does: what is hashed, and
// by whom, is the same.
func TestA30Collision(t *testing.T) {
	w, p, pins, _, tip, _ := published(t)
	for _, rest := range []string{"", "what follows both is free"} {
		var ids []refs.OID
		for _, half := range []string{shatteredOne, shatteredTwo} {
			raw, err := base64.StdEncoding.DecodeString(shatteredPrefix + half)
			if err != nil || len(raw) != 320 {
				t.Fatalf("the fixture has %d bytes, %v", len(raw), err)
			}
			sum := sha1.Sum(slices.Concat(raw, []byte(" "+strconv.Itoa(len(rest))+"\x00"+rest)))
			id := refs.OID(hex.EncodeToString(sum[:]))
			ids = append(ids, id)
			var corrupt *CorruptError
			if _, err := HashObject(refs.SHA1, Kind(raw), []byte(rest)); !errors.As(err, &corrupt) || corrupt.OID != id || !strings.Contains(err.Error(), "attack on SHA-1") {
				t.Errorf("HashObject() = %v, want an attack on SHA-1 named, with the id %s", err, id)
			}
			o := Object{OID: id, Kind: Kind(raw), Data: []byte(rest)}
			if err := o.check(refs.SHA1, id); !errors.As(err, &corrupt) {
				t.Errorf("check() = %v, want a *CorruptError", err)
			}
			if _, err := w.objects.Add(o.Kind, o.Data); err == nil {
				t.Error("a store takes it")
			}
			w.objects.objects[id] = o
			s := w.publish(branch("main", tip), refs.Ref{Name: "refs/tags/v1", OID: id, Peeled: tip})
			if v := w.want(p, pins, s, "v1", Malformed); !strings.Contains(v.Why, "attack on SHA-1") {
				t.Errorf("why = %q, want the attack named", v.Why)
			}
			w.want(p, pins, w.publish(branch("main", id)), "main", Malformed)
			w.want(p, pins, w.publish(branch("main", w.commit(nil, day(2), tip, id))), "main", Malformed)
		}
		if ids[0] != ids[1] {
			t.Fatalf("the fixture is no collision: %v", ids)
		}
	}
}

// TestA30WrongID: an object is what its bytes say, not what it was asked for as.
func TestA30WrongID(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	good, _ := w.objects.Read(w.commit(alice, day(2), tip))
	id := refs.OID(strings.Repeat("1", 40))
	good.OID = id
	w.objects.objects[id] = good
	w.want(p, pins, w.publish(branch("main", id)), "main", Malformed)
	w.want(p, pins, w.publish(branch("main", w.commit(alice, day(3), id))), "main", Malformed)
}

// TestA19RewindByDeletion: a branch that is left out of one snapshot cannot come
// back in the next at a commit that does not contain what was accepted.
func TestA19RewindByDeletion(t *testing.T) {
	w, p, pins, _, tip, alice := published(t)
	next := w.commit(alice, day(2), tip)
	pins = w.accept(p, pins, w.publish(branch("main", next), branch("dev", tip)))
	pins = w.accept(p, pins, w.publish(branch("dev", tip)))
	pins, err := ParsePins(pins.Format())
	if err != nil || pins.Gone["refs/heads/main"] != next {
		t.Fatalf("pins = %+v, %v; want main remembered at %s", pins, err, next)
	}
	later := w.accept(p, pins, w.publish(branch("dev", next)))
	for _, pins := range []*Pins{pins, later, later.WithoutCache()} {
		if v := w.want(p, pins, w.publish(branch("main", tip), branch("dev", next)), "main", Moved); !strings.Contains(v.Hint, "ALLOW_REWIND") {
			t.Errorf("hint = %q, want it to name the way to allow it", v.Hint)
		}
		w.want(p, pins, w.publish(branch("main", w.commit(alice, day(3), tip)), branch("dev", next)), "main", Moved)
		w.want(p, pins, w.publish(branch("main", next), branch("dev", next)), "main", OK)
		w.want(p, pins, w.publish(branch("main", w.commit(alice, day(3), next)), branch("dev", next)), "main", OK)
	}
	back := w.accept(p.WithRewind(), later, w.publish(branch("main", tip), branch("dev", next)))
	if len(back.Gone) != 0 {
		t.Errorf("gone = %v after main came back, want none", back.Gone)
	}
	w.want(p, back, w.publish(branch("main", next), branch("dev", next)), "main", OK)
	// What is remembered is bounded.
	later.Gone = make(map[refs.Name]refs.OID)
	for i := range maxGone {
		later.Gone[refs.Name("refs/heads/x"+strconv.Itoa(i))] = tip
	}
	w.accept(p, later, w.publish(branch("dev", next)))
	d := Decide(p, later, w.publish(), w.objects, now)
	if v := d.Verdicts; len(v) != 1 || v[0].Code != Moved || !strings.Contains(v[0].Hint, "ALLOW_REWIND") {
		t.Errorf("one branch more is %+v, want moved", v)
	}
	if kept := w.accept(p.WithRewind(), later, w.publish()); len(kept.Gone) != 0 {
		t.Errorf("%d are kept, want none", len(kept.Gone))
	}
}

// TestA18TipDescends: in mode tip as well, where trust.conf names an introduction.
func TestA18TipDescends(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	head := w.conf.String()
	root := w.commit(nil, day(1))
	foreign := w.commit(alice, day(2)) // of another project
	middle := w.commit(nil, day(2), root)
	for conf, want := range map[string]Code{"introduction = " + string(root): Moved, "good = " + string(root): OK} {
		w.conf.Reset()
		w.conf.WriteString(head)
		w.repo(conf)
		w.rule("tip", "ref = refs/*", "mode = tip", "signers = alice")
		p := w.policy()
		w.want(p, nil, w.publish(branch("main", w.commit(alice, day(3), middle))), "main", OK)
		w.want(p, nil, w.publish(branch("main", foreign)), "main", want)
		w.want(p, nil, w.publish(w.tag(alice, "v1", day(3), foreign)), "v1", want)
	}
}

// TestA40ChainLaunders: in mode chain, what was accepted once is remembered with
// its first parents alone. What it merged cannot become a branch of its own.
func TestA40ChainLaunders(t *testing.T) {
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	root := w.commit(alice, day(1))
	w.repo("introduction = " + string(root))
	w.rule("chain", "ref = refs/*", "mode = chain", "signers = alice")
	p := w.policy()
	first := w.commit(alice, day(2), root)
	foreign := w.commit(nil, day(2), root)
	merge := w.commit(alice, day(3), first, foreign)
	pins := w.accept(p, nil, w.publish(branch("main", merge)))
	for _, known := range []*Pins{nil, pins, pins.WithoutCache()} {
		w.want(p, known, w.publish(branch("main", merge), branch("x", foreign)), "x", Unsigned)
		w.want(p, known, w.publish(branch("main", merge), branch("x", w.commit(alice, day(4), foreign))), "x", Unsigned)
		w.want(p, known, w.publish(branch("main", merge), branch("x", first)), "x", OK)
		w.want(p, known, w.publish(branch("main", w.commit(alice, day(4), merge))), "main", OK)
	}
}
