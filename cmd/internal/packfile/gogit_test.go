package packfile

import (
	"bytes"
	"crypto/sha1"
	"io"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/gitpeer/gitpeer/refs"
)

// An observer collects what go-git's parser finds in a pack.
type observer struct {
	sums map[int64]plumbing.Hash // by offset
	crcs map[int64]uint32
}

func (o *observer) OnHeader(uint32) error                                          { return nil }
func (o *observer) OnInflatedObjectHeader(plumbing.ObjectType, int64, int64) error { return nil }
func (o *observer) OnFooter(plumbing.Hash) error                                   { return nil }
func (o *observer) OnInflatedObjectContent(h plumbing.Hash, at int64, crc uint32, _ []byte) error {
	o.sums[at], o.crcs[at] = h, crc
	return nil
}

// TestGoGitAgrees: go-git, which shares no code with git or with us, finds the
// same objects at the same places, and reads the index that we write.
func TestGoGitAgrees(t *testing.T) {
	pack := history(t, refs.SHA1, 40).pack()
	x, _, err := index(t, pack, refs.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	var idx bytes.Buffer
	if err := x.WriteIdx(&idx); err != nil {
		t.Fatal(err)
	}
	ours := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(&idx).Decode(ours); err != nil {
		t.Fatal(err)
	}
	theirs := &observer{map[int64]plumbing.Hash{}, map[int64]uint32{}}
	parser, err := packfile.NewParser(packfile.NewScanner(bytes.NewReader(pack)), theirs)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := parser.Parse(); err != nil || sum != plumbing.Hash(pack[len(pack)-sha1.Size:]) {
		t.Fatalf("go-git parses to %s, %v", sum, err)
	}
	entries, err := ours.Entries()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		e, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if at := int64(e.Offset); theirs.sums[at] != e.Hash || theirs.crcs[at] != e.CRC32 {
			t.Errorf("at %d go-git has %s (%08x), our index %s (%08x)", at, theirs.sums[at], theirs.crcs[at], e.Hash, e.CRC32)
		}
	}
	if n != len(theirs.sums) || n < 100 {
		t.Errorf("our index has %d objects, go-git finds %d", n, len(theirs.sums))
	}
}
