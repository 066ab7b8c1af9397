package swarm

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestParseInfo(t *testing.T) {
	p := pseudo{1, 40_000}
	good := string(p.info(t).Bytes())
	info, err := ParseInfo([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if info.Name() != "pack" || info.Length() != 40_000 || info.PieceLength() != 32<<10 || info.Pieces() != 2 ||
		info.InfoHash() != sha1.Sum([]byte(good)) || string(info.Bytes()) != good {
		t.Errorf("ParseInfo = %+v", info)
	}
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, bad := range map[string]string{
		"empty":                "",
		"not a dictionary":     "i1e",
		"truncated":            good[:len(good)-1],
		"trailing":             good + "e",
		"files":                swap("d6:length", "d5:filesle6:length"),
		"private":              strings.TrimSuffix(good, "e") + "7:privatei1ee",
		"meta version":         swap("4:name", "12:meta versioni2e4:name"),
		"no name":              swap("4:name4:pack", ""),
		"unknown key":          swap("d6:length", "d1:ai1e6:length"),
		"keys out of order":    swap("d6:lengthi40000e4:name4:pack", "d4:name4:pack6:lengthi40000e"),
		"leading zero":         swap("i40000e", "i040000e"),
		"negative":             swap("i40000e", "i-40000e"),
		"minus zero":           swap("i40000e", "i-0e"),
		"huge":                 swap("i40000e", "i99999999999999999999e"),
		"no number":            swap("i40000e", "ie"),
		"zero length":          swap("i40000e", "i0e"),
		"one piece too few":    swap("i40000e", "i70000e"),
		"one piece too many":   swap("i40000e", "i32768e"),
		"piece length odd":     swap("i32768e", "i32769e"),
		"piece length zero":    swap("i32768e", "i0e"),
		"piece length small":   swap("i32768e", "i8192e"),
		"piece length huge":    swap("i32768e", "i33554432e"),
		"pieces not whole":     swap("6:pieces40:", "6:pieces39:"),
		"string length zeros":  swap("4:name4:", "4:name04:"),
		"string too long":      swap("6:pieces40:", "6:pieces41:"),
		"name is a path":       swap("4:pack", "4:a/bc"),
		"name climbs":          swap("4:pack", "2:.."),
		"name is hidden":       swap("4:pack", "4:.git"),
		"name is an option":    swap("4:pack", "3:-rf"),
		"name has a control":   swap("4:pack", "4:a\x00bc"),
		"name has a backslash": swap("4:pack", `4:a\bc`),
		"name is empty":        swap("4:pack", "0:"),
		"name is long":         swap("4:pack", "256:"+strings.Repeat("a", 256)),
		"too long":             good + strings.Repeat("x", MaxInfoBytes),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseInfo([]byte(bad))
			if e := new(InfoError); !errors.As(err, &e) {
				t.Errorf("ParseInfo(%.60q) = %v, want an InfoError", bad, err)
			}
		})
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte("d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae"))
	f.Add([]byte("d6:lengthi40000e4:name4:pack12:piece lengthi16384e6:pieces60:" + strings.Repeat("0123456789", 6) + "e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ParseInfo(b)
		if err == nil && !bytes.Equal(info.Bytes(), b) {
			t.Errorf("ParseInfo(%q).Bytes() = %q", b, info.Bytes())
		}
	})
}

func TestHasher(t *testing.T) {
	for _, test := range []struct{ size, pieceLength int64 }{
		{1, 32 << 10},
		{32 << 10, 32 << 10},
		{32<<10 + 1, 32 << 10},
		{128 << 20, 32 << 10},
		{128<<20 + 1, 128 << 10},
	} {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			p := pseudo{9, test.size}
			info := p.info(t)
			if info.PieceLength() != test.pieceLength || info.Length() != test.size || info.Pieces() > maxPieces {
				t.Errorf("Sum = length %d, piece length %d, %d pieces, want piece length %d",
					info.Length(), info.PieceLength(), info.Pieces(), test.pieceLength)
			}
			buf := make([]byte, test.pieceLength)
			for _, i := range []int{0, info.Pieces() / 2, info.Pieces() - 1} {
				off, length := info.pieceBounds(i)
				p.ReadAt(buf[:length], off)
				if got, want := info.pieceSum(i), sha1.Sum(buf[:length]); got != want {
					t.Errorf("piece %d = %x, want %x", i, got, want)
				}
			}
		})
	}
}

// However the stream is cut, the outcome is the same; and Sum leaves the stream open.
func TestHasherWrites(t *testing.T) {
	p := pseudo{9, 300_001}
	h := NewHasher()
	for r, n := p.reader(), int64(1); ; n = n*3 + 1 {
		m, err := io.CopyN(h, r, n)
		if m > 0 {
			if _, err := h.Sum("pack"); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break
		}
	}
	info, err := h.Sum("pack")
	if err != nil || info.InfoHash() != p.info(t).InfoHash() || h.Size() != p.size || h.SHA256() != p.digest() {
		t.Errorf("Sum = %v, %v; size %d", info, err, h.Size())
	}
	other, _ := h.Sum("other")
	if other.InfoHash() == info.InfoHash() {
		t.Error("the name has no part in the infohash")
	}
	if _, err := NewHasher().Sum("pack"); err == nil {
		t.Error("Sum of nothing succeeds")
	}
	if _, err := h.Sum("../pack"); err == nil {
		t.Error("Sum takes a path for a name")
	}
}
