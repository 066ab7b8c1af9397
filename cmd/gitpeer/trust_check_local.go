package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A target is refs of a repository on this disk that are to be checked.
type target struct {
	work  *gitcmd.Work
	name  string     // as it was given
	refs  []refs.Ref // Name is "" for a commit that is no ref's
	base  []refs.OID // A of A..B
	fixed *trust.Query
}

// sort tells URLs and names of the policy from what is on this disk. Without
// arguments it is the repository around us; where there is none, all of the
// policy.
func (c *checking) sort(ctx context.Context, args []string) (urls []string, targets []*target, err error) {
	here, err := gitcmd.Locate(ctx, ".")
	if err != nil && !errors.Is(err, gitcmd.ErrNotRepository) {
		return nil, nil, err
	}
	if len(args) == 0 {
		if here == nil && !c.local() {
			urls, err = c.env.toCheck(nil)
			return urls, nil, err
		}
		args = []string{"."}
	}
	for _, arg := range args {
		if strings.HasPrefix(arg, "gitpeer:") || slices.ContainsFunc(c.policy.Repos, func(r *trust.Repo) bool { return r.Name == arg }) {
			named, err := c.env.toCheck([]string{arg})
			if err != nil {
				return nil, nil, err
			}
			if c.local() {
				return nil, nil, &ui.UsageError{Message: arg + " is fetched, and then trust.conf decides: --signer, --intro, --mode, --ref and --semantics are for repositories on this disk",
					Hint: "git clone, then gitpeer trust check in the clone"}
			}
			urls = append(urls, named...)
			continue
		}
		t, err := c.target(ctx, here, arg)
		if err != nil {
			return nil, nil, err
		}
		if err := c.rename(t); err != nil {
			return nil, nil, err
		}
		targets = append(targets, t)
	}
	return urls, targets, nil
}

// target finds what an argument means: a folder if it is written like one, else
// a range or a ref of the repository around us, else a folder.
func (c *checking) target(ctx context.Context, here *gitcmd.Work, arg string) (*target, error) {
	info, statErr := os.Stat(arg)
	isDir := statErr == nil && info.IsDir()
	if isDir && (strings.HasPrefix(arg, ".") || filepath.IsAbs(arg)) {
		return c.whole(ctx, arg)
	}
	if here != nil {
		t, err := c.named(ctx, here, arg)
		if t != nil || err != nil {
			return t, err
		}
	}
	if isDir {
		return c.whole(ctx, arg)
	}
	where := "this folder is in no repository"
	if here != nil {
		where = "the repository here has no such ref or commit"
	}
	return nil, &ui.UsageError{Message: fmt.Sprintf("%q is neither a folder, a gitpeer:// URL nor a name in trust.conf, and %s", arg, where), Hint: "gitpeer help trust"}
}

// whole is all branches and tags of a repository.
func (c *checking) whole(ctx context.Context, dir string) (*target, error) {
	work, err := gitcmd.Locate(ctx, dir)
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	t := &target{work: work, name: path}
	if t.refs, err = work.Refs(ctx); err == nil && len(t.refs) == 0 {
		err = &ui.UsageError{Message: fmt.Sprintf("%s has no branches and tags to check", path), Hint: "git log"}
	}
	return t, err
}

// named is a ref, a commit or a range of a repository; nil if it has none such.
func (c *checking) named(ctx context.Context, work *gitcmd.Work, arg string) (*target, error) {
	t := &target{work: work, name: arg}
	from, to, isRange := strings.Cut(arg, "..")
	if !isRange {
		to = arg
	} else if strings.HasPrefix(to, ".") {
		return nil, ui.Usagef("trust", "%q: a range has two dots, A..B", arg)
	}
	if isRange && to == "" {
		to = "HEAD"
	}
	if isRange {
		base, err := c.commits(ctx, work, []string{headIfEmpty(from)})
		if err != nil {
			return nil, err
		}
		t.base = base
	}
	ref, err := c.ref1(ctx, work, to)
	if err != nil || ref == nil {
		if err == nil && isRange {
			err = &ui.UsageError{Message: fmt.Sprintf("there is no commit %q here", to), Hint: "git branch -a"}
		}
		return nil, err
	}
	t.refs = []refs.Ref{*ref}
	return t, nil
}

