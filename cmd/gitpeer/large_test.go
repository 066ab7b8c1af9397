//go:build soak && linux

package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	largeObjects = flag.Int("objects", 1_000_000, "about how many objects TestLarge makes")
	largeCommits = flag.Int("commits", 25_000, "how many commits they have")
)

// maxNodeMB is what any node may take while it indexes, in MB.
const maxNodeMB = 192

// TestLarge publishes and clones a repository of many small objects: neither node
// takes more memory than one of few, and the clone has git's own index.
func TestLarge(t *testing.T) {
	bootstrap := startTestnet(t)
	alice, bob := newActor(t, "alice", bootstrap), newActor(t, "bob", bootstrap)
	alice.must("git", "init", "-q", "--bare", "-b", "main", "large.git")
	load := alice.command("git", "-C", "large.git", "fast-import", "--quiet")
	in, err := load.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	writeErr := writeLarge(in, *largeCommits, *largeObjects)
	in.Close()
	if err := load.Wait(); err != nil || writeErr != nil {
		t.Fatal(err, writeErr)
	}
	alice.must("gitpeer", "init")
	url := regexp.MustCompile(`gitpeer://\S+`).FindString(alice.must("gitpeer", "publish", "large.git"))
	alice.small(t, "the publisher, who indexes")
	alice.must("gitpeer", "stop")
	alice.must("gitpeer", "resolve", url) // starts the node anew
	bob.must("gitpeer", "trust", "add", url, "--publisher-only", "--as", "large")
	bob.must("git", "clone", "-q", "--bare", url, "clone.git")
	bob.small(t, "the reader")
	alice.small(t, "the publisher, who seeds")
	if want, got := alice.must("git", "-C", "large.git", "rev-parse", "main"), bob.must("git", "-C", "clone.git", "rev-parse", "main"); got != want {
		t.Errorf("the clone is at %s, want %s", got, want)
	}
	packs, err := filepath.Glob(filepath.Join(bob.dir, "clone.git", "objects", "pack", "pack-*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pack := range packs {
		bob.must("git", "index-pack", "-o", "theirs.idx", pack)
		bob.must("cmp", "theirs.idx", strings.TrimSuffix(pack, ".pack")+".idx")
	}
	t.Log(bob.must("git", "-C", "clone.git", "count-objects", "-v"))
}

// small checks the memory that a person's node has taken at most.
func (s *actor) small(t *testing.T, what string) {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(s.dir, "home", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "status"))
	if err != nil {
		t.Fatal(err)
	}
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if peak == nil {
		t.Fatalf("%s has no peak", status)
	}
	kb, err := strconv.Atoi(string(peak[1]))
	if err != nil {
		t.Fatal(err)
	}
	mb := kb * 1024 / 1e6
	t.Logf("%s: %d MB", what, mb)
	if mb > maxNodeMB {
		t.Errorf("%s takes %d MB, more than %d", what, mb, maxNodeMB)
	}
}

// writeLarge writes a stream for git fast-import: commits that each put small
// files into eight folders of one of 64 folders.
func writeLarge(to io.Writer, commits, objects int) error {
	w := bufio.NewWriterSize(to, 1<<20)
	files := max(objects/commits-11, 1) // eight folders, one around them, the root, and the commit
	for c := range commits {
		fmt.Fprintf(w, "commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 9\nc%08d", 1_600_000_000+c, c)
		for f := range files {
			text := fmt.Sprintf("the text of file %d as commit %d has left it, with a line that stays the same\n", f, c)
			fmt.Fprintf(w, "M 100644 inline d%d/e%d/f%d\ndata %d\n%s\n", c%64, f%8, f, len(text), text)
		}
		w.WriteByte('\n') // errors stay with the writer
	}
	return w.Flush()
}
