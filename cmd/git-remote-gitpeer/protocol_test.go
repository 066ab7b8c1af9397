package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

func TestParseLine(t *testing.T) {
	sha1, sha256 := strings.Repeat("1a", 20), strings.Repeat("2b", 32)
	for _, test := range []struct {
		text string
		want line
	}{
		{"", line{}},
		{"capabilities", line{verb: verbCapabilities}},
		{"list", line{verb: verbList}},
		{"list for-push", line{verb: verbListForPush}},
		{"option verbosity 1", line{verb: verbOption, name: "verbosity", value: "1"}},
		{"option object-format", line{verb: verbOption, name: "object-format", value: "true", bare: true}},
		{`option cas "refs/heads/a b:c"`, line{verb: verbOption, name: "cas", value: `"refs/heads/a b:c"`}},
		{"option filter ", line{verb: verbOption, name: "filter"}},
		{"fetch " + sha1 + " refs/heads/main", line{verb: verbFetch, oid: refs.OID(sha1), ref: "refs/heads/main"}},
		{"fetch " + sha256 + " HEAD", line{verb: verbFetch, oid: refs.OID(sha256), ref: "HEAD"}},
		{"push refs/heads/a:refs/heads/b", line{verb: verbPush, src: "refs/heads/a", dst: "refs/heads/b"}},
		{"push +HEAD~1:refs/heads/b", line{verb: verbPush, force: true, src: "HEAD~1", dst: "refs/heads/b"}},
		{"push :refs/heads/b", line{verb: verbPush, dst: "refs/heads/b"}},
		{"connect git-upload-pack", line{verb: verbConnect, service: "git-upload-pack"}},
	} {
		got, err := parseLine(test.text)
		if err != nil || got != test.want {
			t.Errorf("parseLine(%q) = %+v, %v, want %+v", test.text, got, err, test.want)
		}
	}
	for _, text := range []string{
		" ", "list ", "list for-fetch", "capabilities x", "LIST", "option", "option ", "fetch", "fetch x y", "fetch " + sha1,
		"fetch " + strings.ToUpper(sha1) + " a", "fetch " + sha1 + " ", "push", "push a", "push a:", "connect", "connect ", "connect a b",
		"import x", "get a b", "list\nlist", "list\x00", strings.Repeat("x", maxLine+1),
	} {
		if got, err := parseLine(text); err == nil {
			t.Errorf("parseLine(%q) = %+v, want an error", text, got)
		}
	}
}

func TestReadLine(t *testing.T) {
	read := func(input string) (line, error) {
		return readLine(bufio.NewReaderSize(strings.NewReader(input), maxLine))
	}
	if l, err := read("list\n"); err != nil || l.verb != verbList {
		t.Errorf("readLine = %+v, %v, want list", l, err)
	}
	if _, err := read(""); err != io.EOF {
		t.Errorf("readLine at the end = %v, want io.EOF", err)
	}
	if _, err := read("lis"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("readLine of half a line = %v, want io.ErrUnexpectedEOF", err)
	}
	if _, err := read("option x " + strings.Repeat("y", maxLine) + "\n"); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("readLine of an endless line = %v, want an error that says so", err)
	}
}

func TestUnquote(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"plain":                "plain",
		`back\slash`:           `back\slash`,
		`""`:                   "",
		`"a b"`:                "a b",
		`"\a\b\f\n\r\t\v\\\""`: "\a\b\f\n\r\t\v\\\"",
		`"\303\244\000\377"`:   "ä\x00\xff",
	} {
		if got, err := unquote(text); err != nil || got != want {
			t.Errorf("unquote(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`"`, `"a`, `"a"b"`, `"\`, `"\"`, `"\x"`, `"\12"`, `"\400"`, `"\189"`} {
		if got, err := unquote(text); err == nil {
			t.Errorf("unquote(%q) = %q, want an error", text, got)
		}
	}
}

func TestOptions(t *testing.T) {
	oid := strings.Repeat("1a", 20)
	for _, test := range []struct{ name, value, want string }{
		{"verbosity", "2", "ok"},
		{"verbosity", "x", "error not a number"},
		{"progress", "true", "ok"},
		{"progress", "maybe", "error neither true nor false"},
		{"object-format", "sha256", "ok"},
		{"object-format", "md5", "error unknown object format"},
		{"depth", "1", "ok"},
		{"cas", `"refs/heads/main:` + oid + `"`, "ok"},
		{"cas", `refs/heads/new:` + strings.Repeat("0", 64), "ok"},
		{"cas", `"refs/heads/main`, "error badly quoted"},
		{"cas", `refs/notes/x:` + oid, "error not a branch or tag"},
		{"cas", `refs/heads/main:`, "error not an object id of sha1"},
		{"pushcert", "true", "unsupported"},
		{"push-option", "x", "unsupported"},
		{"servpath", "x", "unsupported"},
		{"", "", "unsupported"},
	} {
		o := newOptions()
		if got := o.set(test.name, test.value); got != test.want {
			t.Errorf("option %s %s: %q, want %q", test.name, test.value, got, test.want)
		}
	}
	o := newOptions()
	o.set("cas", "refs/heads/main:"+oid)
	o.set("cas", "refs/heads/new:"+strings.Repeat("0", 40))
	if len(o.leases) != 2 || o.leases["refs/heads/main"] != refs.OID(oid) || o.leases["refs/heads/new"] != "" {
		t.Errorf("leases are %v", o.leases)
	}
}

// FuzzParseLine: what is accepted is written again as it was read, and no
// option makes the helper answer more than one line.
func FuzzParseLine(f *testing.F) {
	for _, seed := range []string{
		"", "capabilities", "list", "list for-push", "option verbosity 1", "option object-format", `option cas "refs/heads/a:\303\244"`,
		"fetch " + strings.Repeat("1a", 20) + " HEAD", "push +a:refs/heads/b", "push :refs/heads/b", "connect git-upload-pack",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLine(text)
		if err != nil {
			return
		}
		if got := l.format(); got != text {
			t.Errorf("format(parseLine(%q)) = %q", text, got)
		}
		o := newOptions()
		if answer := o.set(l.name, l.value); strings.ContainsAny(answer, "\n\x00") {
			t.Errorf("%q is answered with %q", text, answer)
		}
	})
}

func FuzzUnquote(f *testing.F) {
	for _, seed := range []string{"", "a b", "ä\x00\xff\"\\\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := unquote(quote(text)); err != nil || got != text {
			t.Errorf("unquote(%q) = %q, %v, want %q", quote(text), got, err, text)
		}
		unquote(text) // any text at all
	})
}

// quote quotes as git's quote_c_style does.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			b.WriteByte('\\')
			b.WriteByte('0' + c>>6)
			b.WriteByte('0' + c>>3&7)
			b.WriteByte('0' + c&7)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
