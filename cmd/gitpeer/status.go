package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
)

func statusCommand() *command {
	return &command{
		name: "status", short: "show the node and its repositories",
		long: `Shows the node that runs, and each repository that it keeps alive. Starts no
node: without one, the exit status is 75.

    --json           print an object: version, pid, started, home, listen,
                     dht_nodes, limits, identity, repositories
`,
		run: runStatus,
	}
}

func runStatus(ctx context.Context, e *env, args []string) error {
	f := newFlags("status")
	asJSON := f.json()
	if _, err := f.parse(args, 0, 0); err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	client, err := node.Connect(ctx, home)
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		e.ui.JSON(s)
		return nil
	}
	printStatus(e.ui, s, time.Now())
	return nil
}

func printStatus(u *ui.UI, s *node.Status, now time.Time) {
	id := s.Identity
	if id == "" {
		id = "none (gitpeer init makes one)"
	}
	u.Printf("%-10s pid %d, version %s, since %s\n", "node", s.PID, s.Version, moment(s.Started, now))
	u.Printf("%-10s %s\n", "home", s.Home)
	u.Printf("%-10s %s\n", "log", s.Log)
	u.Printf("%-10s %s\n", "listen", s.Listen)
	u.Printf("%-10s %d nodes answered lately\n", "dht", s.Nodes)
	u.Printf("%-10s %s\n", "publisher", id)
	u.Printf("%-10s %s\n", "limits", limitsText(s.Limits))
	for _, r := range s.Repos {
		u.Printf("\n%s\n", r.URL)
		u.Printf("    %-10s %s, number %d, %d refs, %d packs of %s\n", "role", r.Role, r.Number, r.Refs, r.Packs, ui.Bytes(r.Bytes))
		u.Printf("    %-10s %d connected, %s sent\n", "peers", r.Peers, ui.Bytes(r.Sent))
		u.Printf("    %-10s on %d nodes; expires %s; republished %s\n", "record", r.Stored, moment(r.Expires, now), moment(r.Next, now))
		if r.Stopped != "" {
			u.Printf("    %-10s no: %s\n", "served", r.Stopped)
		}
		if r.LastError != "" {
			u.Printf("    %-10s %s\n", "error", r.LastError)
		}
	}
}

// limitsText is what the configuration limits, in words.
func limitsText(l node.LimitStatus) string {
	rate := func(n int64) string {
		if n == 0 {
			return "any rate"
		}
		return string(ui.Bytes(n)) + "/s"
	}
	text := fmt.Sprintf("up %s, down %s; %d connections a torrent", rate(l.Upload), rate(l.Download), l.PerTorrent)
	if l.Connections != 0 {
		text += fmt.Sprintf(", %d in all", l.Connections)
	}
	if l.Ratio != 0 {
		text += fmt.Sprintf("; seed to ratio %g", l.Ratio)
	}
	if l.Size != 0 {
		text += fmt.Sprintf("; seed up to %s", ui.Bytes(l.Size))
	}
	if l.AgeSeconds != 0 {
		text += fmt.Sprintf("; seed for %v", time.Duration(l.AgeSeconds)*time.Second)
	}
	return text
}
