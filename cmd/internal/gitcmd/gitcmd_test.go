package gitcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// A repository is one of the test's, worked on with plain git.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t, filepath.Join(t.TempDir(), "a:b \"c\"")} // a name that has to be quoted
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org",
		"GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_AUTHOR_DATE=1790000000 +0000", "GIT_COMMITTER_DATE=1790000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repository) commit(message string) refs.OID {
	r.t.Helper()
	r.git("commit", "-q", "--allow-empty", "-m", message)
	return refs.OID(r.git("rev-parse", "HEAD"))
}

func (r *repository) repo() Repo { return Repo{Dir: filepath.Join(r.dir, ".git")} }

// TestEnvironIsClean poisons everything that git reads from its environment.
func TestEnvironIsClean(t *testing.T) {
	for _, name := range []string{"GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG_PARAMETERS",
		"GIT_CONFIG_COUNT", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_EXTERNAL_DIFF", "GIT_TRACE"} {
		t.Setenv(name, "/nonexistent")
	}
	r := Environ()
	for _, kv := range r {
		if strings.Contains(kv, "/nonexistent") {
			t.Errorf("Environ keeps %q", kv)
		}
	}
	for _, want := range []string{"GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=", "GIT_TERMINAL_PROMPT=0"} {
		if !slices.Contains(r, want) {
			t.Errorf("Environ lacks %q", want)
		}
	}
}

