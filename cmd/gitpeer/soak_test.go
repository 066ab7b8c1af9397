//go:build soak

package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var soakTime = flag.Duration("soak", 5*time.Minute, "how long to go on")

// killed runs a command and kills the node -9 while it runs, after a while that
// a coin decides, every other time.
func (s *actor) killed(args ...string) (was bool) {
	cmd := s.command(args...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	if was = rand.IntN(2) == 0; was {
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond) // the point of a soak
		raw, err := os.ReadFile(filepath.Join(s.dir, "home", "lock"))
		if pid, bad := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil && bad == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	cmd.Wait() // it may fail: what matters is what comes after
	return was
}

// again runs a command until it succeeds, for a while: a node that was just
// killed is missed by the DHT for some seconds. It returns what the last one said.
func (s *actor) again(args ...string) (out string) {
	s.t.Helper()
	var err error
	for range 5 {
		if out, err = s.try(args...); err == nil {
			return out
		}
	}
	s.t.Fatalf("%s does not succeed any more: %v\n%s", strings.Join(args, " "), err, out)
	return ""
}

// refs lists the branches below a prefix, and the tags, by their last part.
func (s *actor) refs(repo, branches string) string {
	s.t.Helper()
	var list []string
	for _, line := range strings.Split(s.must("git", "-C", repo, "for-each-ref", "--format=%(objectname) %(refname)", branches, "refs/tags/"), "\n") {
		if oid, name, _ := strings.Cut(line, " "); !strings.HasSuffix(name, "/HEAD") {
			list = append(list, oid+" "+name[strings.LastIndex(name, "/")+1:])
		}
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// TestSoak publishes and fetches while the nodes of both sides are killed at
// random points. After each round both must have the same refs, and now and
// then every object.
func TestSoak(t *testing.T) {
	bootstrap := startTestnet(t)
	alice, bob := newActor(t, "alice", bootstrap), newActor(t, "bob", bootstrap)
	id := strings.Fields(alice.must("gitpeer", "init"))[0]
	url := "gitpeer://" + id + "/soak"
	alice.must("git", "init", "-q", "-b", "main", "work")
	alice.must("git", "-C", "work", "remote", "add", "origin", url)
	change := func(n int) {
		text := strings.Repeat(fmt.Sprintf("round %d\n", n), rand.IntN(4000))
		if err := os.WriteFile(filepath.Join(alice.dir, "work", fmt.Sprintf("f%d", n%9)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		alice.must("git", "-C", "work", "add", "-A")
		alice.must("git", "-C", "work", "commit", "-q", "--allow-empty", "-m", fmt.Sprint(n))
		if n%3 == 0 {
			alice.must("git", "-C", "work", "tag", fmt.Sprintf("t%d", n))
		}
		if n%5 == 0 {
			alice.must("git", "-C", "work", "branch", "-f", fmt.Sprintf("b%d", n%10))
		}
	}
	push := []string{"git", "-C", "work", "push", "--force", "--all", "origin"}
	tags := []string{"git", "-C", "work", "push", "-q", "--tags", "origin"}
	change(0)
	alice.must(push...)
	bob.must("gitpeer", "trust", "add", url, "--publisher-only", "--as", "soak")
	bob.must("git", "clone", "-q", url, "clone")
	fetch := []string{"git", "-C", "clone", "fetch", "-q", "--tags"}
	rounds, kills := 0, 0
	for end := time.Now().Add(*soakTime); time.Now().Before(end); {
		rounds++
		change(rounds)
		if alice.killed(push...) {
			kills++
		}
		pushed := alice.again(push...)
		alice.again(tags...)
		if bob.killed(fetch...) {
			kills++
		}
		fetched := bob.again(fetch...)
		want, got := alice.refs("work", "refs/heads/"), bob.refs("clone", "refs/remotes/origin/")
		if want != got {
			found, _ := bob.try("gitpeer", "resolve", url)
			t.Fatalf("round %d: the clone has\n%s\nwant\n%s\nafter a push that said\n%s\nand a fetch that said\n%s\nNow the record is\n%s",
				rounds, got, want, pushed, fetched, found)
		}
		if rounds%10 == 0 {
			mirrors, _ := filepath.Glob(filepath.Join(bob.dir, "home", "repos", "*", "*.git"))
			for _, dir := range append(mirrors, "clone") {
				bob.must("git", "-C", dir, "fsck", "--full", "--no-dangling")
			}
		}
	}
	t.Logf("%d rounds, %d kills", rounds, kills)
}
