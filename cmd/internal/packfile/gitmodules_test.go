package packfile

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

// moduleTexts are contents of .gitmodules, and whether they are judged here. What
// is not is left to git, for some of them refuses them.
func moduleTexts() map[string]bool {
	in := func(lines ...string) string {
		return "[submodule \"a\"]\n\tpath = a\n\t" + strings.Join(lines, "\n\t") + "\n"
	}
	texts := map[string]bool{
		"": true, "\n# text\n; more": true, "[submodule \"a\"]": true, "key": true, "[core]\n\teditor = -x\n": true,
		in("url = https://example.org/a/b.git", "branch = main", "shallow = true", "# text"): true,
		in("url = git@example.org:a/b.git", "update = rebase", "fetchRecurseSubmodules"):     true,
		in("url = ssh://git@example.org:22/~a/b", "ignore=dirty", "URL = git://example.org"): true,
		in("url = https://me@example.org:8080/a", "url = http://example.org"):                true,
		in("url = ../sibling", "url = ./below", "url = ../../a:b/c.git", "url = /srv/a"):     true,
		in("url = \"https://example.org/a\" ; quoted", "path = \"a b\"", "path = ../a"):      true,
		in("path = \\"): true, in("url = ../a\\\n/b", "path = a # -x", "update = none", "update", "url"): true,
		"[submodule \"a \\\"b\\\" c\"] path = x\n\tupdate=checkout": true,
		"[Submodule \"a/b..c\"]\n\tpath=\tx":                        true,
		"[submodule]\n\turl = -x\n":                                 true, "[submodule.a.b]\n\tpath = c\n": true,
		strings.ReplaceAll(in("url = ../a"), "\n", "\r\n"): true,

		in("url = -u./payload"): false, in("url = \"-u./payload\""): false, in("url = \\\n\t-x"): false,
		in("url = https://example.org/%0ahost=x"): false, in("url = ../%0ahost=x"): false, in("url = \"../a\\nb\""): false,
		in("url = \"https://example.org/\\nx\""): false, in("url = https:///example.org"): false, in("url = https://:80/a"): false,
		in("url = ..//example.org/a"): false, in("url = ../:example.org/a"): false, in("url = .././../:x"): false,
		in("url = http::../a"): false, in("url = https://example.org/a?b"): false, in("url = https://example.org/../a"): false,
		in("url = https://a:b@example.org/"): false, in("url = https://example.org:0/a"): false, in("url = ..\\\\:x"): false,
		in("update = !command"): false, in("update = \"!command\""): false, in("UPDATE=! x"): false,
		in("path = -x"): false, in("path = \"-x\""): false, in("path = \"\" -x"): false,
		"[submodule \"..\"]\n\tpath = a\n": false, "[submodule \"../a\"]\n\tx\n": false, "[submodule \"a\\\\..\"]\n\tpath = a\n": false,
		"[submodule \"a/../b\"]\n\tx = y\n": false, "[submodule \"\\../a\"]\n\tx = y\n": false, "[submodule \"\"]\n\tx = y\n": false, "[submodule.]\n\tx = y\n": false,
		"[submodule \"a": false, "[submodule \"a\"": false, "[submodule a]": false, "[submodule \"a\\\n\"]": false, "[": false, "=": false,
		in("path = \"a"): false, in("path = \\x"): false, in("path a"): false, in("1 = a"): false, in("a_b = c"): false,
		in("path = a\x00b"): false, in("path = a\rb"): false, "\uFEFF" + in(): false, strings.Repeat("# text\n", maxModules/7+1): false,
	}
	return texts
}

func TestModules(t *testing.T) {
	r := newOdd(t)
	for text, accepted := range moduleTexts() {
		blob := r.object("blob", text)
		r.judge(t, fmt.Sprintf(".gitmodules of %.80q", text), accepted, blob, r.object("tree", r.entry("100644", ".gitmodules", blob)))
	}
}

// TestModulesAtRandom: of many texts put together from pieces, none passes here
// that git fsck finds fault with; and most that it lets pass, pass here.
func TestModulesAtRandom(t *testing.T) {
	r := newOdd(t)
	dice := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[dice.IntN(len(list))] }
	// random is a text that is mostly well-formed.
	random := func() string {
		text := pick("", "", "\n", "# x\n", "[core]\n\ta = b\n") +
			pick("[submodule \"a\"]", "[submodule \"a\"]", "[Submodule \"a b\"] ", "[submodule \"..\"]", "[submodule \"a/\\.\\./b\"]", "[submodule.a]", "[submodule]", "[submodule \"\"]", "[submodule \"]\"]", "[submodule\t\"a#\\\"\"]") +
			pick("\n\t", "\r\n", "\n", " ", "")
		for range 1 + dice.IntN(3) {
			text += pick("url", "url", "path", "update", "URL", "branch") + pick(" = ", "=", "\t= ", " =", "")
			for range 1 + dice.IntN(4) {
				text += pick("-x", "!x", "a", "..", "../", "./", "/", ":", "https://", "http::", "example.org", "/a.git", "git@", "\"", "\"-", "\\\n", "\\n", " ", "\t",
					"#", ";", "=", ".", "%0a", "\\\\", "\\\"", "@", "ssh://", "https://example.org/", "", "\r", "?")
			}
			text += pick("\n\t", "\n", "\r\n", "")
		}
		return text
	}
	texts := map[string]string{} // by object id
	var stream strings.Builder
	stream.WriteString("commit refs/heads/main\ncommitter A <a> 1 +0000\ndata 0\n")
	for n := range 6000 {
		text := random()
		texts[fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text)))] = text
		fmt.Fprintf(&stream, "M 100644 inline %d/.gitmodules\ndata %d\n%s\n", n, len(text), text)
	}
	r.git(stream.String(), "fast-import", "--quiet")
	refused := r.refused()
	here, theirs := 0, 0
	for oid, text := range texts {
		switch passes := plainModules([]byte(text)); {
		case passes && refused[oid]:
			t.Errorf("%q passes, but not with git", text)
		case passes:
			here++
			fallthrough
		case !refused[oid]:
			theirs++
		}
	}
	t.Logf("of %d texts, %d pass here, %d with git", len(texts), here, theirs)
	if here < 1000 || len(refused) < 500 {
		t.Errorf("of %d texts, %d pass here, %d with git: that says little", len(texts), here, theirs)
	}
}

// refused are the blobs of a repository that git fsck has an error for.
func (r *repo) refused() map[string]bool {
	cmd := exec.Command("git", "fsck", "--no-dangling")
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.tb.Fatal(err)
	}
	oids := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "error in blob "); ok {
			oid, _, _ := strings.Cut(rest, ":")
			oids[oid] = true
		}
	}
	return oids
}

// FuzzModules: what passes here, git index-pack --strict lets pass.
func FuzzModules(f *testing.F) {
	for text := range moduleTexts() {
		if len(text) < 1000 {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !plainModules([]byte(text)) {
			return
		}
		r := &odd{repo: newRepo(t, refs.SHA1)}
		blob := r.object("blob", text)
		tree := r.object("tree", r.entry("100644", ".gitmodules", blob))
		pack := r.git(blob+"\n"+tree+"\n", "pack-objects", "-q", "--stdout")
		if _, err := r.indexed([]byte(pack)); err != nil {
			t.Errorf("%q passes, but git says %v", text, err)
		}
	})
}
