package node

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// A nobodyError is a repository whose record was found, and nobody who has what
// it stands for.
type nobodyError struct {
	Address refs.Address
	Record  *refs.Record
	*swarm.NoPeersError
}

func (e *nobodyError) Unwrap() error { return e.NoPeersError }

// maxTriedShown is how many addresses an error repeats.
const maxTriedShown = 4

// Error says what was looked for, and what was tried.
func (e *nobodyError) Error() string {
	what := "a pack of it"
	if e.InfoHash == e.Record.InfoHash {
		what = "it"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s was found (number %d, signed %s), but nobody who has %s can be reached: ",
		e.Address, e.Record.Number, e.Record.Signed.UTC().Format("2006-01-02 15:04 MST"), what)
	waited := e.Waited.Round(time.Second)
	switch n := len(e.Tried); n {
	case 0:
		fmt.Fprintf(&b, "no address of anybody is known, after %v", waited)
	case 1:
		fmt.Fprintf(&b, "%s did not answer within %v", e.Tried[0], waited)
	default:
		fmt.Fprintf(&b, "none of %d addresses answered within %v (", n, waited)
		for i, a := range e.Tried[:min(n, maxTriedShown)] {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(a.String())
		}
		if n > maxTriedShown {
			b.WriteString(", …")
		}
		b.WriteString(")")
	}
	if e.Nodes > 0 {
		fmt.Fprintf(&b, "; %d DHT nodes know of nobody else", e.Nodes)
	}
	for _, err := range e.Mirrors {
		b.WriteString("; " + err.Error())
	}
	return b.String()
}

func (e *nobodyError) hint() string {
	return fmt.Sprintf("GITPEER_PEERS=ADDRESS:PORT git ls-remote %s    # if you know who has it: before any git command; or try again later: what came is kept", e.Address)
}

// named adds to an error of the swarm which repository it is about.
func (f *fetching) named(err error) error {
	var nobody *swarm.NoPeersError
	if f.seen == nil || !errors.As(err, &nobody) || errors.As(err, new(*nobodyError)) {
		return err
	}
	return &nobodyError{f.mirror.addr, f.seen.Record, nobody}
}

// asked adds to an error of a lookup whom the node asked first.
func (n *Node) asked(err error) error {
	if !errors.Is(err, announce.ErrNoNodes) {
		return err
	}
	first := n.config.Bootstrap
	more := ""
	if len(first) > maxTriedShown {
		first, more = first[:maxTriedShown], ", …"
	}
	return fmt.Errorf("%w; asked were %s%s and the nodes of last time", err, strings.Join(first, ", "), more)
}
