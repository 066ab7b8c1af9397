package packfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// An odd repository has one commit, whose parts a test replaces.
type odd struct {
	*repo
	blob, tree, commit string
}

func newOdd(t *testing.T) *odd {
	r := &odd{repo: newRepo(t, refs.SHA1)}
	r.blob = r.object("blob", "text\n")
	r.tree = r.object("tree", r.entry("100644", "file", r.blob))
	r.commit = r.object("commit", r.commitText("A <a@example.org> 1 +0000"))
	return r
}

// object stores anything as an object.
func (r *odd) object(kind, content string) string {
	r.tb.Helper()
	return strings.TrimSpace(r.git(content, "hash-object", "-t", kind, "-w", "--stdin", "--literally"))
}

func (r *odd) entry(mode, name, oid string) string {
	raw, err := hex.DecodeString(oid)
	if err != nil {
		r.tb.Fatal(err)
	}
	return mode + " " + name + "\x00" + string(raw)
}

func (r *odd) commitText(ident string) string {
	return fmt.Sprintf("tree %s\nauthor %s\ncommitter %s\n\nmessage\n", r.tree, ident, ident)
}

// verdicts are what git and this package say of a pack of these objects.
func (r *odd) verdicts(oids ...string) (git, ours error) {
	r.tb.Helper()
	pack := []byte(r.git(strings.Join(oids, "\n")+"\n", "pack-objects", "-q", "--stdout", "--delta-base-offset"))
	idx, git := r.indexed(pack)
	x, err := newIndex(r.tb, pack, entriesOf(r.tb, pack), nil)
	if err == nil && git == nil && !bytes.Equal(idxOf(r.tb, x), idx) {
		r.tb.Error("the index is not git's")
	}
	return git, err
}

// judge checks that what this package accepts, git accepts; and that it accepts
// what it is meant to.
func (r *odd) judge(t *testing.T, what string, accepted bool, oids ...string) {
	t.Helper()
	git, ours := r.verdicts(oids...)
	switch {
	case ours == nil && git != nil:
		t.Errorf("%s: accepted, but git says %v", what, git)
	case ours != nil && !errors.Is(ours, ErrUnsure):
		t.Errorf("%s: %v, want ErrUnsure", what, ours)
	case accepted && ours != nil:
		t.Errorf("%s: %v, want it accepted", what, ours)
	case !accepted && ours == nil:
		t.Errorf("%s: accepted, want it left to git", what)
	}
}

func TestFsckNames(t *testing.T) {
	r := newOdd(t)
	for name, accepted := range map[string]bool{
		"file": true, "ünïcode": true, "日本": true, "a~1": true, "a\\b": true, "with space": true, ".x": true,
		".github": true, ".gitignore": true, "gitfoo": true, "“quoted”": true, ".übung": true, "trailing.": true,
		".git": false, ".GIT": false, ".Git": false, ".git ": false, ".git.": false, ".git...": false, ".git . ": false,
		"git~1": false, "GIT~1": false, ".g\u200cit": false, "\u200c.git": false, ".gi\u206at": false, "\ufeff.git": false,
		".": false, "..": false, "a/b": false, "a\\.git": false, "git~1\\x": false, "a\\git~1": false, ".git\\x": false,
		"gtkrc~": true, "g~": true, "git~": true, "git~x": true, "gitk~1": true, "gi7ebb~1": true, "gitmodules~1": true, ".emacs~": true, ".a:b": true, ".git~1": true,
		"gi7~1": false, "gitatt~2": false, "mailma~1": false, "MABA~1": false, "gi250a~9": false, "x\\git~1": false,
		".git:x": false, ".gitmodules:x": false, ".gitmodules ": false, "gitmod~1": false, "GI7EBA~1": false, "~1000000": false,
	} {
		tree := r.object("tree", r.entry("100644", name, r.blob))
		r.judge(t, fmt.Sprintf("name %q", name), accepted, r.blob, tree)
	}
}

