package announce

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
)

// The vectors of BEP 44. Its private key is an expanded one, which no Go
// signer takes, so they test Verify and Target.
func TestItemVectors(t *testing.T) {
	const key = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548"
	for _, v := range []struct{ salt, sig, target string }{
		{"", "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff" +
			"1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
			"4a533d47ec9c7d95b1ad75f576cffc641853b750"},
		{"foobar", "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d" +
			"df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
			"411eba73b6f087ca51a3795d9c8c938d365e32c1"},
	} {
		item := &Item{Salt: []byte(v.salt), Seq: 1, Value: []byte("12:Hello World!")}
		hex.Decode(item.Key[:], []byte(key))
		hex.Decode(item.Sig[:], []byte(v.sig))
		if err := item.Verify(); err != nil {
			t.Errorf("salt %q: Verify() = %v, want nil", v.salt, err)
		}
		if got := item.Target().String(); got != v.target {
			t.Errorf("salt %q: Target() = %s, want %s", v.salt, got, v.target)
		}
		item.Seq = 2
		if err := item.Verify(); err == nil {
			t.Errorf("salt %q: Verify() = nil with another seq, want an error", v.salt)
		}
	}
}

func testSigner() keys.Signer { return keys.FromSeed([32]byte{7}) }

func TestSignItemRefusesWhatNodesRefuse(t *testing.T) {
	big := fmt.Sprintf("%d:%s", MaxValue-4, strings.Repeat("x", MaxValue-4))
	deep := strings.Repeat("l", maxDepth) + strings.Repeat("e", maxDepth)
	for _, c := range []struct {
		name, salt, value string
		seq               int64
		ok                bool
	}{
		{"largest value", "s", big, 1, true},
		{"value too large", "s", fmt.Sprintf("%d:%s", MaxValue-3, strings.Repeat("x", MaxValue-3)), 1, false},
		{"largest salt", strings.Repeat("s", MaxSalt), "1:x", 1, true},
		{"salt too large", strings.Repeat("s", MaxSalt+1), "1:x", 1, false},
		{"negative seq", "s", "1:x", -1, false},
		{"no salt", "", "de", 0, true},
		{"deepest", "s", deep, 1, true},
		{"too deep", "s", "l" + deep + "e", 1, false},
		{"empty value", "s", "", 1, false},
		{"not bencode", "s", "hello", 1, false},
		{"two values", "s", "1:x1:y", 1, false},
		{"unsorted keys", "s", "d1:bi1e1:ai1ee", 1, false},
		{"equal keys", "s", "d1:ai1e1:ai1ee", 1, false},
		{"integer with leading zero", "s", "i01e", 1, false},
		{"minus zero", "s", "i-0e", 1, false},
		{"length with leading zero", "s", "01:x", 1, false},
		{"truncated string", "s", "5:abc", 1, false},
		{"open list", "s", "li1e", 1, false},
		{"integer key", "s", "di1ei1ee", 1, false},
		{"nested", "s", "d1:ali1e0:de1:bd1:ci-5eee", 1, false},
		{"nested right", "s", "d1:ali1e0:dee1:bd1:ci-5eee", 1, true},
	} {
		item, err := SignItem(testSigner(), []byte(c.salt), c.seq, []byte(c.value))
		if ok := err == nil; ok != c.ok {
			t.Errorf("%s: SignItem(…) = %v, want ok=%v", c.name, err, c.ok)
			continue
		}
		if err != nil {
			if !errors.As(err, new(*ItemError)) {
				t.Errorf("%s: SignItem(…) = %T, want *ItemError", c.name, err)
			}
			continue
		}
		text, err := item.Format()
		if err != nil {
			t.Fatalf("%s: Format() = %v", c.name, err)
		}
		back, err := ParseItem(text)
		if err != nil || !back.Equal(item) {
			t.Errorf("%s: ParseItem(%q) = %v, %v, want the item", c.name, text, back, err)
		}
	}
}

type lyingSigner struct{ keys.Signer }

func (lyingSigner) ID() keys.ID { return keys.FromSeed([32]byte{8}).ID() }

func TestSignItemChecksTheSigner(t *testing.T) {
	if _, err := SignItem(lyingSigner{testSigner()}, nil, 1, []byte("1:x")); err == nil {
		t.Error("SignItem with a signer that has another key = nil, want an error")
	}
}

func TestItemVerifyChecksEachPart(t *testing.T) {
	for name, change := range map[string]func(*Item){
		"key":   func(i *Item) { i.Key = keys.FromSeed([32]byte{8}).ID() },
		"salt":  func(i *Item) { i.Salt = []byte("other") },
		"seq":   func(i *Item) { i.Seq++ },
		"value": func(i *Item) { i.Value = []byte("1:y") },
		"sig":   func(i *Item) { i.Sig[63] ^= 1 },
	} {
		item, err := SignItem(testSigner(), []byte("salt"), 5, []byte("1:x"))
		if err != nil {
			t.Fatal(err)
		}
		change(item)
		if err := item.Verify(); err == nil {
			t.Errorf("Verify() = nil after a change of %s, want an error", name)
		}
	}
}

// What is signed is exactly what BEP 44 says; other nodes compute the same.
func TestItemSignedBytes(t *testing.T) {
	item := &Item{Salt: []byte("tools/HEAD"), Seq: 7, Value: []byte("de")}
	if got, want := string(item.signed()), "4:salt10:tools/HEAD3:seqi7e1:vde"; got != want {
		t.Errorf("signed() = %q, want %q", got, want)
	}
}

func FuzzParseItem(f *testing.F) {
	for _, value := range []string{"de", "d1:ai1ee", "3:abc"} {
		item, err := SignItem(testSigner(), []byte("tools/HEAD"), 1_700_000_000_000, []byte(value))
		if err != nil {
			f.Fatal(err)
		}
		text, err := item.Format()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("d1:k32:"))
	f.Add([]byte("d1:k32:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa4:salt0:3:seqi1e3:sig64:" + strings.Repeat("b", 64) + "1:vdee"))
	f.Add([]byte("d1:a0:1:k32:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa3:seqi1e3:sig64:" + strings.Repeat("b", 64) + "1:vdee"))
	f.Fuzz(func(t *testing.T, text []byte) {
		item, err := ParseItem(text)
		if err != nil {
			return
		}
		back, err := item.Format()
		if err != nil || !bytes.Equal(back, text) {
			t.Errorf("Format(ParseItem(%q)) = %q, %v", text, back, err)
		}
	})
}
