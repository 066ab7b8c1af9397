package trust

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// Bounds of a pins file.
const (
	maxPins          = 64 << 20 // bytes: 100 000 refs of 400 bytes, and as much again
	maxAuthenticated = 512      // tips kept, over all rules
	maxGone          = 10_000   // branches that are gone; more are refused
)

// A Pin is what was accepted for one ref.
type Pin struct {
	OID    refs.OID
	Peeled refs.OID    // of an annotated tag; else ""
	Rule   refs.Digest // of the rule and quorum under which it was verified; zero: it was not
}

// An Authenticated commit was verified, with all that it reaches, under a
// rule. Only a rule with the same digest may rely on it.
type Authenticated struct {
	Rule refs.Digest
	OID  refs.OID
	Mark int64 // the latest signature time up to it, Unix seconds; 0: none
}

// Pins are the floors under which a repository may not fall again: what was
// accepted last. One file per mirror, written after the refs have moved.
// A nil *Pins is a repository that was never seen.
type Pins struct {
	Repository    refs.Address
	Seq           int64       // of the record
	Value         refs.Digest // SHA-256 of the record's bencoding
	Number        uint64      // of the snapshot
	Snapshot      refs.Digest // of its note
	Seen          time.Time   // the latest time at which anything was accepted; never goes back
	Introduction  []refs.OID  // sorted; see ModeAll
	Refs          map[refs.Name]Pin
	Gone          map[refs.Name]refs.OID // branches that are no longer listed: where they were
	Authenticated []Authenticated        // sorted by rule, then id
}

const pinsHeader = "gitpeer-pins v1"

// Format returns the text of the pins.
func (p *Pins) Format() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nrepository %s\nseq %d\nvalue %s\nnumber %d\nsnapshot %s\nseen %s\n", pinsHeader,
		p.Repository, p.Seq, p.Value, p.Number, p.Snapshot, p.Seen.UTC().Format(time.RFC3339))
	for _, oid := range sortOIDs(p.Introduction) {
		fmt.Fprintf(&b, "introduction %s\n", oid)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Refs)) {
		pin := p.Refs[name]
		fmt.Fprintf(&b, "ref %s %s %s %s\n", pin.OID, name, orDash(string(pin.Peeled)), orDash(digestText(pin.Rule)))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Gone)) {
		fmt.Fprintf(&b, "gone %s %s\n", p.Gone[name], name)
	}
	sorted := slices.SortedFunc(slices.Values(p.Authenticated), compareAuthenticated)
	for _, a := range slices.CompactFunc(sorted, func(a, b Authenticated) bool { return a.Rule == b.Rule && a.OID == b.OID }) {
		fmt.Fprintf(&b, "authenticated %s %s %d\n", a.Rule, a.OID, a.Mark)
	}
	return []byte(b.String())
}

func compareAuthenticated(a, b Authenticated) int {
	return cmp.Or(strings.Compare(a.Rule.String(), b.Rule.String()), cmp.Compare(a.OID, b.OID), -cmp.Compare(a.Mark, b.Mark))
}

