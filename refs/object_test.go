package refs

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseOID(t *testing.T) {
	sha1, sha256 := strings.Repeat("0a", 20), strings.Repeat("f9", 32)
	for _, c := range []struct {
		text   string
		format ObjectFormat
		ok     bool
	}{
		{sha1, SHA1, true},
		{sha256, SHA256, true},
		{strings.Repeat("0", 40), SHA1, true},
		{sha1, SHA256, false},
		{sha256, SHA1, false},
		{sha1, "", false},
		{"", "", false},
		{"", SHA1, false},
		{sha1[1:], SHA1, false},
		{sha1 + "0", SHA1, false},
		{strings.ToUpper(sha1), SHA1, false},
		{"g" + sha1[1:], SHA1, false},
		{" " + sha1[1:], SHA1, false},
		{"-" + sha1[1:], SHA1, false},
		{sha1[1:] + "\n", SHA1, false},
	} {
		o, err := ParseOID(c.text, c.format)
		if c.ok && (err != nil || string(o) != c.text) || !c.ok && (err == nil || o != "") {
			t.Errorf("ParseOID(%q, %q) = %q, %v, want ok %v", c.text, c.format, o, err, c.ok)
		}
	}
	for o, want := range map[OID]bool{"": true, OID(strings.Repeat("0", 40)): true, OID(strings.Repeat("0", 64)): true, OID(sha1): false} {
		if o.IsZero() != want {
			t.Errorf("%q.IsZero() = %v, want %v", o, !want, want)
		}
	}
}

func TestObjectFormat(t *testing.T) {
	for s, length := range map[string]int{"sha1": 20, "sha256": 32} {
		if f, err := ParseObjectFormat(s); err != nil || f.Len() != length || f.HexLen() != 2*length {
			t.Errorf("ParseObjectFormat(%q) = %q of %d bytes, %v, want %d", s, f, f.Len(), err, length)
		}
	}
	for _, s := range []string{"", "SHA1", "md5", "sha1 "} {
		if f, err := ParseObjectFormat(s); err == nil || f != "" {
			t.Errorf("ParseObjectFormat(%q) = %q, want an error", s, f)
		}
	}
}

func TestHashes(t *testing.T) {
	type hashes struct {
		InfoHash InfoHash
		Digest   Digest
	}
	want := hashes{InfoHash{1, 0xab}, Digest{2, 0xcd}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if text := `{"InfoHash":"01ab` + strings.Repeat("0", 36) + `","Digest":"02cd` + strings.Repeat("0", 60) + `"}`; string(b) != text {
		t.Errorf("Marshal = %s, want %s", b, text)
	}
	var got hashes
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("Unmarshal = %v, %v, want %v", got, err, want)
	}
	for _, s := range []string{"", "01ab", strings.Repeat("A", 40), strings.Repeat("A", 64), strings.Repeat("0", 39) + "x", strings.Repeat("0", 63) + "\n"} {
		if h, err := ParseInfoHash(s); err == nil || h != (InfoHash{}) {
			t.Errorf("ParseInfoHash(%q) = %v, %v, want an error", s, h, err)
		}
		if d, err := ParseDigest(s); err == nil || !d.IsZero() {
			t.Errorf("ParseDigest(%q) = %v, %v, want an error", s, d, err)
		}
	}
	// SHA-256 of nothing.
	if got, want := DigestOf(nil).String(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; got != want {
		t.Errorf("DigestOf(nil) = %s, want %s", got, want)
	}
}
