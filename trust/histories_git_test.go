package trust

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A bareRepo is a repository that others wrote. It is only read.
type bareRepo struct {
	t    testing.TB
	name string
	dir  string
	env  []string
}

// findBare returns the bare repositories in a folder: DIR/NAME, DIR/NAME.git or
// DIR/NAME/repo.
func findBare(t testing.TB, folder string) []*bareRepo {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var found []*bareRepo
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".git")
		for _, dir := range []string{e.Name(), filepath.Join(e.Name(), "repo")} {
			dir = filepath.Join(folder, dir)
			if info, err := os.Stat(filepath.Join(dir, "objects")); err != nil || !info.IsDir() {
				continue
			}
			found = append(found, newBare(t, name, dir))
			break
		}
	}
	return found
}

// newBare makes a repository readable without the user's configuration.
func newBare(t testing.TB, name, dir string) *bareRepo {
	t.Helper()
	home, err := os.MkdirTemp("", "gp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	config := "[safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return &bareRepo{t: t, name: name, dir: dir, env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_DIR=" + dir}}
}

func (r *bareRepo) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = r.env
	return c
}

// git runs git and returns its output; what it says of failures is the
// caller's to interpret.
func (r *bareRepo) git(stdin string, args ...string) (string, error) {
	c := r.command("git", args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.Output()
	return string(out), err
}

// lines runs git where failure is not expected.
func (r *bareRepo) lines(args ...string) []string {
	r.t.Helper()
	out, err := r.git("", args...)
	if err != nil {
		r.t.Fatalf("%s: git %s: %v", r.name, strings.Join(args, " "), err)
	}
	return strings.FieldsFunc(out, func(c rune) bool { return c == '\n' })
}

// cat yields objects, whose ids come from a command or a list.
func (r *bareRepo) cat(ids io.Reader) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		c := r.command("git", "cat-file", "--batch", "--buffer")
		c.Stdin = ids
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			yield(Object{}, err)
			return
		}
		defer func() { c.Process.Kill(); io.Copy(io.Discard, out); c.Wait() }()
		b := bufio.NewReaderSize(out, 1<<16)
		for {
			o, err := readBatch(b)
			if err == io.EOF || !yield(o, err) || err != nil {
				return
			}
		}
	}
}

func readBatch(b *bufio.Reader) (Object, error) {
	line, err := b.ReadString('\n')
	if err != nil {
		return Object{}, err
	}
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return Object{OID: refs.OID(fields[0])}, fmt.Errorf("%s: %w", strings.TrimSpace(line), ErrMissing)
	}
	size, err := strconv.Atoi(fields[2])
	if err != nil {
		return Object{}, err
	}
	data := make([]byte, size+1)
	if _, err := io.ReadFull(b, data); err != nil {
		return Object{}, err
	}
	return Object{OID: refs.OID(fields[0]), Kind: Kind(fields[1]), Data: data[:size]}, nil
}

// A bareStore is a bareRepo as Objects, with one reading process.
type bareStore struct {
	*bareRepo
	in  io.WriteCloser
	out *bufio.Reader
}

func (r *bareRepo) store() *bareStore {
	c := r.command("git", "cat-file", "--batch")
	in, err := c.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { in.Close(); c.Wait() })
	return &bareStore{bareRepo: r, in: in, out: bufio.NewReaderSize(out, 1<<16)}
}

func (s *bareStore) Read(oid refs.OID) (Object, error) {
	if _, err := io.WriteString(s.in, string(oid)+"\n"); err != nil {
		return Object{}, err
	}
	return readBatch(s.out)
}

func (s *bareStore) Commits(tips, not []refs.OID) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var in strings.Builder
		for _, oid := range tips {
			fmt.Fprintln(&in, oid)
		}
		for _, oid := range not {
			fmt.Fprintf(&in, "^%s\n", oid)
		}
		list := s.command("git", "rev-list", "--stdin", "--ignore-missing")
		list.Stdin = strings.NewReader(in.String())
		ids, err := list.StdoutPipe()
		if err == nil {
			err = list.Start()
		}
		if err != nil {
			yield(Object{}, err)
			return
		}
		defer func() { list.Process.Kill(); list.Wait() }()
		s.cat(ids)(yield)
	}
}

