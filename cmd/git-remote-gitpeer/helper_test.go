package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// TestMain is the helper itself when it is called by the helper's name, so
// that git runs the code under test.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "git-remote-gitpeer" {
		os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A world is a fake node, a folder to work in, and git with the helper.
type world struct {
	*testing.T
	fake *fakeNode
	dir  string
	url  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, fake: startFake(t), dir: t.TempDir()}
	w.url = w.fake.address.String()
	bin := filepath.Join(w.dir, "bin")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "git-remote-gitpeer")); err != nil {
		t.Fatal(err)
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "GIT_") {
			os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{
		"PATH": bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME": w.dir, "GNUPGHOME": w.dir,
		"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.DevNull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C",
		"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "init.defaultBranch", "GIT_CONFIG_VALUE_0": "main",
	} {
		t.Setenv(name, value)
	}
	return w
}

// git runs git in a folder of the world and returns both outputs.
func (w *world) git(dir string, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := exec.Command("git", args...)
	cmd.Dir = filepath.Join(w.dir, dir)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return strings.TrimSpace(out.String()), errs.String(), err
}

// must runs git, which must succeed, and returns its standard output.
func (w *world) must(dir string, args ...string) string {
	w.Helper()
	out, stderr, err := w.git(dir, args...)
	if err != nil {
		w.Fatalf("git %q: %v\n%s%s", args, err, out, stderr)
	}
	return out
}

// refused runs git, which must fail with all of these words on standard error.
func (w *world) refused(dir string, words []string, args ...string) {
	w.Helper()
	out, stderr, err := w.git(dir, args...)
	if err == nil {
		w.Fatalf("git %q succeeded: %s%s", args, out, stderr)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			w.Errorf("git %q says %q, want %q in it", args, stderr, word)
		}
	}
}

// commit makes a commit of one file in the work tree dir.
func (w *world) commit(dir, file string) string {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, dir, file), []byte(strings.Repeat(file+"\n", 100)), 0o644); err != nil {
		w.Fatal(err)
	}
	w.must(dir, "add", ".")
	w.must(dir, "commit", "-q", "-m", file)
	return w.must(dir, "rev-parse", "HEAD")
}

// publish makes the repository src of object format f (two branches, a
// lightweight and two annotated tags, one of them on a side branch) and
// pushes it.
func (w *world) publish(f refs.ObjectFormat) {
	w.Helper()
	w.must("", "init", "-q", "--object-format="+string(f), "src")
	w.commit("src", "one")
	w.must("src", "tag", "light")
	w.must("src", "tag", "-m", "first", "v1")
	w.commit("src", "two")
	w.must("src", "checkout", "-q", "-b", "side", "HEAD~1")
	w.commit("src", "three")
	w.must("src", "tag", "-m", "side", "side-v1")
	w.must("src", "checkout", "-q", "main")
	w.must("src", "remote", "add", "origin", w.url)
	w.must("src", "push", "-q", "--all", "origin")
	w.must("src", "push", "-q", "--tags", "origin")
	w.gc()
}

// gc makes the mirror what the node keeps it as: everything in packs.
func (w *world) gc() {
	w.Helper()
	cmd := w.fake.mirror.Command(context.Background(), "repack", "-q", "-a", "-d")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("repack: %v\n%s", err, out)
	}
}

// same checks that two repositories have the same branches and tags, and that
// the second is sound.
func (w *world) same(a, b, pattern string) {
	w.Helper()
	want := w.must(a, "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads", "refs/tags")
	got := w.must(b, "for-each-ref", "--format=%(objectname) %(refname:lstrip="+pattern+")", "refs/heads", "refs/tags", "refs/remotes/origin")
	for line := range strings.Lines(want + "\n") {
		if !strings.Contains(got+"\n", line) {
			w.Errorf("%s lacks %q; it has\n%s", b, line, got)
		}
	}
	w.must(b, "fsck", "--full", "--strict")
}

