package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/refs"
)

// options are what git has set by "option" lines.
type options struct {
	verbosity    int  // 0 is quiet, 1 is usual
	progress     bool // git shows progress, and so may we
	format       bool // "list" may begin with the object format
	connectivity bool // git would like to hear that a clone is connected
	serve        bool // only an upload-pack can do what git wants
	dryRun       bool
	atomic       bool
	force        bool
	leases       map[refs.Name]refs.OID // of the next push; "" is absence
}

func newOptions() options { return options{verbosity: 1} }

// when says in which case progress is shown. git has looked at the terminal
// already when it asks for progress. As with git's own, --quiet hides progress
// and facts, also that signatures are not checked where the user said so, and
// does not hide warnings.
func (o *options) when() ui.When {
	switch {
	case o.verbosity == 0:
		return ui.Quiet
	case o.progress:
		return ui.Always
	}
	return ui.NotesOnly
}

// set takes an option and returns the answer: "ok", "unsupported" or
// "error WHY".
func (o *options) set(name, value string) string {
	switch name {
	case "verbosity":
		n, err := strconv.Atoi(value)
		if err != nil {
			return "error not a number"
		}
		o.verbosity = max(n, 0)
		return "ok"
	case "progress":
		return setBool(&o.progress, value)
	case "check-connectivity":
		return setBool(&o.connectivity, value)
	case "dry-run":
		return setBool(&o.dryRun, value)
	case "atomic":
		return setBool(&o.atomic, value)
	case "force":
		return setBool(&o.force, value)
	case "object-format":
		return o.setFormat(value)
	case "cas":
		return o.setLease(value)
	case "cloning", "followtags", "update-shallow", "deepen-relative":
		// Facts and wishes that need nothing from us: what they mean comes
		// about through upload-pack, or because everything is linked.
		return setBool(new(bool), value)
	case "depth", "deepen-since", "deepen-not", "filter", "from-promisor", "no-dependents", "refetch":
		o.serve = true
		return "ok"
	}
	// servpath, pushcert, push-option, family and whatever comes later.
	return "unsupported"
}

func setBool(b *bool, value string) string {
	switch value {
	case "true":
		*b = true
	case "false":
		*b = false
	default:
		return "error neither true nor false"
	}
	return "ok"
}

// setFormat takes "true", or the algorithm that git is going to use. Whether it
// is the repository's is checked when objects are about to move.
func (o *options) setFormat(value string) string {
	switch value {
	case "true", string(refs.SHA1), string(refs.SHA256):
		o.format = true
		return "ok"
	case "false":
		o.format = false
		return "ok"
	}
	return "error unknown object format"
}

// setLease takes one --force-with-lease: a C-quoted REF:OID, where an oid of
// zeros means that the ref must not exist.
func (o *options) setLease(value string) string {
	text, err := unquote(value)
	if err != nil {
		return "error badly quoted"
	}
	ref, hex, _ := strings.Cut(text, ":")
	name, err := refs.ParseName(ref)
	if err != nil {
		return "error not a branch or tag"
	}
	format := refs.SHA1
	if len(hex) == refs.SHA256.HexLen() {
		format = refs.SHA256
	}
	oid := refs.OID(strings.Repeat("0", format.HexLen()))
	if hex != string(oid) {
		if oid, err = refs.ParseOID(hex, format); err != nil {
			return fmt.Sprintf("error not an object id of %s", format)
		}
	}
	if oid.IsZero() {
		oid = ""
	}
	if o.leases == nil {
		o.leases = make(map[refs.Name]refs.OID)
	}
	o.leases[name] = oid
	return "ok"
}
