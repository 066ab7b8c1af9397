package trust

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A gitRepo is a real repository with a real GnuPG home, and none of the
// user's configuration.
type gitRepo struct {
	t   *testing.T
	dir string
	env []string
}

func newGitRepo(t *testing.T, format refs.ObjectFormat) *gitRepo {
	t.Helper()
	for _, tool := range []string{"git", "gpg"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no " + tool)
		}
	}
	home, err := os.MkdirTemp("", "gp") // the agent's socket needs a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
		os.RemoveAll(home)
	})
	r := &gitRepo{t: t, dir: filepath.Join(home, "r"), env: append(os.Environ(), "GNUPGHOME="+home, "HOME="+home, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org")}
	r.run("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "alice@example.org", "ed25519", "sign", "never")
	r.run("git", "init", "-q", "-b", "main", "--object-format="+string(format), r.dir)
	r.git("config", "user.signingKey", "alice@example.org")
	return r
}

func (r *gitRepo) run(name string, args ...string) []byte {
	r.t.Helper()
	out, err := r.try(name, args...)
	if err != nil {
		r.t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

func (r *gitRepo) try(name string, args ...string) ([]byte, error) {
	c := exec.Command(name, args...)
	c.Env = r.env
	if _, err := os.Stat(r.dir); err == nil {
		c.Dir = r.dir
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out, err
}

func (r *gitRepo) git(args ...string) string {
	r.t.Helper()
	return strings.TrimSpace(string(r.run("git", args...)))
}

// load copies an object into a world.
func (r *gitRepo) load(w *world, kind Kind, name string) refs.OID {
	r.t.Helper()
	data := r.run("git", "cat-file", string(kind), name)
	oid := w.add(kind, string(data))
	want := r.git("rev-parse", name)
	if string(oid) != want {
		r.t.Fatalf("HashObject(%s) = %s, git says %s", name, oid, want)
	}
	return oid
}

// TestGit holds the verdicts against git verify-commit and verify-tag, on
// objects that git and GnuPG made.
func TestGit(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		t.Run(string(format), func(t *testing.T) {
			r := newGitRepo(t, format)
			r.git("commit", "-q", "--allow-empty", "-S", "-m", "root")
			r.git("branch", "side")
			r.git("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "--allow-empty", "-S", "-m", "gr\xfcn")
			r.git("tag", "-s", "-m", "release", "v1")
			r.git("checkout", "-q", "side")
			r.git("commit", "-q", "--allow-empty", "-S", "-m", "side")
			r.git("tag", "-s", "-m", "a tag to merge", "topic")
			r.git("checkout", "-q", "main")
			r.git("merge", "-q", "--no-ff", "-S", "-m", "merge", "topic") // with a mergetag header
			r.git("commit", "-q", "--allow-empty", "-m", "unsigned")

			cert, err := keys.ParseCertificate(r.run("gpg", "--export", "alice@example.org"))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			w.format, w.objects = format, NewMemory(format)
			w.certs[cert.Digest()+".asc"] = cert.Armored()
			fmt.Fprintf(&w.conf, "[signer \"alice\"]\n\tcert = %s.asc\n", cert.Digest())
			for _, oid := range strings.Fields(r.git("rev-list", "--all")) {
				r.load(w, KindCommit, oid)
			}
			w.repo("introduction = " + r.git("rev-list", "--max-parents=0", "main"))
			p := w.policy()
			tag := refs.Ref{Name: "refs/tags/v1", OID: r.load(w, KindTag, "v1"), Peeled: refs.OID(r.git("rev-parse", "v1^{}"))}
			for name, want := range map[string]Code{"main^": OK, "main": Unsigned} {
				_, verify := r.try("git", "verify-commit", name)
				if (verify == nil) != (want == OK) {
					t.Errorf("git verify-commit %s = %v", name, verify)
				}
				s := w.publish(branch("main", refs.OID(r.git("rev-parse", name))), tag)
				d := Decide(p, nil, s, w.objects, time.Now())
				if v := d.Verdicts[0]; v.Code != want {
					t.Errorf("%s: %v (%s), want %v", name, v.Code, v.Why, want)
				}
				if v := d.Verdicts[1]; v.Code != OK || v.Fingerprint != cert.Fingerprint {
					t.Errorf("v1: %v (%s), want ok", v.Code, v.Why)
				}
			}
		})
	}
}

// TestGuixDSA: guix has committers with DSA keys; its rules accept them, and
// gitpeer's do not.
func TestGuixDSA(t *testing.T) {
	r := newGitRepo(t, refs.SHA1)
	r.run("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "bob@example.org", "dsa2048", "sign", "never")
	r.git("config", "user.signingKey", "bob@example.org")
	ring, err := keys.ParseKeyring(r.run("gpg", "--export", "bob@example.org"))
	if err != nil || len(ring) != 1 || len(ring[0].Keys) != 1 {
		t.Fatalf("ParseKeyring(dsa2048) = %v, %v, want one certificate", ring, err)
	}
	bob := ring[0].Fingerprint
	list := fmt.Sprintf("(authorizations (version 0) ((%q (name \"bob\"))))\n", bob)
	if err := os.WriteFile(filepath.Join(r.dir, guixFile), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	r.git("add", guixFile)
	r.git("commit", "-q", "-S", "-m", "introduction")
	r.git("commit", "-q", "-S", "--allow-empty", "-m", "more")
	w := newWorld(t)
	intro, tip := r.load(w, KindCommit, "main^"), r.load(w, KindCommit, "main")
	r.load(w, KindTree, "main^{tree}")
	r.load(w, KindBlob, "main:"+guixFile)
	q := GuixQuery{ObjectFormat: refs.SHA1, Introduction: intro, Signer: bob, Tip: tip, Keyring: ring}
	if v := q.Examine(w.objects, time.Now()); v.Code != OK {
		t.Errorf("guix's rules: %v (%s), want ok", v.Code, v.Why)
	}
	w.signer(newPerson(t, "alice"))
	w.repo("introduction = " + string(intro))
	if v := w.want(w.policy(), nil, w.publish(branch("main", tip)), "main", WeakAlgorithm); !strings.Contains(v.Why, "DSA") {
		t.Errorf("Why = %q, want DSA named", v.Why)
	}
}
