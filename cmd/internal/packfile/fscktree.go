package packfile

import (
	"bytes"
	"strings"
)

// Modes of tree entries, as fsck accepts them.
const (
	modeDir     = 0o040000
	modeFile    = 0o100644
	modeExec    = 0o100755
	modeGroup   = 0o100664 // of early git; badFilemode, which is information only
	modeLink    = 0o120000
	modeGitlink = 0o160000
)

// A treeEntry is one entry of a tree.
type treeEntry struct {
	name []byte
	dir  bool
}

func (c *checker) tree(data []byte) error {
	var before treeEntry
	c.names = c.names[:0]
	for first := true; len(data) > 0; first = false {
		mode, n := treeMode(data)
		if n == 0 {
			return unusual("tree", "mode")
		}
		data = data[n:]
		end := bytes.IndexByte(data, 0)
		if end <= 0 || len(data)-end-1 < c.width {
			return unusual("tree", "entry without a name, or cut off")
		}
		name, oid := data[:end], data[end+1:end+1+c.width]
		data = data[end+1+c.width:]
		kind := byte(kindBlob)
		switch mode {
		case modeFile, modeExec, modeGroup, modeLink:
		case modeDir:
			kind = kindTree
		case modeGitlink:
			kind = 0
		default:
			return unusual("tree", "mode")
		}
		if err := c.entryName(name, oid, mode); err != nil {
			return err
		}
		if kind != 0 && !c.name(oid, kind) || kind == 0 && zero(oid) {
			return unusual("tree", "names an object that is not in the pack")
		}
		after := treeEntry{name, mode == modeDir}
		if !first && !c.ordered(before, after) {
			return unusual("tree", "order")
		}
		before = after
	}
	return nil
}

// zero reports whether an id is that of nothing. Of other kinds than gitlinks
// it could not be in the pack.
func zero(oid []byte) bool {
	for _, b := range oid {
		if b != 0 {
			return false
		}
	}
	return true
}

// treeMode reads octal digits and a space, and tells how many bytes they are: 0
// if they are none. Leading zeros are zeroPaddedFilemode.
func treeMode(b []byte) (mode uint32, n int) {
	for i, c := range b[:min(len(b), 8)] {
		if c == ' ' && i > 0 {
			return mode, i + 1
		}
		if c < '0' || c > '7' {
			return 0, 0
		}
		mode = mode<<3 | uint32(c-'0')
	}
	return 0, 0
}

// entryName refuses names that mean something on some file system: "..", .git
// under any of the disguises that HFS+ and NTFS see through, .gitmodules and
// the like where they are links. Of those that are files it notes the blobs.
func (c *checker) entryName(name, oid []byte, mode uint32) error {
	switch first := name[0]; {
	case first == '.':
		return c.dotName(name, oid, mode)
	case (first == 0xe2 || first == 0xef) && ignorable(name):
		return unusual("tree", "name with a character that HFS+ ignores")
	}
	marks := uint8(0)
	for _, b := range name {
		marks |= nameMarks[b]
	}
	if marks != 0 {
		return markedName(name)
	}
	return nil
}

// nameMarks are not 0 for the bytes of a name that markedName looks into.
var nameMarks = [256]uint8{'/': 1, '\\': 1, '~': 1}

func markedName(name []byte) error {
	short, slash := false, false
	for i, b := range name {
		switch b {
		case '/':
			return unusual("tree", "name with a slash")
		case '\\': // to NTFS, names begin after it
			if slash = true; i+1 < len(name) && name[i+1] == '.' {
				return unusual("tree", "name with a backslash and a dot")
			}
		case '~':
			short = true
		}
	}
	if short && (slash || shortName(name)) {
		return unusual("tree", "short name")
	}
	return nil
}

