package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// An addition is one `gitpeer trust add`.
type addition struct {
	env           *env
	as            string
	signers       []string // --signer
	mode          string
	intro         []string
	good          []string
	ref           string
	tags          string
	quorum        int
	publishers    []string // --publisher
	publisherOnly bool
	forge         bool
	forgeAny      bool

	subject  string        // the URL or id as it was given
	address  *refs.Address // of a repository, or
	id       keys.ID       // of a publisher
	keyTexts []string      // signers that were given as keys of their own
	found    []*foundKey   // for keyTexts, then for those of signers that are no names
	names    []string      // of signers that the policy has already
}

// An added is what was recorded: what --json prints.
type added struct {
	Signers    []*signerInfo    `json:"signers,omitempty"`
	Publisher  *publisherInfo   `json:"publisher,omitempty"`
	Others     []*publisherInfo `json:"publishers,omitempty"` // who may publish Repository besides the URL's
	Repository *repoInfo        `json:"repository,omitempty"`
	Rule       *ruleInfo        `json:"rule,omitempty"`
}

func runTrustAdd(ctx context.Context, e *env, args []string) error {
	a := &addition{env: e}
	f := newFlags("trust")
	f.StringVar(&a.as, "as", "", "")
	f.StringVar(&a.mode, "mode", "", "")
	f.StringVar(&a.ref, "ref", "", "")
	f.StringVar(&a.tags, "tags", "", "")
	f.IntVar(&a.quorum, "quorum", 0, "")
	f.BoolVar(&a.publisherOnly, "publisher-only", false, "")
	f.BoolVar(&a.forge, "forge", false, "")
	f.BoolVar(&a.forgeAny, "forge-any", false, "")
	signers, intro, good, publishers := f.repeated("signer"), f.repeated("intro"), f.repeated("good"), f.repeated("publisher")
	asJSON := f.json()
	rest, err := f.parse(args, 1, many)
	if err != nil {
		return err
	}
	a.signers, a.intro, a.good, a.publishers = *signers, *intro, *good, *publishers
	a.forge = a.forge || a.forgeAny
	if err := a.sort(rest); err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	policy, err := trust.Load(home.Config)
	if err != nil {
		return err
	}
	if err := a.find(ctx, policy); err != nil {
		return err
	}
	done := &added{}
	if _, err := trust.Edit(home.Config, func(ed *trust.Editor) error { return a.record(ed, done) }); err != nil {
		return editError(err)
	}
	if *asJSON {
		e.ui.JSON(done)
		return nil
	}
	e.printAdded(done)
	return nil
}

// sort tells keys of signers from the repository or publisher, and refuses
// what does not go together.
func (a *addition) sort(args []string) error {
	for _, arg := range args {
		switch id, err := keys.ParseID(arg); {
		case strings.HasPrefix(arg, "gitpeer:"):
			address, err := refs.ParseAddress(arg)
			if err != nil {
				return err
			}
			a.address, a.subject = &address, arg
		case err == nil:
			a.id, a.subject = id, arg
		case strings.HasPrefix(arg, "gp1"):
			return err // a mistyped id
		default:
			a.keyTexts = append(a.keyTexts, arg)
		}
	}
	if a.subject != "" && len(args) > 1 {
		return &ui.UsageError{Message: "a repository or publisher is added by itself", Hint: "gitpeer trust add " + a.subject + " --signer KEY"}
	}
	if a.subject != "" {
		return a.checkRule()
	}
	switch {
	case len(a.signers) > 0 || a.mode != "" || len(a.intro) > 0 || len(a.good) > 0 || a.ref != "" || a.publisherOnly || a.quorum != 0 || a.tags != "" || len(a.publishers) > 0:
		return ui.Usagef("trust", "--signer, --mode, --intro, --good, --ref, --tags, --publisher, --quorum and --publisher-only say something about a repository or publisher; give its URL or id")
	case a.as != "" && len(args) > 1:
		return ui.Usagef("trust", "--as names one key, and there are %d", len(args))
	}
	return nil
}