func headIfEmpty(name string) string {
	if name == "" {
		return "HEAD"
	}
	return name
}

// ref1 finds one ref, or a commit that is none's; nil if there is neither.
func (c *checking) ref1(ctx context.Context, work *gitcmd.Work, name string) (*refs.Ref, error) {
	full, err := work.FullName(ctx, name)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(full), "refs/") {
		found, err := work.Refs(ctx, string(full))
		if err != nil || len(found) == 1 {
			if err == nil {
				found[0].Name = asBranch(found[0].Name)
				return &found[0], nil
			}
			return nil, err
		}
	}
	if strings.HasPrefix(name, "-") || strings.ContainsAny(name, "\n\x00") {
		return nil, nil
	}
	oids, err := work.Resolve(ctx, []string{name, name + "^{commit}"})
	if err != nil || oids[1] == "" {
		return nil, err
	}
	if oids[0] != oids[1] {
		return nil, &ui.UsageError{Message: fmt.Sprintf("%q is a tag object; to check it, name the tag", name), Hint: "git tag --points-at " + ui.Quote(name)}
	}
	return &refs.Ref{OID: oids[1]}, nil
}

// asBranch is the branch that a remote-tracking branch follows: that is what
// rules are about.
func asBranch(name refs.Name) refs.Name {
	rest, ok := strings.CutPrefix(string(name), "refs/remotes/")
	if _, branch, found := strings.Cut(rest, "/"); ok && found {
		return refs.Name("refs/heads/" + branch)
	}
	return name
}

