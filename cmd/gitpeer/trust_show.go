package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A publisherInfo describes a publisher, for people and for --json.
type publisherInfo struct {
	Name string  `json:"name"`
	ID   keys.ID `json:"id"`
	All  bool    `json:"all_repositories"`
}

// A repoInfo describes a repository, for people and for --json.
type repoInfo struct {
	Name         string     `json:"name"`
	URL          string     `json:"url"`
	Publishers   []string   `json:"publishers,omitempty"` // who may publish it besides the URL's
	Introduction []refs.OID `json:"introduction,omitempty"`
	Good         []refs.OID `json:"good,omitempty"`
	MaxStale     string     `json:"max_stale,omitempty"`
}

// A ruleInfo describes a rule, for people and for --json.
type ruleInfo struct {
	Name      string   `json:"name"`
	Repo      string   `json:"repo,omitempty"`
	Publisher string   `json:"publisher,omitempty"`
	Ref       string   `json:"ref"`
	Signers   []string `json:"signers,omitempty"`
	Mode      string   `json:"mode"`
	Tags      string   `json:"tags"`
	Quorum    int      `json:"quorum"`
	Rewind    bool     `json:"rewind,omitempty"`
}

// A policyInfo describes a policy: what trust list --json prints, and of which
// trust show --json prints what has the name.
type policyInfo struct {
	Signers      []*signerInfo    `json:"signers"`
	Publishers   []*publisherInfo `json:"publishers"`
	Repositories []*repoInfo      `json:"repositories"`
	Rules        []*ruleInfo      `json:"rules"`
}

func describePublisher(p *trust.Publisher) *publisherInfo {
	return &publisherInfo{Name: p.Name, ID: p.Key, All: p.All}
}

func describeRepo(r *trust.Repo) *repoInfo {
	info := &repoInfo{Name: r.Name, URL: r.URL.String(), Publishers: r.Publishers, Introduction: r.Introduction, Good: r.Good}
	if r.MaxStale != 0 {
		info.MaxStale = r.MaxStale.String()
	}
	return info
}

func describeRule(r *trust.Rule) *ruleInfo {
	return &ruleInfo{Name: r.Name, Repo: r.Repo, Publisher: r.Publisher, Ref: r.Pattern, Signers: r.Signers,
		Mode: string(r.Mode), Tags: string(r.Tags), Quorum: r.Quorum, Rewind: r.Rewind}
}

// describePolicy describes the entries that which picks, by section and name.
func describePolicy(p *trust.Policy, which func(name string) bool) *policyInfo {
	info := &policyInfo{Signers: []*signerInfo{}, Publishers: []*publisherInfo{}, Repositories: []*repoInfo{}, Rules: []*ruleInfo{}}
	for _, s := range p.Signers {
		if which(s.Name) {
			info.Signers = append(info.Signers, describeSigner(s))
		}
	}
	for _, q := range p.Publishers {
		listed := func(r *trust.Repo) bool { return which(r.Name) && slices.Contains(r.Publishers, q.Name) }
		if which(q.Name) || slices.ContainsFunc(p.Repos, listed) {
			info.Publishers = append(info.Publishers, describePublisher(q))
		}
	}
	for _, r := range p.Repos {
		if which(r.Name) {
			info.Repositories = append(info.Repositories, describeRepo(r))
		}
	}
	for _, r := range p.Rules {
		if which(r.Name) || r.Repo != "" && which(r.Repo) || r.Publisher != "" && which(r.Publisher) {
			info.Rules = append(info.Rules, describeRule(r))
		}
	}
	return info
}

func runTrustList(ctx context.Context, e *env, args []string) error {
	f := newFlags("trust")
	asJSON := f.json()
	if _, err := f.parse(args, 0, 0); err != nil {
		return err
	}
	policy, err := e.policy()
	if err != nil {
		return err
	}
	info := describePolicy(policy, func(string) bool { return true })
	if *asJSON {
		e.ui.JSON(info)
		return nil
	}
	for _, s := range info.Signers {
		what := strings.Join(s.UserIDs, ", ")
		if s.Kind == "ssh" {
			what = s.Comment
		}
		e.ui.Printf("signer      %-16s %s  %s%s\n", s.Name, s.Fingerprint, what, remarks(s))
	}
	for _, p := range info.Publishers {
		all := "a name only"
		if p.All {
			all = "all repositories"
		}
		e.ui.Printf("publisher   %-16s %s  %s\n", p.Name, p.ID, all)
	}
	for _, r := range info.Repositories {
		also := ""
		if len(r.Publishers) > 0 {
			also = "  also by " + strings.Join(r.Publishers, ", ")
		}
		e.ui.Printf("repository  %-16s %s%s\n", r.Name, r.URL, also)
	}
	for _, r := range info.Rules {
		e.ui.Printf("rule        %-16s %s%s %s  %s\n", r.Name, r.Repo, r.Publisher, r.Ref, ruleText(r))
	}
	return nil
}

