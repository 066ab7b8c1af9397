package trust

import (
	"fmt"
	"strings"
)

// Bounds of trust.conf.
const (
	maxConfig     = 1 << 20 // bytes
	maxConfigLine = 16 << 10
	maxEntryName  = 48
)

// ConfigName is the name of the policy file in the configuration directory.
const ConfigName = "trust.conf"

// A ConfigError says where the policy is wrong and how.
type ConfigError struct {
	File   string // its path
	Line   int    // from 1; 0 if it is about the file as a whole
	Reason string
}

func (e *ConfigError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// A document is trust.conf as text: each line as it was written, and what it
// means. Changing an entry leaves every other line as it is.
type document struct {
	lines []configLine
	final bool // the last line has its line end
}

// A configLine is one line. Exactly one of section and key is set on a line
// that means something.
type configLine struct {
	text    string
	section string // of a section line: its kind, such as "signer"
	name    string // of a section line: what stands in quotes
	key     string
	value   string
}

// parseDocument reads the subset of git-config(5) syntax that trust.conf uses:
// sections with or without a quoted name, key = value, comments; no includes,
// no continued lines, no keys without a value.
func parseDocument(text string) (*document, error) {
	if len(text) > maxConfig {
		return nil, &ConfigError{Reason: fmt.Sprintf("larger than %d KiB", maxConfig>>10)}
	}
	doc := &document{final: strings.HasSuffix(text, "\n")}
	if text == "" {
		return &document{final: true}, nil
	}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		parsed, err := parseConfigLine(line)
		if err != nil {
			return nil, &ConfigError{Line: n + 1, Reason: err.Error()}
		}
		doc.lines = append(doc.lines, parsed)
	}
	return doc, nil
}

// A Setting is one key of a file in the syntax of trust.conf.
type Setting struct {
	Line    int    // from 1
	Section string // its kind, such as "repo"
	Name    string // what stands in quotes in the section line; "" if nothing
	Key     string
	Value   string
}

// ParseSettings reads other files of the configuration directory, which have
// trust.conf's syntax. The order is the file's; a key may be there several
// times. A key before the first section is an error. The error is a
// *ConfigError without a file.
func ParseSettings(text string) ([]Setting, error) {
	doc, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	var list []Setting
	var in configLine
	for n, line := range doc.lines {
		switch {
		case line.section != "":
			in = line
		case line.key == "":
		case in.section == "":
			return nil, &ConfigError{Line: n + 1, Reason: "a key before the first section"}
		default:
			list = append(list, Setting{Line: n + 1, Section: in.section, Name: in.name, Key: line.key, Value: line.value})
		}
	}
	return list, nil
}