// Keys are the public keys that a repository itself holds.
type historyKeys struct {
	armored []string // OpenPGP, one or more certificates each
	ssh     []string // KIND BASE64
}

var (
	pgpBlock = regexp.MustCompile(`(?s)-----BEGIN PGP PUBLIC KEY BLOCK-----.*?-----END PGP PUBLIC KEY BLOCK-----`)
	sshLine  = regexp.MustCompile(`\b((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+) (AAAA[A-Za-z0-9+/=]+)`)
	sshJSON  = regexp.MustCompile(`"public": ?"(AAAA[A-Za-z0-9+/=]+)"`)
)

// keys collects the keys that are meant for verifying the repository: guix's
// branch of *.key files, tags on blobs (git), .gitsigners (heartwood) and
// gittuf's metadata, the last two in all their versions.
func (r *bareRepo) keys() historyKeys {
	var blobs []string
	collect := func(lines []string, want *regexp.Regexp) {
		for _, l := range lines {
			info, path, _ := strings.Cut(l, "\t")
			if fields := strings.Fields(info); len(fields) == 3 && fields[1] == "blob" && want.MatchString(path) {
				blobs = append(blobs, fields[2])
			}
		}
	}
	history := func(ref, path string, want *regexp.Regexp) {
		for _, commit := range r.lines("rev-list", ref, "--", path) {
			collect(r.lines("ls-tree", "-r", commit, "--", path), want)
		}
	}
	any := regexp.MustCompile(``)
	for _, l := range r.lines("for-each-ref", "--format=%(refname) %(objecttype) %(*objecttype) %(*objectname)") {
		fields := strings.Fields(l)
		switch {
		case strings.HasSuffix(fields[0], "/keyring"):
			collect(r.lines("ls-tree", "-r", fields[0]), regexp.MustCompile(`\.key$`))
		case len(fields) == 4 && fields[2] == "blob":
			blobs = append(blobs, fields[3])
		case strings.HasPrefix(fields[0], "refs/gittuf") && strings.HasSuffix(fields[0], "/policy"):
			history(fields[0], "metadata", any)
		case strings.HasPrefix(fields[0], "refs/heads/"):
			if out, _ := r.git("", "ls-tree", fields[0], "--", ".gitsigners"); out != "" {
				history(fields[0], ".gitsigners", any)
			}
		}
	}
	slices.Sort(blobs)
	blobs = slices.Compact(blobs)
	var found historyKeys
	if len(blobs) == 0 {
		return found
	}
	for o, err := range r.cat(strings.NewReader(strings.Join(blobs, "\n") + "\n")) {
		if err != nil {
			r.t.Fatal(err)
		}
		found.add(o.Data)
	}
	slices.Sort(found.ssh)
	found.ssh = slices.Compact(found.ssh)
	return found
}

// addFiles adds the keys of a folder, if it is there: for repositories that do
// not hold their own.
func (k *historyKeys) addFiles(t testing.TB, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		k.add(data)
	}
}

func (k *historyKeys) add(data []byte) {
	var envelope struct{ Payload []byte }
	if json.Unmarshal(data, &envelope) == nil && envelope.Payload != nil { // DSSE
		data = bytes.ReplaceAll(envelope.Payload, []byte(`\n`), []byte("\n"))
	}
	for _, block := range pgpBlock.FindAll(data, -1) {
		k.armored = append(k.armored, string(block)+"\n")
	}
	for _, m := range sshLine.FindAllSubmatch(data, -1) {
		k.ssh = append(k.ssh, string(m[1])+" "+string(m[2]))
	}
	for _, m := range sshJSON.FindAllSubmatch(data, -1) {
		raw, err := base64.StdEncoding.DecodeString(string(m[1]))
		if kind := (&reader{data: raw}).string(); err == nil && kind != nil {
			k.ssh = append(k.ssh, string(kind)+" "+string(m[1]))
		}
	}
}

