package trust

import "strings"

// A tomlValue is a value of the part of TOML that openpgp-policy.toml is made
// of: booleans, integers and strings as text, arrays of strings as list.
type tomlValue struct {
	text string
	list []string
}

// parseTOML reads tables of such values. A table's name is its keys with a NUL
// between them; "" is what stands before the first. What it does not know is
// an error.
func parseTOML(text string) (map[string]map[string]tomlValue, error) {
	t := &tomlReader{rest: text}
	tables := map[string]map[string]tomlValue{"": {}}
	current := ""
	for t.skip() {
		if t.take("[") {
			name, err := t.key("]")
			if err != nil {
				return nil, err
			}
			if _, ok := tables[name]; ok {
				return nil, malformed("a table twice")
			}
			current, tables[name] = name, make(map[string]tomlValue)
		} else {
			key, err := t.key("=")
			if err != nil {
				return nil, err
			}
			if _, ok := tables[current][key]; ok {
				return nil, malformed("key %q twice", shorten(key))
			}
			if tables[current][key], err = t.value(); err != nil {
				return nil, err
			}
		}
		if !t.endOfLine() {
			return nil, malformed("text after a value")
		}
	}
	return tables, nil
}

type tomlReader struct {
	rest string
}

func (t *tomlReader) take(prefix string) bool {
	rest, ok := strings.CutPrefix(t.rest, prefix)
	if ok {
		t.rest = rest
	}
	return ok
}

// skip passes over blanks, line ends and comments; it reports whether anything
// is left.
func (t *tomlReader) skip() bool {
	for {
		t.rest = strings.TrimLeft(t.rest, " \t\r\n")
		if !strings.HasPrefix(t.rest, "#") {
			return t.rest != ""
		}
		_, t.rest, _ = strings.Cut(t.rest, "\n")
	}
}

// endOfLine passes over what may follow on a line.
func (t *tomlReader) endOfLine() bool {
	line, rest, _ := strings.Cut(t.rest, "\n")
	line = strings.Trim(line, " \t\r")
	t.rest = rest
	return line == "" || line[0] == '#'
}

// key reads a dotted key up to and with the end sign.
func (t *tomlReader) key(end string) (string, error) {
	var parts []string
	for {
		t.rest = strings.TrimLeft(t.rest, " \t")
		var part string
		if strings.HasPrefix(t.rest, `"`) || strings.HasPrefix(t.rest, "'") {
			v, err := t.quoted()
			if err != nil {
				return "", err
			}
			part = v
		} else {
			i := strings.IndexFunc(t.rest, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
			})
			if i <= 0 {
				return "", malformed("a damaged key")
			}
			part, t.rest = t.rest[:i], t.rest[i:]
		}
		if strings.Contains(part, "\x00") {
			return "", malformed("a damaged key")
		}
		parts = append(parts, part)
		t.rest = strings.TrimLeft(t.rest, " \t")
		switch {
		case t.take(end):
			return strings.Join(parts, "\x00"), nil
		case !t.take("."):
			return "", malformed("a damaged key")
		}
	}
}

func (t *tomlReader) value() (tomlValue, error) {
	t.rest = strings.TrimLeft(t.rest, " \t")
	switch {
	case t.take("["):
		return t.array()
	case strings.HasPrefix(t.rest, `"`) || strings.HasPrefix(t.rest, "'"):
		text, err := t.quoted()
		return tomlValue{text: text}, err
	}
	i := strings.IndexAny(t.rest, " \t\r\n#,]")
	if i < 0 {
		i = len(t.rest)
	}
	word := t.rest[:i]
	t.rest = t.rest[i:]
	if word != "true" && word != "false" && strings.Trim(word, "0123456789") != "" || word == "" {
		return tomlValue{}, malformed("a value of a kind that is not known here")
	}
	return tomlValue{text: word}, nil
}

func (t *tomlReader) array() (tomlValue, error) {
	v := tomlValue{list: []string{}}
	for {
		if !t.skip() {
			return v, malformed("an array without an end")
		}
		if t.take("]") {
			return v, nil
		}
		item, err := t.quoted()
		if err != nil {
			return v, err
		}
		v.list = append(v.list, item)
		t.skip()
		if !t.take(",") && !strings.HasPrefix(t.rest, "]") {
			return v, malformed("a damaged array")
		}
	}
}

// quoted reads a string in one of TOML's four kinds of quotes. Escapes are
// refused.
func (t *tomlReader) quoted() (string, error) {
	for _, quote := range []string{`"""`, "'''", `"`, "'"} {
		if !t.take(quote) {
			continue
		}
		if len(quote) == 3 {
			t.take("\r")
			t.take("\n")
		}
		text, rest, ok := strings.Cut(t.rest, quote)
		if !ok || len(quote) == 1 && strings.Contains(text, "\n") {
			return "", malformed("a string without an end")
		}
		t.rest = rest
		if quote[0] == '\'' || !strings.Contains(text, `\`) {
			return text, nil
		}
		return "", malformed("an escape in a string")
	}
	return "", malformed("a string was expected")
}