func TestClone(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		t.Run(string(format), func(t *testing.T) {
			w := newWorld(t)
			w.publish(format)
			for _, url := range []string{w.url, "gitpeer::" + w.url, "gitpeer::" + strings.TrimPrefix(w.url, "gitpeer://")} {
				w.must("", "clone", "-q", "--mirror", url, "mirror.git")
				w.same("src", "mirror.git", "2")
				os.RemoveAll(filepath.Join(w.dir, "mirror.git"))
			}
			w.must("", "clone", "-q", "--bare", w.url, "bare.git")
			w.same("src", "bare.git", "2")
			before := w.fake.fetched()
			w.must("", "clone", "-q", w.url, "clone")
			if n := w.fake.fetched() - before; n != 1 {
				t.Errorf("a clone asked the node %d times, want once", n)
			}
			w.must("clone", "branch", "side", "origin/side")
			w.same("src", "clone", "2")
			if got := w.must("clone", "symbolic-ref", "refs/remotes/origin/HEAD"); got != "refs/remotes/origin/main" {
				t.Errorf("origin/HEAD is %q", got)
			}
			if got := w.must("clone", "status", "--porcelain"); got != "" {
				t.Errorf("the work tree differs: %s", got)
			}
			w.linked("clone/.git")
		})
	}
}

// linked checks that the packs of a clone are hard links, none of them kept.
func (w *world) linked(gitDir string) {
	w.Helper()
	packs, err := filepath.Glob(filepath.Join(w.dir, gitDir, "objects/pack/*"))
	if err != nil || len(packs) == 0 {
		w.Fatalf("no packs in %s: %v", gitDir, err)
	}
	for _, file := range packs {
		info, err := os.Stat(file)
		if err != nil {
			w.Fatal(err)
		}
		if n := info.Sys().(*syscall.Stat_t).Nlink; n < 2 {
			w.Errorf("%s has %d links, want 2 or more", filepath.Base(file), n)
		}
		if strings.HasSuffix(file, ".keep") {
			w.Errorf("%s was left behind", file)
		}
	}
}

