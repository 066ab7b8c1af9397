package refs

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/gitpeer/gitpeer/keys"
)

// rfcSigner is the key of RFC 8032 §7.1, TEST 1.
func rfcSigner(t testing.TB) keys.Signer {
	t.Helper()
	seed, err := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	if err != nil {
		t.Fatal(err)
	}
	return keys.FromSeed([32]byte(seed))
}

// testdata/note.txt is the snapshot "ok three publications" of
// testdata/snapshots.txt, signed with the key of RFC 8032 §7.1, TEST 1.
func TestNoteVector(t *testing.T) {
	want, err := os.ReadFile("testdata/note.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := sample(t)
	got, err := Sign(s, rfcSigner(t))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Sign = %q, %v, want %q", got, err, want)
	}
	opened, err := Open(want, rfcAddress(t))
	if err != nil || !reflect.DeepEqual(opened, s) {
		t.Errorf("Open = %v, %v, want %v", opened, err, s)
	}
	if got, want := DigestOf(want).String(), "ec8bc19c5f51289ee0739afc30e9dd1b37939eaf65778359a4dc1a42ef28feaf"; got != want {
		t.Errorf("DigestOf = %s, want %s", got, want)
	}
}

// Any C2SP implementation can check a snapshot: here with the ordinary
// verifier of x/mod, from the publisher's ordinary verifier key.
func TestNoteIsOrdinary(t *testing.T) {
	signed, err := Sign(sample(t), rfcSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	id := rfcAddress(t).Publisher
	vkey, err := note.NewEd25519VerifierKey(id.String(), id[:])
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil || len(n.Sigs) != 1 {
		t.Errorf("note.Open = %v, %v, want one signature", n, err)
	}
	if ours := (noteKey{id: id}); ours.KeyHash() != v.KeyHash() || ours.Name() != v.Name() {
		t.Errorf("key %s+%08x, want %s+%08x", ours.Name(), ours.KeyHash(), v.Name(), v.KeyHash())
	}
	if len(signed)-len(n.Text) != maxSignatureBytes {
		t.Errorf("a signature adds %d bytes, want %d", len(signed)-len(n.Text), maxSignatureBytes)
	}
}

// resign signs any text as a note of the key, as an implementation that checks
// nothing would.
func resign(t testing.TB, text string, k keys.Signer) string {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, noteKey{k.ID(), k})
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

func TestOpenRefuses(t *testing.T) {
	mine, other := rfcSigner(t), keys.FromSeed([32]byte{2})
	a := rfcAddress(t)
	good, err := Sign(sample(t), mine)
	if err != nil {
		t.Fatal(err)
	}
	text, line := string(good[:len(good)-maxSignatureBytes]), string(good[len(good)-maxSignatureBytes+1:])
	foreign := resign(t, text, other)
	foreignLine := foreign[len(text)+1:]
	raw, err := base64.StdEncoding.DecodeString(line[strings.LastIndex(line, " ")+1 : len(line)-1])
	if err != nil {
		t.Fatal(err)
	}
	spell := func(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }
	flip := func(i int) string {
		b := bytes.Clone(raw)
		b[i] ^= 1
		return text + "\n" + strings.Replace(line, spell(raw), spell(b), 1)
	}
	// 68 bytes end in a group "xxx=" whose last digit has two bits to spare.
	lax := line[:len(line)-3] + string(line[len(line)-3]+1) + "=\n"
	if same, err := base64.StdEncoding.DecodeString(lax[strings.LastIndex(lax, " ")+1 : len(lax)-1]); err != nil || !bytes.Equal(same, raw) {
		t.Fatalf("%q is not another spelling of %q", lax, line)
	}
	for name, signed := range map[string]string{
		"empty":                "",
		"no signature":         text,
		"no signature line":    text + "\n",
		"signature bit":        flip(20),
		"last bit":             flip(67),
		"key hash":             flip(0),
		"text":                 strings.Replace(string(good), "number 3", "number 4", 1),
		"by another":           foreign,
		"another's name":       text + "\n" + strings.Replace(foreignLine, other.ID().String(), mine.ID().String(), 1),
		"twice":                string(good) + line,
		"also by another":      string(good) + foreignLine,
		"another first":        foreign + line,
		"base64 with bits":     text + "\n" + lax,
		"base64 cut":           text + "\n" + strings.TrimSuffix(line, "=\n") + "\n",
		"two spaces":           text + "\n" + strings.Replace(line, " gp1", "  gp1", 1),
		"other dash":           text + "\n" + strings.Replace(line, "—", "-", 1),
		"no newline":           strings.TrimSuffix(string(good), "\n"),
		"trailing line":        string(good) + "\n",
		"carriage return":      strings.ReplaceAll(string(good), "\n", "\r\n"),
		"control character":    resignNothing(text, "\x00"),
		"two empty lines":      text + "\n\n" + line,
		"signature of nothing": resign(t, "\n", other),
	} {
		if s, err := Open([]byte(signed), a); s != nil || !errors.Is(err, ErrSignature) {
			t.Errorf("%s: Open = %v, %v, want ErrSignature", name, s, err)
		}
	}
	// What is genuine is parsed like any other text.
	for class, signed := range map[string]string{
		"misplaced": resign(t, text+"more\n", mine),
		"first":     resign(t, "\n", mine),
		"version":   resign(t, "gitpeer-snapshot v2\n", mine),
	} {
		if s, err := Open([]byte(signed), a); s != nil || errors.Is(err, ErrSignature) || err == nil || !strings.Contains(err.Error(), snapshotReasons[class]) {
			t.Errorf("%s: Open = %v, %v, want an error with %q", class, s, err, snapshotReasons[class])
		}
	}
	var limit *LimitError
	if s, err := Open(make([]byte, MaxSnapshotBytes+1), a); s != nil || !errors.As(err, &limit) {
		t.Errorf("17 MiB: Open = %v, %v, want a LimitError", s, err)
	}
}

// resignNothing puts s into the text without signing it again.
func resignNothing(text, s string) string { return s + text + "\n— x AAAAAAAAAA==\n" }

// TRUST row A7: a snapshot of one repository is not one of another of the same
// publisher.
func TestOpenOtherRepository(t *testing.T) {
	signed, err := Sign(sample(t), rfcSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	want := rfcAddress(t)
	want.Name = "tool"
	var wrong *RepositoryError
	if s, err := Open(signed, want); s != nil || !errors.As(err, &wrong) || wrong.Got != rfcAddress(t) || wrong.Want != want {
		t.Errorf("Open = %v, %v, want a RepositoryError", s, err)
	}
}

// lyingSigner claims to be one publisher and signs as another.
type lyingSigner struct {
	keys.Signer
	id keys.ID
}

func (s lyingSigner) ID() keys.ID { return s.id }

// brokenSigner cannot sign.
type brokenSigner struct{ keys.Signer }

var errBroken = errors.New("agent gone")

func (brokenSigner) Sign([]byte) ([]byte, error) { return nil, errBroken }

func TestSignRefuses(t *testing.T) {
	s := sample(t)
	for name, c := range map[string]struct {
		k    keys.Signer
		want error
	}{
		"another publisher": {keys.FromSeed([32]byte{2}), ErrSignature},
		"lying agent":       {lyingSigner{keys.FromSeed([32]byte{2}), s.Repository.Publisher}, ErrSignature},
		"broken agent":      {brokenSigner{rfcSigner(t)}, errBroken},
	} {
		if b, err := Sign(s, c.k); b != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: Sign = %q, %v, want %v", name, b, err, c.want)
		}
	}
	s.Number = 0
	if b, err := Sign(s, rfcSigner(t)); b != nil || err == nil {
		t.Errorf("no number: Sign = %q, %v, want an error", b, err)
	}
}

func FuzzOpen(f *testing.F) {
	k := rfcSigner(f)
	a := rfcAddress(f)
	for _, v := range readSnapshots(f) {
		f.Add([]byte(v.text), []byte(nil))
	}
	good, err := Sign(sample(f), k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(nil), good)
	f.Add([]byte(nil), append(good, good[len(good)-maxSignatureBytes+1:]...))
	// text is signed first, for without the key nothing comes past the
	// signature; tail is opened as it is.
	f.Fuzz(func(t *testing.T, text, tail []byte) {
		signed := tail
		if len(text) > 0 && text[len(text)-1] == '\n' {
			signed = append([]byte(resign(t, string(text), k)), tail...)
		}
		s, err := Open(signed, a)
		if err != nil {
			return
		}
		if again, err := Sign(s, k); err != nil || !bytes.Equal(again, signed) {
			t.Errorf("Sign(Open(%q)) = %q, %v", signed, again, err)
		}
	})
}