func digestText(d refs.Digest) string {
	if d.IsZero() {
		return ""
	}
	return d.String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// A PinsError says where a pins file is damaged.
type PinsError struct {
	Line   int
	Reason string
}

func (e *PinsError) Error() string { return fmt.Sprintf("pins, line %d: %s", e.Line, e.Reason) }

// ParsePins is the inverse of Format; it accepts nothing that Format would
// write differently. The error is a *PinsError.
func ParsePins(text []byte) (*Pins, error) {
	if len(text) > maxPins {
		return nil, &PinsError{Reason: fmt.Sprintf("larger than %d MiB", maxPins>>20)}
	}
	body, ok := strings.CutSuffix(string(text), "\n")
	if !ok {
		return nil, &PinsError{Reason: "no line end at the end of the file"}
	}
	p := &Pins{Refs: make(map[refs.Name]Pin)}
	for n, line := range strings.Split(body, "\n") {
		if err := p.parseLine(n, line); err != nil {
			return nil, &PinsError{Line: n + 1, Reason: err.Error()}
		}
	}
	if string(p.Format()) != string(text) {
		return nil, &PinsError{Reason: "not in canonical form"}
	}
	return p, nil
}

// parseLine reads one line: the first seven have fixed places.
func (p *Pins) parseLine(n int, line string) (err error) {
	key, value, _ := strings.Cut(line, " ")
	fixed := []string{"gitpeer-pins", "repository", "seq", "value", "number", "snapshot", "seen"}
	if n < len(fixed) && key != fixed[n] {
		return malformed("want %q", fixed[n])
	}
	switch key {
	case "gitpeer-pins":
		if line != pinsHeader {
			err = malformed("want %q", pinsHeader)
		}
	case "repository":
		p.Repository, err = refs.ParseAddress(value)
	case "seq":
		p.Seq, err = strconv.ParseInt(value, 10, 64)
	case "value":
		p.Value, err = refs.ParseDigest(value)
	case "number":
		p.Number, err = strconv.ParseUint(value, 10, 64)
	case "snapshot":
		p.Snapshot, err = refs.ParseDigest(value)
	case "seen":
		p.Seen, err = time.Parse(time.RFC3339, value)
	case "introduction":
		var oid refs.OID
		oid, err = anyOID(value)
		p.Introduction = append(p.Introduction, oid)
	case "ref":
		err = p.parseRef(strings.Split(value, " "))
	case "gone":
		err = p.parseGone(strings.Split(value, " "))
	case "authenticated":
		err = p.parseAuthenticated(strings.Split(value, " "))
	default:
		err = malformed("unknown key %q", shorten(key))
	}
	return err
}

func anyOID(text string) (refs.OID, error) {
	if oid, err := refs.ParseOID(text, refs.SHA256); err == nil {
		return oid, nil
	}
	return refs.ParseOID(text, refs.SHA1)
}

func (p *Pins) parseRef(fields []string) error {
	if len(fields) != 4 {
		return malformed("want ref <id> <name> <peeled id or -> <rule or ->")
	}
	oid, err := anyOID(fields[0])
	if err != nil {
		return err
	}
	name, err := refs.ParseName(fields[1])
	if err != nil {
		return err
	}
	pin := Pin{OID: oid}
	if fields[2] != "-" {
		if pin.Peeled, err = anyOID(fields[2]); err != nil {
			return err
		}
	}
	if fields[3] != "-" {
		if pin.Rule, err = refs.ParseDigest(fields[3]); err != nil {
			return err
		}
	}
	p.Refs[name] = pin
	return nil
}

func (p *Pins) parseGone(fields []string) error {
	if len(fields) != 2 {
		return malformed("want gone <id> <name>")
	}
	oid, err := anyOID(fields[0])
	if err != nil {
		return err
	}
	name, err := refs.ParseName(fields[1])
	if p.Gone == nil {
		p.Gone = make(map[refs.Name]refs.OID)
	}
	p.Gone[name] = oid
	return err
}

func (p *Pins) parseAuthenticated(fields []string) error {
	if len(fields) != 3 {
		return malformed("want authenticated <rule> <id> <seconds>")
	}
	rule, err := refs.ParseDigest(fields[0])
	if err != nil {
		return err
	}
	oid, err := anyOID(fields[1])
	if err != nil {
		return err
	}
	mark, err := strconv.ParseInt(fields[2], 10, 64)
	p.Authenticated = append(p.Authenticated, Authenticated{rule, oid, mark})
	return err
}

// WithoutCache returns the pins without what spares work: every commit since
// the introduction is verified again.
func (p *Pins) WithoutCache() *Pins {
	if p == nil {
		return nil
	}
	copied := *p
	copied.Authenticated = nil
	copied.Refs = maps.Clone(p.Refs)
	for name, pin := range copied.Refs {
		pin.Rule = refs.Digest{}
		copied.Refs[name] = pin
	}
	return &copied
}

// authenticated returns the tips that were verified under the rule.
func (p *Pins) authenticated(rule refs.Digest) []Authenticated {
	if p == nil {
		return nil
	}
	var found []Authenticated
	for _, a := range p.Authenticated {
		if a.Rule == rule {
			found = append(found, a)
		}
	}
	return found
}

// floor returns the commit that a branch may not fall behind, also if it was gone
// in between: else to leave it out once would be a way to take it back.
func (p *Pins) floor(name refs.Name) (refs.OID, bool) {
	if pin, ok := p.pin(name); ok {
		return pin.OID, true
	}
	if p == nil {
		return "", false
	}
	oid, ok := p.Gone[name]
	return oid, ok
}

// pin returns what was accepted for a ref.
func (p *Pins) pin(name refs.Name) (Pin, bool) {
	if p == nil {
		return Pin{}, false
	}
	pin, ok := p.Refs[name]
	return pin, ok
}
