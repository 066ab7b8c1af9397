package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/keys"
)

// ErrNoTerminal says that a question could not be asked.
var ErrNoTerminal = errors.New("standard input is not a terminal, so nothing can be asked")

// maxPassphrase bounds a passphrase that is typed; OpenSSH stops at 1024.
const maxPassphrase = 1024

// attempts is how often a passphrase may be mistyped, as in OpenSSH.
const attempts = 3

// ControllingTerminal opens the terminal for a program whose standard input
// belongs to another one. It is nil, and nothing can be asked, if stderr is no
// terminal or GIT_TERMINAL_PROMPT is 0. The caller closes it.
func ControllingTerminal(stderr io.Writer, getenv func(string) string) *os.File {
	if _, ok := terminal(stderr); !ok || getenv("GIT_TERMINAL_PROMPT") == "0" {
		return nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return tty
}

// Passphrase asks for a passphrase without showing it. It fails with
// ErrNoTerminal where nobody can be asked.
func (u *UI) Passphrase(ctx context.Context, prompt string) ([]byte, error) {
	tty, ok := terminal(u.in)
	if !ok {
		return nil, ErrNoTerminal
	}
	fd := int(tty.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("asking for a passphrase: %w", err)
	}
	type reply struct {
		text []byte
		err  error
	}
	io.WriteString(u.err, keys.Printable(prompt, maxText))
	replies := make(chan reply, 1)
	// A read from a terminal cannot be cancelled; the goroutine ends with the
	// program, which is what a cancelled context is about to do.
	go func() {
		text, err := term.ReadPassword(fd)
		replies <- reply{text, err}
	}()
	defer io.WriteString(u.err, "\n")
	select {
	case <-ctx.Done():
		term.Restore(fd, state)
		return nil, ctx.Err()
	case r := <-replies:
		if len(r.text) > maxPassphrase {
			return nil, fmt.Errorf("the passphrase is longer than %d bytes", maxPassphrase)
		}
		return r.text, r.err
	}
}

// Credentials finds out how the node may use the publisher key in a file: as
// it is, through the ssh-agent at socket, or with a passphrase that is asked
// for here and checked before it is returned. Of a key that only the agent
// has, the file is absent and file.pub is there.
func (u *UI) Credentials(ctx context.Context, file, socket string) (node.Credentials, error) {
	c := node.Credentials{AgentSocket: socket}
	_, err := keys.Load(file, nil)
	if !errors.Is(err, keys.ErrPassphrase) && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	id, missing := keys.ReadPublic(file)
	if errors.Is(missing, fs.ErrNotExist) {
		return c, NoKey()
	}
	if missing != nil {
		return c, missing
	}
	if socket != "" {
		_, refused := keys.AgentSigner(socket, id)
		if refused == nil {
			return c, nil
		}
		if !errors.Is(err, keys.ErrPassphrase) {
			return c, refused
		}
	}
	if !errors.Is(err, keys.ErrPassphrase) {
		return c, &HintError{Err: fmt.Errorf("%s is not on this disk: %w", id, keys.ErrNotInAgent), Hint: "eval $(ssh-agent)    # and ssh-add the key"}
	}
	for range attempts {
		text, asked := u.Passphrase(ctx, fmt.Sprintf("Passphrase for %s: ", file))
		if errors.Is(asked, ErrNoTerminal) {
			return c, &HintError{Err: err, Hint: "ssh-add " + Quote(file)}
		}
		if asked != nil {
			return c, asked
		}
		if _, err = keys.Load(file, func(string) ([]byte, error) { return text, nil }); err == nil {
			c.Passphrase = text
			return c, nil
		}
		u.Warnf("%v", err)
	}
	return c, err
}

// NoKey says that there is no publisher key, where one is needed.
func NoKey() error {
	return &UsageError{Message: "there is no publisher key yet", Hint: "gitpeer init"}
}

// Quote writes a path so that a shell reads it as one word.
func Quote(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
