package packfile

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
)

// realPack is the pack that GITPEER_PACK names, with the offsets of its entries
// from the .idx beside it.
func realPack(tb testing.TB) (pack []byte, offsets []int64) {
	name := os.Getenv("GITPEER_PACK")
	if name == "" {
		tb.Skip("GITPEER_PACK names no pack")
	}
	pack, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	idx, err := os.ReadFile(strings.TrimSuffix(name, ".pack") + ".idx")
	if err != nil {
		tb.Fatal(err)
	}
	n := int(binary.BigEndian.Uint32(idx[8+255*4:]))
	table := idx[8+1024+24*n:]
	for i := range n {
		offsets = append(offsets, int64(binary.BigEndian.Uint32(table[4*i:])))
	}
	slices.Sort(offsets)
	return pack, append(offsets, int64(len(pack)-20))
}

// BenchmarkInflate inflates every tenth entry of a real pack.
func BenchmarkInflate(b *testing.B) {
	pack, offsets := realPack(b)
	var z inflater
	buf := make([]byte, 64<<20)
	for b.Loop() {
		out := 0
		for i := 0; i < len(offsets)-1; i += 10 {
			at := offsets[i]
			c := pack[at]
			at++
			kind, size, shift := c>>4&7, int(c&15), 4
			for ; c&0x80 != 0; shift += 7 {
				c = pack[at]
				at++
				size |= int(c&0x7f) << shift
			}
			if kind == 6 {
				for c = 0x80; c&0x80 != 0; at++ {
					c = pack[at]
				}
			}
			if n, err := z.inflate(buf[:size], pack[at:offsets[i+1]]); err != nil || at+int64(n) != offsets[i+1] {
				b.Fatal(i, at, err)
			}
			out += size
		}
		b.SetBytes(int64(out))
	}
}
