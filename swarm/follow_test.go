package swarm

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
)

// Follow tells of every byte once, and only of bytes that are right.
func TestFollow(t *testing.T) {
	p := pseudo{7, 3<<20 + 77}
	info := p.info(t)
	seeder, reader := newNode(t), newNode(t)
	seed(t, seeder, p)
	file := filepath.Join(t.TempDir(), "pack")
	d := fetch(t, reader, FetchRequest{InfoHash: info.InfoHash(), File: file, Peers: addrs(seeder)})
	told := make([]bool, p.size)
	total := int64(0)
	follow := func(off, n int64) {
		total += n
		got, want := make([]byte, n), make([]byte, n)
		if _, err := d.ReadAt(got, off); err != nil && err != io.EOF {
			t.Errorf("ReadAt(%d): %v", off, err)
		}
		p.ReadAt(want, off)
		for i := range n {
			if told[off+i] || got[i] != want[i] {
				t.Fatalf("byte %d: told before %v, is %d, want %d", off+i, told[off+i], got[i], want[i])
			}
			told[off+i] = true
		}
	}
	if err := d.Follow(t.Context(), follow); err != nil || total != p.size {
		t.Fatalf("Follow = %v after %d of %d bytes", err, total, p.size)
	}
	if d.File() != file {
		t.Errorf("File() = %q, want %q", d.File(), file)
	}
	// A torrent that is seeded already is told of at once, and lies elsewhere.
	total = 0
	clear(told)
	d = fetch(t, seeder, FetchRequest{InfoHash: info.InfoHash(), File: filepath.Join(t.TempDir(), "other")})
	if err := d.Follow(t.Context(), follow); err != nil || total != p.size || d.File() != "" {
		t.Errorf("Follow of what is here = %v after %d bytes, in %q", err, total, d.File())
	}
}

func TestFollowEnds(t *testing.T) {
	p := pseudo{8, 1 << 20}
	seeder, reader := newNode(t), newNode(t)
	if _, err := seeder.Seed(p.info(t), newGate(t, p)); err != nil {
		t.Fatal(err)
	}
	d := fetch(t, reader, FetchRequest{InfoHash: p.info(t).InfoHash(), File: filepath.Join(t.TempDir(), "pack"), Peers: addrs(seeder)})
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- d.Follow(ctx, func(int64, int64) {}) }()
	cancel(gone)
	if err := <-ended; !errors.Is(err, gone) {
		t.Errorf("Follow of a context that ended = %v", err)
	}
	go func() { ended <- d.Follow(t.Context(), func(int64, int64) {}) }()
	d.Close()
	if err := <-ended; err == nil {
		t.Error("Follow of a closed download: no error")
	}
}
