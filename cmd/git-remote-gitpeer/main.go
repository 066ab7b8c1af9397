package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: args are its name, the remote's name and the URL.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	tty := ui.ControllingTerminal(stderr, os.Getenv)
	if tty != nil {
		defer tty.Close()
	}
	u := ui.New("gitpeer", tty, io.Discard, stderr)
	if len(args) != 3 {
		return u.Fail(&ui.UsageError{
			Message: "git runs this program for gitpeer:// URLs; it does nothing by itself",
			Hint:    "git clone gitpeer://ID/NAME",
		})
	}
	home, err := node.DefaultHome(os.Getenv)
	if err != nil {
		return u.Fail(err)
	}
	gnupg, err := node.GnupgHome(os.Getenv)
	if err != nil {
		return u.Fail(err)
	}
	h := &helper{
		ui:       u,
		stderr:   stderr,
		home:     home,
		url:      args[2],
		gitDir:   os.Getenv("GIT_DIR"),
		protocol: os.Getenv("GIT_PROTOCOL"),
		agent:    os.Getenv("SSH_AUTH_SOCK"),
		gnupg:    gnupg,
		peers:    list(os.Getenv("GITPEER_PEERS")),
		look:     os.Getenv("GITPEER_LOOK") == "1",
		rewind:   os.Getenv("GITPEER_ALLOW_REWIND") == "1",
		dial:     func(ctx context.Context) (client, error) { return dial(ctx, home) },
	}
	err = h.serve(ctx, stdin, stdout)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		// git has gone away, and has said why.
		return ui.Internal
	}
	return u.Fail(err)
}

// dial connects to the user's node and starts one if none runs.
func dial(ctx context.Context, home node.Home) (client, error) {
	c, err := node.Connect(ctx, home)
	if !errors.Is(err, node.ErrNotRunning) {
		return c, err
	}
	exe, err := node.Executable(os.Getenv)
	if err != nil {
		return nil, &ui.HintError{Err: fmt.Errorf("cannot find the node's program: %w", err),
			Hint: "put gitpeer beside git-remote-gitpeer, or into a folder of PATH"}
	}
	return node.Dial(ctx, home, exe)
}

// list splits a list of an environment variable.
func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}