// checkRule refuses contradictions between the flags of a repository.
func (a *addition) checkRule() error {
	switch {
	case a.forge && len(a.signers) != 1:
		return ui.Usagef("trust", "--forge says something about one key: give it by itself, or as the only --signer")
	case a.publisherOnly && (len(a.signers) > 0 || a.mode != "" && a.mode != string(trust.ModePublisher)):
		return ui.Usagef("trust", "--publisher-only means that no commit signature is checked, so it goes with neither --signer nor --mode")
	case a.mode == string(trust.ModePublisher) && !a.publisherOnly:
		return &ui.UsageError{Message: "mode publisher checks no commit signatures", Hint: "gitpeer trust add " + a.subject + " --publisher-only    # if that is what you want"}
	case a.address == nil && len(a.intro)+len(a.good) > 0:
		return ui.Usagef("trust", "--intro and --good name commits of one repository; give its URL")
	case a.address == nil && (len(a.publishers) > 0 || a.quorum > 1):
		return ui.Usagef("trust", "--publisher and --quorum are about who publishes one repository; give its URL")
	case a.quorum < 0:
		return ui.Usagef("trust", "--quorum is 1 or more")
	}
	for _, oid := range slices.Concat(a.intro, a.good) {
		if err := checkOID(oid); err != nil {
			return err
		}
	}
	switch trust.Mode(a.mode) {
	case "", trust.ModeAll, trust.ModeChain, trust.ModeTip, trust.ModePublisher:
	default:
		return ui.Usagef("trust", "--mode is all, chain or tip, not %q", a.mode)
	}
	switch trust.TagPolicy(a.tags) {
	case "", trust.TagsSigned, trust.TagsAny:
	default:
		return ui.Usagef("trust", "--tags is signed or any, not %q", a.tags)
	}
	return nil
}

