package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/trust"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it finds the command, runs it, and returns the exit
// status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{ui: ui.New("gitpeer", stdin, stdout, stderr), stdin: stdin, stdout: stdout, stderr: stderr}
	err := e.dispatch(ctx, args)
	if err == nil {
		err = e.ui.OutputError()
	}
	return e.ui.Fail(err)
}

// An env is what a command works with.
type env struct {
	ui     *ui.UI
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// dispatch runs the command that the arguments name.
func (e *env) dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		e.ui.Printf("%s", ui.Text(overview()))
		return &ui.ExitError{Status: ui.Usage}
	}
	switch args[0] {
	case "-h", "-help", "--help":
		args = []string{"help"}
	case "-V", "-version", "--version":
		args = []string{"version"}
	}
	c, ok := find(args[0])
	if !ok {
		return unknownCommand(args[0])
	}
	err := c.run(ctx, e, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		e.ui.Printf("%s", ui.Text(c.help()))
		return nil
	}
	return err
}

// home is where this user's gitpeer lives.
func (e *env) home() (node.Home, error) { return node.DefaultHome(os.Getenv) }

// policy is what the user trusts.
func (e *env) policy() (*trust.Policy, error) {
	home, err := e.home()
	if err != nil {
		return nil, err
	}
	return trust.Load(home.Config)
}

// dial connects to the user's node and starts one if none runs.
func (e *env) dial(ctx context.Context) (*node.Client, error) {
	home, err := e.home()
	if err != nil {
		return nil, err
	}
	exe := os.Getenv("GITPEER_EXE")
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	return node.Dial(ctx, home, exe)
}