// commits turns names of commits into ids.
func (c *checking) commits(ctx context.Context, work *gitcmd.Work, names []string) ([]refs.OID, error) {
	ask := make([]string, len(names))
	for i, name := range names {
		ask[i] = name + "^{commit}"
	}
	oids, err := work.Resolve(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i, oid := range oids {
		if oid == "" {
			return nil, &ui.UsageError{Message: fmt.Sprintf("there is no commit %q here", names[i]), Hint: "git fetch --unshallow    # if it is in a part of the history that was not cloned"}
		}
	}
	return oids, nil
}

// rename judges the one ref of a target as if it had the name of --ref.
func (c *checking) rename(t *target) error {
	if c.ref == "" {
		return nil
	}
	name, err := refs.ParseName(c.ref)
	if err != nil {
		return err
	}
	if len(t.refs) != 1 {
		return ui.Usagef("trust", "--ref says as which ref one commit is judged, and %s has %d refs", t.name, len(t.refs))
	}
	t.refs[0].Name = name
	return nil
}

// mirrorOf is what was fetched from a URL and accepted; nil if the policy does
// not know the repository: then it is the user's own.
func (c *checking) mirrorOf(ctx context.Context, url string) (*target, error) {
	address, err := refs.ParseAddress(url)
	if err != nil {
		return nil, err
	}
	if _, known := c.policy.Repo(address); !known {
		return nil, nil
	}
	t, err := c.whole(ctx, c.home.Mirror(address))
	if err != nil {
		return nil, err
	}
	t.fixed = &trust.Query{Repository: address, Introduction: c.pinned(address)}
	return t, nil
}

// pinned is the introduction that was taken at first contact, nil if trust.conf
// names one or there was no contact.
func (c *checking) pinned(a refs.Address) []refs.OID {
	if r, _ := c.policy.Repo(a); r != nil && len(r.Introduction) > 0 {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(c.home.Mirror(a), "gitpeer", "pins"))
	if err != nil {
		return nil
	}
	pins, err := trust.ParsePins(text)
	if err != nil {
		return nil
	}
	return pins.Introduction
}

// examine gives the verdicts about a target.
func (c *checking) examine(ctx context.Context, t *target) (*checked, error) {
	if err := c.suited(ctx, t); err != nil {
		return nil, err
	}
	one := &checked{Path: t.name, Verdicts: []trust.Verdict{}}
	told := make(map[refs.OID]bool)
	for _, r := range t.refs {
		told[r.OID] = false
	}
	each := func(v trust.Verdict) {
		if _, tip := told[v.OID]; tip {
			told[v.OID] = true
		}
		c.tell(one, v)
	}
	if !c.explain {
		each = nil
	}
	objects := t.work.Repo.Objects(ctx)
	defer objects.Close()
	var err error
	switch {
	case c.semantics != "":
		one.Verdicts, err = c.foreign(ctx, t, objects, each)
	default:
		one.Verdicts, err = c.own(ctx, t, one, objects, each)
	}
	if err := errors.Join(err, ctx.Err(), objects.Err()); err != nil {
		return nil, err
	}
	one.Accepted = true
	for i := range one.Verdicts {
		v := &one.Verdicts[i]
		one.Accepted = one.Accepted && v.Code == trust.OK
		c.adapt(v)
	}
	if c.explain {
		c.explainRefs(one, told)
	}
	return one, nil
}

// tell prints the verdict about a commit or tag, or keeps it for --json.
func (c *checking) tell(one *checked, v trust.Verdict) {
	if c.asJSON {
		one.Commits = append(one.Commits, v)
		return
	}
	c.line(v)
}

// explainRefs tells about the tags, and about tips that were not told of.
func (c *checking) explainRefs(one *checked, told map[refs.OID]bool) {
	for _, v := range one.Verdicts {
		if !told[v.OID] {
			c.tell(one, v)
		}
	}
}

// suited refuses a repository that lacks a part of its history, or objects.
func (c *checking) suited(ctx context.Context, t *target) error {
	if t.work.Partial && c.mode != trust.ModeTip {
		return &ui.UsageError{Message: fmt.Sprintf("%s is a partial clone: what it lacks, git would ask for in the midst of the check; --mode tip checks only what the refs point at", t.name),
			Hint: "git fetch --refetch --no-filter && git config --unset remote.origin.promisor    # or clone it anew, without --filter"}
	}
	if t.work.Shallow && c.mode != trust.ModeTip {
		return &ui.UsageError{Message: fmt.Sprintf("the history of %s is cut off (a shallow clone), so it cannot be checked; --mode tip checks only what the refs point at", t.name),
			Hint: "git fetch --unshallow    # in CI: fetch-depth 0"}
	}
	replaced, err := t.work.Refs(ctx, "refs/replace/")
	if err == nil && len(replaced) > 0 {
		c.env.ui.Warnf("%s has replace refs: git log shows other commits than those that were checked", t.name)
	}
	return err
}

// own checks by trust.conf, or by the signers of the command line.
func (c *checking) own(ctx context.Context, t *target, one *checked, objects trust.Objects, each func(trust.Verdict)) ([]trust.Verdict, error) {
	policy, q, err := c.query(ctx, t)
	if err != nil {
		return nil, err
	}
	q.ObjectFormat, q.Refs, q.Each = t.work.ObjectFormat, t.refs, each
	entry, _ := policy.Repo(q.Repository)
	one.TipsOnly = len(q.Introduction) == 0 && q.Mode != trust.ModeTip && (entry == nil || len(entry.Introduction) == 0)
	if one.TipsOnly {
		c.env.ui.Warnf("only what the refs point at is checked: no introduction is known, a commit from which on all are (--intro OID)")
	}
	cache := trust.OpenCache(c.home.Cache())
	if !c.noCache && t.base == nil { // each A..B is a rule of its own: what it needs is little
		q.Keep = cache.Keep
		if !c.explain {
			q.Known = cache.Known
		}
	}
	verdicts, err := trust.Examine(policy, *q, objects, c.now)
	for _, note := range cache.Notes() {
		c.env.ui.Warnf("%s", note)
	}
	return verdicts, err
}

// query makes the question: by the command line if it says whom or how, else by
// the rules for a repository that this one is a clone of, else by the default.
func (c *checking) query(ctx context.Context, t *target) (*trust.Policy, *trust.Query, error) {
	if t.fixed != nil {
		return c.policy, t.fixed, nil
	}
	q := &trust.Query{Mode: c.mode, Introduction: t.base}
	if len(c.intro) > 0 {
		intro, err := c.commits(ctx, t.work, c.intro)
		if err != nil {
			return nil, nil, err
		}
		q.Introduction = append(intro, t.base...)
	}
	if len(c.signers) == 0 && c.mode == "" {
		address, known, err := c.remote(ctx, t.work)
		if err != nil {
			return nil, nil, err
		}
		if known {
			q.Repository = address
			if q.Introduction == nil {
				q.Introduction = c.pinned(address)
			}
			if slices.ContainsFunc(t.refs, func(r refs.Ref) bool { return r.Name == "" }) {
				return nil, nil, &ui.UsageError{Message: fmt.Sprintf("%s is no ref, so no rule of trust.conf is about it; say as which ref it is judged", t.name), Hint: "gitpeer trust check " + ui.Quote(t.name) + " --ref refs/heads/main"}
			}
			return c.policy, q, nil
		}
	}
	if (c.mode == trust.ModeAll || c.mode == trust.ModeChain) && q.Introduction == nil {
		return nil, nil, &ui.UsageError{Message: fmt.Sprintf("--mode %s checks every commit since one that is taken as it is: name that with --intro, or check a range A..B", c.mode),
			Hint: "git rev-list --max-parents=0 HEAD    # the first commit, if all that follow are to be signed"}
	}
	policy, err := c.signersOf(ctx, q)
	return policy, q, err
}

// signersOf adds the signers of the command line to the policy and names them
// in the query.
func (c *checking) signersOf(ctx context.Context, q *trust.Query) (*trust.Policy, error) {
	if len(c.signers) == 0 {
		if len(c.policy.Signers) == 0 {
			return nil, &ui.UsageError{Message: "whose signatures are good? trust.conf has no signers, and the command line names none", Hint: "gitpeer trust check --signer alice.asc"}
		}
		return c.policy, nil
	}
	a := &addition{env: c.env, signers: c.signers}
	if err := a.find(ctx, c.policy); err != nil {
		return nil, err
	}
	q.Signers = slices.Clone(a.names)
	var more []trust.Signer
	for i, key := range a.found {
		s := key.signer(freeName(c.policy, more, key.label(), i))
		more = append(more, s)
		q.Signers = append(q.Signers, s.Name)
	}
	policy, err := c.policy.Extend(more...)
	if err != nil {
		return nil, &ui.UsageError{Message: err.Error(), Hint: "gitpeer trust list"}
	}
	return policy, nil
}

// freeName is what a signer of the command line is called: by their user id.
func freeName(p *trust.Policy, more []trust.Signer, label string, i int) string {
	name := strings.TrimSpace(strings.SplitN(label, "<", 2)[0])
	if name == "" {
		name = label
	}
	_, taken := p.Signer(name)
	if name == "" || taken || slices.ContainsFunc(more, func(s trust.Signer) bool { return s.Name == name }) {
		return fmt.Sprintf("signer-%d", i+1)
	}
	return name
}

// remote finds the repository of the policy that one of the remotes names.
func (c *checking) remote(ctx context.Context, work *gitcmd.Work) (refs.Address, bool, error) {
	urls, err := work.RemoteURLs(ctx)
	if err != nil {
		return refs.Address{}, false, err
	}
	for _, url := range urls {
		host, name, err := refs.SplitURL(url)
		if err != nil {
			continue // of another transport
		}
		address, err := c.policy.ResolveURL(host, name)
		if err != nil {
			continue
		}
		if _, known := c.policy.Repo(address); known {
			return address, true, nil
		}
	}
	return refs.Address{}, false, nil
}

// adapt makes a hint fit for signers that the command line named.
func (c *checking) adapt(v *trust.Verdict) {
	if rest, ok := strings.CutPrefix(v.Hint, "gitpeer trust add 0x"); ok && len(c.signers) > 0 {
		v.Hint = "--signer 0x" + rest
	}
	if v.Code == trust.BadPack && v.Hint == "" {
		v.Hint = "git fsck    # objects are missing here"
	}
}
