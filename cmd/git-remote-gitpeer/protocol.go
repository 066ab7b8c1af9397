package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
)

// maxLine bounds a line from git. The longest that git sends holds two ref
// names, which file systems keep below 4 KiB each.
const maxLine = 64 << 10

// A verb is the kind of a line.
type verb string

const (
	verbBlank        verb = "" // ends a batch, or the session
	verbCapabilities verb = "capabilities"
	verbList         verb = "list"
	verbListForPush  verb = "list for-push"
	verbOption       verb = "option"
	verbFetch        verb = "fetch"
	verbPush         verb = "push"
	verbConnect      verb = "connect"
)

// A line is one line of the protocol, from git. Only the fields of its verb
// are set.
type line struct {
	verb    verb
	name    string   // option: its name
	value   string   // option: its value, as it stands there; may be C-quoted
	bare    bool     // option: there is no value, which means true (git 2.39: "option object-format")
	oid     refs.OID // fetch
	ref     string   // fetch: what it is called; not checked, for it decides nothing
	force   bool     // push
	src     string   // push; "" deletes
	dst     string   // push
	service string   // connect
}

// parseLine parses one line without its line end.
func parseLine(text string) (line, error) {
	if len(text) > maxLine || strings.ContainsAny(text, "\n\x00") {
		return line{}, errors.New("a line from git is too long or holds a NUL")
	}
	word, rest, more := strings.Cut(text, " ")
	switch v := verb(word); {
	case text == "", text == string(verbCapabilities), text == string(verbList), text == string(verbListForPush):
		return line{verb: verb(text)}, nil
	case v == verbOption && more:
		return parseOption(rest)
	case v == verbFetch && more:
		return parseFetch(rest)
	case v == verbPush && more:
		return parsePush(rest)
	case v == verbConnect && rest != "" && !strings.Contains(rest, " "):
		return line{verb: v, service: rest}, nil
	}
	return line{}, fmt.Errorf("unknown command from git: %q", text)
}

func parseOption(rest string) (line, error) {
	name, value, ok := strings.Cut(rest, " ")
	if name == "" {
		return line{}, fmt.Errorf("option from git without a name: %q", rest)
	}
	if !ok {
		return line{verb: verbOption, name: name, value: "true", bare: true}, nil
	}
	return line{verb: verbOption, name: name, value: value}, nil
}

func parseFetch(rest string) (line, error) {
	hex, name, ok := strings.Cut(rest, " ")
	format := refs.SHA1
	if len(hex) == refs.SHA256.HexLen() {
		format = refs.SHA256
	}
	oid, err := refs.ParseOID(hex, format)
	if err != nil || !ok || name == "" {
		return line{}, fmt.Errorf("cannot understand %q from git", "fetch "+rest)
	}
	return line{verb: verbFetch, oid: oid, ref: name}, nil
}

func parsePush(rest string) (line, error) {
	spec, force := strings.CutPrefix(rest, "+")
	// A ref name has no colon, and neither has what git sends as a source,
	// except for an expression such as HEAD:file, which is no commit.
	src, dst, ok := strings.Cut(spec, ":")
	if !ok || dst == "" {
		return line{}, fmt.Errorf("cannot understand %q from git", "push "+rest)
	}
	return line{verb: verbPush, force: force, src: src, dst: dst}, nil
}

// format is the inverse of parseLine.
func (l line) format() string {
	switch l.verb {
	case verbOption:
		if l.bare {
			return "option " + l.name
		}
		return "option " + l.name + " " + l.value
	case verbFetch:
		return "fetch " + string(l.oid) + " " + l.ref
	case verbPush:
		force := ""
		if l.force {
			force = "+"
		}
		return "push " + force + l.src + ":" + l.dst
	case verbConnect:
		return "connect " + l.service
	}
	return string(l.verb)
}

// readLine reads and parses the next line. It fails with io.EOF at the end of
// the input, and with io.ErrUnexpectedEOF if that comes inside of a line.
func readLine(r *bufio.Reader) (line, error) {
	text, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return line{}, fmt.Errorf("a line from git has more than %d bytes", maxLine)
	case err == io.EOF && len(text) > 0:
		return line{}, io.ErrUnexpectedEOF
	case err != nil:
		return line{}, err
	}
	return parseLine(string(text[:len(text)-1]))
}

// escapes are the letters of git's C-style quoting (quote.c) and what they
// stand for.
var escapes = map[byte]byte{'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11, '\\': '\\', '"': '"'}

// unquote reads a value that git may have C-quoted; text that does not start
// with a quote stands for itself.
func unquote(text string) (string, error) {
	if !strings.HasPrefix(text, `"`) {
		return text, nil
	}
	bad := fmt.Errorf("badly quoted value from git: %q", text)
	if len(text) < 2 || !strings.HasSuffix(text, `"`) {
		return "", bad
	}
	inner := text[1 : len(text)-1]
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c == '"' {
			return "", bad
		}
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if i++; i == len(inner) {
			return "", bad
		}
		if plain, ok := escapes[inner[i]]; ok {
			b.WriteByte(plain)
			continue
		}
		if i+3 > len(inner) || inner[i] < '0' || inner[i] > '3' ||
			strings.Trim(inner[i:i+3], "01234567") != "" {
			return "", bad
		}
		b.WriteByte((inner[i]-'0')<<6 | (inner[i+1]-'0')<<3 | (inner[i+2] - '0'))
		i += 2
	}
	return b.String(), nil
}
