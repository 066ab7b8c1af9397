package main

import (
	"context"
	"path/filepath"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
)

func exportCommand() *command {
	return &command{
		name: "export-static", args: "URL DIR", short: "write the files of a web mirror",
		long: `Writes what any web server can serve to readers into the folder DIR: for each
pack of the last accepted snapshot, and for the snapshot itself, a file that is
named by its infohash, and its torrent file. What is there already stays. Run it
after each publish, and copy DIR to the server; several repositories may share a
folder.

Readers look there if their config says so,

    [repo "NAME"]
        url = URL
        mirror = https://host/path/

or if the publisher's does, which then publishes it.

    --json           print an object: url, dir, number, packs, listed, files,
                     bytes
` + progressHelp,
		run: runExport,
	}
}

func runExport(ctx context.Context, e *env, args []string) error {
	f := newFlags("export-static")
	asJSON, when := f.json(), f.progress()
	rest, err := f.parse(args, 2, 2)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(rest[1])
	if err != nil {
		return err
	}
	client, err := e.dial(ctx)
	if err != nil {
		return err
	}
	res, err := client.Export(ctx, node.ExportRequest{URL: rest[0], Dir: dir}, e.ui.Progress(when()))
	if err != nil {
		return err
	}
	if *asJSON {
		e.ui.JSON(res)
		return nil
	}
	if when() != ui.Quiet {
		e.ui.Notef("number %d with %d of its %d packs is in %s; wrote %d files of %s", res.Number, res.Packs, res.Listed, res.Dir, res.Files, ui.Bytes(res.Bytes))
	}
	return nil
}
