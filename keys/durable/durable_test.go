package durable

import (
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
