package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gitpeer/gitpeer/cmd/internal/gpg"
	"github.com/gitpeer/gitpeer/trust"
)

// TestKeyringOfTheCaller: gpg reads the keyring that a request names, or the user's
// usual one, and never that of whoever started the node. A client uses its own.
func TestKeyringOfTheCaller(t *testing.T) {
	t.Setenv("GNUPGHOME", "/starter")
	program := filepath.Join(t.TempDir(), "gpg")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho pub:\necho \"fpr:::::::::${GNUPGHOME-usual}:\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	read := func(k gpg.Keyring, want string) {
		t.Helper()
		k.Program = program
		if got, err := k.Find(t.Context(), "a@example.org"); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("gpg reads %q, %v, want %q", got, err, want)
		}
	}
	read(gpg.Keyring{}, "/starter")
	for home, want := range map[string]string{"": "usual", "/caller": "/caller"} {
		k, err := keyring(home)
		if err != nil {
			t.Fatal(err)
		}
		read(k, want)
	}
}

func TestRelativeGnupgHome(t *testing.T) {
	alice, work := publisher(t, loopback(t), 1)
	_, err := alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir, GnupgHome: "gnupg"}, nil)
	wantCode(t, err, trust.Usage)
	push := PushRequest{GitDir: filepath.Join(work.dir, ".git"), URL: "gitpeer://" + mustID(t, alice) + "/tools", GnupgHome: "gnupg"}
	_, err = alice.client.Push(t.Context(), push, nil)
	wantCode(t, err, trust.Usage)
}
