package trust

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/refs"
)

// sqWorld makes commits with an openpgp-policy.toml in their trees.
type sqWorld struct{ *world }

const maintainer = "sign_commit sign_tag sign_archive add_user retire_user audit"

// An sqEntry is a user of a policy.
type sqEntry struct {
	who          *person
	capabilities string
}

func (w sqWorld) tree(good []refs.OID, users ...sqEntry) refs.OID {
	var b strings.Builder
	fmt.Fprintf(&b, "version = 0 # of the format\ncommit_goodlist = [")
	for _, oid := range good {
		fmt.Fprintf(&b, "\n  %q,", oid)
	}
	b.WriteString("]\n\n")
	for _, u := range users {
		fmt.Fprintf(&b, "[authorization.%q]\n", u.who.name)
		for _, c := range strings.Fields(u.capabilities) {
			fmt.Fprintf(&b, "%s = true\n", c)
		}
		var key bytes.Buffer
		a, _ := armor.Encode(&key, "PGP PUBLIC KEY BLOCK", nil)
		a.Write(u.who.public())
		a.Close()
		fmt.Fprintf(&b, "keyring = \"\"\"\n%s\n\"\"\"\n\n", key.String())
	}
	raw, _ := hex.DecodeString(string(w.add(KindBlob, b.String())))
	return w.add(KindTree, "100644 "+sqFile+"\x00"+string(raw))
}

func (w sqWorld) commitTree(p *person, tree refs.OID, parents ...refs.OID) refs.OID {
	return guixWorld{world: w.world}.commitTree(p, tree, parents...)
}

func (w sqWorld) wantSequoia(root, tip refs.OID, code Code) {
	w.t.Helper()
	if v := (SequoiaQuery{ObjectFormat: refs.SHA1, Root: root, Tip: tip}).Examine(w.objects, now); v.Code != code {
		w.t.Errorf("Examine() = %v at %q (%s), want %v", v.Code, v.Commit, v.Why, code)
	}
}

// TestSequoia has the scenarios of sq-git's own tests, made anew.
func TestSequoia(t *testing.T) {
	alice, bob, carol := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "carol")
	w := sqWorld{newWorld(t)}
	a := sqEntry{alice, maintainer}
	b := sqEntry{bob, "sign_commit"}
	justAlice, both := w.tree(nil, a), w.tree(nil, a, b)
	root := w.commitTree(alice, justAlice)

	t.Run("authorized commits", func(t *testing.T) {
		w.wantSequoia(root, root, OK)
		w.wantSequoia(root, w.commitTree(bob, both, w.commitTree(alice, both, root)), OK)
	})
	t.Run("unauthorized commit", func(t *testing.T) {
		w.wantSequoia(root, w.commitTree(bob, justAlice, root), Untrusted)
		w.wantSequoia(root, w.commitTree(nil, justAlice, root), Unsigned)
	})
	t.Run("authorized merge of an unauthorized commit", func(t *testing.T) {
		bobs := w.commitTree(bob, justAlice, root)
		w.wantSequoia(root, w.commitTree(alice, justAlice, root, bobs), OK)
		w.wantSequoia(root, w.commitTree(alice, justAlice, bobs, root), OK) // any parent
		w.wantSequoia(root, w.commitTree(alice, justAlice, bobs), Untrusted)
	})
	t.Run("users and capabilities", func(t *testing.T) {
		grown := w.commitTree(alice, both, root)
		w.wantSequoia(root, w.commitTree(bob, w.tree(nil, a, b, sqEntry{carol, "sign_commit"}), grown), Untrusted)
		w.wantSequoia(root, w.commitTree(bob, w.tree(nil, a, sqEntry{bob, maintainer}), grown), Untrusted)
		w.wantSequoia(root, w.commitTree(bob, justAlice, grown), Untrusted)
		adder := sqEntry{bob, "sign_commit add_user"}
		promoted := w.commitTree(alice, w.tree(nil, a, adder), grown)
		w.wantSequoia(root, w.commitTree(bob, w.tree(nil, a, adder, sqEntry{carol, "sign_commit"}), promoted), OK)
		w.wantSequoia(root, w.commitTree(bob, w.tree(nil, a, adder, sqEntry{carol, "sign_tag"}), promoted), Untrusted)
		w.wantSequoia(root, w.commitTree(alice, justAlice, grown), OK)
	})
	t.Run("no policy", func(t *testing.T) {
		bare := guixWorld{world: w.world}.tree(nil)
		w.wantSequoia(root, w.commitTree(alice, bare, root), OK) // alice may remove it
		w.wantSequoia(root, w.commitTree(alice, bare, w.commitTree(alice, bare, root)), Untrusted)
	})
	t.Run("another history", func(t *testing.T) {
		w.wantSequoia(root, w.commitTree(alice, justAlice), Moved)
	})
	t.Run("hard revocation and good list", func(t *testing.T) {
		dora := newPerson(t, "dora")
		withDora := w.tree(nil, a, sqEntry{dora, "sign_commit"})
		doras := w.commitTree(dora, withDora, w.commitTree(alice, withDora, root))
		w.wantSequoia(root, doras, OK)
		if err := dora.entity.Revoke(packet.KeyCompromised, "", dora.at(day(100))); err != nil {
			t.Fatal(err)
		}
		revoked := w.commitTree(alice, w.tree(nil, a, sqEntry{dora, "sign_commit"}), doras)
		w.wantSequoia(root, revoked, BadTime)
		w.wantSequoia(root, w.commitTree(alice, w.tree([]refs.OID{doras}, a, sqEntry{dora, "sign_commit"}), doras), OK)
		w.wantSequoia(root, w.commitTree(bob, w.tree([]refs.OID{doras}, a, sqEntry{dora, "sign_commit"}), doras), Untrusted)
	})
}

func TestParseTOML(t *testing.T) {
	for text, ok := range map[string]bool{
		"":                            true,
		"a = 1\nb = true # x\n":       true,
		"[x]\n[x.y]\n[x.\"y z\"]\n":   true,
		"a = ['x', \"y\",\n # c\n]\n": true,
		"a = \"\"\"\nx\ny\"\"\"\n":    true,
		"a = 'it\\s'\n":               true,
		"a = 1\na = 2\n":              false,
		"[x]\n[x]\n":                  false,
		"a = \"x\n\"\n":               false,
		"a = \"\"\"x":                 false,
		"a = \"\\u0041\"\n":           false,
		"a = 1979-05-27\n":            false,
		"a = {b = 1}\n":               false,
		"a = [1]\n":                   false,
		"[[x]]\n":                     false,
		"a\n":                         false,
		"= 1\n":                       false,
		"a = 1 2\n":                   false,
	} {
		if tables, err := parseTOML(text); (err == nil) != ok {
			t.Errorf("parseTOML(%q) = %v, %v, want ok %t", text, tables, err, ok)
		}
	}
}

func FuzzTOML(f *testing.F) {
	f.Add("version = 0\ncommit_goodlist = [\"x\"]\n[authorization.\"a\"]\nsign_commit = true\nkeyring = \"\"\"\nx\n\"\"\"\n")
	f.Fuzz(func(t *testing.T, text string) { parseSequoia([]byte(text)) })
}