func TestFsckTrees(t *testing.T) {
	r := newOdd(t)
	file := func(name string) string { return r.entry("100644", name, r.blob) }
	dir := func(name string) string { return r.entry("40000", name, r.tree) }
	zeros := strings.Repeat("0", 40)
	for _, c := range []struct {
		what, tree string
		accepted   bool
	}{
		{"empty", "", true},
		{"order", file("a") + file("b"), true},
		{"file and folder", file("foo") + file("foo.bar") + dir("goo"), true},
		{"folder after a dot", file("foo-") + file("foo.bar") + dir("foo") + file("foo0"), true},
		{"wrong order", file("b") + file("a"), false},
		{"twice", file("a") + file("a"), false},
		{"file and folder of one name", file("a") + dir("a"), false},
		{"the same at a distance", file("foo") + file("foo.bar") + dir("foo"), false},
		{"the same at a distance, twice", file("foo") + file("foo.bar") + file("foo.bar.baz") + dir("foo.bar") + dir("foo"), false},
		{"padded mode", r.entry("040000", "a", r.tree), true},
		{"modes", r.entry("100755", "a", r.blob) + r.entry("100664", "b", r.blob) + r.entry("120000", "c", r.blob) + r.entry("160000", "d", strings.Repeat("12", 20)), true},
		{"mode 100600", r.entry("100600", "a", r.blob), false},
		{"mode 0", r.entry("0", "a", r.blob), false},
		{"mode of letters", r.entry("abc", "a", r.blob), false},
		{"no mode", r.entry("", "a", r.blob), false},
		{"long mode", r.entry("000100644", "a", r.blob), false},
		{"no name", r.entry("100644", "", r.blob), false},
		{"cut off", file("a")[:20], false},
		{"null id", r.entry("100644", "a", zeros), false},
		{"null gitlink", r.entry("160000", "a", zeros), false},
		{"missing blob", r.entry("100644", "a", strings.Repeat("34", 20)), false},
		{"tree as a blob", r.entry("100644", "a", r.tree), false},
		{"blob as a tree", r.entry("40000", "a", r.blob), false},
		{".gitmodules is a link", r.entry("120000", ".gitmodules", r.blob), false},
		{".gitmodules is a folder", r.entry("40000", ".gitmodules", r.tree), false},
		{".GITMODULES is a link", r.entry("120000", ".GITMODULES", r.blob), false},
	} {
		r.judge(t, c.what, c.accepted, r.blob, r.tree, r.object("tree", c.tree))
	}
}

