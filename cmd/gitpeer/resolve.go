package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
)

func resolveCommand() *command {
	return &command{
		name: "resolve", args: "URL", short: "look up the record of a repository in the DHT",
		long: `Asks the DHT for the signed record of a repository and prints it. No policy
is applied: this is what the publisher says.

    --json           print an object: url, seq, number, head, infohash,
                     snapshot_sha256, signed, expires, agreed, answered, asked,
                     peers, ms
` + progressHelp,
		run: runResolve,
	}
}

func runResolve(ctx context.Context, e *env, args []string) error {
	f := newFlags("resolve")
	asJSON, when := f.json(), f.progress()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	client, err := e.dial(ctx)
	if err != nil {
		return err
	}
	r, err := client.Resolve(ctx, node.ResolveRequest{URL: rest[0]}, e.ui.Progress(when()))
	if err != nil {
		return err
	}
	if *asJSON {
		e.ui.JSON(r)
		return nil
	}
	now := time.Now()
	head := string(r.Head)
	if head == "" {
		head = "unborn"
	}
	for _, row := range [][2]string{
		{"url", r.URL},
		{"seq", fmt.Sprint(r.Seq)},
		{"number", fmt.Sprint(r.Number)},
		{"head", head},
		{"infohash", r.InfoHash.String()},
		{"snapshot", r.Snapshot.String()},
		{"signed", moment(r.Signed, now)},
		{"expires", moment(r.Expires, now)},
		{"agreed", fmt.Sprintf("%d nodes hold it, of %d that answered and %d asked, in %d ms", r.Agreed, r.Answered, r.Asked, r.Millis)},
	} {
		e.ui.Printf("%-10s %s\n", row[0], row[1])
	}
	for _, peer := range r.Peers {
		e.ui.Printf("%-10s %s\n", "peer", peer)
	}
	return nil
}

// moment formats a time with its distance from now: 2026-11-22 05:06:07 UTC
// (3h ago).
func moment(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	text := t.UTC().Format("2006-01-02 15:04:05 UTC")
	if d := now.Sub(t); d >= 0 {
		return fmt.Sprintf("%s (%s ago)", text, span(d))
	}
	return fmt.Sprintf("%s (in %s)", text, span(t.Sub(now)))
}

// span formats a duration by its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
