package trust

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/gitpeer/gitpeer/refs"
)

// Bounds of the strict object grammar (TRUST.md §4.4). All 39 819 commits of
// six real projects are within it.
const (
	maxHeader  = 64 << 10 // bytes of a commit's or tag's header
	maxParents = 16
	maxExtra   = 32 // bytes of the name of an additional header
)

// A grammarError says how an object leaves the strict grammar.
type grammarError string

func (e grammarError) Error() string { return string(e) }

func malformed(format string, args ...any) error {
	return grammarError(fmt.Sprintf(format, args...))
}

// A splitObject is a commit or tag cut into what was signed and the signature.
type splitObject struct {
	tree    refs.OID   // of a commit
	parents []refs.OID // of a commit
	date    int64      // of a commit, by its committer: a hint, never evidence; 0 if unreadable
	target  refs.OID   // of a tag
	kind    Kind       // of the tag's target
	tag     string     // the tag's own idea of its name

	signature []byte // the armored signature; nil: there is none
	// What was signed is before followed by after. They are slices of the
	// object's own bytes: nothing is decoded and encoded again.
	before, after []byte
}

// payload returns what was signed.
func (s *splitObject) payload() []byte {
	if len(s.after) == 0 {
		return s.before
	}
	return slices.Concat(s.before, s.after)
}

// A headerReader takes an object's header apart line by line.
type headerReader struct {
	data []byte
	pos  int // of the next line
	end  int // of the header: the blank line that ends it
}

func newHeaderReader(data []byte) (*headerReader, error) {
	if len(data) > MaxObject {
		return nil, malformed("larger than %d bytes", MaxObject)
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, malformed("a NUL at byte %d", i)
	}
	i := bytes.Index(data, []byte("\n\n"))
	if i < 0 {
		return nil, malformed("no blank line after the header")
	}
	if i > maxHeader {
		return nil, malformed("a header of more than %d bytes", maxHeader)
	}
	if j := bytes.IndexByte(data[:i], '\r'); j >= 0 {
		return nil, malformed("a carriage return in the header")
	}
	return &headerReader{data: data, end: i + 1}, nil
}

// peek returns the name of the next header, "" at the end.
func (h *headerReader) peek() string {
	line := h.data[h.pos:h.end]
	if i := bytes.IndexAny(line, " \n"); i >= 0 {
		return string(line[:i])
	}
	return ""
}

// take returns the value of the next header if it has the given name, with the
// line ends of continuation lines but without the spaces before them.
func (h *headerReader) take(name string) (value []byte, ok bool) {
	line := h.data[h.pos:h.end]
	if !bytes.HasPrefix(line, []byte(name)) || len(line) <= len(name) || line[len(name)] != ' ' {
		return nil, false
	}
	i := bytes.IndexByte(line, '\n')
	h.pos += i + 1
	return line[len(name)+1 : i], true
}

// continued takes the continuation lines that follow the value.
func (h *headerReader) continued(value []byte) []byte {
	copied := false
	for h.pos < h.end && h.data[h.pos] == ' ' {
		line := h.data[h.pos+1 : h.end]
		i := bytes.IndexByte(line, '\n')
		if !copied {
			value, copied = bytes.Clone(value), true
		}
		value = append(append(value, '\n'), line[:i]...)
		h.pos += 1 + i + 1
	}
	return value
}

func (h *headerReader) oid(name string, format refs.ObjectFormat) (refs.OID, error) {
	value, ok := h.take(name)
	if !ok {
		return "", malformed("want a %q line, not %q", name, shorten(h.peek()))
	}
	oid, err := refs.ParseOID(string(value), format)
	if err != nil {
		return "", malformed("the %q line has no object id of this repository", name)
	}
	return oid, nil
}

// ident takes an author, committer or tagger line. Its content is a claim that
// no decision uses.
func (h *headerReader) ident(name string) ([]byte, error) {
	value, ok := h.take(name)
	if !ok {
		return nil, malformed("want a %q line, not %q", name, shorten(h.peek()))
	}
	return value, nil
}

