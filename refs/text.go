package refs

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	snapshotMagic = "gitpeer-snapshot v"
	snapshotFirst = snapshotMagic + "1"
	timeLayout    = "2006-01-02T15:04:05Z"
)

// A SyntaxError says where a snapshot's text is not canonical.
type SyntaxError struct {
	Line   int // from 1
	Reason string
	Err    error // what is wrong with the field, or nil
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }
func (e *SyntaxError) Unwrap() error { return e.Err }

func compareNames(a, b Name) int { return cmp.Compare(a, b) }

func comparePacks(a, b Pack) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
}

// Format returns the text of s. It sorts refs, packs, signers and mirrors (in a copy),
// cuts Time to whole seconds, and refuses what Parse would refuse.
func (s *Snapshot) Format() ([]byte, error) {
	c := *s
	c.Refs = slices.Clone(s.Refs)
	slices.SortFunc(c.Refs, func(a, b Ref) int { return compareNames(a.Name, b.Name) })
	c.Packs = slices.Clone(s.Packs)
	slices.SortFunc(c.Packs, comparePacks)
	c.Signers = slices.Clone(s.Signers)
	slices.SortFunc(c.Signers, bytes.Compare)
	c.Mirrors = slices.Sorted(slices.Values(s.Mirrors))
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("cannot format snapshot: %w", err)
	}
	text := c.appendText(make([]byte, 0, 1024+100*len(c.Refs)+200*len(c.Packs)))
	if err := limitText(len(text)); err != nil {
		return nil, fmt.Errorf("cannot format snapshot: %w", err)
	}
	return text, nil
}

func (s *Snapshot) appendText(b []byte) []byte {
	b = append(b, snapshotFirst...)
	b = fmt.Appendf(b, "\nrepository %s\nnumber %d\ntime %s\n", s.Repository, s.Number, s.Time.UTC().Format(timeLayout))
	for _, l := range s.Previous {
		b = fmt.Appendf(b, "previous %d %s\n", l.Number, l.Digest)
	}
	b = fmt.Appendf(b, "object-format %s\n", s.ObjectFormat)
	if s.Head != "" {
		b = fmt.Appendf(b, "head %s\n", s.Head)
	}
	for _, r := range s.Refs {
		b = append(append(append(append(b, "ref "...), r.OID...), ' '), r.Name...)
		if r.Peeled != "" {
			b = append(append(b, ' '), r.Peeled...)
		}
		b = append(b, '\n')
	}
	for _, p := range s.Packs {
		b = fmt.Appendf(b, "pack %s %s %d %d %d %d %d", p.InfoHash, p.SHA256, p.Bytes, p.Objects, p.Inflated, p.From, p.To)
		if p.HintBytes != 0 {
			b = fmt.Appendf(b, " %s %d", p.Hint, p.HintBytes)
		}
		b = append(b, '\n')
	}
	for _, certificate := range s.Signers {
		b = base64.StdEncoding.AppendEncode(append(b, "signer "...), certificate)
		b = append(b, '\n')
	}
	for _, m := range s.Mirrors {
		b = fmt.Appendf(b, "mirror %s\n", m)
	}
	return b
}

// Parse parses the text of a snapshot and refuses any that Format does not
// write. Errors: *LimitError, ErrVersion, *SyntaxError (which may hold a
// *NameError or an *AddressError), or what makes the snapshot as a whole
// impossible.
func Parse(text []byte) (*Snapshot, error) {
	if err := limitText(len(text)); err != nil { // before it is copied
		return nil, fmt.Errorf("invalid snapshot: %w", err)
	}
	return parseText(string(text))
}

func limitText(n int) error {
	return limit("snapshot bytes", int64(n), MaxSnapshotBytes-maxSignatureBytes)
}

func parseText(text string) (*Snapshot, error) {
	s, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("invalid snapshot: %w", err)
	}
	return s, nil
}

