package trust

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

func FuzzSplitCommit(f *testing.F) {
	w := newWorld(f)
	alice := newPerson(f, "alice")
	payload := w.payload(day(1), refs.OID(strings.Repeat("1", 40)))
	f.Add([]byte(payload))
	f.Add([]byte(withSignature(payload, "gpgsig", armored(f, alice.sign([]byte(payload), day(1))))))
	f.Add([]byte(strings.Replace(payload, "\n\n", "\nencoding x\nmergetag object 1\n type commit\n\n", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := splitCommit(refs.SHA1, data)
		if err != nil {
			return
		}
		if s.signature == nil {
			if !bytes.Equal(s.payload(), data) {
				t.Errorf("an unsigned commit's payload is not the commit")
			}
			return
		}
		// The signature, put back at its place, gives the commit again.
		header := "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(string(s.signature), "\n"), "\n", "\n ") + "\n"
		if got := string(s.before) + header + string(s.after); got != string(data) {
			t.Errorf("before + signature + after = %q, want %q", got, data)
		}
	})
}

func FuzzSplitTag(f *testing.F) {
	head := "object " + strings.Repeat("1", 40) + "\ntype commit\ntag v1\ntagger A <a@b> 1 +0000\n\ntext\n"
	f.Add([]byte(head))
	f.Add([]byte(head + pgpBegin + "\n\nAAEC\n" + pgpEnd + "\n"))
	f.Add([]byte(head + sshBegin + "\nAAEC\n" + sshEnd + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := splitTag(refs.SHA1, data)
		if err == nil && string(s.before)+string(s.signature) != string(data) {
			t.Errorf("before + signature = %q + %q, want %q", s.before, s.signature, data)
		}
	})
}

func FuzzSignature(f *testing.F) {
	alice := newPerson(f, "alice")
	f.Add([]byte(armored(f, alice.sign([]byte("x"), day(1)))))
	f.Add([]byte(armored(f, alice.forge([]byte("x"), alice.standard(day(1))))))
	f.Add([]byte(sshBegin + "\nU1NIU0lH\n" + sshEnd + "\n"))
	key := alice.cert().Keys[0]
	f.Fuzz(func(t *testing.T, text []byte) {
		if raw, err := dearmorPGP(text); err == nil {
			checkPGP(t, raw, key)
		}
		if raw, err := dearmorSSH(text); err == nil {
			parseSSH(raw)
		}
	})
}

func FuzzPacket(f *testing.F) {
	alice := newPerson(f, "alice")
	f.Add(alice.sign([]byte("x"), day(1)))
	f.Add(alice.forge([]byte("x"), alice.standard(day(1))))
	f.Add([]byte{0xc2, 6, 6, 0, 22, 10, 0x7f, 0xff})
	key := alice.cert().Keys[0]
	f.Fuzz(func(t *testing.T, raw []byte) { checkPGP(t, raw, key) })
}

// checkPGP parses a packet, and if that works runs the library's parser as
// verify does.
func checkPGP(t *testing.T, raw []byte, key *keys.SigningKey) {
	sig, err := parsePGP(raw)
	if err != nil {
		return
	}
	if sig.created.IsZero() || sig.issuer() == "" || sig.hash == 0 {
		t.Errorf("parsePGP(%x) = %+v, which lacks something", raw, sig)
	}
	if err := sig.verify(key, []byte("other payload")); err == nil {
		t.Errorf("a signature on something else verifies")
	}
}

func FuzzSSHSignature(f *testing.F) {
	f.Add([]byte("SSHSIG\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, err := parseSSH(raw); err == nil && s.fingerprint == "" {
			t.Errorf("parseSSH(%x) = %+v without a key", raw, s)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add("[gitpeer]\n\tversion = 1\n")
	f.Add(example)
	f.Add("[a \"b\"] # c\nk = \"v # \\\" \\\\\" ; x\n")
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := parseDocument(text)
		if err != nil {
			return
		}
		if got := doc.String(); got != text {
			t.Errorf("String() = %q, want %q", got, text)
		}
		compile(doc, func(string) ([]byte, error) { return nil, ErrMissing })
		// What is set is read back, and everything else stays.
		doc.set("repo", "fuzz", "url", `x "y" \ # z`)
		again, err := parseDocument(doc.String())
		if err != nil {
			t.Fatalf("after set: %v", err)
		}
		i, last, ok := again.find("repo", "fuzz")
		if !ok || !slices.ContainsFunc(again.lines[i:last], func(l configLine) bool { return l.key == "url" && l.value == `x "y" \ # z` }) {
			t.Errorf("after set: %q, which lacks what was set", again.String())
		}
	})
}

func FuzzPins(f *testing.F) {
	w := newWorld(f)
	f.Add(string((&Pins{Repository: w.address, Seq: 7, Number: 3, Seen: now, Introduction: []refs.OID{emptyTree},
		Refs:          map[refs.Name]Pin{"refs/heads/main": {OID: emptyTree}, "refs/tags/v1": {OID: emptyTree, Peeled: emptyTree, Rule: refs.Digest{1}}},
		Authenticated: []Authenticated{{refs.Digest{1}, emptyTree, 5}}}).Format()))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePins([]byte(text))
		if err == nil && string(p.Format()) != text {
			t.Errorf("Format(ParsePins(x)) = %q, want %q", p.Format(), text)
		}
	})
}
