package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, want := range []string{"first, which is longer", "second"} {
		if err := Replace(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("after Replace the file has %q, %v, want %q", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("folder has %v, %v, want the file alone", left, err)
	}
}

// A folder cannot be replaced: what is there stays, and nothing is left over.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("x")); err == nil {
		t.Error("Replace of a folder: no error")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("folder has %v, %v, want what was there", left, err)
	}
	if err := Replace(filepath.Join(dir, "none", "file"), nil); err == nil {
		t.Error("Replace in a folder that is not there: no error")
	}
}

// Of several files, either none or those before a failure have changed, and
// nothing is left over.
func TestReplaceAll(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	files := []File{{filepath.Join(dir, "a"), []byte("1")}, {filepath.Join(other, "b"), []byte("2")}, {filepath.Join(dir, "c"), nil}}
	for i := range 3 * atOnce {
		files = append(files, File{filepath.Join(other, fmt.Sprint(i)), fmt.Append(nil, i)})
	}
	for range 2 {
		if err := ReplaceAll(files); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if got, err := os.ReadFile(f.Path); err != nil || string(got) != string(f.Data) {
				t.Errorf("%s has %q, %v, want %q", f.Path, got, err, f.Data)
			}
		}
	}
	if err := ReplaceAll(nil); err != nil {
		t.Error(err)
	}
	bad := append([]File{{files[0].Path, []byte("new")}}, File{filepath.Join(dir, "none", "x"), nil})
	if err := ReplaceAll(bad); err == nil {
		t.Error("ReplaceAll in a folder that is not there: no error")
	}
	if got, _ := os.ReadFile(files[0].Path); string(got) != "1" {
		t.Errorf("after a failure the file has %q, want what it had", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("folder has %v, %v, want two files", left, err)
	}
}

func TestLinkOrCopy(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := LinkOrCopy(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("linking what is not there: %v, want %v", err, fs.ErrNotExist)
	}
	if err := os.WriteFile(from, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := LinkOrCopy(from, to); err != nil {
		t.Fatal(err)
	}
	a, errA := os.Stat(from)
	b, errB := os.Stat(to)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Errorf("%v and %v are not one file (%v, %v)", a, b, errA, errB)
	}
	if err := LinkOrCopy(from, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("linking to a name that is taken: %v, want %v", err, fs.ErrExist)
	}
}

func TestCopyFile(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	source, target := filepath.Join(from, "pack-a.pack"), filepath.Join(to, "pack-a.pack")
	const want = "the content of a pack"
	if err := os.WriteFile(source, []byte(want), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(source, target); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(target)
	if err != nil || string(got) != want {
		t.Errorf("the copy is %q, %v, want %q", got, err, want)
	}
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("the copy has mode %v, %v, want 0444 as git's packs", info.Mode(), err)
	}
	if err := copyFile(from, filepath.Join(to, "x")); err == nil {
		t.Error("copying a folder succeeded")
	}
	left, err := os.ReadDir(to)
	if err != nil || len(left) != 1 || left[0].Name() != "pack-a.pack" {
		t.Errorf("a failed copy left %v, %v", left, err)
	}
}
