package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/trust"
)

// A checked is the verdicts about one repository: what trust check --json
// prints a list of.
type checked struct {
	URL      string          `json:"url"`
	Number   uint64          `json:"number,omitempty"` // of the snapshot, if it was accepted
	Accepted bool            `json:"accepted"`
	Stale    string          `json:"stale,omitempty"` // why a newer one could not be had
	Verdicts []trust.Verdict `json:"verdicts"`        // of all refs, or of those that are refused
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
	status := trust.OK
	for _, url := range urls {
		c, err := check(ctx, client, url, e.ui.Progress(when()))
		if err != nil {
			return err
		}
		all = append(all, c)
		for _, v := range c.Verdicts {
			if status == trust.OK {
				status = v.Code
			}
		}
	}
	if *asJSON {
		e.ui.JSON(all)
	} else {
		for _, c := range all {
			e.printChecked(c)
		}
	}
	if status != trust.OK {
		return &ui.ExitError{Status: int(status)}
	}
	return nil
}

// check brings the mirror of a repository up to date, which is when the policy
// decides, and returns what it said.
func check(ctx context.Context, client *node.Client, url string, progress node.ProgressFunc) (*checked, error) {
	result, err := client.Fetch(ctx, node.FetchRequest{URL: url}, progress)
	var refused *node.Error
	if errors.As(err, &refused) && len(refused.Verdicts) > 0 {
		return &checked{URL: url, Verdicts: refused.Verdicts}, nil
	}
	if err != nil {
		return nil, err
	}
	c := &checked{URL: result.URL, Number: result.Number, Accepted: true, Stale: result.Stale, Verdicts: result.Verdicts}
	if len(c.Verdicts) > 0 || len(result.Refs) == 0 {
		return c, nil
	}
	// Nothing was new, so nothing was decided; the objects are here.
	s, err := client.Show(ctx, node.ShowRequest{URL: url}, progress)
	if err != nil {
		return nil, err
	}
	for _, ref := range s.Refs {
		if ref.Verdict == nil {
			return nil, fmt.Errorf("the node gives no verdict on %s", ref.Name)
		}
		c.Verdicts = append(c.Verdicts, *ref.Verdict)
	}
	return c, nil
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
		return nil, err
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

func (e *env) printChecked(c *checked) {
	if c.Accepted {
		e.ui.Printf("%s number %d is accepted\n", c.URL, c.Number)
	} else {
		e.ui.Printf("%s is refused\n", c.URL)
	}
	for _, v := range c.Verdicts {
		e.ui.Printf("    %-20s %s%s\n", v.Code, v.Ref, detail(v))
		if v.Hint != "" && v.Code != trust.OK {
			e.ui.Printf("    %-20s %s\n", "", v.Hint)
		}
	}
	if c.Stale != "" {
		e.ui.Warnf("a newer snapshot could not be had: %s", c.Stale)
	}
}

// detail says who signed, or why something is refused.
func detail(v trust.Verdict) string {
	text := ""
	switch {
	case v.Code != trust.OK:
		text = v.Why
	case v.Signer != "":
		text = fmt.Sprintf("signed by %s (%s)", v.Signer, v.Fingerprint)
	}
	if v.Ref != "" && text != "" {
		return ": " + text
	}
	return text
}
