package packfile

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"testing"
)

// deflated are streams of every kind of block.
func deflated(tb testing.TB) (plain, packed [][]byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 2, 7, 64, 300, 1000, 5000, 70_000, 300_000} {
		for _, alphabet := range []int{1, 2, 5, 40, 256} {
			p := make([]byte, size)
			for i := range p {
				if p[i] = byte(r.IntN(alphabet) * 3); i > 50 && r.IntN(4) > 0 {
					p[i] = p[i-1-r.IntN(50)]
				}
			}
			for _, level := range []int{0, 1, 6, 9, flate.HuffmanOnly} {
				var b bytes.Buffer
				w, err := zlib.NewWriterLevel(&b, level)
				if err != nil {
					tb.Fatal(err)
				}
				w.Write(p[:size/3])
				if level == 1 {
					w.Flush()
				}
				w.Write(p[size/3:])
				w.Close()
				plain, packed = append(plain, p), append(packed, b.Bytes())
			}
		}
	}
	return plain, packed
}

func TestInflate(t *testing.T) {
	var z inflater
	plain, packed := deflated(t)
	for i, in := range packed {
		for _, tail := range []string{"", "x", "more than eight bytes of something else"} {
			got := make([]byte, len(plain[i]))
			n, err := z.inflate(got, append(bytes.Clone(in), tail...))
			if err != nil || n != len(in) || !bytes.Equal(got, plain[i]) {
				t.Fatalf("stream %d of %d bytes, %d behind it: inflate = %d, %v, want %d", i, len(plain[i]), len(tail), n, err, len(in))
			}
		}
	}
}

func TestInflateRefuses(t *testing.T) {
	var z inflater
	plain, packed := deflated(t)
	for i, in := range packed {
		if len(in) > 2000 {
			continue
		}
		for cut := range in {
			if _, err := z.inflate(make([]byte, len(plain[i])), in[:cut]); err == nil {
				t.Fatalf("stream %d cut off after %d of %d bytes is accepted", i, cut, len(in))
			}
		}
		for _, size := range []int{len(plain[i]) - 1, len(plain[i]) + 1} {
			if size < 0 {
				continue
			}
			if _, err := z.inflate(make([]byte, size), in); err == nil {
				t.Fatalf("stream %d of %d bytes is accepted as %d", i, len(plain[i]), size)
			}
		}
	}
}

// What the inflater accepts, zlib accepts, with the same result; and it accepts
// all that a compressor makes.
func FuzzInflate(f *testing.F) {
	plain, packed := deflated(f)
	for i, in := range packed {
		if len(in) < 3000 {
			f.Add(in, uint16(len(plain[i])))
		}
	}
	var z inflater
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		got := make([]byte, size)
		if n, err := z.inflate(got, in); err == nil {
			src := bytes.NewReader(in)
			zr, err := zlib.NewReader(src)
			if err != nil {
				t.Fatal(err)
			}
			want, err := io.ReadAll(zr)
			if err != nil || n != len(in)-src.Len() || !bytes.Equal(got, want) {
				t.Fatalf("inflate = %d, nil; zlib: %v, %d left of %d", n, err, src.Len(), len(in))
			}
		}
		var b bytes.Buffer
		w, _ := zlib.NewWriterLevel(&b, int(size%10))
		w.Write(in)
		w.Close()
		back := make([]byte, len(in))
		if n, err := z.inflate(back, b.Bytes()); err != nil || n != b.Len() || !bytes.Equal(back, in) {
			t.Fatalf("inflate of what was compressed = %d, %v, want %d", n, err, b.Len())
		}
	})
}
