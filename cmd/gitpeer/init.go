package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/keys"
)

func initCommand() *command {
	return &command{
		name: "init", args: "[--key FILE]", short: "make a publisher key",
		long: `Makes the key by which you publish, and prints your publisher id. An
existing key is never overwritten. To protect it with a passphrase, use
ssh-keygen -p -f on the file that is named; ssh-agent is asked first.

    --key FILE       use this OpenSSH ed25519 key instead of a new one. It stays
                     where it is. Of a key that only an ssh-agent or a security
                     module has, give the .pub file.
    --json           print an object with id and file
`,
		run: runInit,
	}
}

func runInit(ctx context.Context, e *env, args []string) error {
	f := newFlags("init")
	adopt := f.String("key", "", "")
	asJSON := f.json()
	if _, err := f.parse(args, 0, 0); err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	file := home.KeyFile()
	if id, err := keys.ReadPublic(file); err == nil {
		return &ui.UsageError{Message: fmt.Sprintf("there is a publisher key already: %s in %s", id, file), Hint: "gitpeer id"}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	var id keys.ID
	if *adopt == "" {
		id, err = keys.Generate(file, comment())
	} else {
		id, err = adoptKey(home, *adopt)
	}
	if err != nil {
		return err
	}
	if *asJSON {
		e.ui.JSON(struct {
			ID   keys.ID `json:"id"`
			File string  `json:"file"`
		}{id, file})
		return nil
	}
	e.ui.Printf("%s\n", id)
	e.ui.Notef("the key is in %s; keep a copy, for nobody else can publish under this id", file)
	return nil
}

// comment is what ssh-keygen writes behind a new key.
func comment() string {
	name, host := "gitpeer", ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = "@" + h
	}
	return keys.Printable(name+host, 100)
}

// adoptKey makes an existing key the publisher key, by a link to it: a key has
// one home, where its owner changes its passphrase.
func adoptKey(home node.Home, path string) (keys.ID, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return keys.ID{}, err
	}
	target := home.KeyFile()
	if public, ok := strings.CutSuffix(path, ".pub"); ok {
		if _, err := os.Stat(public); err == nil {
			path = public
		} else {
			target += ".pub"
		}
	}
	id, err := keys.ReadPublic(path)
	if err != nil {
		return keys.ID{}, err
	}
	if target == home.KeyFile() {
		// Loose permissions and other kinds of keys are refused here and now.
		if _, err := keys.Load(path, nil); err != nil && !errors.Is(err, keys.ErrPassphrase) {
			return keys.ID{}, err
		}
	}
	return id, os.Symlink(path, target)
}
