package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// listForPush answers "list for-push": the refs of a repository of the user's
// own, as they were last published.
func (h *helper) listForPush(ctx context.Context) error {
	if err := h.mine(h.url); err != nil {
		return err
	}
	if err := h.verified(ctx, ours); err != nil {
		return err
	}
	// A petname says whose it is only when the node has looked it up.
	if err := h.mine(h.state.URL); err != nil {
		return err
	}
	work, err := h.repository(ctx)
	if err != nil {
		return err
	}
	var lines []string
	if h.state.Mirror != "" {
		if err := h.sameFormat(work); err != nil {
			return err
		}
	}
	if h.options.format {
		// As long as nothing is published it will be what this repository is.
		lines = append(lines, ":object-format "+string(work.ObjectFormat))
	}
	for _, ref := range h.state.Refs {
		lines = append(lines, string(ref.OID)+" "+string(ref.Name))
	}
	h.forPush = true
	return h.say(append(lines, "")...)
}

// sameFormat refuses to move objects between repositories whose object ids
// are of different kinds. git 2.39 clones an empty sha256 repository as sha1,
// so this can come as a surprise.
func (h *helper) sameFormat(work *gitcmd.Work) error {
	if work.ObjectFormat == h.state.ObjectFormat {
		return nil
	}
	return &ui.HintError{
		Err:  &ui.UsageError{Message: fmt.Sprintf("%s has %s object ids, and the repository here %s", h.state.URL, h.state.ObjectFormat, work.ObjectFormat)},
		Hint: fmt.Sprintf("git init --object-format=%s", h.state.ObjectFormat),
	}
}

// mine refuses an address with the id of another publisher. One with a petname
// passes.
func (h *helper) mine(url string) error {
	host, name, err := refs.SplitURL(url)
	if err != nil {
		return err
	}
	own, err := keys.ReadPublic(h.home.KeyFile())
	if errors.Is(err, fs.ErrNotExist) {
		return ui.NoKey()
	}
	if err != nil {
		return err
	}
	id, err := keys.ParseID(host)
	if err != nil || id == own {
		return nil
	}
	return &ui.UsageError{
		Message: fmt.Sprintf("only its publisher %s can push to this repository; your id is %s", id, own),
		Hint:    fmt.Sprintf("git push %s    # publishes under your own id", refs.Address{Publisher: own, Name: name}),
	}
}

// push does a batch of "push" lines by one request to the node.
func (h *helper) push(ctx context.Context) error {
	lines, o := h.pushes, h.options
	h.pushes, h.options.leases = nil, nil
	request := node.PushRequest{GitDir: h.gitDir, URL: h.url, Atomic: o.atomic, DryRun: o.dryRun}
	var err error
	if request.GitDir, err = filepath.Abs(h.gitDir); err != nil {
		return err
	}
	updates, problems, err := h.updates(ctx, lines, o.leases)
	if err != nil {
		return err
	}
	request.Updates = updates
	if len(problems) > 0 && o.atomic {
		for _, u := range updates {
			problems[string(u.Dst)] = "atomic push failed"
		}
		request.Updates = nil
	}
	if len(request.Updates) > 0 {
		result, err := h.publish(ctx, request)
		if err != nil {
			return err
		}
		for _, r := range result.Refs {
			if r.Problem != "" {
				problems[string(r.Dst)] = r.Problem
			}
		}
	}
	for _, l := range lines {
		if problem := problems[l.dst]; problem != "" {
			h.say("error " + l.dst + " " + forGit(problem))
		} else {
			h.say("ok " + l.dst)
		}
	}
	h.state, h.forPush = nil, false // what was listed has changed
	return h.say("")
}

// updates turns lines into updates, and says by destination what is wrong with
// those that cannot be one.
func (h *helper) updates(ctx context.Context, lines []line, leases map[refs.Name]refs.OID) ([]node.RefUpdate, map[string]string, error) {
	var names []string
	for _, l := range lines {
		if l.src != "" {
			names = append(names, l.src)
		}
	}
	var oids []refs.OID
	if len(names) > 0 {
		work, err := h.repository(ctx)
		if err != nil {
			return nil, nil, err
		}
		if oids, err = work.Resolve(ctx, names); err != nil {
			return nil, nil, err
		}
	}
	var updates []node.RefUpdate
	problems := make(map[string]string)
	for _, l := range lines {
		u := node.RefUpdate{Force: l.force || h.options.force}
		if l.src != "" {
			u.New, oids = oids[0], oids[1:]
		}
		name, err := refs.ParseName(l.dst)
		switch {
		case err != nil:
			var bad *refs.NameError
			if errors.As(err, &bad) {
				err = errors.New(bad.Reason)
			}
			problems[l.dst] = err.Error()
			continue
		case l.src != "" && u.New == "":
			problems[l.dst] = "no such object"
			continue
		}
		u.Dst = name
		if lease, ok := leases[name]; ok {
			u.Expect, u.Force = &lease, true
		}
		updates = append(updates, u)
	}
	return updates, problems, nil
}

// publish sends a push to the node, with what it needs to sign and where the
// certificates are that readers need for their first contact.
func (h *helper) publish(ctx context.Context, r node.PushRequest) (*node.PushResult, error) {
	var err error
	if !r.DryRun {
		if r.Credentials, err = h.ui.Credentials(ctx, h.home.KeyFile(), h.agent); err != nil {
			return nil, err
		}
		r.GnupgHome = h.gnupg
	}
	c, err := h.dial(ctx)
	if err != nil {
		return nil, err
	}
	result, err := c.Push(ctx, r, h.ui.Progress(h.options.when()))
	if err != nil {
		return nil, err
	}
	if len(result.Refs) != len(r.Updates) {
		return nil, fmt.Errorf("the node answered for %d of %d refs", len(result.Refs), len(r.Updates))
	}
	if p := result.Published; p != nil && h.options.verbosity > 0 {
		h.ui.Notef("published as number %d; the record is stored on %d of %d nodes", p.Number, p.Stored, p.Asked)
	}
	return result, nil
}

// forGit words a problem as git knows it, on one line; git shows a known one
// in its own words, with advice.
func forGit(problem string) string {
	switch problem {
	case "non-fast-forward":
		return "non-fast forward"
	case "up-to-date":
		return "up to date"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' {
			return ' '
		}
		return r
	}, keys.Printable(problem, 1<<10))
}
