package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/keys"
)

func idCommand() *command {
	return &command{
		name: "id", short: "print your publisher id",
		long: "Prints your publisher id, and nothing else.\n",
		run: func(ctx context.Context, e *env, args []string) error {
			if _, err := newFlags("id").parse(args, 0, 0); err != nil {
				return err
			}
			home, err := e.home()
			if err != nil {
				return err
			}
			id, err := keys.ReadPublic(home.KeyFile())
			if errors.Is(err, fs.ErrNotExist) {
				return ui.NoKey()
			}
			if err != nil {
				return err
			}
			e.ui.Printf("%s\n", id)
			return nil
		},
	}
}