// TestCloneOfPacks clones a repository of two packs. The second one has a file
// that is nowhere: git would notice if it walked through the history, which the
// node has done, and which takes as long as half a clone.
func TestCloneOfPacks(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	mirror, ctx := w.fake.mirror, t.Context()
	in := func(stdin string, args ...string) string {
		t.Helper()
		cmd := mirror.Command(ctx, args...)
		cmd.Stdin = strings.NewReader(stdin)
		cmd.Env = append(cmd.Env, "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %s: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	nowhere := strings.Repeat("12", 20)
	tree := in("100644 blob "+nowhere+"\tfile\n", "mktree", "--missing")
	tip := in("", "commit-tree", "-p", "refs/heads/main", "-m", "more", tree)
	if _, err := mirror.Repack(ctx, []refs.OID{refs.OID(tree), refs.OID(tip)}, filepath.Join(mirror.Dir, "objects/pack/pack")); err != nil {
		t.Fatal(err)
	}
	in("", "prune-packed")
	in("", "update-ref", "refs/heads/main", tip)

	w.must("", "clone", "-q", "--bare", w.url, "bare.git")
	if got := w.must("bare.git", "rev-parse", "refs/heads/main"); got != tip {
		t.Errorf("main is %s, want %s", got, tip)
	}
	if _, _, err := w.git("bare.git", "rev-list", "--objects", "--all"); err == nil {
		t.Error("the file is there: the test proves nothing")
	}
	if kept, _ := filepath.Glob(filepath.Join(w.dir, "bare.git/objects/pack/*.keep")); len(kept) > 0 {
		t.Errorf("%s were left behind", kept)
	}
	if packs, _ := filepath.Glob(filepath.Join(w.dir, "bare.git/objects/pack/*.pack")); len(packs) != 3 {
		t.Errorf("the clone has packs %s, want the two of the mirror and one of the tips", packs)
	}

	// A tip that may be as large as one likes is not copied: git walks.
	in("", "update-ref", "refs/tags/tree", tree)
	w.refused("", []string{nowhere}, "clone", "-q", "--bare", w.url, "walked.git")
}

func TestCloneParts(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	head := w.must("src", "rev-parse", "main")

	w.must("", "clone", "-q", "--depth", "1", w.url, "shallow")
	if got := w.must("shallow", "rev-list", "--count", "HEAD"); got != "1" {
		t.Errorf("--depth 1 brought %s commits", got)
	}
	w.must("shallow", "fetch", "-q", "--unshallow")
	if got := w.must("shallow", "rev-list", "--count", "HEAD"); got != "2" {
		t.Errorf("--unshallow left %s commits", got)
	}

	w.must("", "clone", "-q", "--filter=blob:none", "--no-checkout", w.url, "partial")
	if got := w.must("partial", "rev-list", "--objects", "--missing=print", "--all"); strings.Count(got, "?") != 3 {
		t.Errorf("--filter=blob:none: want 3 missing blobs in\n%s", got)
	}
	w.must("partial", "checkout", "-q", "main") // fetches what it needs
	if _, err := os.Stat(filepath.Join(w.dir, "partial", "two")); err != nil {
		t.Error(err)
	}

	w.must("", "clone", "-q", "--single-branch", w.url, "single")
	if got := w.must("single", "for-each-ref", "--format=%(refname)"); strings.Contains(got, "side") {
		t.Errorf("--single-branch brought more than main:\n%s", got)
	}
	if got := w.must("single", "tag"); got != "light\nv1" {
		t.Errorf("--single-branch brought tags %q, want those of main", got)
	}
	w.must("", "clone", "-q", "--branch", "side", "--single-branch", "--no-tags", w.url, "side")
	w.must("", "clone", "-q", "--branch", "v1", w.url, "at-tag")
	w.must("", "clone", "-q", "--reference", "src", w.url, "borrowing")
	for _, dir := range []string{"single", "side", "at-tag", "borrowing", "shallow"} {
		w.must(dir, "fsck", "--full", "--strict")
	}
	if got := w.must("borrowing", "rev-parse", "origin/main"); got != head {
		t.Errorf("--reference: origin/main is %s, want %s", got, head)
	}

	w.must("", "init", "-q", "empty")
	w.must("empty", "fetch", "-q", w.url, "+refs/heads/*:refs/remotes/origin/*")
	w.must("empty", "fsck", "--full", "--strict")
	if got := w.must("empty", "tag"); got != "light\nside-v1\nv1" {
		t.Errorf("a fetch into an empty repository followed the tags %q", got)
	}
}

func TestFetch(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		t.Run(string(format), func(t *testing.T) {
			w := newWorld(t)
			w.publish(format)
			w.must("", "clone", "-q", w.url, "clone")
			w.must("clone", "fetch", "-q") // nothing new
			next := w.commit("src", "four")
			w.must("src", "tag", "-m", "second", "v2")
			w.must("src", "push", "-q", "--follow-tags", "origin", "main")
			w.must("clone", "pull", "-q", "--ff-only")
			if got := w.must("clone", "rev-parse", "HEAD"); got != next {
				t.Errorf("HEAD is %s after the pull, want %s", got, next)
			}
			if got := w.must("clone", "cat-file", "-t", "v2"); got != "tag" {
				t.Errorf("v2 is a %s, want a tag", got)
			}
			w.must("src", "push", "-q", "origin", ":side", ":side-v1")
			w.must("clone", "fetch", "-q", "--prune")
			if _, _, err := w.git("clone", "rev-parse", "--verify", "-q", "origin/side"); err == nil {
				t.Error("origin/side is still there after --prune")
			}
		})
	}
}

func TestListRemote(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	want := w.must("", "ls-remote", w.fake.mirror.Dir)
	outside := w.must("", "ls-remote", w.url)
	inside := w.must("src", "ls-remote", w.url)
	if sorted(outside) != sorted(want) {
		t.Errorf("ls-remote outside of a repository:\n%s\nwant\n%s", outside, want)
	}
	if sorted(inside) != sorted(want) {
		t.Errorf("ls-remote inside of a repository:\n%s\nwant\n%s", inside, want)
	}
	if got := w.must("", "ls-remote", "--symref", w.url, "HEAD"); !strings.Contains(got, "ref: refs/heads/main\tHEAD") {
		t.Errorf("ls-remote --symref: %s", got)
	}
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	// HEAD stands first or last.
	for i, line := range lines {
		if strings.HasSuffix(line, "\tHEAD") {
			return line + "\n" + strings.Join(append(lines[:i:i], lines[i+1:]...), "\n")
		}
	}
	return text
}

func TestEmpty(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		t.Run(string(format), func(t *testing.T) {
			w := newWorld(t)
			if err := gitcmd.Init(t.Context(), w.fake.mirror.Dir, format); err != nil {
				t.Fatal(err)
			}
			if err := w.fake.mirror.SetHead(t.Context(), "refs/heads/trunk"); err != nil {
				t.Fatal(err)
			}
			w.fake.with(func(f *fakeNode) { f.format = format })
			w.must("", "clone", "-q", w.url, "clone")
			if got := w.must("clone", "symbolic-ref", "HEAD"); got != "refs/heads/trunk" {
				t.Errorf("HEAD is %q, want the unborn branch", got)
			}
			if got := w.must("", "ls-remote", w.url); got != "" {
				t.Errorf("ls-remote of an empty repository: %q", got)
			}
			if got := w.must("clone", "rev-parse", "--show-object-format"); got != string(format) {
				// git 2.39 takes the format over only with a ref; newer ones do.
				w.commit("clone", "none")
				w.refused("clone", []string{"sha256", "hint: git init --object-format=sha256"}, "push", "origin", "trunk")
				os.RemoveAll(filepath.Join(w.dir, "clone"))
				w.must("", "init", "-q", "-b", "trunk", "--object-format="+string(format), "clone")
				w.must("clone", "remote", "add", "origin", w.url)
			}
			w.commit("clone", "one")
			w.must("clone", "push", "-q", "origin", "trunk")
			w.must("", "clone", "-q", w.url, "again")
			w.same("clone", "again", "2")
		})
	}
}

