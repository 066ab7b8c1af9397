package gpg

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// keyring makes an empty GnuPG home for the test.
func keyring(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed")
	}
	// Not t.TempDir: gpg-agent's socket needs a short path.
	home, err := os.MkdirTemp("", "gp")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	return home
}

func gpgRun(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %q: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

func newKey(t *testing.T, user string) string {
	t.Helper()
	gpgRun(t, "", "--quick-gen-key", user, "ed25519", "sign", "never")
	found, err := Keyring{}.Find(context.Background(), user[strings.Index(user, "<"):])
	if err != nil || len(found) != 1 {
		t.Fatalf("Find(%q) = %q, %v, want one fingerprint", user, found, err)
	}
	return found[0]
}

func TestExport(t *testing.T) {
	keyring(t)
	ctx := context.Background()
	alice := newKey(t, "Alice <alice@example.org>")
	bob := newKey(t, "Bob <bob@example.org>")
	gpgRun(t, "", "--yes", "--local-user", bob, "--quick-sign-key", alice)

	whole := gpgRun(t, "", "--export", alice)
	for _, query := range []string{alice, "0x" + strings.ToLower(alice), alice[24:], "alice@example.org", "<alice@example.org>"} {
		cert, err := Keyring{}.Export(ctx, query)
		if err != nil {
			t.Errorf("Export(%q) = %v", query, err)
			continue
		}
		if len(cert) >= len(whole) {
			t.Errorf("Export(%q) has %d bytes, want less than the %d with Bob's certification", query, len(cert), len(whole))
		}
		ring, err := openpgp.ReadKeyRing(bytes.NewReader(cert))
		if err != nil || len(ring) != 1 {
			t.Fatalf("Export(%q) is not one certificate: %d, %v", query, len(ring), err)
		}
		for _, id := range ring[0].Identities {
			if n := len(id.SelfCertifications); n != 1 {
				t.Errorf("Export(%q): %d self-certifications, want 1", query, n)
			}
			if n := len(id.OtherCertifications); n != 0 {
				t.Errorf("Export(%q): %d certifications of others, want 0", query, n)
			}
		}
	}
}

func TestExportRefuses(t *testing.T) {
	keyring(t)
	ctx := context.Background()
	newKey(t, "Alice <alice@example.org>")
	gpgRun(t, "", "--quick-gen-key", "Alice Too <alice@example.org>", "ed25519", "sign", "never")

	var notFound *NotFoundError
	if _, err := (Keyring{}).Export(ctx, strings.Repeat("AB", 20)); !errors.As(err, &notFound) {
		t.Errorf("Export of an absent key = %v, want a NotFoundError", err)
	}
	var ambiguous *AmbiguousError
	if _, err := (Keyring{}).Export(ctx, "alice@example.org"); !errors.As(err, &ambiguous) || len(ambiguous.Fingerprints) != 2 {
		t.Errorf("Export of two keys = %v, want an AmbiguousError with both", err)
	}
	if _, err := (Keyring{Home: t.TempDir()}).Export(ctx, "alice@example.org"); !errors.As(err, &notFound) {
		t.Errorf("Export out of another keyring = %v, want a NotFoundError", err)
	}
	for _, query := range []string{"", "Alice", "ABCDEF01", "-alice@example.org -o", "=Alice", "--export-secret-keys", "a@b\n--x"} {
		if _, err := (Keyring{}).Export(ctx, query); err == nil {
			t.Errorf("Export(%q) succeeded, want an error", query)
		}
	}
	if _, err := (Keyring{Program: "no-such-gpg"}).Export(ctx, "alice@example.org"); !errors.Is(err, ErrNoGPG) {
		t.Errorf("Export without gpg = %v, want ErrNoGPG", err)
	}
}

func TestTipSigners(t *testing.T) {
	home := keyring(t)
	ctx := context.Background()
	alice := newKey(t, "Alice <alice@example.org>")
	dir := filepath.Join(t.TempDir(), "work.git")
	if err := gitcmd.Init(ctx, dir, refs.SHA1); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) refs.OID {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.signingkey=" + alice}, args...)...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return refs.OID(strings.TrimSpace(string(out)))
	}
	tree := git("hash-object", "-t", "tree", "-w", "/dev/null")
	plain := git("commit-tree", "-m", "plain", string(tree))
	signed := git("commit-tree", "-S", "-m", "signed", string(tree))
	sshFile := filepath.Join(t.TempDir(), "id")
	if _, err := keys.Generate(sshFile, "bob"); err != nil {
		t.Fatal(err)
	}
	bySSH := git("-c", "gpg.format=ssh", "-c", "user.signingkey="+sshFile, "commit-tree", "-S", "-m", "by ssh", string(tree))
	git("tag", "-s", "-m", "tag", "v1", string(plain))
	tag := git("rev-parse", "refs/tags/v1")

	repo := gitcmd.Repo{Dir: dir}
	for _, test := range []struct {
		name string
		tips []refs.OID
		want int
	}{
		{"nothing", nil, 0},
		{"an unsigned commit", []refs.OID{plain}, 0},
		{"a signed commit", []refs.OID{signed}, 1},
		{"a signed tag on an unsigned commit", []refs.OID{tag}, 1},
		{"a commit signed with an SSH key", []refs.OID{bySSH}, 1},
		{"two signers", []refs.OID{bySSH, signed, bySSH}, 2},
		{"the same signer twice", []refs.OID{signed, tag, plain}, 1},
		{"an absent object", []refs.OID{refs.OID(strings.Repeat("1", 40))}, 0},
	} {
		certs := Keyring{}.TipSigners(ctx, repo, test.tips)
		if len(certs) != test.want {
			t.Errorf("TipSigners of %s: %d certificates, want %d", test.name, len(certs), test.want)
		}
		for _, cert := range certs {
			if _, err := keys.ParseSSHBlob(cert); err == nil {
				continue
			}
			ring, err := openpgp.ReadKeyRing(bytes.NewReader(cert))
			if err != nil || len(ring) != 1 {
				t.Errorf("TipSigners of %s: not a certificate: %v", test.name, err)
			}
		}
	}
	if certs := (Keyring{Program: "no-such-gpg"}).TipSigners(ctx, repo, []refs.OID{signed}); len(certs) != 0 {
		t.Errorf("TipSigners without gpg: %d certificates, want 0", len(certs))
	}
	cert, err := Keyring{}.Export(ctx, alice)
	if err != nil {
		t.Fatal(err)
	}
	if certs := (Keyring{Program: "no-such-gpg"}).TipSigners(ctx, repo, []refs.OID{signed}, cert); len(certs) != 1 || !bytes.Equal(certs[0], cert) {
		t.Errorf("TipSigners with a known certificate: %d certificates, want that one", len(certs))
	}
}

