package packfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strconv"
)

// The checks of git fsck (git-fsck(1), "FSCK MESSAGES") on one object, as
// index-pack --strict makes them with those messages ignored that gitcmd
// ignores: badTimezone, missingSpaceBeforeDate, zeroPaddedFilemode. They are
// one-sided: what passes here passes there. What does not may be a complaint of
// git's or only unusual, and git says which.

// errUnusual is an object that git has to judge.
var errUnusual = errors.New("unusual")

func unusual(kind, what string) error { return &unusualError{kind, what} }

type unusualError struct{ kind, what string }

func (e *unusualError) Error() string { return e.kind + ": " + e.what }
func (e *unusualError) Unwrap() error { return errUnusual }

// A checker checks the objects that one worker meets.
type checker struct {
	recent
	width int // of an object id, in bytes
	text  specials
	names [][]byte // of one tree; see order
	oid   [32]byte
}

// specials are the blobs whose content fsck looks into, by the kind of file
// that a tree says they are.
type specials struct {
	modules, attributes map[string]bool // by raw object id
}

// maxSpecials bounds how many of them there may be: they are remembered, and
// looked at one by one at the end.
const maxSpecials = 10_000

// check checks one object; a blob's content is for specials.
func (c *checker) check(kind byte, data []byte) error {
	switch kind {
	case kindCommit:
		return c.commit(data)
	case kindTree:
		return c.tree(data)
	case kindTag:
		return c.tag(data)
	}
	return nil
}

// link takes "KEY OID\n" off the front of data and notes the object as named.
func (c *checker) link(data []byte, key string, kind byte) (rest []byte, ok bool) {
	n := len(key) + 2*c.width + 1
	if len(data) < n || string(data[:len(key)]) != key || data[n-1] != '\n' {
		return data, false
	}
	if !lowerHex(data[len(key) : n-1]) {
		return data, false
	}
	oid := c.oid[:c.width]
	hex.Decode(oid, data[len(key):n-1]) // is hex
	if kind != 0 && !c.name(oid, kind) {
		return data, false
	}
	return data[n:], true
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func (c *checker) commit(data []byte) error {
	head, _, found := bytes.Cut(data, []byte("\n\n"))
	if !found && (len(data) == 0 || data[len(data)-1] != '\n') || bytes.IndexByte(data, 0) >= 0 {
		return unusual("commit", "unterminated header or a NUL")
	}
	rest, ok := c.link(data, "tree ", kindTree)
	if !ok {
		return unusual("commit", "tree")
	}
	for bytes.HasPrefix(rest, []byte("parent ")) {
		if rest, ok = c.link(rest, "parent ", kindCommit); !ok {
			return unusual("commit", "parent")
		}
	}
	if rest, ok = ident(rest, "author "); !ok {
		return unusual("commit", "author")
	}
	if rest, ok = ident(rest, "committer "); !ok { // a second author is none
		return unusual("commit", "committer")
	}
	if len(data)-len(rest) > len(head)+1 {
		return unusual("commit", "header")
	}
	return nil
}

// ident takes "KEY NAME <EMAIL> DATE ZONE\n" off the front of data.
func ident(data []byte, key string) (rest []byte, ok bool) {
	if !bytes.HasPrefix(data, []byte(key)) {
		return data, false
	}
	line, rest, found := bytes.Cut(data[len(key):], []byte("\n"))
	open := bytes.IndexAny(line, "<>")
	if !found || open < 1 || line[open] != '<' || line[open-1] != ' ' {
		return data, false
	}
	line = line[open+1:]
	end := bytes.IndexAny(line, "<>")
	if end < 0 || line[end] != '>' {
		return data, false
	}
	line = line[end+1:]
	if len(line) == 0 || line[0] != ' ' { // missingSpaceBeforeDate, which ends git's look at the line
		return rest, true
	}
	stamp, _, found := bytes.Cut(line[1:], []byte(" "))
	if !found || len(stamp) == 0 || len(stamp) > 1 && stamp[0] == '0' {
		return data, false
	}
	for _, d := range stamp {
		if d < '0' || d > '9' {
			return data, false
		}
	}
	_, err := strconv.ParseInt(string(stamp), 10, 63) // further than any time_t
	return rest, err == nil                           // whatever the zone is: badTimezone
}

func (c *checker) tag(data []byte) error {
	head, _, found := bytes.Cut(data, []byte("\n\n"))
	if !found && (len(data) == 0 || data[len(data)-1] != '\n') || bytes.IndexByte(head, 0) >= 0 || len(data) < 2*c.width+24 {
		return unusual("tag", "unterminated header or a NUL")
	}
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	named, rest, _ := bytes.Cut(rest, []byte("\n"))
	kind := byte(0)
	for _, k := range []byte{kindCommit, kindTree, kindBlob, kindTag} {
		if string(named) == "type "+kindName(k) {
			kind = k
		}
	}
	if kind == 0 {
		return unusual("tag", "type")
	}
	if _, ok := c.link(data, "object ", kind); !ok {
		return unusual("tag", "object")
	}
	name, rest, found := bytes.Cut(rest, []byte("\n"))
	if !found || len(name) <= len("tag ") || !bytes.HasPrefix(name, []byte("tag ")) {
		return unusual("tag", "name")
	}
	if bytes.HasPrefix(rest, []byte("tagger ")) { // the oldest tags have none
		var ok bool
		if rest, ok = ident(rest, "tagger "); !ok {
			return unusual("tag", "tagger")
		}
	}
	if len(rest) > 0 && rest[0] != '\n' {
		return unusual("tag", "extra header")
	}
	return nil
}

// blob checks a blob that a tree names as a file that git reads.
func (s *specials) blob(oid string, data []byte) error {
	if s.attributes[oid] && !plainAttributes(data) {
		return unusual("blob", ".gitattributes")
	}
	if s.modules[oid] && !plainModules(data) {
		return unusual("blob", ".gitmodules")
	}
	return nil
}

// merge adds what another worker has met; false if that makes too many.
func (s *specials) merge(t specials) bool {
	for oid := range t.modules {
		s.modules[oid] = true
	}
	for oid := range t.attributes {
		s.attributes[oid] = true
	}
	return s.few()
}

func (s *specials) few() bool {
	return len(s.modules) <= maxSpecials && len(s.attributes) <= maxSpecials
}

func newSpecials() specials { return specials{map[string]bool{}, map[string]bool{}} }

// plainAttributes reports whether lines and file are well below the limits of
// git's attribute reader (2048 bytes, 100 MiB).
func plainAttributes(data []byte) bool {
	if len(data) > 1<<20 {
		return false
	}
	for line := range bytes.Lines(data) {
		if len(line) > 2000 {
			return false
		}
	}
	return true
}