func TestUnbornHead(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	if err := w.fake.mirror.SetHead(t.Context(), "refs/heads/gone"); err != nil {
		t.Fatal(err)
	}
	w.must("", "clone", "-q", "--no-checkout", w.url, "clone")
	if got := w.must("clone", "rev-parse", "origin/main"); got != w.must("src", "rev-parse", "main") {
		t.Errorf("origin/main is %s", got)
	}
}

func TestObjectFormatsDiffer(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA256)
	w.must("", "init", "-q", "old")
	w.refused("old", []string{"sha256", "sha1"}, "fetch", w.url)
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	w.must("", "clone", "-q", w.url, "clone")
	before := w.must("clone", "for-each-ref")
	w.fake.with(func(f *fakeNode) {
		f.refuse = &node.Error{Code: trust.Unsigned, Message: "refs/heads/main: commit 1234 is not signed\x1b[2J\nhint: rm -rf /",
			Hint: "gitpeer trust check " + w.url}
	})
	for _, args := range [][]string{{"fetch"}, {"fetch", "--prune"}, {"pull"}, {"ls-remote"}, {"fetch", "--depth", "1"}} {
		w.refused("clone", []string{"gitpeer: error: refs/heads/main", "\nhint: gitpeer trust check gitpeer://", `\x1b[2J`, "\n    hint: rm"}, args...)
	}
	if after := w.must("clone", "for-each-ref"); after != before {
		t.Errorf("the refs changed:\n%s\nwere\n%s", after, before)
	}
	cmd := exec.Command("git-remote-gitpeer", "origin", w.url)
	cmd.Stdin = strings.NewReader("capabilities\nlist\n")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != int(trust.Unsigned) {
		t.Errorf("the helper ends with %v, want exit status %d", err, trust.Unsigned)
	}
}

// TestInterrupt: an interrupt ends a fetch that gets no answer, with the status
// and the words for it.
func TestInterrupt(t *testing.T) {
	w := newWorld(t)
	asked := make(chan struct{})
	w.fake.with(func(f *fakeNode) { f.asked = asked })
	var out, errs bytes.Buffer
	cmd := exec.Command("git-remote-gitpeer", "origin", w.url)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("list\n\n"), &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || out.Len() > 0 || !strings.Contains(errs.String(), "gitpeer: interrupted") {
		t.Errorf("after an interrupt: %v, prints %q, says %q, want exit status 130", err, &out, &errs)
	}
}

