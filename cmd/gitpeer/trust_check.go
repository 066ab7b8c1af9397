package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/trust"
)

// A checked is the verdicts about one repository: what trust check --json
// prints a list of.
type checked struct {
	URL      string          `json:"url,omitempty"`    // of what was fetched
	Path     string          `json:"path,omitempty"`   // of what is on this disk
	Number   uint64          `json:"number,omitempty"` // of the snapshot, if it was accepted
	Accepted bool            `json:"accepted"`
	Stale    string          `json:"stale,omitempty"`     // why a newer one could not be had
	TipsOnly bool            `json:"tips_only,omitempty"` // there is no introduction, so nothing before the tips was checked
	Verdicts []trust.Verdict `json:"verdicts"`            // of all refs, or of those that are refused
	Commits  []trust.Verdict `json:"commits,omitempty"`   // of every commit and tag that was looked at, with --explain
}

// A checking is one `gitpeer trust check`.
type checking struct {
	env     *env
	home    node.Home
	policy  *trust.Policy
	now     time.Time
	asJSON  bool
	when    ui.When
	explain bool
	noCache bool

	signers   []string // --signer
	intro     []string // --intro
	mode      trust.Mode
	semantics string
	keyring   string
	ref       string
}

func runTrustCheck(ctx context.Context, e *env, args []string) error {
	c := &checking{env: e, now: time.Now()}
	f := newFlags("trust")
	asJSON, when := f.json(), f.progress()
	f.BoolVar(&c.explain, "explain", false, "")
	f.BoolVar(&c.noCache, "no-cache", false, "")
	f.StringVar((*string)(&c.mode), "mode", "", "")
	f.StringVar(&c.semantics, "semantics", "", "")
	f.StringVar(&c.keyring, "keyring", "", "")
	f.StringVar(&c.ref, "ref", "", "")
	signers, intro := f.repeated("signer"), f.repeated("intro")
	rest, err := f.parse(args, 0, many)
	if err != nil {
		return err
	}
	c.asJSON, c.when, c.signers, c.intro = *asJSON, when(), *signers, *intro
	if err := c.validate(); err != nil {
		return err
	}
	if c.home, err = e.home(); err != nil {
		return err
	}
	if c.policy, err = trust.Load(c.home.Config); err != nil {
		return err
	}
	urls, targets, err := c.sort(ctx, rest)
	if err != nil {
		return err
	}
	all, err := c.run(ctx, urls, targets)
	if err != nil {
		return err
	}
	if c.asJSON {
		e.ui.JSON(all)
	}
	for _, one := range all {
		for _, v := range one.Verdicts {
			if v.Code != trust.OK {
				return &ui.ExitError{Status: int(v.Code)}
			}
		}
	}
	return nil
}

// validate refuses flags that do not go together.
func (c *checking) validate() error {
	switch c.mode {
	case "", trust.ModeAll, trust.ModeChain, trust.ModeTip:
	default:
		return ui.Usagef("trust", "--mode is all, chain or tip, not %q", string(c.mode))
	}
	switch c.semantics {
	case "":
		if c.keyring != "" {
			return ui.Usagef("trust", "--keyring goes with --semantics guix")
		}
	case semanticsGuix, semanticsSequoia:
		if c.mode != "" {
			return ui.Usagef("trust", "--mode says nothing with --semantics, whose rules are fixed")
		}
	default:
		return ui.Usagef("trust", "--semantics is guix or sq-git, not %q", c.semantics)
	}
	return nil
}

// local reports whether a flag was given that only says something about a
// repository on this disk.
func (c *checking) local() bool {
	return len(c.signers) > 0 || len(c.intro) > 0 || c.mode != "" || c.semantics != "" || c.ref != ""
}

// run checks everything, and prints each as it is done.
func (c *checking) run(ctx context.Context, urls []string, targets []*target) ([]*checked, error) {
	all := []*checked{}
	if len(urls) > 0 {
		client, err := c.env.dial(ctx)
		if err != nil {
			return nil, err
		}
		for _, url := range urls {
			one, err := c.fetched(ctx, client, url)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
			c.print(one)
		}
	}
	for _, t := range targets {
		one, err := c.examine(ctx, t)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
		c.print(one)
	}
	return all, nil
}

// fetched checks a repository as it is published. What was fetched and accepted
// is looked at again, commit by commit, if that is asked for.
func (c *checking) fetched(ctx context.Context, client *node.Client, url string) (*checked, error) {
	one, err := check(ctx, client, url, c.env.ui.Progress(c.when))
	if err != nil || !one.Accepted || !c.explain && !c.noCache {
		if err == nil && c.explain {
			c.explainRefs(one, nil)
		}
		return one, err
	}
	t, err := c.mirrorOf(ctx, one.URL)
	if err != nil || t == nil {
		return one, err
	}
	again, err := c.examine(ctx, t)
	if err != nil {
		return nil, err
	}
	again.URL, again.Path, again.Number, again.Stale = one.URL, "", one.Number, one.Stale
	return again, nil
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
	policy, err := e.policy()
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

// print prints the verdicts about refs; those about commits are out already.
func (c *checking) print(one *checked) {
	u := c.env.ui
	if c.asJSON {
		return
	}
	switch name := one.URL + one.Path; {
	case one.Accepted && one.URL != "":
		u.Printf("%s number %d is accepted\n", name, one.Number)
	case one.Accepted:
		u.Printf("%s is accepted\n", name)
	default:
		u.Printf("%s is refused\n", name)
	}
	for _, v := range one.Verdicts {
		name := string(v.Ref)
		if name == "" {
			name = string(v.OID)
		}
		u.Printf("    %-20s %s%s\n", v.Code, name, c.detail(v))
		if v.Hint != "" && v.Code != trust.OK {
			u.Printf("    %-20s hint: %s\n", "", v.Hint)
		}
	}
	if one.Stale != "" {
		u.Warnf("a newer snapshot could not be had: %s", one.Stale)
	}
}

// line prints the verdict about one commit or tag.
func (c *checking) line(v trust.Verdict) {
	orDash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	when := "-"
	if !v.Time.IsZero() {
		when = v.Time.UTC().Format(time.RFC3339)
	}
	c.env.ui.Printf("%-17s %s  %s  %s  %s  %s  %s%s\n", v.Code, v.OID, orDash(v.Signer), orDash(v.Fingerprint), when, orDash(v.Rule), orDash(v.Why), c.forge(v))
}

// detail says who signed, or why something is refused.
func (c *checking) detail(v trust.Verdict) string { return detail(v) + c.forge(v) }

// forge names the service whose key a signature is of, if it is one's.
func (c *checking) forge(v trust.Verdict) string {
	name := trust.KnownForge(v.Fingerprint)
	if s, ok := c.policy.Signer(v.Signer); ok && name == "" {
		name = s.ForgeName()
	}
	if name == "" {
		return ""
	}
	return "  [the key of " + name + ", which signs for whoever may merge there]"
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
	if (v.Ref != "" || v.OID != "") && text != "" {
		return ": " + text
	}
	return text
}