// remarks says of a signer what must not be overlooked.
func remarks(s *signerInfo) string {
	var b strings.Builder
	for _, r := range []struct {
		holds bool
		text  string
	}{{s.Revoked, "revoked"}, {s.RetiredAt != "", "retired"}, {s.Forge != "", "the key of " + s.Forge + mergesOnly(s)}, {len(s.Warnings) > 0, "see trust show"}} {
		if r.holds {
			b.WriteString("  [" + r.text + "]")
		}
	}
	return b.String()
}

// mergesOnly says what a forge may sign.
func mergesOnly(s *signerInfo) string {
	if s.MergesOnly {
		return ", for merges only"
	}
	return ", for ANYTHING"
}

func runTrustShow(ctx context.Context, e *env, args []string) error {
	f := newFlags("trust")
	asJSON := f.json()
	rest, err := f.parse(args, 1, 1)
	if err != nil {
		return err
	}
	policy, err := e.policy()
	if err != nil {
		return err
	}
	info := describePolicy(policy, func(name string) bool { return name == rest[0] })
	if len(info.Signers)+len(info.Publishers)+len(info.Repositories)+len(info.Rules) == 0 {
		return editError(&trust.NotFoundError{Name: rest[0]})
	}
	if *asJSON {
		e.ui.JSON(info)
		return nil
	}
	for _, s := range info.Signers {
		e.printSigner(s)
	}
	for _, p := range info.Publishers {
		e.printPublisher(p)
	}
	for _, r := range info.Repositories {
		e.printRepo(r)
	}
	for _, r := range info.Rules {
		e.printRule(r)
	}
	return nil
}

func (e *env) printPublisher(p *publisherInfo) {
	all := "a name only; its repositories are added one by one"
	if p.All {
		all = "all of its repositories"
	}
	e.rows([][2]string{{"publisher", p.Name}, {"id", p.ID.String()}, {"trusted for", all}})
}

func (e *env) printRepo(r *repoInfo) {
	e.rows([][2]string{{"repository", r.Name}, {"url", r.URL}, {"publishers", strings.Join(r.Publishers, " ")}})
	for _, oid := range r.Introduction {
		e.rows([][2]string{{"introduction", string(oid)}})
	}
	for _, oid := range r.Good {
		e.rows([][2]string{{"good", string(oid) + ", whatever its signature"}})
	}
	e.rows([][2]string{{"max stale", r.MaxStale}})
}

func (e *env) printRule(r *ruleInfo) {
	e.rows([][2]string{{"rule", r.Name}, {"scope", r.Ref}, {"signers", strings.Join(r.Signers, " ")}, {"mode", ruleText(r)}})
}

// ruleText words what a rule demands.
func ruleText(r *ruleInfo) string {
	words := map[string]string{
		string(trust.ModeAll):       "every new commit is signed by one of them",
		string(trust.ModeChain):     "every new commit along the first parents is signed by one of them",
		string(trust.ModeTip):       "the tip is signed by one of them",
		string(trust.ModePublisher): "commit signatures are NOT checked; the publisher's key decides",
	}
	text := words[r.Mode]
	if r.Quorum > 1 && r.Mode == string(trust.ModePublisher) {
		text = "commit signatures are NOT checked" // one publisher's key decides nothing
	}
	if r.Tags == string(trust.TagsAny) && r.Mode != string(trust.ModePublisher) {
		text += "; unsigned tags are accepted"
	}
	if r.Quorum > 1 {
		text += fmt.Sprintf("; %d of the repository's publishers must agree", r.Quorum)
	}
	if r.Rewind {
		text += "; it may go back"
	}
	return text
}