// String returns the text of the document.
func (d *document) String() string {
	var b strings.Builder
	for i, line := range d.lines {
		b.WriteString(line.text)
		if i < len(d.lines)-1 || d.final {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func parseConfigLine(text string) (configLine, error) {
	line := configLine{text: text}
	if len(text) > maxConfigLine {
		return line, malformed("longer than %d bytes", maxConfigLine)
	}
	for i := range len(text) {
		if c := text[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return line, malformed("a control character")
		}
	}
	body := strings.Trim(text, " \t")
	switch {
	case body == "" || body[0] == '#' || body[0] == ';':
		return line, nil
	case body[0] == '[':
		return parseSection(line, body)
	}
	key, rest, ok := strings.Cut(body, "=")
	if !ok {
		return line, malformed("want key = value")
	}
	line.key = strings.TrimRight(key, " \t")
	if !isConfigKey(line.key) {
		return line, malformed("invalid key %q", line.key)
	}
	var err error
	line.value, err = configValue(strings.TrimLeft(rest, " \t"))
	return line, err
}

func parseSection(line configLine, body string) (configLine, error) {
	inner, after, ok := strings.Cut(body[1:], "]")
	if after = strings.TrimLeft(after, " \t"); !ok || after != "" && after[0] != '#' && after[0] != ';' {
		return line, malformed("want [section] or [section \"name\"]")
	}
	line.section = inner
	if kind, quoted, ok := strings.Cut(inner, " "); ok {
		line.section = kind
		if len(quoted) < 3 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
			return line, malformed("want [section \"name\"]")
		}
		line.name = quoted[1 : len(quoted)-1]
		if err := checkEntryName(line.name); err != nil {
			return line, err
		}
	}
	if !isConfigKey(line.section) {
		return line, malformed("invalid section %q", line.section)
	}
	return line, nil
}

// configValue takes the value off the rest of a line: up to a comment, or in
// double quotes with \" and \\ in them.
func configValue(rest string) (string, error) {
	if !strings.HasPrefix(rest, `"`) {
		if i := strings.IndexAny(rest, "#;"); i >= 0 {
			rest = rest[:i]
		}
		rest = strings.TrimRight(rest, " \t")
		switch {
		case strings.ContainsAny(rest, `"\`):
			return "", malformed("a quote or backslash inside a value; put the whole value in quotes")
		case rest == "":
			return "", malformed("an empty value")
		}
		return rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && i+1 < len(rest) && (rest[i+1] == '"' || rest[i+1] == '\\'):
			i++
			b.WriteByte(rest[i])
		case c == '\\':
			return "", malformed("an unknown escape")
		case c == '"':
			after := strings.TrimLeft(rest[i+1:], " \t")
			if after != "" && after[0] != '#' && after[0] != ';' {
				return "", malformed("text after the closing quote")
			}
			if b.Len() == 0 {
				return "", malformed("an empty value")
			}
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	return "", malformed("a quote that is not closed")
}

// quoteValue writes a value so that configValue reads it back.
func quoteValue(value string) string {
	if !strings.ContainsAny(value, "#;\"\\") && strings.Trim(value, " \t") == value && value != "" {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

func isConfigKey(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// checkEntryName checks the name of a publisher, signer, repository or rule:
// 1 to 48 characters of [a-z0-9._-], the first a letter or a digit, so that no
// two look alike (A34).
func checkEntryName(name string) error {
	valid := len(name) >= 1 && len(name) <= maxEntryName && !strings.ContainsRune("._-", rune(name[0]))
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			valid = false
		}
	}
	if !valid {
		return malformed("invalid name %q: want 1 to %d of a-z 0-9 . _ -, the first a letter or digit", shorten(name), maxEntryName)
	}
	return nil
}

// find returns the first and one past the last line of a section, without the
// blank lines and comments that lead up to the next one.
func (d *document) find(section, name string) (first, last int, ok bool) {
	for i := range d.lines {
		if l := &d.lines[i]; l.section == section && l.name == name {
			last = i + 1
			for j := i + 1; j < len(d.lines) && d.lines[j].section == ""; j++ {
				if d.lines[j].key != "" {
					last = j + 1
				}
			}
			return i, last, true
		}
	}
	return 0, 0, false
}

// set writes a key of a section, adding what is missing.
func (d *document) set(section, name, key, value string) {
	line := configLine{text: "\t" + key + " = " + quoteValue(value), key: key, value: value}
	first, last, ok := d.find(section, name)
	if !ok {
		header := "[" + section + "]"
		if name != "" {
			header = "[" + section + ` "` + name + `"]`
		}
		d.lines = append(d.lines, configLine{text: header, section: section, name: name}, line)
		d.final = true
		return
	}
	for i := first + 1; i < last; i++ {
		if d.lines[i].key == key {
			d.lines[i] = line
			return
		}
	}
	d.lines = append(d.lines[:last], append([]configLine{line}, d.lines[last:]...)...)
	d.final = true
}

// unset removes a key of a section.
func (d *document) unset(section, name, key string) {
	first, last, ok := d.find(section, name)
	for i := first + 1; ok && i < last; i++ {
		if d.lines[i].key == key {
			d.lines = append(d.lines[:i], d.lines[i+1:]...)
			return
		}
	}
}

// remove removes a section with its keys.
func (d *document) remove(section, name string) {
	if first, last, ok := d.find(section, name); ok {
		d.lines = append(d.lines[:first], d.lines[last:]...)
	}
}
