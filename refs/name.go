package refs

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A Name is the full name of a branch or a tag: refs/heads/… or refs/tags/….
// The grammar is in the package comment.
type Name string

const (
	branchPrefix = "refs/heads/"
	tagPrefix    = "refs/tags/"
)

// A NameError says why Name is not a ref name, or not beside the others of
// its snapshot.
type NameError struct {
	Name   string // as it was given, at most 300 bytes of it
	Reason string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("invalid ref name %q: %s", e.Name, e.Reason)
}

func nameError(s, reason string) *NameError {
	return &NameError{Name: shown(s), Reason: reason}
}

// ParseName checks that s is a ref name that a snapshot may list. What it
// accepts, git check-ref-format accepts too. Every error is a *NameError.
func ParseName(s string) (Name, error) {
	if reason := checkName(s); reason != "" {
		return "", nameError(s, reason)
	}
	return Name(s), nil
}

// IsBranch reports whether n lies under refs/heads/.
func (n Name) IsBranch() bool { return strings.HasPrefix(string(n), branchPrefix) }

// IsTag reports whether n lies under refs/tags/.
func (n Name) IsTag() bool { return strings.HasPrefix(string(n), tagPrefix) }

// Short returns n without refs/heads/ or refs/tags/.
func (n Name) Short() string {
	if short, ok := strings.CutPrefix(string(n), branchPrefix); ok {
		return short
	}
	return strings.TrimPrefix(string(n), tagPrefix)
}

// checkName returns why s is not a ref name, or "".
func checkName(s string) string {
	switch short := Name(s).Short(); {
	case len(s) > MaxNameBytes:
		return fmt.Sprintf("longer than %d bytes", MaxNameBytes)
	case !utf8.ValidString(s):
		return "not UTF-8"
	case short == s:
		return "not under refs/heads/ or refs/tags/"
	case strings.EqualFold(short, "HEAD"):
		return "HEAD is no branch or tag"
	case strings.HasPrefix(short, "-"):
		return "looks like an option"
	case strings.Contains(s, ".."):
		return `contains ".."`
	case strings.Contains(s, "@{"):
		return `contains "@{"`
	case strings.HasSuffix(s, "."):
		return "ends with a dot"
	}
	for _, r := range s {
		if !isNameRune(r) {
			return fmt.Sprintf("contains %+q", r)
		}
	}
	parts := strings.Split(s, "/")
	if len(parts) > MaxNameComponents {
		return fmt.Sprintf("more than %d components", MaxNameComponents)
	}
	for _, part := range parts {
		switch {
		case part == "":
			return "has an empty component"
		case part[0] == '.':
			return "a component starts with a dot"
		case len(part) >= 5 && strings.EqualFold(part[len(part)-5:], ".lock"):
			return `a component ends with ".lock"`
		}
	}
	return ""
}

// isNameRune reports whether r may stand in a ref name: what git forbids, and
// what a terminal would not show as itself, is out. The package comment lists
// the same ranges.
func isNameRune(r rune) bool {
	if r < 0x7f {
		return r > 0x20 && !strings.ContainsRune(`~^:?*[\`, r)
	}
	return r < 0x3fffe && !slices.ContainsFunc(hidden(), func(lohi [2]rune) bool {
		return lohi[0] <= r && r <= lohi[1]
	})
}

func hidden() [][2]rune {
	return [][2]rune{
		{0x7f, 0xa0}, {0xad, 0xad}, {0x34f, 0x34f}, {0x61c, 0x61c}, // controls, joiners
		{0x115f, 0x1160}, {0x1680, 0x1680}, {0x17b4, 0x17b5}, {0x180b, 0x180f}, // blanks, selectors
		{0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f}, // spaces, joiners, directions
		{0x2800, 0x2800}, {0x3000, 0x3000}, {0x3164, 0x3164}, // blanks
		{0xd800, 0xf8ff}, {0xfdd0, 0xfdef}, {0xfe00, 0xfe0f}, // surrogates, private use, noncharacters, selectors
		{0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xffff}, // byte order mark, blank, specials
		{0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, // format controls
		{0x1fffe, 0x1ffff}, {0x2fffe, 0x2ffff}, // noncharacters
	}
}

// foldKey returns the same text for two names that some file system cannot
// hold side by side: it ignores case and Unicode normalisation.
func foldKey(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(s)
	}
	return norm.NFC.String(strings.Map(foldRune, norm.NFD.String(s)))
}

// foldRune returns the smallest rune that differs from r in case only.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return unicode.ToLower(least)
}

// CheckNames checks that the names can stand side by side in one repository on
// any file system: none is there twice, none differs from another in case (or
// Unicode normalisation) only, and none is a directory of another (a and a/b).
// The error is a *NameError.
func CheckNames(names []Name) error {
	seen := make(map[string]Name, len(names))
	for _, n := range names {
		key := foldKey(string(n))
		switch other, ok := seen[key]; {
		case ok && other == n:
			return nameError(string(n), "listed twice")
		case ok:
			return nameError(string(n), fmt.Sprintf("differs from %q in case only", other))
		}
		seen[key] = n
	}
	for _, n := range names {
		key := foldKey(string(n))
		for i := len(branchPrefix); i < len(key); i++ {
			if key[i] != '/' {
				continue
			}
			if other, ok := seen[key[:i]]; ok {
				return nameError(string(n), fmt.Sprintf("%q cannot be a ref and a directory", other))
			}
		}
	}
	return nil
}
