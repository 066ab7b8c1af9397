package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
)

func publishCommand() *command {
	return &command{
		name: "publish", args: "[DIR] [--name NAME] [--ref PATTERN]... [--mirror URL]...\n                       [--repack]", short: "publish a repository",
		long: `Signs where the refs of the repository in DIR (here, if not given) point,
seeds its objects and puts the signed record into the DHT. Prints the URL of
the repository once the record is stored.

    --name NAME      the repository's name in the URL (default: the folder's)
    --ref PATTERN    publish only these refs, such as refs/heads/main or
                     refs/tags/v*; may be repeated (default: what was chosen
                     last time, else all branches and tags)
    --mirror URL     name a web server to all readers that has, or will have,
                     what gitpeer export-static writes; may be repeated
                     (default: those of last time, and of config); "none"
                     takes them back
    --repack         make one new pack of the whole history, with new deltas,
                     as git repack -f does; it takes minutes for a large
                     repository, and often halves what a clone transfers
    --json           print an object: url, seq, number, head_ref, head,
                     infohash, refs, packs, new_bytes, stored, asked, expires,
                     changed
` + progressHelp,
		run: runPublish,
	}
}

func runPublish(ctx context.Context, e *env, args []string) error {
	f := newFlags("publish")
	name := f.String("name", "", "")
	patterns, mirrors := f.repeated("ref"), f.repeated("mirror")
	repack := f.Bool("repack", false, "")
	asJSON, when := f.json(), f.progress()
	rest, err := f.parse(args, 0, 1)
	if err != nil {
		return err
	}
	dir := "."
	if len(rest) > 0 {
		dir = rest[0]
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	request := node.PublishRequest{Dir: dir, Name: *name, Patterns: *patterns, Mirrors: *mirrors, Repack: *repack}
	if request.GnupgHome, err = node.GnupgHome(os.Getenv); err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	if request.Credentials, err = e.ui.Credentials(ctx, home.KeyFile(), os.Getenv("SSH_AUTH_SOCK")); err != nil {
		return err
	}
	client, err := e.dial(ctx)
	if err != nil {
		return err
	}
	result, err := client.Publish(ctx, request, e.ui.Progress(when()))
	if err != nil {
		return err
	}
	if *asJSON {
		e.ui.JSON(result)
		return nil
	}
	e.ui.Printf("%s\n", result.URL)
	if when() != ui.Quiet {
		what := "published as"
		if !result.Changed {
			what = "nothing new; still"
		}
		e.ui.Notef("%s number %d; the record is stored on %d of %d nodes", what, result.Number, result.Stored, result.Asked)
	}
	return nil
}
