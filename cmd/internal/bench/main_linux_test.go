package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestResume: the rounds that a file has are counted, whatever their order, and
// what is emitted counts, too.
func TestResume(t *testing.T) {
	file := filepath.Join(t.TempDir(), "raw.txt")
	c := config{"repo=a", "by=git"}
	text := "date: 2026-11-22\n" + sample{"Clone", c, map[string]float64{"s": 1}}.String() + "\n" +
		sample{"Crowd", c, map[string]float64{"s": 1}}.String() + "\n" + sample{"Clone", c, map[string]float64{"s": 2}}.String() + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &bench{taken: map[string]int{}, raw: io.Discard}
	if err := l.count(file); err != nil {
		t.Fatal(err)
	}
	for round, want := range []bool{true, true, false} {
		if got := l.has(round, "Clone", c); got != want {
			t.Errorf("has(%d) = %v, want %v", round, got, want)
		}
	}
	if l.has(0, "Clone", config{"repo=a", "by=gitpeer"}) {
		t.Error("a sample of another way counts")
	}
	l.emit(sample{"Clone", c, map[string]float64{"s": 3}})
	if !l.has(2, "Clone", c) {
		t.Error("a sample that was just taken does not count")
	}
	if err := l.count(file + ".absent"); err != nil {
		t.Errorf("count of a file that is not there yet = %v", err)
	}
}

func TestPublication(t *testing.T) {
	for subject, want := range map[string]int{"publication 17\n": 17, "publication 3 of others": 3, "": 0, "a change": 0} {
		if got := publication(subject); got != want {
			t.Errorf("publication(%q) = %d, want %d", subject, got, want)
		}
	}
}