// splitCommit applies the strict grammar to a commit:
//
//	commit := "tree" OID LF ("parent" OID LF){0,16} "author" IDENT LF
//	          "committer" IDENT LF ("encoding" X LF)? extra* LF body
//
// with distinct parents, at most one signature header, which is the one of the
// repository's object format, and no other header whose name starts with
// gpgsig: git would leave it out of what it takes for signed.
func splitCommit(format refs.ObjectFormat, data []byte) (*splitObject, error) {
	h, err := newHeaderReader(data)
	if err != nil {
		return nil, err
	}
	tree, err := h.oid("tree", format)
	if err != nil {
		return nil, err
	}
	s := &splitObject{tree: tree, before: data}
	for h.peek() == "parent" {
		oid, err := h.oid("parent", format)
		switch {
		case err != nil:
			return nil, err
		case len(s.parents) == maxParents:
			return nil, malformed("more than %d parents", maxParents)
		case slices.Contains(s.parents, oid):
			return nil, malformed("the same parent twice")
		}
		s.parents = append(s.parents, oid)
	}
	if _, err := h.ident("author"); err != nil {
		return nil, err
	}
	committer, err := h.ident("committer")
	if err != nil {
		return nil, err
	}
	s.date = identDate(committer)
	h.take("encoding")
	return s, h.extras(s, signatureHeader(format))
}

// signatureHeader is the name of the header that carries a commit's signature.
func signatureHeader(format refs.ObjectFormat) string {
	if format == refs.SHA256 {
		return "gpgsig-sha256"
	}
	return "gpgsig"
}

// extras takes the rest of a commit's header.
func (h *headerReader) extras(s *splitObject, signature string) error {
	for h.pos < h.end {
		name, start := h.peek(), h.pos
		value, ok := h.take(name)
		switch {
		case !ok || !isExtraName(name):
			return malformed("an unreadable header line %q", shorten(name))
		case slices.Contains([]string{"tree", "parent", "author", "committer", "encoding", "object", "type", "tag", "tagger"}, name):
			return malformed("a second or misplaced %q line", name)
		case name == signature && s.signature != nil:
			return malformed("two signatures")
		case name == signature:
			s.signature = append(bytes.Clone(h.continued(value)), '\n')
			s.before, s.after = h.data[:start], h.data[h.pos:]
		case len(name) >= 6 && name[:6] == "gpgsig":
			return malformed("a %q header, which git would not count as signed", name)
		default:
			h.continued(nil)
		}
	}
	return nil
}

func isExtraName(name string) bool {
	if len(name) == 0 || len(name) > maxExtra || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// splitTag applies the strict grammar to a tag:
//
//	tag := "object" OID LF "type" KIND LF "tag" NAME LF ("tagger" IDENT LF)? LF body
//
// The signature is the part of the body from its last line that begins an
// armored block, as git has it; in repositories of both object formats.
func splitTag(format refs.ObjectFormat, data []byte) (*splitObject, error) {
	h, err := newHeaderReader(data)
	if err != nil {
		return nil, err
	}
	s := &splitObject{before: data}
	if s.target, err = h.oid("object", format); err != nil {
		return nil, err
	}
	kind, ok := h.take("type")
	if !ok {
		return nil, malformed("want a %q line, not %q", "type", shorten(h.peek()))
	}
	switch s.kind = Kind(kind); s.kind {
	case KindCommit, KindTag, KindTree, KindBlob:
	default:
		return nil, malformed("an unknown type of object %q", shorten(string(kind)))
	}
	name, ok := h.take("tag")
	if !ok || len(name) == 0 {
		return nil, malformed("want a %q line, not %q", "tag", shorten(h.peek()))
	}
	s.tag = string(name)
	h.take("tagger") // tags made before git 0.99.2 have none
	if h.pos != h.end {
		return nil, malformed("a header line %q after the tagger", shorten(h.peek()))
	}
	if i := lastSignature(data[h.end+1:]); i >= 0 {
		s.before, s.signature = data[:h.end+1+i], data[h.end+1+i:]
	}
	return s, nil
}

// lastSignature returns where the last line begins that opens an armored
// signature, -1 if there is none.
func lastSignature(body []byte) int {
	last := -1
	for pos := 0; pos < len(body); {
		line := body[pos:]
		next := bytes.IndexByte(line, '\n')
		if next < 0 {
			next = len(line) - 1
		}
		if bytes.HasPrefix(line, []byte(pgpBegin)) || bytes.HasPrefix(line, []byte(sshBegin)) ||
			bytes.HasPrefix(line, []byte(pgpMessage)) || bytes.HasPrefix(line, []byte(x509Begin)) {
			last = pos
		}
		pos += next + 1
	}
	return last
}

// identDate returns the time of an ident line, 0 if it has none.
func identDate(ident []byte) int64 {
	i := bytes.LastIndexByte(ident, '>')
	fields := bytes.Fields(ident[i+1:])
	if len(fields) == 0 {
		return 0
	}
	date, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil || date < 0 {
		return 0
	}
	return date
}

// shorten cuts what is repeated from outside.
func shorten(s string) string {
	if len(s) > 40 {
		return s[:40]
	}
	return s
}
