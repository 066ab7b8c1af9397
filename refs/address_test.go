package refs

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
)

// addressReasons maps the failure classes of testdata/addresses.txt to what the
// error says.
var addressReasons = map[string]string{
	"petname": "does not start with gp1",
	"form":    "want gitpeer://<publisher>/<name>",
	"id":      "invalid publisher id",
	"host":    "neither a publisher id nor a petname",
	"name":    "invalid repository name",
	"long":    "longer than 160 bytes",
}

// rfcAddress is the address that class ok of testdata/addresses.txt is about.
func rfcAddress(t testing.TB) Address {
	t.Helper()
	id, err := keys.ParseID("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
	if err != nil {
		t.Fatal(err)
	}
	return Address{Publisher: id, Name: "tools"}
}

func TestParseAddressVectors(t *testing.T) {
	want := rfcAddress(t)
	for _, v := range readVectors(t, "addresses.txt") {
		a, err := ParseAddress(v.text)
		host, name, splitErr := SplitURL(v.text)
		if v.class == "ok" {
			if err != nil || a != want {
				t.Errorf("ParseAddress(%q) = %v, %v, want %v", v.text, a, err, want)
			}
			if id, err := keys.ParseID(host); err != nil || id != want.Publisher || name != want.Name || splitErr != nil {
				t.Errorf("SplitURL(%q) = %q, %q, %v", v.text, host, name, splitErr)
			}
			continue
		}
		var addressErr *AddressError
		if a != (Address{}) || !errors.As(err, &addressErr) || !strings.Contains(addressErr.Reason, addressReasons[v.class]) {
			t.Errorf("ParseAddress(%q) = %v, %v, want an AddressError with %q", v.text, a, err, addressReasons[v.class])
		}
		if petname := v.class == "petname"; petname != (splitErr == nil) || petname != (name == "tools") {
			t.Errorf("SplitURL(%q) = %q, %q, %v, want an error: %v", v.text, host, name, splitErr, !petname)
		}
		if wantID := v.class == "id" || v.class == "petname"; wantID != errors.As(err, new(*keys.IDError)) {
			t.Errorf("ParseAddress(%q) = %v, wraps a keys.IDError: want %v", v.text, err, wantID)
		}
	}
}

func TestAddressForms(t *testing.T) {
	a := rfcAddress(t)
	if want := "gitpeer://gp16adfsqvzky9t042tlmfujeq88g8wzuhnm2nzxfd0qgdx3ac82ydq44n5e6/tools"; a.String() != want {
		t.Errorf("String() = %q, want %q", a.String(), want)
	}
	if want := "tools/HEAD"; string(a.Salt()) != want {
		t.Errorf("Salt() = %q, want %q", a.Salt(), want)
	}
	b, err := json.Marshal(a)
	var got Address
	if err != nil || json.Unmarshal(b, &got) != nil || got != a {
		t.Errorf("Unmarshal(%s) = %v, want %v", b, got, a)
	}
	if err := got.UnmarshalText([]byte("x")); !errors.As(err, new(*AddressError)) {
		t.Errorf("UnmarshalText(x) = %v, want an AddressError", err)
	}
	// The longest address and the longest salt fit where they must.
	a.Name = RepoName(strings.Repeat("a", MaxRepoNameBytes))
	if _, err := ParseAddress("gitpeer::gitpeer://" + a.Publisher.Hex() + "/" + string(a.Name)); err != nil {
		t.Errorf("the longest address: %v", err)
	}
	if n := len(a.Salt()); n > 64 {
		t.Errorf("the longest salt has %d bytes, BEP 44 allows 64", n)
	}
}

// The target is that of BEP 44 for a salted mutable item.
func TestTarget(t *testing.T) {
	a := rfcAddress(t)
	// SHA-1 of the key and "tools/HEAD", by sha1sum.
	if got, want := hex.EncodeToString(targetOf(a)), "2ab658cebbb9dcae499f5beced72eb1468ce2c0d"; got != want {
		t.Errorf("Target() = %s, want %s", got, want)
	}
	other := a
	other.Name = "tool"
	if bytes.Equal(targetOf(a), targetOf(other)) {
		t.Error("two repositories have one target")
	}
}

func targetOf(a Address) []byte {
	target := a.Target()
	return target[:]
}

func FuzzParseAddress(f *testing.F) {
	for _, v := range readVectors(f, "addresses.txt") {
		f.Add(v.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, name, err := SplitURL(s)
		a, addressErr := ParseAddress(s)
		if err == nil {
			if strings.HasPrefix(host, "-") || strings.ContainsFunc(host+string(name), func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r) && (r < 'A' || r > 'Z')
			}) {
				t.Errorf("SplitURL(%q) = %q, %q", s, host, name)
			}
			if !strings.HasSuffix(s, host+"/"+string(name)) {
				t.Errorf("SplitURL(%q) = %q, %q, which does not end it", s, host, name)
			}
		}
		if addressErr != nil {
			if !errors.As(addressErr, new(*AddressError)) || a != (Address{}) {
				t.Errorf("ParseAddress(%q) = %v, %v", s, a, addressErr)
			}
			return
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a || a.Name != name {
			t.Errorf("ParseAddress(%q) = %v, then %v, %v", s, a, again, err)
		}
	})
}
