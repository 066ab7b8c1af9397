package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/refs"
)

// A client is what the helper needs of the node.
type client interface {
	Fetch(context.Context, node.FetchRequest, node.ProgressFunc) (*node.FetchResult, error)
	Push(context.Context, node.PushRequest, node.ProgressFunc) (*node.PushResult, error)
	Settle(context.Context, node.SettleRequest, node.ProgressFunc) error
}

// A helper is one session with git.
type helper struct {
	ui       *ui.UI
	home     node.Home
	dial     func(context.Context) (client, error)
	url      string
	gitDir   string // "" where git is not in a repository
	protocol string // GIT_PROTOCOL
	agent    string // SSH_AUTH_SOCK
	gnupg    string // GNUPGHOME, absolute
	peers    []string
	rewind   bool
	look     bool

	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	in      *bufio.Reader
	out     *bufio.Writer
	options options
	state   *node.FetchResult // the verified state, once it has been asked for
	work    *gitcmd.Work      // git's repository, once it has been looked for
	got     []refs.OID        // what earlier batches of fetch have brought
	wants   []line            // the batch of fetch so far
	pushes  []line            // the batch of push so far
	forPush bool              // git has listed what is published to push to it, and pushed nothing since
}

// errDone ends a session that has nothing left to say.
var errDone = errors.New("done")