// shortName reports whether a name with a tilde may be what NTFS calls .git or
// one of the files that git reads: GIT~1, GITMOD~1, or what it takes when those
// are taken: GI7EBA~1, GI7EB~10, ~1000000.
func shortName(name []byte) bool {
	tilde := bytes.IndexByte(name, '~')
	if tilde > 6 || tilde+1 == len(name) || name[tilde+1] < '1' || name[tilde+1] > '9' {
		return false
	}
	stem := string(bytes.ToLower(name[:tilde]))
	switch stem {
	case "git", "gitmod", "gitatt", "gitign", "mailma":
		return true
	}
	for _, hashed := range [...]string{"gi7eba", "gi7d29", "gi250a", "maba30"} {
		if strings.HasPrefix(hashed, stem) {
			return true
		}
	}
	return false
}

// ignorable reports whether name begins with a character that HFS+ leaves out
// when it compares: U+200C–U+200F, U+202A–U+202E, U+206A–U+206F, U+FEFF.
func ignorable(name []byte) bool {
	if len(name) < 3 {
		return false
	}
	switch c := name[2]; {
	case name[0] == 0xe2 && name[1] == 0x80:
		return c >= 0x8c && c <= 0x8f || c >= 0xaa && c <= 0xae
	case name[0] == 0xe2 && name[1] == 0x81:
		return c >= 0xaa && c <= 0xaf
	}
	return name[0] == 0xef && name[1] == 0xbb && name[2] == 0xbf
}

// dotName is entryName of a name that begins with a dot.
func (c *checker) dotName(name, oid []byte, mode uint32) error {
	if len(name) == 1 || name[1] == '.' && len(name) == 2 {
		return unusual("tree", ". or ..")
	}
	for i, b := range name {
		switch {
		case b == '/' || b == '\\' || (b == 0xe2 || b == 0xef) && ignorable(name[i:]):
			return unusual("tree", "name with a dot and more")
		case (b <= ' ' || b == ':') && name[1]|0x20 == 'g':
			return unusual("tree", ".g… with a space or a colon")
		}
	}
	if name[1]|0x20 != 'g' {
		return nil
	}
	lower := string(bytes.TrimRight(bytes.ToLower(name), "."))
	switch {
	case lower == ".git":
		return unusual("tree", ".git")
	case lower != ".gitmodules" && lower != ".gitattributes":
		return nil
	case mode != modeFile && mode != modeExec && mode != modeGroup:
		return unusual("tree", lower+" is no file")
	case lower == ".gitmodules":
		c.text.modules[string(oid)] = true
	default:
		c.text.attributes[string(oid)] = true
	}
	if !c.text.few() {
		return unusual("tree", "too many "+lower)
	}
	return nil
}

// ordered reports whether entry b may follow a. A folder sorts as if its name
// ended with a slash, so that names can repeat at a distance: foo, foo.bar,
// foo/. Files that a folder of the same name may still follow wait in c.names.
func (c *checker) ordered(a, b treeEntry) bool {
	n := min(len(a.name), len(b.name))
	if d := bytes.Compare(a.name[:n], b.name[:n]); d != 0 {
		return d < 0
	}
	if len(a.name) == len(b.name) {
		return false
	}
	x, y := a.at(n), b.at(n)
	switch {
	case x == 0 && y < '/':
		c.names = append(c.names, a.name)
	case y == '/' && x < '/':
		for len(c.names) > 0 {
			file := c.names[len(c.names)-1]
			c.names = c.names[:len(c.names)-1]
			rest, ok := bytes.CutPrefix(b.name, file)
			if !ok {
				continue
			}
			if len(rest) == 0 {
				return false
			}
			if rest[0] < '/' {
				c.names = append(c.names, file)
				break
			}
		}
	}
	return x < y
}

// at is the byte of the name at i, or what counts as one at its end.
func (e treeEntry) at(i int) byte {
	switch {
	case i < len(e.name):
		return e.name[i]
	case e.dir:
		return '/'
	}
	return 0
}
