package keys

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// reasons maps the failure classes of testdata/ids.txt to what the error says.
var reasons = map[string]string{
	"checksum":    "wrong checksum",
	"padding":     "wrong padding",
	"case":        "mixed upper and lower case",
	"charset":     "invalid character",
	"length":      "characters, want 61",
	"prefix":      "does not start with gp1",
	"hexadecimal": "not hexadecimal",
	"weak":        "weak key",
}

func readVectors(t testing.TB) [][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/ids.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.Fields(line))
		}
	}
	return out
}

func TestParseIDVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		class, text := v[0], v[1]
		id, err := ParseID(text)
		if class == "ok" {
			if err != nil || id.Hex() != v[2] {
				t.Errorf("ParseID(%q) = %s, %v, want %s", text, id.Hex(), err, v[2])
			}
			continue
		}
		var idErr *IDError
		if !errors.As(err, &idErr) || !strings.Contains(idErr.Reason, reasons[class]) || idErr.Text != text {
			t.Errorf("ParseID(%q) = %v, want an IDError with %q", text, err, reasons[class])
		}
	}
}

func TestParseIDEmpty(t *testing.T) {
	for _, text := range []string{"", "1", "gp", strings.Repeat("q", 1<<20)} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("ParseID(%.20q) = %v, want an error", text, id)
		} else if len(err.Error()) > 300 {
			t.Errorf("ParseID(%.20q): error of %d bytes", text, len(err.Error()))
		}
	}
}

// Every single mistyped character and every transposition is found.
func TestIDChecksumFindsTypos(t *testing.T) {
	good := FromSeed([32]byte{7}).ID().String()
	for i := 3; i < len(good); i++ {
		for _, c := range []byte(bech32Charset) {
			bad := good[:i] + string(c) + good[i+1:]
			if id, err := ParseID(bad); bad != good && err == nil {
				t.Fatalf("ParseID(%q) = %v, want an error", bad, id)
			}
		}
		if i+1 < len(good) && good[i] != good[i+1] {
			bad := good[:i] + string(good[i+1]) + string(good[i]) + good[i+2:]
			if id, err := ParseID(bad); err == nil {
				t.Fatalf("ParseID(%q) = %v, want an error", bad, id)
			}
		}
	}
}

func TestIDForms(t *testing.T) {
	id := FromSeed([32]byte{1}).ID()
	if want := id.String()[:16] + "…" + id.String()[53:]; id.Short() != want {
		t.Errorf("Short() = %q, want %q", id.Short(), want)
	}
	if id.IsZero() || !(ID{}).IsZero() {
		t.Error("IsZero is wrong")
	}
	type holder struct{ Publisher, None ID }
	b, err := json.Marshal(holder{Publisher: id})
	if want := `{"Publisher":"` + id.String() + `","None":""}`; err != nil || string(b) != want {
		t.Fatalf("Marshal = %s, %v, want %s", b, err, want)
	}
	var got holder
	if err := json.Unmarshal(b, &got); err != nil || got != (holder{Publisher: id}) {
		t.Errorf("Unmarshal = %v, %v, want the id and the zero id", got, err)
	}
	if err := got.None.UnmarshalText([]byte("gp1x")); !errors.As(err, new(*IDError)) {
		t.Errorf("UnmarshalText(gp1x) = %v, want an IDError", err)
	}
}

// RFC 8032 §7.1, TEST 1.
func TestFromSeedVector(t *testing.T) {
	seed, _ := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	s := FromSeed([32]byte(seed))
	if want := "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"; s.ID().Hex() != want {
		t.Fatalf("ID() = %s, want %s", s.ID().Hex(), want)
	}
	sig, err := s.Sign(nil)
	want := "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
	if err != nil || hex.EncodeToString(sig) != want {
		t.Errorf("Sign = %x, %v, want %s", sig, err, want)
	}
	if !s.ID().Verify(nil, sig) || s.ID().Verify([]byte("x"), sig) || s.ID().Verify(nil, sig[:63]) {
		t.Error("Verify is wrong")
	}
}

// Under each weak key that is a point, one signature made without any private
// key verifies for one message in order-many; ID.Verify accepts none.
func TestWeakKeysCanBeForged(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1 // R is the neutral element, s is zero
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	} {
		raw, _ := hex.DecodeString(y)
		id, accepted := ID(raw), false
		for i := range 256 {
			message := []byte{byte(i)}
			accepted = accepted || ed25519.Verify(id[:], message, forged)
			if id.Verify(message, forged) {
				t.Errorf("%s: Verify accepts a forgery", y)
			}
		}
		if !accepted {
			t.Errorf("%s is refused as weak, but cannot be forged", y)
		}
	}
	for i := range 100 {
		if id := FromSeed([32]byte{byte(i)}).ID(); id.isWeak() {
			t.Errorf("%v is refused as weak", id)
		}
	}
}

// The vectors of BIP-173.
func TestBech32Vectors(t *testing.T) {
	for _, s := range []string{
		"A12UEL5L",
		"a12uel5l",
		"an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
		"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
		"11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
		"split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
		"?1ezyfcl",
	} {
		if _, _, err := bech32Groups(s); err != nil {
			t.Errorf("bech32Groups(%q) = %v, want no error", s, err)
		}
	}
	for s, want := range map[string]error{
		"\x201nwldj5": errBech32Charset,
		"\x7f1axkwrx": errBech32Charset,
		"\x801eym55h": errBech32Charset,
		"an84characterslonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1569pvx": errBech32Length,
		"pzry9x0s0muk":  errBech32Separator,
		"1pzry9x0s0muk": errBech32Separator,
		"x1b4n0q5v":     errBech32Charset,
		"li1dgmt3":      errBech32Length,
		"de1lg7wt\xff":  errBech32Charset,
		"A1G7SGD8":      errBech32Checksum,
		"10a06t8":       errBech32Separator,
		"1qzzfhee":      errBech32Separator,
	} {
		if _, _, err := bech32Groups(s); !errors.Is(err, want) {
			t.Errorf("bech32Groups(%q) = %v, want %v", s, err, want)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v[1])
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			if !errors.As(err, new(*IDError)) || !id.IsZero() {
				t.Errorf("ParseID(%q) = %v, %v, want the zero id and an IDError", s, id, err)
			}
			return
		}
		lower := strings.ToLower(s)
		if lower != id.String() && lower != id.Hex() {
			t.Errorf("ParseID(%q) = %v, which is neither form of it", s, id)
		}
		if again, err := ParseID(id.String()); err != nil || again != id {
			t.Errorf("ParseID(%q) = %v, %v, want itself", id.String(), again, err)
		}
	})
}
