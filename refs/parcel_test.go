package refs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"testing"
)

func TestParcel(t *testing.T) {
	note := bytes.Repeat([]byte("ref of some length\n"), 500)
	gz := Compress(note)
	if len(gz) >= len(note) {
		t.Errorf("Compress made %d bytes of %d", len(gz), len(note))
	}
	for _, attached := range []string{"", "PACK and so on", string(Compress([]byte("another member"))), "\x00"} {
		got, first, rest, err := Unpack(append(bytes.Clone(gz), attached...))
		if err != nil || !bytes.Equal(got, note) || !bytes.Equal(first, gz) || string(rest) != attached {
			t.Errorf("Unpack with %q attached = %d, %d, %q, %v", attached, len(got), len(first), rest, err)
		}
	}
	for name, bad := range map[string][]byte{
		"nothing":   nil,
		"plain":     note,
		"cut off":   gz[:len(gz)-3],
		"wrong sum": append(bytes.Clone(gz[:len(gz)-8]), make([]byte, 8)...),
	} {
		if _, _, _, err := Unpack(bad); !errors.Is(err, ErrParcel) {
			t.Errorf("Unpack of %s: error %v, want ErrParcel", name, err)
		}
	}
}

// What is small on the wire is not small in memory.
func TestParcelLimits(t *testing.T) {
	var limit *LimitError
	if _, _, _, err := Unpack(make([]byte, MaxParcelBytes+1)); !errors.As(err, &limit) {
		t.Errorf("Unpack of too long a file: %v, want a LimitError", err)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(make([]byte, MaxSnapshotBytes+1))
	w.Close()
	if _, _, _, err := Unpack(b.Bytes()); !errors.As(err, &limit) {
		t.Errorf("Unpack of too long a note in %d bytes: %v, want a LimitError", b.Len(), err)
	}
}

func TestAttached(t *testing.T) {
	small := Pack{From: 6, To: 7, Bytes: MaxAttachedBytes}
	for _, c := range []struct {
		packs []Pack
		want  bool
	}{
		{[]Pack{{From: 0, To: 6}, small}, true},
		{[]Pack{{From: 6, To: 7, Bytes: MaxAttachedBytes + 1}}, false},
		{[]Pack{{From: 5, To: 7, Bytes: 99}, {From: 0, To: 7, Bytes: 99}, {From: 5, To: 6, Bytes: 99}}, false},
		{nil, false},
	} {
		s := &Snapshot{Number: 7, Packs: c.packs}
		if p, ok := s.Attached(); ok != c.want || ok && p != small {
			t.Errorf("Attached of %v = %v, %v, want %v", c.packs, p, ok, c.want)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(Compress([]byte("note")))
	f.Add(append(Compress(nil), "PACK"...))
	f.Add([]byte{0x1f, 0x8b, 8, 0x1f})
	f.Fuzz(func(t *testing.T, parcel []byte) {
		note, compressed, attached, err := Unpack(parcel)
		if err != nil {
			return
		}
		if !bytes.Equal(append(bytes.Clone(compressed), attached...), parcel) {
			t.Fatal("the parts are not the whole")
		}
		again, _, rest, err := Unpack(append(Compress(note), attached...))
		if err != nil || !bytes.Equal(again, note) || !bytes.Equal(rest, attached) {
			t.Fatalf("packed again: %v", err)
		}
	})
}
