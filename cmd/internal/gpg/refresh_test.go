package gpg

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/refs"
)

// counted makes a program that keeps count of its runs and then does what a
// line of shell says.
func counted(t *testing.T, line string) (program string, runs func() int) {
	t.Helper()
	dir := t.TempDir()
	program, log := filepath.Join(dir, "gpg"), filepath.Join(dir, "log")
	script := fmt.Sprintf("#!/bin/sh\necho >>'%s'\n%s\n", log, line)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return program, func() int {
		text, _ := os.ReadFile(log)
		return bytes.Count(text, []byte("\n"))
	}
}

// revoke imports the revocation that gpg has made together with a key.
func revoke(t *testing.T, home, fingerprint string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(home, "openpgp-revocs.d", fingerprint+".rev"))
	if err != nil {
		t.Fatal(err)
	}
	gpgRun(t, strings.Replace(string(text), ":-----BEGIN", "-----BEGIN", 1), "--import")
}

func TestRefresh(t *testing.T) {
	home := keyring(t)
	ctx := context.Background()
	gpg, runs := counted(t, `exec gpg "$@"`)
	ring := Keyring{Program: gpg}
	var prints []string
	for _, name := range []string{"alice", "bob", "carol"} {
		prints = append(prints, newKey(t, name+" <"+name+"@example.org>"))
	}
	export := func(fingerprint string) []byte {
		cert, err := Keyring{}.Export(ctx, fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		if got := Fingerprint(cert); got != fingerprint {
			t.Fatalf("Fingerprint = %q, want %q", got, fingerprint)
		}
		return cert
	}
	alice, bob, carol, ssh := export(prints[0]), export(prints[1]), export(prints[2]), []byte("\x00\x00\x00\x0bssh-ed25519")
	gpgRun(t, "", "--yes", "--local-user", prints[1], "--quick-sign-key", prints[0])
	revoke(t, home, prints[0])
	gpgRun(t, "", "--quick-add-uid", prints[1], "Bob <bob@example.com>")
	gpgRun(t, "", "--batch", "--yes", "--delete-secret-and-public-key", prints[2])
	revokedAlice, newBob := export(prints[0]), export(prints[1])
	if !revoked(revokedAlice) || revoked(alice) || bytes.Equal(bob, newBob) {
		t.Fatal("the keyring has not changed")
	}

	for _, c := range []struct {
		name      string
		ring      Keyring
		old, want [][]byte
		runs      int
	}{
		{"what has changed, in its place", ring, [][]byte{bob, ssh, carol, alice}, [][]byte{newBob, ssh, carol, revokedAlice}, 1},
		{"what has not", ring, [][]byte{revokedAlice, newBob}, [][]byte{revokedAlice, newBob}, 1},
		{"nobody known", ring, [][]byte{carol}, [][]byte{carol}, 1},
		{"nothing to look for", ring, [][]byte{ssh, nil}, [][]byte{ssh, nil}, 0},
		{"an empty keyring", Keyring{Program: gpg, Home: t.TempDir()}, [][]byte{alice, bob}, [][]byte{alice, bob}, 1},
		{"no gpg", Keyring{Program: "no-such-gpg"}, [][]byte{alice, bob}, [][]byte{alice, bob}, 0},
	} {
		before, given := runs(), slices.Clone(c.old)
		got := c.ring.Refresh(ctx, c.old)
		if !slices.EqualFunc(got, c.want, bytes.Equal) {
			t.Errorf("%s: Refresh = %d certificates, not those wanted", c.name, len(got))
		}
		if n := runs() - before; n != c.runs {
			t.Errorf("%s: Refresh ran gpg %d times, want %d", c.name, n, c.runs)
		}
		if !slices.EqualFunc(c.old, given, bytes.Equal) {
			t.Errorf("%s: Refresh changed what it was given", c.name)
		}
	}

	gpgRun(t, "", "--batch", "--yes", "--delete-secret-and-public-key", prints[0])
	gpgRun(t, string(alice), "--import")
	if got := (Keyring{}).Refresh(ctx, [][]byte{revokedAlice}); !bytes.Equal(got[0], revokedAlice) {
		t.Error("Refresh took back a revocation that the keyring has not")
	}
}

// TestRefreshOfTooMuch has a gpg that prints without end.
func TestRefreshOfTooMuch(t *testing.T) {
	keyring(t)
	alice, err := Keyring{}.Export(context.Background(), newKey(t, "Alice <alice@example.org>"))
	if err != nil {
		t.Fatal(err)
	}
	gpg, _ := counted(t, `head -c 100000 /dev/zero >&2; exec gpg "$@"`)
	if out, err := (Keyring{Program: gpg}).Export(context.Background(), "alice@example.org"); err != nil || !bytes.Equal(out, alice) {
		t.Errorf("Export by a gpg with much to complain of = %d bytes, %v, want the certificate", len(out), err)
	}
	gpg, _ = counted(t, "exec cat /dev/zero")
	got := Keyring{Program: gpg}.Refresh(context.Background(), [][]byte{alice})
	if len(got) != 1 || !bytes.Equal(got[0], alice) {
		t.Errorf("Refresh = %d certificates, want the one given", len(got))
	}
	if out, err := (Keyring{Program: gpg}).run(context.Background()); err == nil || !strings.Contains(err.Error(), "printed more than") {
		t.Errorf("run = %d bytes, %v, want it to be too much", len(out), err)
	}
}

// signedTag is a tag with a signature that names an issuer and is none.
func signedTag(t *testing.T, target refs.OID, issuer string) string {
	t.Helper()
	fingerprint, err := hex.DecodeString(issuer)
	if err != nil {
		t.Fatal(err)
	}
	// RFC 9580 §4.2, §5.2.3: version 4, binary, EdDSA, SHA-512; issuer
	// fingerprint and creation time; none unhashed; two numbers.
	packet := slices.Concat([]byte("\xc2\x2b\x04\x00\x16\x0a\x00\x1d\x16\x21\x04"), fingerprint,
		[]byte("\x05\x02\x00\x00\x00\x01\x00\x00\x12\x34\x00\x01\x01\x00\x01\x01"))
	packet[1] = byte(len(packet) - 2)
	var b strings.Builder
	fmt.Fprintf(&b, "object %s\ntype commit\ntag v\ntagger A <a@example.org> 1 +0000\n\nv\n", target)
	w, err := armor.Encode(&b, "PGP SIGNATURE", nil)
	if err == nil {
		_, err = w.Write(packet)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// TestTipSignersOfMany looks at more tags by made-up signers than gpg may be
// asked for.
func TestTipSignersOfMany(t *testing.T) {
	dir := t.TempDir()
	if err := gitcmd.Init(t.Context(), dir, refs.SHA1); err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for i := range maxClaims + 20 {
		name := filepath.Join(dir, fmt.Sprintf("tag-%d", i))
		tag := signedTag(t, refs.OID(strings.Repeat("1", 40)), fmt.Sprintf("%040X", i+1))
		if err := os.WriteFile(name, []byte(tag), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&names, name)
	}
	cmd := exec.Command("git", "-C", dir, "hash-object", "-w", "-t", "tag", "--stdin-paths")
	cmd.Stdin = strings.NewReader(names.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var tips []refs.OID
	for _, oid := range strings.Fields(string(out)) {
		tips = append(tips, refs.OID(oid))
	}
	gpg, runs := counted(t, "exit 0")
	if certs := (Keyring{Program: gpg}).TipSigners(t.Context(), gitcmd.Repo{Dir: dir}, tips); len(certs) != 0 {
		t.Errorf("TipSigners = %d certificates, want none", len(certs))
	}
	if n := runs(); n != maxClaims {
		t.Errorf("TipSigners of %d issuers ran gpg %d times, want %d", len(tips), n, maxClaims)
	}
}