// serve answers git until it has no more questions.
func (h *helper) serve(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	h.stdin, h.stdout, h.options = stdin, stdout, newOptions()
	h.in, h.out = bufio.NewReaderSize(stdin, maxLine), bufio.NewWriter(stdout)
	for {
		l, err := readLine(h.in)
		if err == io.EOF && len(h.wants)+len(h.pushes) == 0 {
			return h.end(ctx)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = h.answer(ctx, l)
		}
		if flushed := h.out.Flush(); err == nil {
			err = flushed
		}
		if err == errDone {
			return h.end(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// answer does what one line asks for.
func (h *helper) answer(ctx context.Context, l line) error {
	if n := len(h.wants); n > 0 && l.verb != verbFetch && l.verb != verbBlank ||
		len(h.pushes) > 0 && l.verb != verbPush && l.verb != verbOption && l.verb != verbBlank {
		return fmt.Errorf("unexpected %q from git inside of a batch", l.verb)
	}
	switch l.verb {
	case verbCapabilities:
		return h.say("connect", "fetch", "push", "option", "check-connectivity", "object-format", "")
	case verbOption:
		return h.say(h.options.set(l.name, l.value))
	case verbFetch:
		h.wants = append(h.wants, l)
		return nil
	case verbPush:
		h.pushes = append(h.pushes, l)
		return nil
	}
	// An interrupt cancels what takes long; while the helper waits for git, it ends
	// the program. Not for each of a thousand fetch lines: that switches threads.
	ctx, stop := interruptible(ctx)
	defer stop()
	return h.do(ctx, l)
}

func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// do does what takes its time.
func (h *helper) do(ctx context.Context, l line) error {
	switch {
	case l.verb == verbList:
		return h.list(ctx)
	case l.verb == verbListForPush:
		return h.listForPush(ctx)
	case l.verb == verbConnect:
		return h.connect(ctx, l.service)
	case len(h.wants) > 0:
		return h.fetch(ctx)
	case len(h.pushes) > 0:
		return h.push(ctx)
	}
	return errDone // a blank line outside of a batch is how git ends a session
}

// end is what is left to do when git has no more questions: what it had nothing
// to push of is already published, and readers are to find that, too.
func (h *helper) end(ctx context.Context) error {
	if !h.forPush || h.state.Mirror == "" {
		return nil
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	c, err := h.dial(ctx)
	if err != nil {
		return err
	}
	return c.Settle(ctx, node.SettleRequest{URL: h.url}, h.ui.Progress(h.options.when()))
}

// say writes lines of the protocol.
func (h *helper) say(lines ...string) error {
	for _, text := range lines {
		if strings.ContainsAny(text, "\n\x00") {
			return fmt.Errorf("a line for git holds a line end: %q", text)
		}
		h.out.WriteString(text)
		h.out.WriteByte('\n')
	}
	return h.out.Flush()
}

// verified asks the node for the accepted state of the repository, once.
func (h *helper) verified(ctx context.Context, own ownership) error {
	if h.state != nil {
		return nil
	}
	c, err := h.dial(ctx)
	if err != nil {
		return err
	}
	request := node.FetchRequest{URL: h.url, Peers: h.peers, AllowRewind: h.rewind, Look: h.look, Own: own == ours}
	state, err := c.Fetch(ctx, request, h.ui.Progress(h.options.when()))
	if err != nil {
		return err
	}
	if err := check(state); err != nil {
		return err
	}
	if state.Stale != "" {
		h.ui.Warnf("%s", state.Stale)
	}
	h.state = state
	return nil
}

// An ownership says whether a repository is wanted as its publisher.
type ownership int

const (
	anyones ownership = iota
	ours
)

// check holds everything that is about to be printed on standard output
// against the grammar, whatever the node has checked before.
func check(s *node.FetchResult) error {
	if s.Mirror == "" {
		if len(s.Refs) > 0 {
			return errors.New("the node lists refs of a repository that it does not have")
		}
		return nil
	}
	if s.ObjectFormat.Len() == 0 {
		return fmt.Errorf("the node gives an unknown object format: %q", s.ObjectFormat)
	}
	names := make([]refs.Name, 0, len(s.Refs))
	for _, ref := range s.Refs {
		if _, err := refs.ParseName(string(ref.Name)); err != nil {
			return err
		}
		if _, err := refs.ParseOID(string(ref.OID), s.ObjectFormat); err != nil {
			return err
		}
		if ref.Peeled != "" {
			if _, err := refs.ParseOID(string(ref.Peeled), s.ObjectFormat); err != nil {
				return err
			}
		}
		names = append(names, ref.Name)
	}
	if s.Head != "" {
		if _, err := refs.ParseName(string(s.Head)); err != nil || !s.Head.IsBranch() {
			return fmt.Errorf("the node gives a HEAD that is no branch: %q", s.Head)
		}
	}
	return refs.CheckNames(names)
}

// list answers "list": the verified refs, annotated tags followed by what they
// point at, and HEAD if its branch exists.
func (h *helper) list(ctx context.Context) error {
	if err := h.verified(ctx, anyones); err != nil {
		return err
	}
	var lines []string
	if h.options.format && h.state.ObjectFormat != "" {
		lines = append(lines, ":object-format "+string(h.state.ObjectFormat))
	}
	head := false
	for _, ref := range h.state.Refs {
		lines = append(lines, string(ref.OID)+" "+string(ref.Name))
		if ref.Peeled != "" && ref.Peeled != ref.OID {
			lines = append(lines, string(ref.Peeled)+" "+string(ref.Name)+"^{}")
		}
		head = head || ref.Name == h.state.Head
	}
	if head {
		lines = append(lines, "@"+string(h.state.Head)+" HEAD")
	}
	return h.say(append(lines, "")...)
}

// connect answers "connect": with an upload-pack on the mirror where only that
// can do what git wants, and otherwise with the wish to be asked for "list".
func (h *helper) connect(ctx context.Context, service string) error {
	switch service {
	case "git-receive-pack":
		return h.say("fallback")
	case "git-upload-pack", "git-upload-archive":
	default:
		return fmt.Errorf("gitpeer has no %q", service)
	}
	if service == "git-upload-pack" && h.gitDir != "" && !h.options.serve {
		if _, err := h.repository(ctx); err != nil { // now, and not when the last byte has come
			return err
		}
	}
	if err := h.verified(ctx, anyones); err != nil {
		return err
	}
	mirror := gitcmd.Repo{Dir: h.state.Mirror}
	if service == "git-upload-pack" {
		linkable, err := h.linkable(ctx, mirror)
		if err != nil {
			return err
		}
		if linkable || h.state.Mirror == "" {
			return h.say("fallback")
		}
	}
	if n := h.in.Buffered(); n > 0 {
		return fmt.Errorf("git sent %d bytes before it was connected", n)
	}
	if err := h.say(""); err != nil {
		return err
	}
	// The streams themselves: between processes, nothing is copied through
	// this one.
	s := gitcmd.Service{
		Name: strings.TrimPrefix(service, "git-"), Protocol: h.protocol,
		Refs: h.state.Refs, Head: h.state.Head, Format: h.state.ObjectFormat,
		Stdin: h.stdin, Stdout: h.stdout, Stderr: h.stderr,
	}
	if s.Protocol == "" {
		s.Protocol = "version=2" // git does not tell helpers; it understands every answer
	}
	err := mirror.Serve(ctx, s)
	var failed *gitcmd.Error
	if errors.As(err, &failed) && failed.ExitCode() > 0 && ctx.Err() == nil {
		return &ui.ExitError{Status: failed.ExitCode()} // it has said why
	}
	return cmp.Or(ctx.Err(), err, errDone)
}

// linkable says whether what git wants can be had by linking packs: everything
// that there is, into a repository that has nothing.
func (h *helper) linkable(ctx context.Context, mirror gitcmd.Repo) (bool, error) {
	if h.options.serve || len(h.state.Refs) == 0 {
		return false, nil
	}
	unborn := true
	for _, ref := range h.state.Refs {
		unborn = unborn && ref.Name != h.state.Head
	}
	if unborn && h.state.Head != "" {
		return false, nil // "list" cannot say what HEAD names
	}
	if packed, err := mirror.Packed(); err != nil || !packed {
		return false, err
	}
	if h.gitDir == "" {
		return true, nil // git ls-remote outside of a repository
	}
	work, err := h.repository(ctx)
	if err != nil {
		return false, err
	}
	has, err := work.HasObjects()
	return !has && !work.Shallow && !work.Partial, err
}

// repository finds git's repository. It does so again if that has another object
// format than the one that git was told of since: git clone follows it.
func (h *helper) repository(ctx context.Context) (*gitcmd.Work, error) {
	if h.work == nil || h.state != nil && h.state.ObjectFormat != h.work.ObjectFormat {
		work, err := gitcmd.Locate(ctx, h.gitDir)
		if err != nil {
			return nil, err
		}
		h.work = work
	}
	return h.work, nil
}
