package gitcmd

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// However git's words are cut into pieces, progress is reported, and only what
// else it says is kept for the error.
func TestPackMessages(t *testing.T) {
	const said = "Enumerating objects: 10, done.\nCounting objects:  50% (5/10)\rCounting objects: 100% (10/10), done.\n" +
		"Delta compression using up to 2 threads\nCompressing objects:   0% (0/7)\rCompressing objects: 100% (7/7)\r" +
		"Compressing objects: 100% (7/7), done.\nwarning: a disk is slow\nWriting objects: 100% (10/10), 1 KiB, done.\nfatal: no more"
	for cut := range len(said) {
		var got []string
		m := &packMessages{tail: tail{max: maxStderr}, report: func(done, total int64) { got = append(got, fmt.Sprint(done, "/", total)) }}
		m.Write([]byte(said[:cut]))
		m.Write([]byte(said[cut:]))
		m.said(m.line)
		if want := []string{"0/7", "7/7", "7/7"}; !slices.Equal(got, want) {
			t.Fatalf("cut at %d: progress %q, want %q", cut, got, want)
		}
		if kept, want := m.String(), "warning: a disk is slow\nno more"; kept != want {
			t.Fatalf("cut at %d: kept %q, want %q", cut, kept, want)
		}
	}
}

func TestPackMessagesBounded(t *testing.T) {
	m := &packMessages{tail: tail{max: maxStderr}}
	for range 100 {
		m.Write(make([]byte, 1000)) // one line without an end
	}
	if len(m.line) > maxStderr {
		t.Errorf("%d bytes of a line are kept", len(m.line))
	}
}

// FuzzPackMessages cuts what git says at any places: it is understood as if it came
// at once, and no more of it is kept than the bound.
func FuzzPackMessages(f *testing.F) {
	f.Add([]byte("Counting objects: 100% (10/10), done.\nCompressing objects: 100% (7/7)\rwarning: slow\nfatal: no more"), []byte{1, 20, 50})
	f.Add([]byte("Compressing objects: 1% (99999999999999999999/-1)\r\n\n\r"), []byte{})
	long := bytes.Repeat([]byte("x"), maxStderr)
	f.Add(slices.Concat([]byte("Compressing objects:   0% (0/7)"), long, long, []byte("\rmore")), []byte{128})
	f.Add(slices.Concat(long, []byte("\nCompressing objects:   1% (1/7)\r"), long, long, []byte("fatal: no")), []byte{200})
	f.Fuzz(func(t *testing.T, said, cuts []byte) {
		hear := func(cuts []byte) (progress []string, kept string) {
			m := &packMessages{tail: tail{max: maxStderr}, report: func(done, total int64) { progress = append(progress, fmt.Sprint(done, "/", total)) }}
			rest := said
			write := func(n int) {
				if wrote, err := m.Write(rest[:n]); wrote != n || err != nil {
					t.Fatalf("Write of %d bytes = %d, %v", n, wrote, err)
				}
				if rest = rest[n:]; len(m.line) > maxStderr || len(m.b) > 2*maxStderr {
					t.Fatalf("%d bytes of a line and %d of others are kept", len(m.line), len(m.b))
				}
			}
			for _, n := range cuts {
				write(min(64*int(n), len(rest)))
				write(min(int(n), len(rest)))
			}
			write(len(rest))
			m.said(m.line)
			return progress, m.String()
		}
		progress, kept := hear(nil)
		cutProgress, cutKept := hear(cuts)
		if !slices.Equal(progress, cutProgress) || kept != cutKept {
			t.Errorf("cut: progress %q, kept %q; uncut: %q, %q", cutProgress, cutKept, progress, kept)
		}
	})
}

// In a pack of a whole history the versions of a file lie side by side, tags or
// not: in the order of history two files that change in turn would alternate.
func TestPackKeepsFamiliesTogether(t *testing.T) {
	r := newRepository(t)
	names := map[string]string{}
	for i := range 20 {
		for _, name := range []string{"a", "b"} {
			text := fmt.Sprintf("%s\n%d\n", strings.Repeat("a line of "+name+"\n", 50), i)
			if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r.git("add", name)
			names[r.git("rev-parse", ":"+name)] = name
		}
		r.commit(fmt.Sprint(i))
	}
	tip := refs.OID(r.git("rev-parse", "HEAD"))
	var pack bytes.Buffer
	if err := r.repo().PackObjects(t.Context(), PackSpec{Tips: []refs.OID{tip}, Format: refs.SHA1}, &pack); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.pack")
	if err := os.WriteFile(file, pack.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.git("index-pack", file)
	var order []string // of names, by offset
	lines := strings.Split(r.git("verify-pack", "-v", file), "\n")
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(offset(a), offset(b)) })
	for _, line := range lines {
		oid, _, _ := strings.Cut(line, " ")
		if name, ok := names[oid]; ok {
			order = append(order, name)
		}
	}
	// How git's threads share the work decides whether a file's versions are one
	// family or a few; in the order of history there are 40 changes.
	if len(order) != 40 || len(slices.Compact(order)) > 16 {
		t.Errorf("versions of files in the order %v", order)
	}
}

// offset is where the object of a line of git verify-pack -v lies.
func offset(line string) int {
	if f := strings.Fields(line); len(f) >= 5 {
		n, _ := strconv.Atoi(f[4])
		return n
	}
	return 0
}