func TestStale(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	w.fake.with(func(f *fakeNode) { f.stale = "no node answered" })
	for i, quiet := range [][]string{{"clone"}, {"clone", "-q"}} {
		_, stderr, err := w.git("", append(quiet, w.url, fmt.Sprintf("clone%d", i))...)
		if err != nil || !strings.Contains(stderr, "gitpeer: warning: no node answered") {
			t.Errorf("git %q of a stale state: %v: %s", quiet, err, stderr)
		}
	}
}

// TestNodeIsNotBelieved: A32, nothing that git could misread is printed.
func TestNodeIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	good := refs.Ref{Name: "refs/heads/main", OID: refs.OID(strings.Repeat("1", 40))}
	for name, tamper := range map[string]func(*node.FetchResult){
		"attribute":   func(r *node.FetchResult) { r.Refs[0].Name = "refs/heads/main unchanged" },
		"line":        func(r *node.FetchResult) { r.Refs[0].Name = "refs/heads/a\n1111 refs/heads/b" },
		"replace":     func(r *node.FetchResult) { r.Refs[0].Name = "refs/replace/1111111111111111111111111111111111111111" },
		"traversal":   func(r *node.FetchResult) { r.Refs[0].Name = "refs/heads/../../config" },
		"oid":         func(r *node.FetchResult) { r.Refs[0].OID = "zzzz" },
		"peeled":      func(r *node.FetchResult) { r.Refs[0].Peeled = "1111\n" },
		"format":      func(r *node.FetchResult) { r.ObjectFormat = "md5\n" },
		"head":        func(r *node.FetchResult) { r.Head = "refs/heads/x HEAD\n" },
		"head is tag": func(r *node.FetchResult) { r.Head = "refs/tags/v1" },
		"twice":       func(r *node.FetchResult) { r.Refs = append(r.Refs, good, good) },
		"prefix": func(r *node.FetchResult) {
			r.Refs = append(r.Refs, good, refs.Ref{Name: "refs/heads/main/x", OID: good.OID})
		},
		"no mirror": func(r *node.FetchResult) { r.Mirror = "" },
	} {
		t.Run(name, func(t *testing.T) {
			w.fake.with(func(f *fakeNode) { f.tamper = tamper })
			for _, input := range []string{"list\n\n", "connect git-upload-pack\n\n"} {
				var out, errs bytes.Buffer
				cmd := exec.Command("git-remote-gitpeer", "origin", w.url)
				cmd.Dir = w.dir
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("option object-format true\n"+input), &out, &errs
				if err := cmd.Run(); err == nil || out.String() != "ok\n" {
					t.Errorf("%q: %v, printed %q, want an error and nothing", input, err, &out)
				}
			}
		})
	}
}

func TestPush(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	w.must("", "clone", "-q", w.url, "other")
	list := func() string { return w.must("", "ls-remote", w.fake.mirror.Dir) }

	before := list()
	ahead := w.commit("src", "four")
	w.must("src", "push", "-q", "--dry-run", "origin", "main")
	if list() != before {
		t.Error("--dry-run changed something")
	}
	_, stderr, err := w.git("src", "push", "origin", "main")
	if err != nil || !strings.Contains(stderr, "stored on 14 of 20 nodes") {
		t.Errorf("push: %v: %s", err, stderr)
	}
	if got := w.must("src", "rev-parse", "origin/main"); got != ahead {
		t.Errorf("the tracking branch is %s, want %s", got, ahead)
	}

	behind := w.commit("other", "five")
	w.refused("other", []string{"rejected"}, "push", "origin", "main")
	w.must("other", "fetch", "-q")
	w.refused("other", []string{"non-fast-forward"}, "push", "origin", "main")
	w.refused("other", []string{"stale info"}, "push", "--force-with-lease=main:"+behind, "origin", "main")
	w.must("other", "push", "-q", "--force-with-lease=main:"+ahead, "origin", "main")
	w.must("src", "push", "-q", "--force", "origin", "main")
	w.must("src", "push", "-q", "origin", "HEAD~1:refs/heads/new", "main:other")
	if got := list(); !strings.Contains(got, "refs/heads/new") || !strings.Contains(got, "refs/heads/other") {
		t.Errorf("after the push of two new branches:\n%s", got)
	}
	w.must("src", "push", "-q", "origin", "--delete", "new", "other")
	if got := list(); strings.Contains(got, "refs/heads/new") {
		t.Errorf("after their deletion:\n%s", got)
	}

	before = list()
	w.refused("other", []string{"rejected"}, "push", "--atomic", "origin", "main", "HEAD:refs/heads/atom")
	w.refused("other", []string{"not under refs/heads/ or refs/tags/"}, "push", "--atomic", "origin", "HEAD:refs/for/main", "HEAD:refs/heads/atom")
	if list() != before {
		t.Errorf("a refused atomic push changed something:\n%s\nwas\n%s", list(), before)
	}
	w.commit("src", "six")
	w.refused("src", []string{"support"}, "push", "--signed=yes", "origin", "main")
	w.refused("src", []string{"support"}, "push", "--push-option=x", "origin", "main:opt")
	for _, p := range w.fake.pushed() {
		if p.GitDir == "" || !filepath.IsAbs(p.GitDir) || p.URL == "" {
			t.Errorf("a push without a place: %+v", p)
		}
	}
}

