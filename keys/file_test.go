package keys

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The public halves of testdata/plain and testdata/encrypted, which
// ssh-keygen of OpenSSH 9.2 made.
const (
	plainID     = "gp1twjdkjq5jc8uq8vw2mvh7hvcxkpr0v5xdr7ztgzjjj535avppfxqf895fr"
	encryptedID = "gp1kv25zj5gn9er676s6z8l03vwhul4ds4fvewvxvustx40z0fp4peqy6ey54"
	passphrase  = "correct horse"
)

// place copies a file of testdata to a new folder with the given mode: git
// does not keep modes.
func place(t *testing.T, name string, mode fs.FileMode) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, data, mode)
}

func write(t *testing.T, data []byte, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func answer(phrase string) Passphrase {
	return func(string) ([]byte, error) { return []byte(phrase), nil }
}

// signs checks that s signs as id.
func signs(t *testing.T, s Signer, id string) {
	t.Helper()
	sig, err := s.Sign([]byte("message"))
	if s.ID().String() != id || err != nil || !s.ID().Verify([]byte("message"), sig) {
		t.Errorf("signer %v: signature %x, %v, want a valid one by %s", s.ID(), sig, err, id)
	}
}

func TestLoad(t *testing.T) {
	s, err := Load(place(t, "plain", 0o600), nil)
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s, plainID)

	path := place(t, "encrypted", 0o400)
	asked := ""
	s, err = Load(path, func(prompt string) ([]byte, error) {
		asked += prompt
		return []byte(passphrase), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s, encryptedID)
	if want := "Passphrase for " + path; asked != want {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	plain, err := os.ReadFile("testdata/plain")
	if err != nil {
		t.Fatal(err)
	}
	errAsk := errors.New("no terminal")
	for _, c := range []struct {
		name string
		path string
		pass Passphrase
		want error // for errors.Is; nil if as is set
		as   any
	}{
		{"missing", filepath.Join(t.TempDir(), "none"), nil, fs.ErrNotExist, nil},
		{"directory", t.TempDir(), nil, ErrNotKey, nil},
		{"group may read", place(t, "plain", 0o640), nil, nil, new(*PermissionError)},
		{"others may write", place(t, "plain", 0o602), nil, nil, new(*PermissionError)},
		{"no callback", place(t, "encrypted", 0o600), nil, ErrPassphrase, nil},
		{"callback fails", place(t, "encrypted", 0o600), func(string) ([]byte, error) { return nil, errAsk }, errAsk, nil},
		{"wrong passphrase", place(t, "encrypted", 0o600), answer("wrong"), ErrWrongPassphrase, nil},
		{"no passphrase", place(t, "encrypted", 0o600), answer(""), ErrWrongPassphrase, nil},
		{"ecdsa", place(t, "ecdsa", 0o600), nil, nil, new(*KindError)},
		{"pem", place(t, "pem", 0o600), nil, ErrNotKey, nil},
		{"public half only", place(t, "plain.pub", 0o600), nil, ErrNotKey, nil},
		{"empty", write(t, nil, 0o600), nil, ErrNotKey, nil},
		{"cut", write(t, plain[:len(plain)/2], 0o600), nil, ErrNotKey, nil},
		{"too long", write(t, append(bytes.Repeat([]byte("\n"), maxFileBytes), plain...), 0o600), nil, ErrNotKey, nil},
		{"foreign public half", write(t, swapPublic(t, plain), 0o600), nil, ErrNotKey, nil},
	} {
		s, err := Load(c.path, c.pass)
		if s != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || c.as != nil && !errors.As(err, c.as) {
			t.Errorf("%s: Load = %v, %v, want error %v%T", c.name, s, err, c.want, c.as)
		}
	}
}

// swapPublic replaces the public half in the clear by another key's.
func swapPublic(t *testing.T, file []byte) []byte {
	t.Helper()
	block := decodePEM(t, file)
	mine, err := ReadPublic("testdata/plain")
	if err != nil {
		t.Fatal(err)
	}
	other := FromSeed([32]byte{9}).ID()
	return encodePEM(bytes.Replace(block, mine[:], other[:], 1))
}

func TestReadPublic(t *testing.T) {
	beside := filepath.Join(t.TempDir(), "key")
	pub, err := os.ReadFile("testdata/plain.pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(beside+".pub", pub, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"testdata/plain":         plainID, // loose permissions do not matter
		"testdata/plain.pub":     plainID,
		"testdata/encrypted":     encryptedID, // no passphrase needed
		"testdata/encrypted.pub": encryptedID,
		beside:                   plainID,
	} {
		if id, err := ReadPublic(path); err != nil || id.String() != want {
			t.Errorf("ReadPublic(%q) = %v, %v, want %s", path, id, err, want)
		}
	}
	if id, err := ReadPublic(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadPublic of nothing = %v, %v, want fs.ErrNotExist", id, err)
	}
	for _, path := range []string{"testdata/ecdsa", "testdata/ecdsa.pub"} {
		var kind *KindError
		if id, err := ReadPublic(path); !errors.As(err, &kind) || kind.Kind != "ecdsa-sha2-nistp256" {
			t.Errorf("ReadPublic(%q) = %v, %v, want a KindError of ecdsa-sha2-nistp256", path, id, err)
		}
	}
	if id, err := ReadPublic("testdata/ids.txt"); !errors.Is(err, ErrNotKey) {
		t.Errorf("ReadPublic of a text = %v, %v, want ErrNotKey", id, err)
	}
}

func TestGenerate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	id, err := Generate(path, "me here")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s, id.String())
	for _, p := range []string{path, path + ".pub"} {
		if got, err := ReadPublic(p); err != nil || got != id {
			t.Errorf("ReadPublic(%q) = %v, %v, want %v", p, got, err, id)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	pub, err := os.ReadFile(path + ".pub")
	if err != nil || !strings.HasSuffix(string(pub), " me here\n") || strings.Count(string(pub), "\n") != 1 {
		t.Errorf("public key file %q, %v, want one line that ends in the comment", pub, err)
	}
	if other, err := Generate(path+"2", ""); err != nil || other == id {
		t.Errorf("Generate again = %v, %v, want another key", other, err)
	}
}

func TestGenerateNeverOverwrites(t *testing.T) {
	for _, there := range []string{"key", "key.pub"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, there), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := Generate(filepath.Join(dir, "key"), ""); !errors.Is(err, fs.ErrExist) || !id.IsZero() {
			t.Errorf("%s is there: Generate = %v, %v, want fs.ErrExist", there, id, err)
		}
		if data, err := os.ReadFile(filepath.Join(dir, there)); err != nil || string(data) != "mine" {
			t.Errorf("%s is now %q, %v", there, data, err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("%s was there: now %v, %v, want nothing new", there, list, err)
		}
	}
	// A dangling symlink is something, too.
	path := filepath.Join(t.TempDir(), "key")
	if err := os.Symlink(path+".target", path); err != nil {
		t.Skip(err)
	}
	if id, err := Generate(path, ""); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Generate over a symlink = %v, %v, want fs.ErrExist", id, err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	if id, err := Generate(filepath.Join(t.TempDir(), "none", "key"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Generate in a missing folder = %v, %v, want fs.ErrNotExist", id, err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if id, err := Generate(path, "a\nssh-ed25519 AAAA"); err == nil {
		t.Errorf("Generate with a comment of two lines = %v, want an error", id)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v, want no file", err)
	}
}

// OpenSSH reads what we write, and we read what it writes today.
func TestSSHKeygen(t *testing.T) {
	tool, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("no ssh-keygen on PATH")
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	dir := t.TempDir()
	ours := filepath.Join(dir, "ours")
	if _, err := Generate(ours, "comment"); err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(ours + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if got := run("-y", "-f", ours); got != string(pub) {
		t.Errorf("ssh-keygen -y says %q, want %q", got, pub)
	}
	for _, phrase := range []string{"", "a passphrase"} {
		theirs := filepath.Join(dir, "theirs"+phrase)
		run("-q", "-t", "ed25519", "-a", "1", "-N", phrase, "-C", "comment", "-f", theirs)
		s, err := Load(theirs, answer(phrase))
		if err != nil {
			t.Fatal(err)
		}
		id, err := ReadPublic(theirs)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, s, id.String())
	}
}