func parse(text string) (*Snapshot, error) {
	p := &parser{rest: text}
	first, ok := p.next()
	if version, magic := strings.CutPrefix(first, snapshotMagic); ok && first != snapshotFirst && magic && isNumber(version) {
		return nil, fmt.Errorf("%w: snapshot v%s", ErrVersion, shown(version))
	}
	if first != snapshotFirst {
		p.line = 1
		return nil, p.fail("want "+strconv.Quote(snapshotFirst), nil)
	}
	s := &Snapshot{}
	for _, step := range []func(*Snapshot) error{p.header, p.previous, p.object, p.refs, p.packs, p.signers, p.mirrors} {
		if err := step(s); err != nil {
			return nil, err
		}
	}
	if p.rest != "" {
		p.line++
		return nil, p.fail("unknown, misplaced or unfinished line", nil)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// maxLine bounds a line: the longest is a signer's, with its certificate in
// base64.
const maxLine = 64 + MaxSignerBytes/3*4

// A parser takes lines off the front of rest.
type parser struct {
	rest string
	line int // number of the last line taken
}

func (p *parser) fail(reason string, err error) error {
	return &SyntaxError{Line: p.line, Reason: reason, Err: err}
}

// next takes the next line, without its newline.
func (p *parser) next() (string, bool) {
	i := strings.IndexByte(p.rest[:min(len(p.rest), maxLine)], '\n')
	if i < 0 {
		return "", false
	}
	line := p.rest[:i]
	p.rest = p.rest[i+1:]
	p.line++
	return line, true
}

// fields takes the next line if it starts with key, and returns the rest of it
// cut at single spaces.
func (p *parser) fields(key string) ([]string, bool) {
	if !strings.HasPrefix(p.rest, key+" ") {
		return nil, false
	}
	line, ok := p.next()
	if !ok {
		return nil, false
	}
	return strings.Split(line[len(key)+1:], " "), true
}

// field takes the next line, which must be key and one value.
func (p *parser) field(key string) (string, error) {
	f, ok := p.fields(key)
	if !ok {
		p.line++
		return "", p.fail("want "+strconv.Quote(key), nil)
	}
	if len(f) != 1 {
		return "", p.fail(key+": want one value", nil)
	}
	return f[0], nil
}

func (p *parser) header(s *Snapshot) error {
	repository, err := p.field("repository")
	if err != nil {
		return err
	}
	if s.Repository, err = ParseAddress(repository); err != nil {
		return p.fail(err.Error(), err)
	}
	if s.Repository.String() != repository {
		return p.fail("address not in its canonical form", nil)
	}
	number, err := p.field("number")
	if err != nil {
		return err
	}
	if s.Number, err = parseNumber(number); err != nil {
		return p.fail(err.Error(), nil)
	}
	stamp, err := p.field("time")
	if err != nil {
		return err
	}
	s.Time, err = time.Parse(timeLayout, stamp)
	if err != nil || s.Time.Format(timeLayout) != stamp {
		return p.fail(fmt.Sprintf("invalid time %q", shown(stamp)), nil)
	}
	return nil
}

func (p *parser) previous(s *Snapshot) error {
	for {
		f, ok := p.fields("previous")
		if !ok {
			return nil
		}
		if len(f) != 2 {
			return p.fail("previous: want a number and a digest", nil)
		}
		number, err := parseNumber(f[0])
		if err != nil {
			return p.fail(err.Error(), nil)
		}
		digest, err := ParseDigest(f[1])
		if err != nil {
			return p.fail(err.Error(), nil)
		}
		if err := limit("previous snapshots", int64(len(s.Previous))+1, MaxPrevious); err != nil {
			return err
		}
		s.Previous = append(s.Previous, Link{Number: number, Digest: digest})
	}
}

func (p *parser) object(s *Snapshot) error {
	format, err := p.field("object-format")
	if err != nil {
		return err
	}
	if s.ObjectFormat, err = ParseObjectFormat(format); err != nil {
		return p.fail(err.Error(), nil)
	}
	if !strings.HasPrefix(p.rest, "head ") {
		return nil
	}
	head, err := p.field("head")
	if err != nil {
		return err
	}
	if s.Head, err = ParseName(head); err != nil {
		return p.fail(err.Error(), err)
	}
	return nil
}

func (p *parser) refs(s *Snapshot) error {
	for {
		f, ok := p.fields("ref")
		if !ok {
			return nil
		}
		if len(f) != 2 && len(f) != 3 {
			return p.fail("ref: want an object id, a name, and for an annotated tag the peeled object id", nil)
		}
		if err := limit("refs", int64(len(s.Refs))+1, MaxRefs); err != nil {
			return err
		}
		r := Ref{}
		var err error
		if r.OID, err = ParseOID(f[0], s.ObjectFormat); err != nil {
			return p.fail(err.Error(), nil)
		}
		if r.Name, err = ParseName(f[1]); err != nil {
			return p.fail(err.Error(), err)
		}
		if len(f) == 3 {
			if r.Peeled, err = ParseOID(f[2], s.ObjectFormat); err != nil {
				return p.fail(err.Error(), nil)
			}
		}
		s.Refs = append(s.Refs, r)
	}
}

func (p *parser) packs(s *Snapshot) error {
	for {
		f, ok := p.fields("pack")
		if !ok {
			return nil
		}
		if err := limit("packs", int64(len(s.Packs))+1, MaxPacks); err != nil {
			return err
		}
		pack, err := parsePack(f)
		if err != nil {
			return p.fail(err.Error(), nil)
		}
		s.Packs = append(s.Packs, pack)
	}
}

func (p *parser) signers(s *Snapshot) error {
	for {
		f, ok := p.fields("signer")
		if !ok {
			return nil
		}
		if err := limit("signers", int64(len(s.Signers))+1, MaxSigners); err != nil {
			return err
		}
		if len(f) != 1 {
			return p.fail("signer: want one certificate", nil)
		}
		certificate, err := base64.StdEncoding.DecodeString(f[0])
		// The decoder skips carriage returns, and padding bits unless strict.
		if err != nil || base64.StdEncoding.EncodeToString(certificate) != f[0] {
			return p.fail("signer: invalid base64", nil)
		}
		s.Signers = append(s.Signers, certificate)
	}
}

func (p *parser) mirrors(s *Snapshot) error {
	for {
		f, ok := p.fields("mirror")
		if !ok {
			return nil
		}
		if err := limit("mirrors", int64(len(s.Mirrors))+1, MaxMirrors); err != nil {
			return err
		}
		if len(f) != 1 {
			return p.fail("mirror: want one address", nil)
		}
		m, err := ParseMirror(f[0])
		if err != nil {
			return p.fail("mirror: invalid address", err)
		}
		s.Mirrors = append(s.Mirrors, m)
	}
}

func parsePack(f []string) (p Pack, err error) {
	if len(f) != 7 && len(f) != 9 {
		return p, fmt.Errorf("pack: want infohash, digest, bytes, objects, inflated bytes, from and to, and perhaps infohash and bytes of a hint")
	}
	if p.InfoHash, err = ParseInfoHash(f[0]); err != nil {
		return p, err
	}
	if p.SHA256, err = ParseDigest(f[1]); err != nil {
		return p, err
	}
	var n [5]uint64
	for i := range n {
		if n[i], err = parseNumber(f[2+i]); err != nil {
			return p, err
		}
	}
	p.Bytes, p.Objects, p.Inflated, p.From, p.To = int64(n[0]), int64(n[1]), int64(n[2]), n[3], n[4]
	if len(f) == 7 {
		return p, nil
	}
	if p.Hint, err = ParseInfoHash(f[7]); err != nil {
		return p, err
	}
	bytes, err := parseNumber(f[8])
	if err == nil && bytes == 0 {
		err = errors.New("pack: hint of no bytes")
	}
	p.HintBytes = int64(bytes)
	return p, err
}

// parseNumber parses a decimal number up to MaxNumber, without sign or leading
// zeros.
func parseNumber(s string) (uint64, error) {
	if !isNumber(s) {
		return 0, fmt.Errorf("invalid number %q", shown(s))
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > MaxNumber {
		return 0, fmt.Errorf("number %q exceeds %d", shown(s), uint64(MaxNumber))
	}
	return n, nil
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s == "0" || s != "" && s[0] != '0'
}
