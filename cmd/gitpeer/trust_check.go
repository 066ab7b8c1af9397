package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/trust"
)

// A checked is the verdicts about one repository: what trust check --json
// prints a list of.
type checked struct {
	URL      string           `json:"url"`
	Number   uint64           `json:"number"`
	Accepted bool             `json:"accepted"` // it is the last accepted snapshot
	Verdicts []*trust.Verdict `json:"verdicts"`
	Unknown  int              `json:"unknown,omitempty"` // refs whose objects are not here
}

func runTrustCheck(ctx context.Context, e *env, args []string) error {
	f := newFlags("trust")
	asJSON, when := f.json(), f.progress()
	rest, err := f.parse(args, 0, many)
	if err != nil {
		return err
	}
	urls, err := e.toCheck(rest)
	if err != nil {
		return err
	}
	client, err := e.dial(ctx)
	if err != nil {
		return err
	}
	all := []*checked{}
	for _, url := range urls {
		s, err := client.Show(ctx, node.ShowRequest{URL: url}, e.ui.Progress(when()))
		if err != nil {
			return err
		}
		all = append(all, verdicts(s))
	}
	if *asJSON {
		e.ui.JSON(all)
	} else {
		for _, c := range all {
			e.printChecked(c)
		}
	}
	for _, c := range all {
		for _, v := range c.Verdicts {
			if v.Code != trust.OK {
				return &ui.ExitError{Status: int(v.Code)}
			}
		}
	}
	return nil
}

// toCheck turns names of the policy into URLs; without any, it lists all
// repositories of the policy.
func (e *env) toCheck(names []string) ([]string, error) {
	home, err := e.home()
	if err != nil {
		return nil, err
	}
	policy, err := trust.Load(home.Config)
	if err != nil {
		return nil, editError(err)
	}
	var urls []string
	for _, r := range policy.Repos {
		if len(names) == 0 {
			urls = append(urls, r.URL.String())
		}
	}
	for _, name := range names {
		url := name
		for _, r := range policy.Repos {
			if r.Name == name {
				url = r.URL.String()
			}
		}
		if url == name && !strings.Contains(name, "/") {
			return nil, editError(&trust.NotFoundError{Section: "repo", Name: name})
		}
		urls = append(urls, url)
	}
	return urls, nil
}

func verdicts(s *node.ShowResult) *checked {
	c := &checked{URL: s.URL, Number: s.Number, Accepted: s.Accepted, Verdicts: []*trust.Verdict{}}
	for _, ref := range s.Refs {
		if ref.Verdict == nil {
			c.Unknown++
			continue
		}
		c.Verdicts = append(c.Verdicts, ref.Verdict)
	}
	return c
}

func (e *env) printChecked(c *checked) {
	e.ui.Printf("%s number %d\n", c.URL, c.Number)
	for _, v := range c.Verdicts {
		e.ui.Printf("    %-20s %s%s\n", v.Code, v.Ref, detail(v))
		if v.Hint != "" && v.Code != trust.OK {
			e.ui.Printf("    %-20s %s\n", "", v.Hint)
		}
	}
	if c.Unknown > 0 {
		e.ui.Printf("    %s not checked, for the objects are not here; git fetch brings them\n", plural(c.Unknown, "ref"))
	}
}

// detail says who signed, or why something is refused.
func detail(v *trust.Verdict) string {
	switch {
	case v.Code != trust.OK:
		return ": " + v.Why
	case v.Signer != "":
		return fmt.Sprintf(": signed by %s (%s)", v.Signer, v.Fingerprint)
	}
	return ""
}