// find gets the keys of all signers that are no names of the policy.
func (a *addition) find(ctx context.Context, policy *trust.Policy) error {
	texts := slices.Clone(a.keyTexts)
	for _, text := range a.signers {
		s, ok := policy.Signer(text)
		if !ok {
			s, ok = policy.SignerOf(fullFingerprint(text))
		}
		if ok {
			a.names = append(a.names, s.Name)
			continue
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		key, err := a.env.findKey(ctx, text, a.sent(ctx))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(a.found, key.same) {
			a.found = append(a.found, key)
		}
	}
	if a.subject != "" && !a.publisherOnly && len(a.names)+len(a.found)+len(policy.Signers) == 0 {
		return &ui.UsageError{
			Message: "whose commits are accepted there? You have added no signers yet",
			Hint:    "gitpeer trust add " + a.subject + " --signer KEY    # or --publisher-only, which checks no commit signatures",
		}
	}
	return nil
}

// sent returns a function that asks the publisher of the repository, once, for
// the certificates that come with its snapshot; nil if there is no repository.
func (a *addition) sent(ctx context.Context) func() ([][]byte, error) {
	if a.address == nil {
		return nil
	}
	return func() ([][]byte, error) {
		client, err := a.env.dial(ctx)
		if err != nil {
			return nil, err
		}
		s, err := client.Show(ctx, node.ShowRequest{URL: a.address.String()}, a.env.ui.Progress(ui.OnTerminal))
		if err != nil {
			return nil, err
		}
		return s.Signers, nil
	}
}

// record makes the entries.
func (a *addition) record(ed *trust.Editor, done *added) error {
	names := slices.Clone(a.names)
	for _, key := range a.found {
		info, err := a.recordSigner(ed, key)
		if err != nil {
			return err
		}
		names = append(names, info.Name)
		done.Signers = append(done.Signers, info)
	}
	for _, name := range a.names {
		s, _ := ed.Policy.Signer(name)
		done.Signers = append(done.Signers, describeSigner(s))
	}
	switch {
	case a.address != nil:
		return a.recordRepo(ed, names, done)
	case a.subject != "":
		return a.recordPublisher(ed, names, done)
	}
	return nil
}

// recordSigner adds a signer, or brings the certificate of one who is there
// already up to date.
func (a *addition) recordSigner(ed *trust.Editor, key *foundKey) (*signerInfo, error) {
	name := ed.FreeName("signer", key.label())
	if a.as != "" && a.subject == "" {
		name = a.as
	}
	signer := key.signer(name)
	signer.Forge, signer.ForgeAny = a.forge, a.forgeAny
	if err := a.checkForge(&signer); err != nil {
		return nil, err
	}
	err := ed.AddSigner(signer)
	var exists *trust.ExistsError
	if errors.As(err, &exists) && exists.Same {
		if a.as != "" && a.subject == "" && a.as != exists.Name {
			return nil, err
		}
		signer, err = a.again(ed, key, exists.Name)
	}
	info := describeSigner(&signer)
	info.From = key.from
	return info, err
}

// again brings the entry of a signer who is there already up to date.
func (a *addition) again(ed *trust.Editor, key *foundKey, name string) (trust.Signer, error) {
	known, ok := ed.Policy.Signer(name)
	if !ok {
		return trust.Signer{}, &trust.NotFoundError{Section: "signer", Name: name}
	}
	signer := *known
	if key.cert != nil {
		signer.Cert = key.cert
		if err := ed.UpdateSigner(name, key.cert); err != nil {
			return signer, err
		}
	}
	if a.forge {
		signer.Forge, signer.ForgeAny = true, a.forgeAny
		return signer, ed.SetForge(signer)
	}
	return signer, nil
}

// checkForge refuses the key of a service, unless it was asked for as such.
func (a *addition) checkForge(s *trust.Signer) error {
	forge := s.ForgeName()
	if forge == "" || a.forge {
		return nil
	}
	hint := "gitpeer trust add 0x" + s.Cert.Fingerprint + " --forge    # if that is what you want; a rule has to name it, too"
	return &ui.UsageError{Message: fmt.Sprintf("%s is the key of %s, which signs for whoever may press its merge button: to trust it is to let %s write", s.Cert.Fingerprint, forge, forge), Hint: hint}
}

func (a *addition) recordRepo(ed *trust.Editor, signers []string, done *added) error {
	r := trust.Repo{Name: a.as, URL: *a.address}
	if r.Name == "" {
		r.Name = ed.FreeName("repo", string(a.address.Name))
	}
	for _, oid := range a.intro {
		r.Introduction = append(r.Introduction, refs.OID(oid))
	}
	for _, oid := range a.good {
		r.Good = append(r.Good, refs.OID(oid))
	}
	a.warnLookalikes(ed.Policy, a.address.Publisher)
	var err error
	if r.Publishers, err = a.recordOthers(ed, done); err != nil {
		return err
	}
	err = ed.AddRepo(r)
	var exists *trust.ExistsError
	if errors.As(err, &exists) && exists.Same && (a.as == "" || a.as == exists.Name) {
		err = a.updateRepo(ed, &r, exists.Name)
	}
	if err != nil {
		return err
	}
	if voices := 1 + len(r.Publishers) - a.listedTwice(ed.Policy, r.Publishers); a.quorum > voices {
		return &ui.UsageError{
			Message: fmt.Sprintf("%d publishers cannot agree where there is %s", a.quorum, plural(voices, "publisher")),
			Hint:    fmt.Sprintf("gitpeer trust add %s --quorum %d --publisher NAME|ID    # who else publishes it; may be repeated", a.subject, a.quorum),
		}
	}
	done.Repository = describeRepo(&r)
	return a.recordRule(ed, trust.Rule{Name: r.Name, Repo: r.Name}, signers, done)
}

// listedTwice is 1 if the URL's own publisher is also listed, by its name.
func (a *addition) listedTwice(p *trust.Policy, listed []string) int {
	if name := p.Petname(a.address.Publisher); name != "" && slices.Contains(listed, name) {
		return 1
	}
	return 0
}

// updateRepo brings the entry of a repository that is there already up to date.
func (a *addition) updateRepo(ed *trust.Editor, r *trust.Repo, name string) error {
	known, _ := ed.Policy.Repo(r.URL)
	all := slices.Clone(known.Publishers)
	for _, other := range r.Publishers {
		if !slices.Contains(all, other) {
			all = append(all, other)
		}
	}
	r.Name, r.Publishers = name, all
	if err := ed.ListPublishers(name, all...); err != nil {
		return err
	}
	if len(r.Good) > 0 {
		if err := ed.AddGood(name, r.Good...); err != nil {
			return err
		}
	}
	if len(r.Introduction) > 0 {
		return ed.SetIntroduction(name, r.Introduction...)
	}
	return nil
}

// recordOthers gives the names of the publishers whom --publisher lists, with
// an entry for each that has none. The URL's own is not listed: it counts anyway.
func (a *addition) recordOthers(ed *trust.Editor, done *added) ([]string, error) {
	var names []string
	recorded := map[keys.ID]bool{a.address.Publisher: true}
	for _, text := range a.publishers {
		known := slices.IndexFunc(ed.Policy.Publishers, func(p *trust.Publisher) bool { return p.Name == text || p.Key.String() == text })
		p := &trust.Publisher{}
		if known >= 0 {
			p = ed.Policy.Publishers[known]
		} else if id, err := keys.ParseID(text); err == nil {
			p.Key = id
		} else if strings.HasPrefix(text, "gp1") {
			return nil, err // a mistyped id
		} else {
			return nil, &trust.NotFoundError{Section: "publisher", Name: text}
		}
		if recorded[p.Key] {
			continue
		}
		recorded[p.Key] = true
		if p.Name == "" {
			a.warnLookalikes(ed.Policy, p.Key)
			p.Name = ed.FreeName("publisher", "")
			if err := ed.AddPublisher(*p); err != nil {
				return nil, err
			}
		}
		names = append(names, p.Name)
		done.Others = append(done.Others, describePublisher(p))
	}
	return names, nil
}

func (a *addition) recordPublisher(ed *trust.Editor, signers []string, done *added) error {
	p := trust.Publisher{Name: a.as, Key: a.id, All: true}
	if p.Name == "" {
		p.Name = ed.FreeName("publisher", "")
	}
	a.warnLookalikes(ed.Policy, a.id)
	err := ed.AddPublisher(p)
	var exists *trust.ExistsError
	if errors.As(err, &exists) && exists.Same && (a.as == "" || a.as == exists.Name) {
		p.Name = exists.Name
		err = ed.TrustAll(p.Name)
	}
	if err != nil {
		return err
	}
	done.Publisher = describePublisher(&p)
	return a.recordRule(ed, trust.Rule{Name: p.Name, Publisher: p.Name}, signers, done)
}

// recordRule adds the rule that the flags ask for. Without any of them the
// default holds: every new commit signed by any of the signers.
func (a *addition) recordRule(ed *trust.Editor, r trust.Rule, signers []string, done *added) error {
	if !a.publisherOnly && len(signers) == 0 && a.mode == "" && a.ref == "" && a.tags == "" && a.quorum == 0 {
		return nil
	}
	r.Pattern, r.Signers, r.Mode, r.Tags, r.Quorum = "refs/*", signers, trust.ModeAll, trust.TagsSigned, max(a.quorum, 1)
	if a.ref != "" {
		r.Pattern = a.ref
	}
	if name := ruleOf(ed.Policy, &r); name != "" {
		r.Name = name // it is replaced
	} else if a.ref != "" {
		r.Name = ed.FreeName("rule", r.Name+"-"+strings.Trim(strings.NewReplacer("refs/heads/", "", "refs/tags/", "", "/", "-", "*", "").Replace(a.ref), "-"))
	}
	if a.mode != "" {
		r.Mode = trust.Mode(a.mode)
	}
	if a.tags != "" {
		r.Tags = trust.TagPolicy(a.tags)
	}
	if a.publisherOnly {
		r.Mode, r.Tags = trust.ModePublisher, trust.TagsAny
	} else if len(signers) == 0 {
		for _, s := range ed.Policy.Signers {
			if s.ForgeName() == "" {
				r.Signers = append(r.Signers, s.Name)
			}
		}
	}
	done.Rule = describeRule(&r)
	return ed.AddRule(r)
}

// ruleOf names the rule that is about the same refs, "" if there is none.
func ruleOf(p *trust.Policy, r *trust.Rule) string {
	for _, other := range p.Rules {
		if other.Repo == r.Repo && other.Publisher == r.Publisher && other.Pattern == r.Pattern {
			return other.Name
		}
	}
	return ""
}

// warnLookalikes says when a new id begins as a known one does (A34).
func (a *addition) warnLookalikes(p *trust.Policy, id keys.ID) {
	for _, other := range p.Lookalikes(id) {
		a.env.ui.Warnf("%s looks like %s, which you know as %s, but is another publisher", id, other.Key, other.Name)
	}
}

// printAdded prints in full what was recorded.
func (e *env) printAdded(d *added) {
	gap := func(more bool) {
		if more {
			e.ui.Printf("\n")
		}
	}
	for i, s := range d.Signers {
		gap(i > 0)
		e.printSigner(s)
	}
	gap(len(d.Signers) > 0 && (d.Publisher != nil || d.Repository != nil))
	if d.Publisher != nil {
		e.printPublisher(d.Publisher)
	}
	for _, p := range d.Others {
		e.printPublisher(p)
	}
	if d.Repository != nil {
		e.printRepo(d.Repository)
	}
	switch {
	case d.Rule != nil:
		e.printRule(d.Rule)
	case d.Publisher != nil || d.Repository != nil:
		e.rows([][2]string{{"scope", "all refs; every new commit signed by one of your signers"}})
	case len(d.Signers) > 0 && d.Signers[0].Forge != "":
		e.rows([][2]string{{"scope", "nowhere, before a rule names it: gitpeer trust add URL --signer " + d.Signers[0].Name}})
	default:
		e.rows([][2]string{{"scope", "every repository that has no rule of its own"}})
	}
}

// editError makes what an editor refuses something that a person can act on.
func editError(err error) error {
	var (
		exists  *trust.ExistsError
		missing *trust.NotFoundError
	)
	switch {
	case errors.As(err, &exists):
		return &ui.UsageError{Message: err.Error(), Hint: fmt.Sprintf("gitpeer trust show %s", exists.Name)}
	case errors.As(err, &missing):
		return &ui.UsageError{Message: err.Error(), Hint: "gitpeer trust list"}
	}
	return err
}
