package main

import (
	"context"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A removal is what trust remove --json prints.
type removal struct {
	Removed []string `json:"removed,omitempty"` // sections and names: "signer alice"
	Changed []string `json:"changed,omitempty"`
}

func runTrustRemove(ctx context.Context, e *env, args []string) error {
	f := newFlags("trust")
	retire := f.String("retire-at", "", "")
	revoked := f.Bool("revoked", false, "")
	asJSON := f.json()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	if *retire != "" && *revoked {
		return ui.Usagef("trust", "--retire-at keeps what was signed before, and --revoked does not; give one of them")
	}
	if *retire != "" {
		if err := checkOID(*retire); err != nil {
			return err
		}
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	var done removal
	_, err = trust.Edit(home.Config, func(ed *trust.Editor) error {
		switch {
		case *retire != "":
			done.Changed = []string{"signer " + rest[0]}
			return ed.RetireSigner(rest[0], refs.OID(*retire))
		case *revoked:
			done.Changed = []string{"signer " + rest[0]}
			return ed.RevokeSigner(rest[0])
		}
		var err error
		done.Removed, err = ed.Remove(rest[0])
		return err
	})
	if err != nil {
		return editError(err)
	}
	if *asJSON {
		e.ui.JSON(done)
		return nil
	}
	for _, entry := range done.Removed {
		e.ui.Printf("removed %s\n", entry)
		if name, ok := strings.CutPrefix(entry, "rule "); ok && name != rest[0] {
			e.ui.Warnf("rule %s is gone, too: what it allowed now falls under the other rules, or the default", name)
		}
	}
	for _, entry := range done.Changed {
		e.ui.Printf("changed %s\n", entry)
	}
	return nil
}

// checkOID accepts full object ids only: a short one can come to mean another.
func checkOID(text string) error {
	format := refs.SHA1
	if len(text) == refs.SHA256.HexLen() {
		format = refs.SHA256
	}
	if _, err := refs.ParseOID(text, format); err != nil {
		return &ui.UsageError{Message: "an object id is given in full: " + err.Error(), Hint: "git rev-parse " + ui.Quote(text)}
	}
	return nil
}
