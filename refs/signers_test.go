package refs

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/keys"
)

// withSigners is the smallest snapshot, with signers.
func withSigners(signers ...string) *Snapshot {
	s := &Snapshot{
		Repository:   Address{Publisher: keys.FromSeed([32]byte{1}).ID(), Name: "tools"},
		Number:       1,
		Time:         time.Date(2026, 11, 22, 5, 6, 7, 0, time.UTC),
		ObjectFormat: SHA1,
	}
	for _, c := range signers {
		s.Signers = append(s.Signers, []byte(c))
	}
	return s
}

func TestSnapshotSignersRoundTrip(t *testing.T) {
	text, err := withSigners("second", "first").Format()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(text), "signer Zmlyc3Q=\nsigner c2Vjb25k\n") {
		t.Errorf("Format = %q, want the signers sorted, in base64, at the end", text)
	}
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Signers) != 2 || string(s.Signers[0]) != "first" {
		t.Errorf("Parse(Format(s)).Signers = %q, want first and second", s.Signers)
	}
	again, err := s.Format()
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("Format(Parse(x)) = %q, %v, want x", again, err)
	}
}

func TestSnapshotSignersRefused(t *testing.T) {
	var limit *LimitError
	if _, err := withSigners(strings.Repeat("x", MaxSignerBytes+1)).Format(); !errors.As(err, &limit) {
		t.Errorf("Format with a signer of %d bytes: %v, want a LimitError", MaxSignerBytes+1, err)
	}
	if _, err := withSigners("same", "same").Format(); err == nil {
		t.Error("Format with a signer listed twice: no error")
	}
	text, err := withSigners("first", "second").Format()
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string]string{
		"not sorted":     strings.Replace(string(text), "signer Zmlyc3Q=\nsigner c2Vjb25k\n", "signer c2Vjb25k\nsigner Zmlyc3Q=\n", 1),
		"empty":          strings.Replace(string(text), "Zmlyc3Q=", "", 1),
		"loose base64":   strings.Replace(string(text), "Zmlyc3Q=", "Zmlyc3R=", 1),
		"two values":     strings.Replace(string(text), "Zmlyc3Q=", "Zmlyc3Q= x", 1),
		"too many":       string(text) + strings.Repeat("signer enp6\n", MaxSigners),
		"after the last": string(text) + "pack\n",
	} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("Parse with signers %s: no error", what)
		}
	}
}

func TestSnapshotLargestSigner(t *testing.T) {
	text, err := withSigners(strings.Repeat("x", MaxSignerBytes)).Format()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text); err != nil {
		t.Errorf("Parse of a signer of %d bytes: %v", MaxSignerBytes, err)
	}
}
