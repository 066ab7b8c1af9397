package trust

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// examined is an examination of one branch, with a cache.
type examined struct {
	*world
	cache *Cache
	intro refs.OID
	reads int // of commits by streams
}

func (e *examined) want(p *Policy, mode Mode, tip refs.OID, code Code) {
	e.t.Helper()
	e.reads = 0
	store := lyingStore{Objects: e.objects, commits: func(tips, not []refs.OID) iter.Seq2[Object, error] {
		return func(yield func(Object, error) bool) {
			for o, err := range e.objects.Commits(tips, not) {
				e.reads++
				if !yield(o, err) {
					return
				}
			}
		}
	}}
	q := Query{Mode: mode, Introduction: []refs.OID{e.intro}, ObjectFormat: e.format, Refs: []refs.Ref{branch("main", tip)}, Known: e.cache.Known, Keep: e.cache.Keep}
	v, err := Examine(p, q, store, now)
	if err != nil || len(v) != 1 || v[0].Code != code {
		e.t.Fatalf("Examine() = %+v, %v, want %v", v, err, code)
	}
}

// TestCache: what was authenticated is not looked at again, under the same rule
// only, and whatever is wrong with the file it only costs time.
func TestCache(t *testing.T) {
	w := newWorld(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	w.signer(alice)
	one := w.conf.String()
	w.signer(bob)
	both := w.policy()
	dir := filepath.Join(t.TempDir(), "cache")
	e := &examined{world: w, cache: OpenCache(dir), intro: w.commit(nil, day(1))}
	tip := e.intro
	for range 20 {
		tip = w.commit(bob, day(2), tip)
	}
	e.want(both, ModeAll, tip, OK)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || e.reads != 20 {
		t.Fatalf("after the first: files %v, %v, %d commits read; want one file, 20 commits", files, err, e.reads)
	}
	path := filepath.Join(dir, files[0].Name())
	text, _ := os.ReadFile(path)
	e.want(both, ModeAll, tip, OK)
	if again, _ := os.ReadFile(path); e.reads != 0 || !bytes.Equal(again, text) {
		t.Errorf("the second reads %d commits, want none, and the file as it was", e.reads)
	}
	next := w.commit(alice, day(3), w.commit(bob, day(3), tip))
	e.want(both, ModeAll, next, OK)
	if e.reads != 2 {
		t.Errorf("after two more commits it reads %d, want 2", e.reads)
	}
	// A refusal is not remembered, and takes nothing away.
	e.want(both, ModeAll, w.commit(nil, day(4), next), Unsigned)
	e.want(both, ModeAll, next, OK)
	if e.reads != 0 {
		t.Errorf("after a refusal it reads %d, want 0", e.reads)
	}
	// Another rule has another file.
	e.want(both, ModeChain, next, OK)
	if e.reads != 22 {
		t.Errorf("in mode chain it reads %d, want 22", e.reads)
	}
	w.conf.Reset()
	w.conf.WriteString(one)
	e.want(w.policy(), ModeAll, next, Untrusted)
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("files = %v, want one for each rule that accepted", files)
	}
	if n := e.cache.Notes(); n != nil {
		t.Errorf("notes = %q, want none", n)
	}
	// What it remembers may be gone.
	delete(e.objects.objects, next)
	e.want(both, ModeAll, w.commit(alice, day(5), tip), OK)
}