// TestPushOfNothing: where git has nothing to push, for an earlier push was broken
// off after it had been accepted here, its record is still to be found by all.
func TestPushOfNothing(t *testing.T) {
	w := newWorld(t)
	settled := func() (n int) {
		w.fake.with(func(f *fakeNode) { n, f.settled = f.settled, 0 })
		return n
	}
	w.must("", "init", "-q", "unborn")
	w.git("unborn", "push", "--all", w.url)
	if n := settled(); n != 0 {
		t.Errorf("asked %d times for a record of what was never published", n)
	}
	w.publish(refs.SHA1)
	w.commit("src", "four")
	w.must("src", "push", "-q", "origin", "main")
	if n := settled(); n != 0 {
		t.Errorf("asked %d times after a push that said how it went", n)
	}
	w.must("src", "push", "-q", "origin", "main")
	if n := settled(); n != 1 {
		t.Errorf("asked %d times after a push of nothing, want once", n)
	}
	w.fake.with(func(f *fakeNode) {
		f.unput = &node.Error{Code: trust.TryLater, Message: "no DHT node answered", Hint: "gitpeer status"}
	})
	w.refused("src", []string{"Everything up-to-date", "gitpeer: error: no DHT node answered", "hint: gitpeer status"}, "push", "origin", "main")
}

// TestPushLease: a lease that git itself lets pass is checked by the node.
func TestPushLease(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	old := w.must("src", "rev-parse", "main")
	w.commit("src", "four")
	w.must("src", "push", "-q", "--force-with-lease=main:"+old, "--force-with-lease=fresh:", "origin", "main", "main:fresh")
	last := w.fake.pushed()[len(w.fake.pushed())-1]
	for _, u := range last.Updates {
		want := refs.OID(old)
		if u.Dst == "refs/heads/fresh" {
			want = ""
		}
		if u.Expect == nil || *u.Expect != want {
			t.Errorf("%s: expect %v, want %q", u.Dst, u.Expect, want)
		}
	}
	w.commit("src", "five")
	w.must("src", "push", "-q", "origin", "main")
	if last := w.fake.pushed()[len(w.fake.pushed())-1]; last.Updates[0].Expect != nil {
		t.Error("a lease outlived its push")
	}
}

// TestLeaseOfOneBatch: a lease is of one batch, also in a session that has two.
func TestLeaseOfOneBatch(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	old := w.must("src", "rev-parse", "main")
	w.commit("src", "four")
	var out bytes.Buffer
	cmd := exec.Command("git-remote-gitpeer", "origin", w.url)
	cmd.Env = append(os.Environ(), "GIT_DIR="+filepath.Join(w.dir, "src", ".git"))
	cmd.Stdin = strings.NewReader("option cas refs/heads/main:" + old + "\npush refs/heads/main:refs/heads/main\n\n" +
		"push refs/heads/main:refs/heads/copy\npush refs/heads/main:refs/heads/main\n\n\n")
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if want := "ok\nok refs/heads/main\n\nok refs/heads/copy\nok refs/heads/main\n\n"; out.String() != want {
		t.Errorf("the helper answers %q, want %q", &out, want)
	}
	pushes := w.fake.pushed()[len(w.fake.pushed())-2:]
	if u := pushes[0].Updates[0]; u.Expect == nil || *u.Expect != refs.OID(old) {
		t.Errorf("the first batch expects %v, want %s", u.Expect, old)
	}
	for _, u := range pushes[1].Updates {
		if u.Expect != nil || u.Force {
			t.Errorf("the second batch expects %v of %s, force %v, want neither", *u.Expect, u.Dst, u.Force)
		}
	}
}