// signers makes a policy of the keys. It also tells of what it could not use.
func (k *historyKeys) signers(t testing.TB) (*Policy, []*keys.Certificate) {
	p := &Policy{}
	var certs []*keys.Certificate
	seen := make(map[string]bool)
	for _, text := range k.armored {
		list, err := keys.ParseKeyring([]byte(text))
		if err != nil || len(list) == 0 {
			_, why := keys.ParseCertificate([]byte(text))
			t.Logf("key material left out: %v %v", err, why)
		}
		for _, c := range list {
			if seen[c.Digest()] {
				continue
			}
			seen[c.Digest()] = true
			certs = append(certs, c)
			p.Signers = append(p.Signers, &Signer{Name: fmt.Sprintf("openpgp-%d", len(p.Signers)+1), Cert: c})
			if err := p.index(); err != nil {
				t.Logf("certificate %s left out: %v", c.Fingerprint, err)
				p.Signers = p.Signers[:len(p.Signers)-1]
			}
		}
	}
	for _, line := range k.ssh {
		key, err := keys.ParseSSHKey(line)
		if err != nil {
			t.Logf("SSH key left out: %v", err)
			continue
		}
		p.Signers = append(p.Signers, &Signer{Name: fmt.Sprintf("ssh-%d", len(p.Signers)+1), SSH: key})
	}
	if err := p.index(); err != nil {
		t.Fatal(err)
	}
	return p, certs
}

// trustInGit gives gpg and git the same keys, all fully trusted: what is
// compared is signatures, not webs of trust.
func (r *bareRepo) trustInGit(k historyKeys) {
	r.t.Helper()
	home, err := os.MkdirTemp("", "gp")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		r.command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	allowed := filepath.Join(home, "allowed_signers")
	var lines strings.Builder
	for _, key := range k.ssh {
		fmt.Fprintf(&lines, "* %s\n", key)
	}
	for name, content := range map[string]string{
		allowed:                         lines.String(),
		filepath.Join(home, "gpg.conf"): "trust-model always\nno-auto-check-trustdb\nno-autostart\nno-auto-key-retrieve\nimport-options import-local-sigs\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.env = append(r.env, "GNUPGHOME="+home, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=gpg.ssh.allowedSignersFile", "GIT_CONFIG_VALUE_0="+allowed)
	gpg := r.command("gpg", "--batch", "--quiet", "--import")
	gpg.Stdin = strings.NewReader(strings.Join(k.armored, "\n"))
	if out, err := gpg.CombinedOutput(); err != nil && len(k.armored) > 0 {
		r.t.Logf("gpg --import: %v\n%s", err, out)
	}
}

// letters asks git for its verdicts about commits, as the letters of %G?: each
// costs it a process.
func (r *bareRepo) letters(commits []refs.OID) map[refs.OID]string {
	r.t.Helper()
	verdicts := make(map[refs.OID]string, len(commits))
	for work := slices.Collect(slices.Chunk(commits, 500)); len(work) > 0; {
		part := work[len(work)-1]
		work = work[:len(work)-1]
		var in strings.Builder
		for _, oid := range part {
			fmt.Fprintln(&in, oid)
		}
		out, err := r.git(in.String(), "log", "--no-walk=unsorted", "--stdin", "--format=%H %G?")
		if err != nil && len(part) > 1 { // git dies of one of git's own commits: find it
			work = append(work, part[:len(part)/2], part[len(part)/2:])
			continue
		}
		if err != nil {
			verdicts[part[0]] = "dies"
			continue
		}
		for l := range strings.Lines(out) {
			oid, letter, _ := strings.Cut(strings.TrimSpace(l), " ")
			verdicts[refs.OID(oid)] = letter
		}
	}
	return verdicts
}

// tagLetter asks git for its verdict about a tag, as a letter of %G?.
func (r *bareRepo) tagLetter(oid refs.OID) string {
	c := r.command("git", "verify-tag", "--raw", string(oid))
	out, err := c.CombinedOutput()
	for _, m := range []struct{ sign, letter string }{
		{"No principal matched", "U"}, {"] GOODSIG", "G"}, {`Good "git" signature`, "G"}, {"] EXPKEYSIG", "Y"}, {"] EXPSIG", "X"}, {"] REVKEYSIG", "R"},
		{"] BADSIG", "B"}, {"] ERRSIG", "E"}, {"no signature found", "N"},
	} {
		if bytes.Contains(out, []byte(m.sign)) {
			if (m.letter == "G") != (err == nil) {
				return m.letter + "!" // the exit status says otherwise
			}
			return m.letter
		}
	}
	return "?"
}
