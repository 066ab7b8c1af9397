package main

import (
	"context"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
)

func helpCommand() *command {
	return &command{
		name: "help", args: "[COMMAND]", short: "describe a command",
		long: "Describes gitpeer, or one command.\n",
		run: func(ctx context.Context, e *env, args []string) error {
			rest, err := newFlags("help").parse(args, 0, 2)
			if err != nil {
				return err
			}
			text := overview()
			if len(rest) > 0 {
				c, ok := find(rest[0])
				if !ok {
					return unknownCommand(rest[0])
				}
				text = c.help()
			}
			e.ui.Printf("%s", ui.Text(text))
			return nil
		},
	}
}
