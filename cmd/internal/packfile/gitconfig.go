package packfile

import (
	"bytes"
	"errors"
	"strings"
)

// The grammar of git's configuration files (git-config(1), "SYNTAX"), as git
// reads a blob with them. It is stricter than git where git's versions differ,
// and where nobody writes such a thing: NUL bytes, a carriage return that does
// not end a line, half a byte order mark.

// A setting is one variable of a configuration file. Section and key are in lower
// case.
type setting struct {
	section, name, key, value string
	named                     bool // [section "name"], not [section]
	has                       bool // "key = value", not "key"
}

// errConfig is a text that git does not parse, or parses in an unusual way.
var errConfig = errors.New("unusual configuration")

// settings calls each with every variable, in order, until one is refused.
func settings(text []byte, each func(setting) bool) error {
	if bytes.IndexByte(text, 0) >= 0 || bytes.Contains(text, []byte("\uFEFF")) {
		return errConfig
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	if bytes.IndexByte(text, '\r') >= 0 {
		return errConfig
	}
	r := configReader{text: string(text)}
	for {
		r.spaces(" \t\n")
		if r.text == "" {
			return nil
		}
		switch c := r.text[0]; {
		case c == '#' || c == ';':
			_, r.text, _ = strings.Cut(r.text, "\n")
		case c == '[':
			r.text = r.text[1:]
			if !r.header() {
				return errConfig
			}
		case isLetter(c):
			s, ok := r.variable()
			if !ok || !each(s) {
				return errConfig
			}
		default:
			return errConfig
		}
	}
}

// A configReader has what is left of a text, and the section that it is in.
type configReader struct {
	text          string
	section, name string
	named         bool
}

func (r *configReader) spaces(which string) { r.text = strings.TrimLeft(r.text, which) }

// word takes the letters, digits and marks that a name begins with.
func (r *configReader) word(marks string) string {
	n := 0
	for n < len(r.text) && (isLetter(r.text[n]) || r.text[n] >= '0' && r.text[n] <= '9' || strings.IndexByte(marks, r.text[n]) >= 0) {
		n++
	}
	word := r.text[:n]
	r.text = r.text[n:]
	return strings.ToLower(word)
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// header reads [section], [section.name] or [section "name"], after the "[". git
// joins the parts with dots and takes the first and the last apart again.
func (r *configReader) header() bool {
	full := r.word("-.")
	if spaced := strings.TrimLeft(r.text, " \t"); spaced != r.text {
		if !strings.HasPrefix(spaced, `"`) {
			return false
		}
		r.text = spaced[1:]
		quoted, ok := r.quoted()
		if !ok {
			return false
		}
		full += "." + quoted
	}
	if !strings.HasPrefix(r.text, "]") {
		return false
	}
	r.text = r.text[1:]
	r.section, r.name, r.named = strings.Cut(full, ".")
	return true
}

// quoted reads the name of a section, up to its closing quote.
func (r *configReader) quoted() (string, bool) {
	var b strings.Builder
	for i := 0; i < len(r.text); i++ {
		switch c := r.text[i]; c {
		case '\n':
			return "", false
		case '"':
			r.text = r.text[i+1:]
			return b.String(), true
		case '\\': // whatever comes next is itself
			if i++; i == len(r.text) || r.text[i] == '\n' {
				return "", false
			}
		}
		b.WriteByte(r.text[i])
	}
	return "", false
}

// variable reads a line "key" or "key = value".
func (r *configReader) variable() (s setting, ok bool) {
	s = setting{section: r.section, name: r.name, named: r.named, key: r.word("-")}
	r.spaces(" \t")
	switch {
	case r.text == "" || r.text[0] == '\n':
		return s, true
	case r.text[0] != '=':
		return s, false
	}
	r.text = r.text[1:]
	s.has = true
	s.value, ok = r.value()
	return s, ok
}

// value reads to the end of the line, or of the lines that a backslash joins.
func (r *configReader) value() (string, bool) {
	var b strings.Builder
	quote, spaces := false, 0
	for i := 0; i < len(r.text); i++ {
		c := r.text[i]
		switch {
		case c == '\n':
			r.text = r.text[i:]
			return b.String(), !quote
		case !quote && (c == ' ' || c == '\t'):
			if b.Len() > 0 {
				spaces++
			}
			continue
		case !quote && (c == '#' || c == ';'):
			_, r.text, _ = strings.Cut(r.text[i:], "\n")
			return b.String(), true
		}
		for ; spaces > 0; spaces-- { // not those at the end
			b.WriteByte(' ')
		}
		switch c {
		case '"':
			quote = !quote
			continue
		case '\\':
			if i++; i == len(r.text) {
				return "", false
			}
			escaped := strings.IndexByte("\ntbn\\\"", r.text[i])
			if escaped < 0 {
				return "", false
			}
			if escaped == 0 {
				continue
			}
			c = "\n\t\b\n\\\""[escaped]
		}
		b.WriteByte(c)
	}
	r.text = ""
	return b.String(), !quote
}