func TestStripRefuses(t *testing.T) {
	var two bytes.Buffer
	for range 2 {
		e, err := openpgp.NewEntity("A", "", "a@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Serialize(&two); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string][]byte{
		"nothing":          nil,
		"text":             []byte("hello"),
		"two certificates": two.Bytes(),
		"half a packet":    two.Bytes()[:20],
	} {
		if got, err := strip(text); err == nil {
			t.Errorf("strip(%s) = %d bytes, want an error", name, len(got))
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add([]byte("tree x\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iHUEABYKAB0=\n -----END PGP SIGNATURE-----\n\nhi\n"))
	f.Add([]byte("object x\ntype commit\ntag v\n\nhi\n-----BEGIN PGP SIGNATURE-----\n\niHUEABYKAB0=\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte("tree x\ngpgsig -----BEGIN SSH SIGNATURE-----\n U1NIU0lHAAAAAQ==\n -----END SSH SIGNATURE-----\n\nhi\n"))
	f.Fuzz(func(t *testing.T, object []byte) {
		c := claimOf(object)
		if c.issuer != "" && !Named(c.issuer) {
			t.Errorf("claimOf(%q) has the issuer %q, which names no certificate", object, c.issuer)
		}
		if _, err := keys.ParseSSHBlob([]byte(c.sshKey)); c.sshKey != "" && err != nil {
			t.Errorf("claimOf(%q) has a key that is none: %v", object, err)
		}
	})
}
