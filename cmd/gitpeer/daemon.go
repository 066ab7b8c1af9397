package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
)

func daemonCommand() *command {
	return &command{
		name: "daemon", short: "run the node in the foreground",
		long: `Runs the node until it is interrupted or told to stop. Other commands start
one in the background by themselves when they need it.

    --debug          log more

The environment variables GITPEER_LISTEN and GITPEER_BOOTSTRAP, and the file
config, say where it listens and whom it asks first.
`,
		run: runDaemon,
	}
}

func runDaemon(ctx context.Context, e *env, args []string) error {
	f := newFlags("daemon")
	verbose := f.Bool("debug", false, "")
	if _, err := f.parse(args, 0, 0); err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := node.NewLogger(home, e.stderr, level)
	err = node.Run(ctx, node.Options{
		Home: home, Getenv: os.Getenv, Log: log, Version: thisVersion().Version,
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil // an interrupt is how a node in the foreground is ended
	}
	return err
}
