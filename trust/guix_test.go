package trust

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// guixWorld makes commits with a .guix-authorizations in their trees.
type guixWorld struct {
	*world
	people []*person
}

// tree adds a tree whose file lists people; with nil it has another file only.
func (w guixWorld) tree(authorized []*person) refs.OID {
	file, content := guixFile, "; who may commit\n(authorizations (version 0)\n ("
	for _, p := range authorized {
		fpr := p.cert().Fingerprint
		content += fmt.Sprintf("(%q (name %q))\n", fpr[:20]+" "+strings.ToLower(fpr[20:]), p.name)
	}
	content += "))\n"
	if authorized == nil {
		file, content = "README", "nothing"
	}
	blob := w.add(KindBlob, content)
	raw, _ := hex.DecodeString(string(blob))
	return w.add(KindTree, "100644 "+file+"\x00"+string(raw))
}

func (w guixWorld) commitTree(p *person, tree refs.OID, parents ...refs.OID) refs.OID {
	payload := strings.Replace(w.payload(day(1), parents...), emptyTree, string(tree), 1)
	if p == nil {
		return w.add(KindCommit, payload)
	}
	return w.add(KindCommit, withSignature(payload, "gpgsig", armored(w.t, p.sign([]byte(payload), day(1)))))
}

func (w guixWorld) wantGuix(intro, tip refs.OID, code Code, at refs.OID) {
	w.t.Helper()
	var ring []*keys.Certificate
	for _, p := range w.people {
		ring = append(ring, p.cert())
	}
	q := GuixQuery{ObjectFormat: refs.SHA1, Introduction: intro, Signer: ring[0].Fingerprint, Tip: tip, Keyring: ring}
	if v := q.Examine(w.objects, now); v.Code != code || v.Commit != at {
		w.t.Errorf("Examine() = %v at %q (%s), want %v at %q", v.Code, v.Commit, v.Why, code, at)
	}
}

// TestGuix has the scenarios of guix's own tests of git-authenticate, made
// anew.
func TestGuix(t *testing.T) {
	alice, bob, stranger := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "stranger")
	w := guixWorld{newWorld(t), []*person{alice, bob}}
	both, justAlice, nobody, none := w.tree([]*person{alice, bob}), w.tree([]*person{alice}), w.tree([]*person{}), w.tree(nil)
	intro := w.commitTree(alice, justAlice)
	grown := w.commitTree(alice, both, intro)

	t.Run("unsigned commit", func(t *testing.T) {
		c := w.commitTree(nil, both, grown)
		w.wantGuix(intro, w.commitTree(alice, both, c), Unsigned, c)
	})
	t.Run("signed by an unknown key", func(t *testing.T) {
		c := w.commitTree(stranger, both, grown)
		w.wantGuix(intro, c, Untrusted, c)
	})
	t.Run("authorized in time", func(t *testing.T) {
		w.wantGuix(intro, w.commitTree(bob, both, grown), OK, "")
		early := w.commitTree(bob, both, intro)
		w.wantGuix(intro, early, Untrusted, early)
	})
	t.Run("introduction by another key", func(t *testing.T) {
		bobs := w.commitTree(bob, both)
		w.wantGuix(bobs, w.commitTree(bob, both, bobs), Untrusted, bobs)
	})
	t.Run("authorizations emptied", func(t *testing.T) {
		empty := w.commitTree(alice, nobody, grown)
		w.wantGuix(intro, empty, OK, "")
		third := w.commitTree(alice, both, empty)
		w.wantGuix(intro, third, Untrusted, third)
	})
	t.Run("merge of an unauthorized commit", func(t *testing.T) {
		shrunk := w.commitTree(alice, justAlice, grown)
		bobs := w.commitTree(bob, justAlice, shrunk)
		mine := w.commitTree(alice, justAlice, shrunk)
		w.wantGuix(intro, w.commitTree(alice, justAlice, mine, bobs), Untrusted, bobs)
	})
	t.Run("merge by one whom only one side authorizes", func(t *testing.T) {
		shrunk := w.commitTree(alice, justAlice, grown)
		merge := w.commitTree(bob, both, w.commitTree(bob, both, grown), shrunk)
		w.wantGuix(intro, merge, Untrusted, merge)
	})
	t.Run("authorized merge", func(t *testing.T) {
		w.wantGuix(intro, w.commitTree(bob, both, w.commitTree(bob, both, grown), w.commitTree(alice, both, grown)), OK, "")
	})
	t.Run("file removed", func(t *testing.T) {
		c := w.commitTree(alice, none, grown)
		w.wantGuix(intro, c, Untrusted, c)
	})
	t.Run("second root", func(t *testing.T) {
		root := w.commitTree(alice, both)
		w.wantGuix(intro, w.commitTree(alice, both, grown, root), Untrusted, root)
	})
	t.Run("before the introduction", func(t *testing.T) {
		w.wantGuix(grown, intro, Moved, intro)
		w.wantGuix(intro, intro, OK, "")
	})
	t.Run("expiry does not count", func(t *testing.T) {
		future := day(5000)
		payload := strings.Replace(w.payload(future, grown), emptyTree, string(both), 1)
		c := w.add(KindCommit, withSignature(payload, "gpgsig", armored(t, alice.sign([]byte(payload), future))))
		w.wantGuix(intro, c, OK, "")
	})
}

func TestParseGuix(t *testing.T) {
	for text, ok := range map[string]bool{
		`(authorizations (version 0) ())`:                                true,
		`(authorizations (version 0) (("AB CD" (name "x") (more (y)))))`: true,
		`(authorizations (version 1) ())`:                                false,
		`(authorizations (version 0))`:                                   false,
		`(authorizations (version 0) (("AB")) ("CD"))`:                   false,
		`(authorizations (version 0) ((AB)))`:                            false,
		`(authorizations (version 0) ()) x`:                              false,
		`(authorizations (version 0) (`:                                  false,
		`authorizations`:                                                 false,
		``:                                                               false,
		strings.Repeat("(", 100000):                                      false,
	} {
		if l, err := parseGuix([]byte(text)); (err == nil) != ok {
			t.Errorf("parseGuix(%.60q) = %v, %v, want ok %t", text, l, err, ok)
		}
	}
}

func FuzzGuix(f *testing.F) {
	f.Add([]byte(`(authorizations (version 0) (("AB CD" (name "x"))))`))
	f.Fuzz(func(t *testing.T, text []byte) { parseGuix(text) })
}
