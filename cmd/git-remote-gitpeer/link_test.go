package main

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// folder makes a folder with files of these names.
func folder(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat(name, len(name))), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func filesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

func TestLink(t *testing.T) {
	from := folder(t, "pack-a.pack", "pack-a.idx", "pack-a.rev", "pack-bbb.pack", "pack-bbb.idx", "pack-bbb.keep",
		"pack-c.pack", "tmp_pack_x", "multi-pack-index", "tmp_idx.idx")
	to := filepath.Join(t.TempDir(), "objects", "pack")
	keep, err := link(from, to)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(to, "pack-bbb.keep"); keep != want {
		t.Errorf("link keeps %q, want that of the largest pack, %q", keep, want)
	}
	// pack-c has no index yet, so it is not a pack yet.
	if got, want := filesIn(t, to), "pack-a.idx pack-a.pack pack-a.rev pack-bbb.idx pack-bbb.keep pack-bbb.pack"; got != want {
		t.Errorf("link made %s, want %s", got, want)
	}
	if again, err := link(from, to); again != "" || err != nil {
		t.Errorf("a second link = %q, %v, want nothing", again, err)
	}
}

func TestLinkFailsWhole(t *testing.T) {
	from := folder(t, "pack-a.pack", "pack-a.idx", "pack-b.pack", "pack-b.idx")
	to := folder(t)
	// A folder in the way of the second pack's index.
	if err := os.MkdirAll(filepath.Join(to, "pack-b.pack", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := link(from, to); err == nil {
		t.Fatal("link over a folder succeeded")
	}
	if got := filesIn(t, to); got != "pack-b.pack" {
		t.Errorf("a failed link left %s", got)
	}
}

func TestLinkLacksPack(t *testing.T) {
	from := folder(t, "pack-a.idx")
	to := folder(t)
	if _, err := link(from, to); err == nil {
		t.Error("link of an index without its pack succeeded")
	}
	if got := filesIn(t, to); got != "" {
		t.Errorf("a failed link left %s", got)
	}
}