// TestHostileConfiguration: nothing in a repository's own configuration runs.
func TestHostileConfiguration(t *testing.T) {
	r := newRepository(t)
	tip := r.commit("one")
	marker := filepath.Join(t.TempDir(), "ran")
	for _, key := range []string{"core.fsmonitor", "core.sshCommand", "core.pager", "uploadpack.packObjectsHook", "core.alternateRefsCommand",
		"gpg.program", "core.editor", "credential.helper", "diff.external"} {
		r.git("config", key, "touch "+marker+" #")
	}
	r.git("config", "core.hooksPath", r.dir)
	if err := os.WriteFile(filepath.Join(r.dir, "reference-transaction"), []byte("#!/bin/sh\ntouch "+marker+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	repo := r.repo()
	if _, err := repo.Refs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := repo.SetRefs(t.Context(), []refs.Ref{{Name: "refs/heads/other", OID: tip}}); err != nil {
		t.Fatal(err)
	}
	if err := repo.Connected(t.Context(), []refs.OID{tip}); err != nil {
		t.Fatal(err)
	}
	if err := repo.PackObjects(t.Context(), PackSpec{Tips: []refs.OID{tip}, Format: refs.SHA1}, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program of the repository's configuration ran")
	}
}

func TestLocate(t *testing.T) {
	r := newRepository(t)
	r.commit("one")
	if err := os.MkdirAll(filepath.Join(r.dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{r.dir, filepath.Join(r.dir, "sub"), filepath.Join(r.dir, ".git")} {
		w, err := Locate(t.Context(), dir)
		if err != nil || filepath.Base(w.Dir) != ".git" || w.ObjectFormat != refs.SHA1 || w.Shallow || w.Partial {
			t.Errorf("Locate(%q) = %+v, %v, want the whole SHA-1 repository", dir, w, err)
		}
	}
	if _, err := Locate(t.Context(), t.TempDir()); !errors.Is(err, ErrNotRepository) {
		t.Errorf("Locate of an ordinary folder: %v, want ErrNotRepository", err)
	}
	r.git("config", "remote.origin.promisor", "true")
	if w, err := Locate(t.Context(), r.dir); err != nil || !w.Partial {
		t.Errorf("Locate of a partial clone = %+v, %v, want Partial", w, err)
	}
	r.git("config", "--unset", "remote.origin.promisor")
	shallow := filepath.Join(t.TempDir(), "shallow")
	r.commit("two")
	r.git("clone", "-q", "--depth", "1", "file://"+r.dir, shallow)
	if w, err := Locate(t.Context(), shallow); err != nil || !w.Shallow {
		t.Errorf("Locate of a shallow clone = %+v, %v, want Shallow", w, err)
	}
}

func TestRefsArePeeled(t *testing.T) {
	r := newRepository(t)
	tip := r.commit("one")
	r.git("tag", "-a", "-m", "x", "once")
	r.git("tag", "-a", "-m", "x", "twice", "once")
	r.git("tag", "plain")
	got, err := r.repo().Refs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[refs.Name]refs.OID{"refs/heads/main": "", "refs/tags/once": tip, "refs/tags/plain": "", "refs/tags/twice": tip}
	if len(got) != len(want) {
		t.Fatalf("Refs = %v, want %d", got, len(want))
	}
	for _, ref := range got {
		if peeled, ok := want[ref.Name]; !ok || ref.Peeled != peeled {
			t.Errorf("%s is peeled to %q, want %q", ref.Name, ref.Peeled, peeled)
		}
	}
	if _, err := r.repo().Refs(t.Context(), "--exec=x"); err == nil {
		t.Error("Refs with a pattern that is an option: no error")
	}
}

// TestSetRefs changes a branch into a folder of branches and back.
func TestSetRefs(t *testing.T) {
	r := newRepository(t)
	one, two := r.commit("one"), r.commit("two")
	repo := r.repo()
	for _, want := range [][]refs.Ref{
		{{Name: "refs/heads/a", OID: one}, {Name: "refs/heads/b", OID: one}},
		{{Name: "refs/heads/a/x", OID: two}, {Name: "refs/heads/b", OID: two}},
		{{Name: "refs/heads/a", OID: one}},
		nil,
	} {
		if err := repo.SetRefs(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if got, err := repo.Refs(t.Context(), "refs/"); err != nil || !slices.Equal(got, want) {
			t.Errorf("after SetRefs: %v, %v, want %v", got, err, want)
		}
	}
	missing := refs.OID(strings.Repeat("1", 40))
	if err := repo.SetRefs(t.Context(), []refs.Ref{{Name: "refs/heads/a", OID: missing}}); err == nil {
		t.Error("SetRefs to an object that is not there: no error")
	}
}

// Many refs at once, which are not made one by one, are as good.
func TestSetManyRefs(t *testing.T) {
	r := newRepository(t)
	one, two := r.commit("one"), r.commit("two")
	tree := refs.OID(r.git("rev-parse", "HEAD^{tree}"))
	r.git("tag", "-a", "-m", "one", "annotated", string(one))
	var want []refs.Ref
	for i := range 2 * manyRefs {
		want = append(want, refs.Ref{Name: refs.Name(fmt.Sprintf("refs/heads/b%03d", i)), OID: one})
	}
	want = append(want, refs.Ref{Name: "refs/tags/annotated", OID: refs.OID(r.git("rev-parse", "annotated"))})
	repo := Repo{Dir: filepath.Join(t.TempDir(), "mirror.git")}
	if err := Init(t.Context(), repo.Dir, refs.SHA1); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(repo.Dir, "objects"), os.DirFS(filepath.Join(r.dir, ".git", "objects"))); err != nil {
		t.Fatal(err)
	}
	for name, oid := range map[string]refs.OID{"missing": refs.OID(strings.Repeat("1", 40)), "tree": tree} {
		bad := slices.Clone(want)
		bad[3].OID = oid
		if err := repo.SetRefs(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "refs/heads/b003") {
			t.Errorf("SetRefs with a branch on an object that is a %s: %v", name, err)
		}
	}
	want[5].OID = two
	for range 2 { // the second time one after the other
		if err := repo.SetRefs(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		got, err := repo.Refs(t.Context(), "refs/")
		if err == nil && got[len(got)-1].Peeled == one {
			got[len(got)-1].Peeled = ""
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("after SetRefs: %v, %v, want %v", got, err, want)
		}
		if out, err := run(repo.Command(t.Context(), "fsck", "--strict", "--no-dangling"), nil); err != nil {
			t.Errorf("git fsck: %v\n%s", err, out)
		}
		want = slices.Delete(want, 0, 3)
	}
}

func TestBatch(t *testing.T) {
	r := newRepository(t)
	tip := r.commit("one")
	b, err := r.repo().Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	missing := refs.OID(strings.Repeat("1", 40))
	for range 2 { // it goes on after each failure
		if o, err := b.Read(tip, 1<<20); err != nil || o.Kind != "commit" || !strings.HasSuffix(string(o.Data), "\n\none\n") {
			t.Errorf("Read(%s) = %+v, %v, want the commit", tip, o, err)
		}
		if _, err := b.Read(missing, 1<<20); !errors.Is(err, ErrMissing) {
			t.Errorf("Read of a missing object: %v, want ErrMissing", err)
		}
		if o, err := b.Read(tip, 10); !errors.Is(err, ErrObjectTooLarge) || o.Kind != "commit" {
			t.Errorf("Read of a large object = %+v, %v, want ErrObjectTooLarge and its kind", o, err)
		}
	}
}

func TestCommits(t *testing.T) {
	r := newRepository(t)
	var oids []refs.OID
	for i := range 30 {
		oids = append(oids, r.commit(fmt.Sprint(i)))
	}
	var got []refs.OID
	err := r.repo().Commits(t.Context(), oids[29:], oids[9:10], 1<<20, func(o *Object) bool {
		got = append(got, o.OID)
		return true
	})
	want := slices.Clone(oids[10:])
	slices.Reverse(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Commits = %v, %v, want the 20 newest, newest first", got, err)
	}
	seen := 0
	if err := r.repo().Commits(t.Context(), oids[29:], nil, 1<<20, func(*Object) bool { seen++; return seen < 3 }); err != nil || seen != 3 {
		t.Errorf("Commits that is told to stop: %d seen, %v, want 3", seen, err)
	}
	large := 0
	err = r.repo().Commits(t.Context(), oids[29:], nil, 10, func(o *Object) bool {
		if o.Data == nil && o.Size > 10 {
			large++
		}
		return true
	})
	if err != nil || large != 30 {
		t.Errorf("Commits of more than 10 bytes: %d, %v, want all 30 without their content", large, err)
	}
	if err := r.repo().Commits(t.Context(), []refs.OID{refs.OID(strings.Repeat("1", 40))}, nil, 1<<20, func(*Object) bool { return true }); err == nil {
		t.Error("Commits from a missing tip: no error")
	}
}

func TestReached(t *testing.T) {
	r := newRepository(t)
	one, two := r.commit("one"), r.commit("two")
	r.git("checkout", "-q", "-b", "side", string(one))
	side := r.commit("side")
	r.git("tag", "-a", "-m", "x", "v1", string(one))
	tag := refs.OID(r.git("rev-parse", "v1"))
	got, err := r.repo().Reached(t.Context(), []refs.OID{one, two, side, tag, refs.OID(strings.Repeat("1", 40))}, []refs.OID{two})
	if err != nil || len(got) != 2 || !got[one] || !got[two] {
		t.Errorf("Reached = %v, %v, want %s and %s alone", got, err, one, two)
	}
}

func TestIndexPackRefuses(t *testing.T) {
	r := newRepository(t)
	q := r.repo()
	q.Quarantine = t.TempDir()
	if err := os.Mkdir(filepath.Join(q.Quarantine, "pack"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := q.IndexPack(t.Context(), strings.NewReader("no pack"), IndexOptions{})
	var failed *Error
	if !errors.As(err, &failed) || failed.Command != "index-pack" || failed.Stderr == "" {
		t.Errorf("IndexPack of junk: %v, want git's own words", err)
	}
	if list, err := filepath.Glob(filepath.Join(r.dir, ".git", "objects", "pack", "*")); err != nil || len(list) > 0 {
		t.Errorf("IndexPack of junk left %v beside the quarantine", list)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.IndexPack(ctx, strings.NewReader("no pack"), IndexOptions{}); err == nil {
		t.Error("IndexPack under a context that has ended: no error")
	}
}

func TestTail(t *testing.T) {
	tl := &tail{max: 10}
	for range 100 {
		fmt.Fprint(tl, "0123456789")
	}
	if fmt.Fprint(tl, "fatal: end"); tl.String() != "end" || len(tl.b) > 30 {
		t.Errorf("tail = %q in %d bytes, want the end in few", tl, len(tl.b))
	}
}

// TestA33NoOptions: what came from outside and looks like an option of git is a
// name that nothing has, and runs nothing.
func TestA33NoOptions(t *testing.T) {
	r := newRepository(t)
	r.commit("one")
	repo := r.repo()
	out := filepath.Join(t.TempDir(), "out")
	for _, name := range []string{"-x", "--help", "--output=" + out, "--upload-pack=touch " + out, "--exec=touch " + out, "--all", "--stdin"} {
		if oids, err := repo.Resolve(t.Context(), []string{name}); err != nil || oids[0] != "" {
			t.Errorf("Resolve(%q) = %v, %v, want no object", name, oids, err)
		}
		if full, err := repo.FullName(t.Context(), name); err != nil || full != "" {
			t.Errorf("FullName(%q) = %q, %v, want none", name, full, err)
		}
		if list, err := repo.Refs(t.Context(), name); err == nil {
			t.Errorf("Refs(%q) = %v, want an error", name, list)
		}
		if list, err := repo.Refs(t.Context(), "refs/heads/", name); err != nil || len(list) != 1 {
			t.Errorf("Refs(refs/heads/, %q) = %v, %v, want main alone", name, list, err)
		}
	}
	for _, oid := range []refs.OID{"--all", "-n1", "--output=x"} {
		if err := repo.PackObjects(t.Context(), PackSpec{Tips: []refs.OID{oid}, Format: refs.SHA1}, io.Discard); err == nil {
			t.Errorf("PackObjects(%q) = nil, want an error", oid)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an option was taken for one")
	}
}

// What is known of an object is not asked again, and what is not known is.
func TestRefsSince(t *testing.T) {
	r := newRepository(t)
	r.commit("one")
	r.git("tag", "-a", "-m", "one", "v1")
	r.git("tag", "-a", "-m", "two", "v2")
	all, err := r.repo().Refs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range [][]refs.Ref{nil, all[:1], all[:2], all} {
		if got, err := r.repo().RefsSince(t.Context(), known); err != nil || !slices.Equal(got, all) {
			t.Errorf("RefsSince(%v) = %v, %v, want %v", known, got, err, all)
		}
	}
}

// Many refs are one file, and few more stay apart from it.
func TestManyRefsArePacked(t *testing.T) {
	r := newRepository(t)
	tip := r.commit("one")
	bare := filepath.Join(t.TempDir(), "bare")
	if err := Init(t.Context(), bare, refs.SHA1); err != nil {
		t.Fatal(err)
	}
	repo := Repo{Dir: bare, Alternates: []string{filepath.Join(r.dir, ".git", "objects")}}
	var want []refs.Ref
	for i := range manyRefs + 2 {
		want = append(want, refs.Ref{Name: refs.Name(fmt.Sprintf("refs/heads/b%03d", i)), OID: tip})
	}
	for _, list := range [][]refs.Ref{want, want[1:], want} {
		if err := repo.SetRefs(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if got, err := repo.Refs(t.Context(), "refs/"); err != nil || !slices.Equal(got, list) {
			t.Errorf("after SetRefs: %v, %v, want %v", got, err, list)
		}
	}
	if loose, err := os.ReadDir(filepath.Join(bare, "refs", "heads")); err != nil || len(loose) != 1 {
		t.Errorf("%d loose refs, %v, want one", len(loose), err)
	}
}

// TestMerge: git's own merge, which writes nothing to the repository and asks no
// program that an attribute or a configuration names.
func TestMerge(t *testing.T) {
	r := newRepository(t)
	marker := filepath.Join(t.TempDir(), "ran")
	r.git("config", "merge.evil.driver", "touch "+marker)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.git("add", name)
	}
	write(".gitattributes", "* merge=evil\n")
	write("a", "1\n2\n3\n4\n5\n6\n7\n8\n9\n")
	root := r.commit("root")
	write("a", "1 ours\n2\n3\n4\n5\n6\n7\n8\n9\n")
	ours := r.commit("ours")
	side := func(text string) refs.OID {
		r.git("checkout", "-q", "--detach", string(root))
		write("a", text)
		return r.commit("theirs")
	}
	clean, conflict := side("1\n2\n3\n4\n5\n6\n7\n8\n9 theirs\n"), side("1 theirs\n2\n3\n4\n5\n6\n7\n8\n9\n")
	t.Chdir(r.dir) // where the attributes are
	before := r.git("count-objects", "-v")
	objects := r.repo().Objects(t.Context())
	tree, err := objects.Merge(ours, clean)
	if err != nil || len(tree) != 40 {
		t.Fatalf("Merge() = %q, %v, want a tree", tree, err)
	}
	if tree, err := objects.Merge(ours, conflict); tree != "" || err != nil {
		t.Errorf("Merge(conflict) = %q, %v, want none", tree, err)
	}
	if after := r.git("count-objects", "-v"); after != before {
		t.Errorf("the repository changed:\n%s\n%s", before, after)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the repository's merge driver ran")
	}
	workshop := objects.merge.Dir
	objects.Close()
	if _, err := os.Stat(workshop); err == nil || objects.Err() != nil {
		t.Errorf("%s is left, or %v failed", workshop, objects.Err())
	}
	r.git("config", "--unset", "merge.evil.driver")
	r.git("checkout", "-q", "--detach", string(ours))
	r.git("merge", "-q", "--no-edit", string(clean))
	if want := r.git("rev-parse", "HEAD^{tree}"); string(tree) != want {
		t.Errorf("Merge() = %s, git merge makes %s", tree, want)
	}
	// What is fetched lies beside the repository until it is accepted.
	fetched := filepath.Join(t.TempDir(), "fetched")
	r.git("clone", "-q", "-s", ".", fetched)
	side2 := exec.Command("git", "-C", fetched, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit-tree", "-p", string(clean), "-m", "more", string(clean)+"^{tree}")
	out, err := side2.Output()
	if err != nil {
		t.Fatal(err)
	}
	quarantined := r.repo()
	quarantined.Quarantine = filepath.Join(fetched, ".git", "objects")
	objects = quarantined.Objects(t.Context())
	if got, err := objects.Merge(ours, refs.OID(strings.TrimSpace(string(out)))); got != tree || err != nil {
		t.Errorf("Merge(quarantined) = %q, %v, want %s", got, err, tree)
	}
	objects.Close()
	objects = r.repo().Objects(t.Context())
	defer objects.Close()
	if _, err := objects.Merge(ours, refs.OID(strings.Repeat("1", 40))); err == nil || objects.Err() == nil {
		t.Errorf("Merge(absent) = %v, want a failure that is remembered", err)
	}
}