func TestPushNew(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		t.Run(string(format), func(t *testing.T) {
			w := newWorld(t)
			w.publish(format)
			w.must("", "clone", "-q", "--mirror", w.url, "clone.git")
			w.same("src", "clone.git", "2")
		})
	}
}

func TestPushToAnother(t *testing.T) {
	w := newWorld(t)
	w.must("", "init", "-q", "src")
	w.commit("src", "one")
	other := refs.Address{Publisher: keys.FromSeed([32]byte{9}).ID(), Name: "tools"}
	w.refused("src", []string{"only its publisher", "hint: git push " + w.url}, "push", other.String(), "main")
	if err := os.Remove(w.fake.home.KeyFile()); err != nil {
		t.Fatal(err)
	}
	os.Remove(w.fake.home.KeyFile() + ".pub")
	w.refused("src", []string{"no publisher key", "hint: gitpeer init"}, "push", w.url, "main")
}

func TestBadAddress(t *testing.T) {
	w := newWorld(t)
	w.must("", "init", "-q", "src")
	w.commit("src", "one")
	for _, url := range []string{"gitpeer://gp1abc/tools", "gitpeer::ext::sh -c true", "gitpeer://-x/y"} {
		w.refused("src", []string{"gitpeer: error: "}, "push", url, "main")
	}
}

// TestA37ServesWhatWasAccepted has the mirror move on, as another fetch under
// another policy may make it, after the node has answered: git sees the refs of
// the answer, all of them and no others.
func TestA37ServesWhatWasAccepted(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		t.Run(string(format), func(t *testing.T) {
			w := newWorld(t)
			w.publish(format)
			main, tag := w.must("src", "rev-parse", "main"), w.must("src", "rev-parse", "v1")
			w.fake.with(func(f *fakeNode) {
				f.tamper = func(r *node.FetchResult) {
					r.Refs = slices.DeleteFunc(r.Refs, func(ref refs.Ref) bool { return ref.Name.Short() == "side" })
					first := refs.OID(w.must("src", "rev-parse", "light"))
					other := []refs.Ref{{Name: "refs/heads/main", OID: first}, {Name: "refs/heads/later", OID: first}, {Name: "refs/tags/v1", OID: first}}
					if err := f.mirror.SetRefs(context.Background(), other); err != nil {
						t.Error(err)
					}
				}
			})
			w.must("", "clone", "-q", "--mirror", "--filter=blob:none", w.url, "clone")
			got := w.must("clone", "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags/v1")
			if want := main + " refs/heads/main\n" + tag + " refs/tags/v1"; got != want {
				t.Errorf("git sees\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestArchive(t *testing.T) {
	w := newWorld(t)
	w.publish(refs.SHA1)
	if got := w.must("", "archive", "--remote="+w.url, "--format=tar", "main"); !strings.Contains(got, "two") {
		t.Error("git archive --remote has no file two")
	}
}

// TestRepositoryIsAskedAgain: what could not be found out about git's repository is
// an error each time, not only the first.
func TestRepositoryIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	w.must("", "init", "-q", "here")
	w.must("here", "config", "gitpeer.says", "promisor") // so that git is asked whether it is one
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	fake := "#!/bin/sh\nfor a; do [ \"$a\" = config ] && exit 3; done\nexec '" + git + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(w.dir, "bin", "git"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	h := &helper{gitDir: filepath.Join(w.dir, "here", ".git")}
	for i := range 2 {
		if work, err := h.repository(t.Context()); err == nil {
			t.Errorf("call %d: repository = %+v and no error", i+1, work)
		}
	}
}