// TestA40CacheTampered: a cache that was changed, or that others can write to,
// is not used; that is said, and it is made anew.
func TestA40CacheTampered(t *testing.T) {
	w := newWorld(t)
	alice, mallory := newPerson(t, "alice"), newPerson(t, "mallory")
	w.signer(alice)
	p := w.policy()
	dir := filepath.Join(t.TempDir(), "cache")
	e := &examined{world: w, cache: OpenCache(dir), intro: w.commit(nil, day(1))}
	tip, evil := w.commit(alice, day(2), e.intro), w.commit(mallory, day(2), e.intro)
	e.want(p, ModeAll, tip, OK)
	files, _ := os.ReadDir(dir)
	path := filepath.Join(dir, files[0].Name())
	good, _ := os.ReadFile(path)
	for name, spoil := range map[string]func(){
		"another tip": func() { os.WriteFile(path, bytes.Replace(good, []byte(tip), []byte(evil), 1), 0o600) },
		"another rule": func() {
			other := refs.DigestOf([]byte("other"))
			os.WriteFile(path, formatCache(other, []Authenticated{{Rule: other, OID: evil}}), 0o600)
		},
		"cut short":        func() { os.WriteFile(path, good[:len(good)-1], 0o600) },
		"empty":            func() { os.WriteFile(path, nil, 0o600) },
		"junk":             func() { os.WriteFile(path, []byte(strings.Repeat("junk\n", 50)), 0o600) },
		"too large":        func() { os.WriteFile(path, make([]byte, maxCacheFile+1), 0o600) },
		"others can write": func() { os.Chmod(path, 0o666) },
		"folder of all":    func() { os.Chmod(dir, 0o777) },
		"link": func() {
			os.Rename(path, path+".x")
			os.Symlink(path+".x", path)
		},
		"folder": func() {
			os.Remove(path)
			os.Mkdir(path, 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			os.RemoveAll(dir)
			os.Mkdir(dir, 0o700)
			os.WriteFile(path, good, 0o600)
			spoil()
			e.cache = OpenCache(dir)
			e.want(p, ModeAll, evil, Untrusted)
			if n := e.cache.Notes(); len(n) != 1 || !strings.Contains(n[0], "is not used") {
				t.Errorf("notes = %q, want one", n)
			}
			os.Chmod(dir, 0o700)
			if name == "folder" {
				os.Remove(path)
			}
			e.want(p, ModeAll, tip, OK)
			e.cache = OpenCache(dir)
			e.want(p, ModeAll, tip, OK)
			if e.reads != 0 || e.cache.Notes() != nil {
				t.Errorf("afterwards it reads %d commits, notes %q; want it made anew", e.reads, e.cache.Notes())
			}
		})
	}
	os.RemoveAll(dir)
	os.WriteFile(dir, nil, 0o600) // no folder can be there
	e.cache = OpenCache(dir)
	e.want(p, ModeAll, tip, OK)
	if n := e.cache.Notes(); len(n) == 0 || !strings.Contains(n[len(n)-1], "cannot be written") {
		t.Errorf("notes = %q, want one that it cannot be written", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	c := OpenCache(dir)
	for i := range maxCacheFiles {
		path := filepath.Join(dir, refs.DigestOf([]byte{byte(i), byte(i >> 8)}).String())
		os.WriteFile(path, nil, 0o600)
		os.Chtimes(path, time.Time{}, epoch.Add(time.Duration(i)*time.Second))
	}
	oldest, rule := refs.DigestOf([]byte{0, 0}), refs.DigestOf([]byte("new"))
	tips := slices.Repeat([]Authenticated{{Rule: rule, OID: emptyTree, Mark: 7}}, maxAuthenticated+1)
	c.Keep(rule, tips)
	if files, err := os.ReadDir(dir); err != nil || len(files) != maxCacheFiles {
		t.Errorf("%d files, %v, want %d", len(files), err, maxCacheFiles)
	}
	if _, err := os.Stat(filepath.Join(dir, oldest.String())); err == nil {
		t.Error("the oldest file is still there")
	}
	if got := c.Known(rule); !slices.Equal(got, tips[:maxAuthenticated]) || c.Notes() != nil {
		t.Errorf("Known() has %d tips, notes %q; want %d", len(got), c.Notes(), maxAuthenticated)
	}
}

func FuzzCache(f *testing.F) {
	rule := refs.DigestOf([]byte("x"))
	f.Add(formatCache(rule, nil))
	f.Add(formatCache(rule, []Authenticated{{Rule: rule, OID: emptyTree, Mark: -1}}))
	f.Fuzz(func(t *testing.T, text []byte) {
		// The sum would keep everything else from being tried.
		for _, text := range [][]byte{text, fmt.Appendf(bytes.Clone(text), "sum %x\n", sha256.Sum256(text))} {
			if tips, err := parseCache(rule, text); err == nil && !bytes.Equal(formatCache(rule, tips), text) {
				t.Errorf("formatCache(parseCache(%q)) differs", text)
			}
		}
	})
}
