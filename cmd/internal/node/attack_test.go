package node

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// write stores an object of any content, however wrong.
func (w *workTree) write(kind string, content []byte) refs.OID {
	w.t.Helper()
	cmd := exec.Command("git", "hash-object", "-w", "--literally", "-t", kind, "--stdin")
	cmd.Dir, cmd.Stdin = w.dir, bytes.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	return refs.OID(strings.TrimSpace(string(out)))
}

// entry is an entry of a tree.
func entry(mode, name string, oid refs.OID) []byte {
	raw := make([]byte, len(oid)/2)
	fmt.Sscanf(string(oid), "%x", &raw)
	return append([]byte(mode+" "+name+"\x00"), raw...)
}

// TestA16HostileTrees: names that git, or a file system, would take for .git,
// and .gitmodules that run something.
func TestA16HostileTrees(t *testing.T) {
	net := loopback(t)
	for name, tree := range map[string]func(w *workTree, file refs.OID) []byte{
		".git":   func(w *workTree, file refs.OID) []byte { return entry("100644", ".git", file) },
		".GIT":   func(w *workTree, file refs.OID) []byte { return entry("100644", ".GIT", file) },
		"ntfs":   func(w *workTree, file refs.OID) []byte { return entry("100644", "git~1", file) },
		"hfs":    func(w *workTree, file refs.OID) []byte { return entry("100644", ".g\u200cit", file) },
		"dotdot": func(w *workTree, file refs.OID) []byte { return entry("100644", "..", file) },
		"slash":  func(w *workTree, file refs.OID) []byte { return entry("100644", "a/b", file) },
		"twice": func(w *workTree, file refs.OID) []byte {
			return append(entry("100644", "a", file), entry("100644", "a", file)...)
		},
		"modules": func(w *workTree, file refs.OID) []byte { return entry("120000", ".gitmodules", file) },
		"option": func(w *workTree, _ refs.OID) []byte {
			return entry("100644", ".gitmodules", w.write("blob", []byte("[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=./payload\n")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t, net)
			f.addr.Name = refs.RepoName("a16-" + strings.Trim(strings.ToLower(name), "."))
			bob := victim(t, net, f)
			work := newWorkTree(t, "sha1")
			work.commit("")
			f.accepted(bob, work)
			oid := work.write("tree", tree(work, work.write("blob", []byte("#!/bin/sh\n"))))
			commit := work.write("commit", fmt.Appendf(nil, "tree %s\nparent %s\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n", oid, work.git("rev-parse", "HEAD")))
			work.git("update-ref", "refs/heads/main", string(commit))
			f.publish(work)
			bob.refuses(f, trust.BadPack, "git index-pack: error: object ")
		})
	}
}

// A packed is an entry of a pack: gitformat-pack(5).
type packed struct {
	kind byte
	base []byte // of a delta
	data []byte
}

// forgedPack writes a pack of entries, in which nothing has to make sense.
func forgedPack(entries ...packed) []byte {
	var b bytes.Buffer
	b.WriteString("PACK\x00\x00\x00\x02")
	binary.Write(&b, binary.BigEndian, uint32(len(entries)))
	for _, e := range entries {
		size := len(e.data)
		c := e.kind<<4 | byte(size&15)
		for size >>= 4; size > 0; size >>= 7 {
			b.WriteByte(c | 0x80)
			c = byte(size & 0x7f)
		}
		b.WriteByte(c)
		b.Write(e.base)
		z := zlib.NewWriter(&b)
		z.Write(e.data)
		z.Close()
	}
	sum := sha1.Sum(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

// TestA13PacksThatMakeNoSense: an object twice, deltas on each other, and a
// delta on nothing.
func TestA13PacksThatMakeNoSense(t *testing.T) {
	net := loopback(t)
	const tree, commit, blob, delta = 2, 1, 3, 7
	content, other := []byte("content\n"), []byte("CONTENT\n")
	id := func(content []byte) []byte { // of a blob of 8 bytes
		sum := sha1.Sum(append([]byte("blob 8\x00"), content...))
		return sum[:]
	}
	become := func(content []byte) []byte { return append([]byte{8, 8, 8}, content...) } // a delta on any 8 bytes
	for name, more := range map[string][]packed{
		"twice":    {{kind: blob, data: content}, {kind: blob, data: content}},
		"cycle":    {{kind: delta, base: id(other), data: become(content)}, {kind: delta, base: id(content), data: become(other)}},
		"baseless": {{kind: delta, base: id(other), data: become(content)}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t, net)
			f.addr.Name = refs.RepoName("a13-" + name)
			bob := victim(t, net, f)
			work := newWorkTree(t, "sha1")
			root := work.write("commit", fmt.Appendf(nil, "tree %s\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n", work.write("tree", nil)))
			work.git("update-ref", "refs/heads/main", string(root))
			pack := forgedPack(append([]packed{{kind: tree}, {kind: commit, data: []byte(work.git("cat-file", "commit", string(root)) + "\n")}}, more...)...)
			line, info := f.honest(pack)
			if line.Objects == 0 {
				line.Objects, line.Inflated = int64(len(more)+2), 1000
			}
			f.seed(info, bytes.NewReader(pack))
			f.release(f.snapshot(work.refs(), line))
			bob.refuses(f, trust.BadPack, "git index-pack")
		})
	}
}

// TestA41OnlyWhatIsListed: what a publisher does not list is not in what it
// publishes, though it lies in the same repository, and a reader who knows its
// id does not get it.
func TestA41OnlyWhatIsListed(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 2)
	if err := os.WriteFile(filepath.Join(work.dir, "secret"), []byte("the password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	work.commit("secret")
	hidden := []refs.OID{refs.OID(work.git("rev-parse", "secret")), refs.OID(work.git("rev-parse", "secret:secret")), refs.OID(work.git("rev-parse", "secret^{tree}"))}
	work.git("checkout", "-q", "main")
	list := func() *PublishResult {
		t.Helper()
		res, err := alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir, Patterns: []string{"refs/heads/main"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	url := list().URL
	bob := newPerson(t, net).start()
	bob.trustPublisher(url)
	for range 3 {
		got := bob.fetch(url)
		if len(got.Refs) != 1 {
			t.Fatalf("refs = %v, want main alone", got.Refs)
		}
		a, err := refs.ParseAddress(url)
		if err != nil {
			t.Fatal(err)
		}
		for _, mirror := range []string{got.Mirror, alice.home.Mirror(a)} {
			missing, err := gitcmd.Repo{Dir: mirror}.Missing(t.Context(), hidden)
			if err != nil || len(missing) != len(hidden) {
				t.Errorf("%s lacks %v, %v; want none of %v in it", mirror, missing, err, hidden)
			}
		}
		work.commit("")
		list()
	}
}
