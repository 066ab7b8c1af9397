package main

import (
	"context"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/trust"
)

func showCommand() *command {
	return &command{
		name: "show", args: "URL [--peer ADDRESS:PORT]...", short: "show the snapshot of a repository",
		long: `Fetches what a publisher has signed: the refs, and the packs that carry their
objects. No pack is fetched. Where the objects are here, each ref is shown
with the verdict of your policy.

    --peer ADDRESS:PORT
                     ask this peer, too; may be repeated
    --json           print an object: url, number, time, object_format, head,
                     refs, packs, magnet, mutable, signers, mirrors,
                     accepted
` + progressHelp,
		run: runShow,
	}
}

func runShow(ctx context.Context, e *env, args []string) error {
	f := newFlags("show")
	peers := f.repeated("peer")
	asJSON, when := f.json(), f.progress()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	client, err := e.dial(ctx)
	if err != nil {
		return err
	}
	s, err := client.Show(ctx, node.ShowRequest{URL: rest[0], Peers: *peers}, e.ui.Progress(when()))
	if err != nil {
		return err
	}
	if *asJSON {
		e.ui.JSON(s)
		return nil
	}
	printSnapshot(e.ui, s, time.Now())
	return nil
}

func printSnapshot(u *ui.UI, s *node.ShowResult, now time.Time) {
	accepted := "no"
	if s.Accepted {
		accepted = "yes, this is the last accepted snapshot here"
	}
	for _, row := range [][2]string{
		{"url", s.URL}, {"time", moment(s.Time, now)}, {"format", string(s.ObjectFormat)}, {"head", string(s.Head)},
		{"accepted", accepted}, {"magnet", s.Magnet}, {"mutable", s.Mutable},
	} {
		u.Printf("%-10s %s\n", row[0], row[1])
	}
	u.Printf("%-10s %d\n\n%d refs\n", "number", s.Number, len(s.Refs))
	for _, ref := range s.Refs {
		u.Printf("    %s %s%s\n", ref.OID, ref.Name, verdict(ref.Verdict))
	}
	u.Printf("\n%d packs\n", len(s.Packs))
	for _, p := range s.Packs {
		u.Printf("    %s (%d, %d] %s, %d objects\n", p.InfoHash, p.From, p.To, ui.Bytes(p.Bytes), p.Objects)
	}
}

// verdict words what the policy says about a ref, if it has said anything.
func verdict(v *trust.Verdict) string {
	switch {
	case v == nil:
		return ""
	case v.Code == trust.OK && v.Signer != "":
		return "  ok, signed by " + v.Signer
	case v.Code == trust.OK:
		return "  ok"
	}
	return "  " + v.Code.String() + ": " + v.Why
}
