package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
)

// packOf packs what git rev-list takes as arguments, thin where it can be.
func packOf(t testing.TB, dir string, revs ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", "pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(strings.Join(revs, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// bigHistory has deltas: many versions of a file that changes little.
func bigHistory(t *testing.T, format string) *workTree {
	t.Helper()
	w := newWorkTree(t, format)
	for range 12 {
		w.commit("")
	}
	return w
}

func TestScanPackCountsAsGitDoes(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		w := bigHistory(t, string(format))
		for _, revs := range [][]string{{"HEAD"}, {"HEAD", "^HEAD~3"}} {
			pack := packOf(t, w.dir, revs...)
			got, err := packfile.Scan(iotest.OneByteReader(bytes.NewReader(pack)), format, packfile.HardLimits, nil)
			if err != nil {
				t.Fatalf("%s %v: %v", format, revs, err)
			}
			// What git says of the same objects, one by one.
			list := w.git(append([]string{"rev-list", "--objects", "--no-object-names"}, revs...)...)
			objects, inflated := int64(0), int64(0)
			batch, err := gitcmd.Repo{Dir: filepath.Join(w.dir, ".git")}.Batch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for oid := range strings.FieldsSeq(list) {
				o, err := batch.Read(refs.OID(oid), 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				objects, inflated = objects+1, inflated+int64(len(o.Data))
			}
			batch.Close()
			if got.Objects != objects || got.Inflated != inflated || got.Bytes != int64(len(pack)) {
				t.Errorf("%s %v: scan = %+v, git has %d objects of %d bytes in %d", format, revs, got, objects, inflated, len(pack))
			}
			if !bytes.HasSuffix(pack, got.Trailer) || !bytes.HasPrefix(pack, got.Header[:]) {
				t.Errorf("%s %v: header or trailer is not the pack's", format, revs)
			}
		}
	}
}

func TestScanPackStopsAtEachLimit(t *testing.T) {
	pack := packOf(t, bigHistory(t, "sha1").dir, "HEAD")
	whole, err := packfile.Scan(bytes.NewReader(pack), refs.SHA1, packfile.HardLimits, nil)
	if err != nil {
		t.Fatal(err)
	}
	exact := packfile.Limits{Bytes: whole.Bytes, Objects: whole.Objects, Inflated: whole.Inflated, Object: whole.Inflated}
	if _, err := packfile.Scan(bytes.NewReader(pack), refs.SHA1, exact, nil); err != nil {
		t.Errorf("a pack of exactly what is allowed: %v", err)
	}
	for _, c := range []struct {
		what string
		cut  func(*packfile.Limits)
	}{
		{"bytes", func(l *packfile.Limits) { l.Bytes-- }},
		{"objects", func(l *packfile.Limits) { l.Objects-- }},
		{"inflated bytes", func(l *packfile.Limits) { l.Inflated-- }},
		{"bytes in one object", func(l *packfile.Limits) { l.Object = 10 }},
	} {
		limits := exact
		c.cut(&limits)
		var over *packfile.LimitError
		if _, err := packfile.Scan(bytes.NewReader(pack), refs.SHA1, limits, nil); !errors.As(err, &over) || over.What != c.what {
			t.Errorf("one too many: %v, want a limit on %q", err, c.what)
		}
	}
}

// TestA14Bomb has 800 MB in 800 KB: the scanner must stop at what was declared,
// not at the end.
func TestA14Bomb(t *testing.T) {
	w := newWorkTree(t, "sha1")
	cmd := exec.Command("git", "hash-object", "-w", "--stdin")
	cmd.Dir = w.dir
	cmd.Stdin = io.LimitReader(zeros{}, 64<<20)
	oid, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	pack := exec.Command("git", "pack-objects", "--stdout", "-q")
	pack.Dir, pack.Stdin = w.dir, bytes.NewReader(oid)
	bomb, err := pack.Output()
	if err != nil {
		t.Fatal(err)
	}
	limits := packfile.HardLimits
	limits.Inflated, limits.Object = 1<<20, 1<<20
	var over *packfile.LimitError
	if _, err := packfile.Scan(bytes.NewReader(bomb), refs.SHA1, limits, nil); !errors.As(err, &over) {
		t.Errorf("a bomb of %d bytes: %v, want a limit", len(bomb), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestView indexes a thin pack and reads its original bytes back out of git's
// completed file, at every kind of offset.
func TestView(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		w := bigHistory(t, string(format))
		base, thin := packOf(t, w.dir, "HEAD~3"), packOf(t, w.dir, "HEAD", "^HEAD~3")
		m := &mirror{dir: t.TempDir()}
		m.repo = gitcmd.Repo{Dir: m.dir}
		if err := gitcmd.Init(t.Context(), m.dir, format); err != nil {
			t.Fatal(err)
		}
		q := &quarantine{repo: m.repo, dir: filepath.Join(m.dir, "objects")}
		for i, pack := range [][]byte{base, thin} {
			in, err := q.ingest(context.Background(), bytes.NewReader(pack), ingestSpec{Format: format, Limits: packfile.HardLimits, Whole: i == 0})
			if err != nil {
				t.Fatal(err)
			}
			file := &lazyFile{path: m.packPath(in.Hash, ".pack")}
			view := &packView{file: file, header: in.Stats.Header, trailer: in.Stats.Trailer, size: in.Stats.Bytes}
			if err := iotest.TestReader(io.NewSectionReader(view, 0, view.size), pack); err != nil {
				t.Errorf("%s, pack %d: %v", format, i, err)
			}
			for off := range len(pack) {
				b := make([]byte, min(50, len(pack)-off))
				if n, err := view.ReadAt(b, int64(off)); n != len(b) || err != nil || !bytes.Equal(b, pack[off:off+n]) {
					t.Fatalf("%s, pack %d: ReadAt(%d) = %d, %v, want the original bytes", format, i, off, n, err)
				}
			}
			if _, err := view.ReadAt(make([]byte, 1), view.size); err != io.EOF {
				t.Errorf("ReadAt past the end: %v, want io.EOF", err)
			}
			file.Close()
			if _, err := view.ReadAt(make([]byte, 1), 20); err == nil {
				t.Error("ReadAt after Close: no error")
			}
		}
	}
}
