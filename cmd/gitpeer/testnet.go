package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/testnet"
)

func testnetCommand() *command {
	return &command{
		name: "testnet", args: "[--nodes N] [--listen ADDRESS] [-- COMMAND...]", short: "run a small DHT on this machine",
		long: `Runs a DHT of its own on 127.0.0.1, to try things out. The first line on
standard output is

    bootstrap 127.0.0.1:PORT,...

which is the value for GITPEER_BOOTSTRAP; GITPEER_LISTEN=127.0.0.1:0 keeps a
node there, too. It runs until it is interrupted.

With a command, both variables are set for it, nothing but the command's own
output is printed, and the exit status is the command's. Nodes that the
command starts in the background it has to end (gitpeer stop).

    --nodes N        number of nodes (default 20, at most 1000)
    --listen ADDRESS
                     an address of this machine other than 127.0.0.1, for
                     nodes in several network namespaces
`,
		run: runTestnet,
	}
}

// maxTestnet is how many nodes fit into one process: each has a socket.
const maxTestnet = 1000

func runTestnet(ctx context.Context, e *env, args []string) error {
	f := newFlags("testnet")
	nodes := f.Int("nodes", 20, "")
	listen := f.String("listen", "127.0.0.1", "")
	argv, err := f.parse(args, 0, many)
	if err != nil {
		return err
	}
	if *nodes < 1 || *nodes > maxTestnet {
		return ui.Usagef("testnet", "--nodes is from 1 to %d", maxTestnet)
	}
	addr, err := netip.ParseAddr(*listen)
	if err != nil || !addr.Is4() {
		return ui.Usagef("testnet", "--listen %q is not an IPv4 address", *listen)
	}
	network, err := testnet.Listen(ctx, addr, *nodes)
	if err != nil {
		return err
	}
	defer network.Close()
	bootstrap := strings.Join(network.Bootstrap(), ",")
	if len(argv) > 0 {
		return e.child(ctx, argv, "GITPEER_BOOTSTRAP="+bootstrap, "GITPEER_LISTEN="+netip.AddrPortFrom(addr, 0).String())
	}
	e.ui.Printf("bootstrap %s\n", bootstrap)
	if err := e.ui.OutputError(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil // an interrupt is how it is ended
}

// child runs a program with further environment variables, passes on the
// signals that ask it to end, and returns its exit status as an error.
func (e *env) child(ctx context.Context, argv []string, environ ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, e.stdout, e.stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return &ui.UsageError{Message: err.Error(), Topic: "testnet"}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// What is typed on a terminal goes to every process in its foreground,
	// the child among them.
	in, ok := e.stdin.(*os.File)
	typed := ok && term.IsTerminal(int(in.Fd()))
	for {
		select {
		case s := <-signals:
			if !typed || s == syscall.SIGTERM || s == syscall.SIGHUP {
				cmd.Process.Signal(s)
			}
		case err := <-ended:
			return exitStatus(err)
		}
	}
}

// exitStatus turns how a program ended into the exit status of this one, as
// shells do: 128 and the signal's number, if one ended it.
func exitStatus(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &ui.ExitError{Status: 128 + int(status.Signal())}
	}
	return &ui.ExitError{Status: exit.ExitCode()}
}
