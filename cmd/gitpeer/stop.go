package main

import (
	"context"
	"errors"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
)

func stopCommand() *command {
	return &command{
		name: "stop", short: "end the node",
		long: `Ends the node that runs, and waits until it has gone. It is no error if none
runs. What you publish stays reachable only while a node somewhere has it.
`,
		run: func(ctx context.Context, e *env, args []string) error {
			if _, err := newFlags("stop").parse(args, 0, 0); err != nil {
				return err
			}
			home, err := e.home()
			if err != nil {
				return err
			}
			client, err := node.Connect(ctx, home)
			if errors.Is(err, node.ErrNotRunning) {
				return nil
			}
			if err != nil {
				return err
			}
			return client.Stop(ctx)
		},
	}
}