func TestFsckCommits(t *testing.T) {
	r := newOdd(t)
	ok := "A <a@example.org> 1 +0000"
	for ident, accepted := range map[string]bool{
		ok: true, "A <> 1 +0000": true, "A B <a b> 0 -0000": true, "A <a> 1 +51800": true, "A <a>": true, "A <a>1 +0000": true,
		"A <a@example.org> 1": false, "A a@example.org 1 +0000": false, "<a> 1 +0000": false, "A<a> 1 +0000": false,
		"A <a 1 +0000": false, "A> <a> 1 +0000": false, "A <a<b> 1 +0000": false, "A <a> 01 +0000": false, "A <a> x +0000": false,
		"A <a> -1 +0000": false, "A <a>  1 +0000": false, "A <a> 99999999999999999999 +0000": false, "A <a> 18446744073709551614 +0000": false,
		"": false, "A\x00 <a> 1 +0000": false,
	} {
		r.judge(t, fmt.Sprintf("author %q", ident), accepted, r.blob, r.tree, r.object("commit", r.commitText(ident)))
		tag := fmt.Sprintf("object %s\ntype commit\ntag v1\ntagger %s\n\nmessage\n", r.commit, ident)
		r.judge(t, fmt.Sprintf("tagger %q", ident), accepted, r.blob, r.tree, r.commit, r.object("tag", tag))
	}
	text := r.commitText(ok)
	for what, c := range map[string]struct {
		text     string
		accepted bool
	}{
		"more headers": {strings.Replace(text, "\n\n", "\nencoding latin1\ngpgsig x\n y\n\n", 1), true},
		"no message":   {strings.TrimSuffix(text, "\nmessage\n"), true},
		"parent":       {strings.Replace(text, "\nauthor", "\nparent "+r.commit+"\nauthor", 1), true},
		"lost parent":  {strings.Replace(text, "\nauthor", "\nparent "+strings.Repeat("5", 40)+"\nauthor", 1), false},
		"tree, parent": {strings.Replace(text, "\nauthor", "\nparent "+r.tree+"\nauthor", 1), false},
		"two authors":  {strings.Replace(text, "\ncommitter", "\nauthor "+ok+"\ncommitter", 1), false},
		"no author":    {strings.Replace(text, "author "+ok+"\n", "", 1), false},
		"no committer": {strings.Replace(text, "committer "+ok+"\n", "", 1), false},
		"no tree":      {strings.SplitN(text, "\n", 2)[1], false},
		"upper case":   {strings.Replace(text, r.tree, strings.ToUpper(r.tree), 1), false},
		"NUL":          {text + "\x00", false},
		"cut off":      {text[:60], false},
		"empty":        {"", false},
	} {
		r.judge(t, "commit: "+what, c.accepted, r.blob, r.tree, r.commit, r.object("commit", c.text))
	}
}

func TestFsckTags(t *testing.T) {
	r := newOdd(t)
	text := fmt.Sprintf("object %s\ntype commit\ntag v1\ntagger A <a> 1 +0000\n\nmessage\n", r.commit)
	for what, c := range map[string]struct {
		text     string
		accepted bool
	}{
		"plain":         {text, true},
		"no tagger":     {strings.Replace(text, "tagger A <a> 1 +0000\n", "", 1), true},
		"odd name":      {strings.Replace(text, "v1", "a..b", 1), true},
		"wrong type":    {strings.Replace(text, "type commit", "type blob", 1), false},
		"unknown type":  {strings.Replace(text, "type commit", "type thing", 1), false},
		"lost object":   {strings.Replace(text, r.commit, strings.Repeat("6", 40), 1), false},
		"no type":       {strings.Replace(text, "type commit\n", "", 1), false},
		"no name":       {strings.Replace(text, "tag v1\n", "", 1), false},
		"more headers":  {strings.Replace(text, "\n\n", "\nextra x\n\n", 1), false},
		"NUL in header": {strings.Replace(text, "v1", "v\x00", 1), false},
		"short":         {fmt.Sprintf("object %s\ntype tag\ntag x\n", r.commit), false},
		"empty":         {"", false},
	} {
		r.judge(t, "tag: "+what, c.accepted, r.blob, r.tree, r.commit, r.object("tag", c.text))
	}
}

func TestFsckFiles(t *testing.T) {
	r := newOdd(t)
	module := func(text string) string { return "[submodule \"a\"]\n\tpath = a\n" + text }
	for _, c := range []struct {
		name, text string
		accepted   bool
	}{
		{".GitModules", module("\turl = git://example.org/a\n"), true},
		{".gitattributes", "*.c text\n", true},
		{".gitattributes", strings.Repeat("a", 1990) + " text\n", true},
		{".gitattributes", strings.Repeat("a", 2100) + " text\n", false},
		{".gitattributes", strings.Repeat("a text\n", 200_000), false},
	} {
		blob := r.object("blob", c.text)
		tree := r.object("tree", r.entry("100644", c.name, blob))
		r.judge(t, fmt.Sprintf("%s of %.60q", c.name, c.text), c.accepted, blob, tree)
	}
	lost := r.object("tree", r.entry("100644", ".gitmodules", strings.Repeat("7", 40)))
	r.judge(t, "lost .gitmodules", false, r.blob, lost)
}
