package refs

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// nameReasons maps the failure classes of testdata/names.txt to what the error
// says.
var nameReasons = map[string]string{
	"prefix":     "not under refs/heads/ or refs/tags/",
	"head":       "HEAD is no branch or tag",
	"option":     "looks like an option",
	"empty":      "has an empty component",
	"dots":       `contains ".."`,
	"reflog":     `contains "@{"`,
	"ends":       "ends with a dot",
	"starts":     "a component starts with a dot",
	"lock":       `a component ends with ".lock"`,
	"character":  "contains '",
	"utf8":       "not UTF-8",
	"components": "more than 16 components",
	"long":       "longer than 255 bytes",
}

// A vector is a line of a file of vectors: a class and a text.
type vector struct{ class, text string }

func readVectors(t testing.TB, file string) (out []vector) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		class, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if strings.HasPrefix(text, `"`) {
			text, err = strconv.Unquote(text)
		}
		if !ok || err != nil {
			t.Fatalf("%s: cannot read %q: %v", file, line, err)
		}
		out = append(out, vector{class, text})
	}
	return out
}

func TestParseNameVectors(t *testing.T) {
	for _, v := range readVectors(t, "names.txt") {
		n, err := ParseName(v.text)
		if v.class == "ok" {
			if err != nil || string(n) != v.text {
				t.Errorf("ParseName(%q) = %q, %v, want itself", v.text, n, err)
			}
			continue
		}
		var nameErr *NameError
		if n != "" || !errors.As(err, &nameErr) || !strings.Contains(nameErr.Reason, nameReasons[v.class]) {
			t.Errorf("ParseName(%q) = %q, %v, want a NameError with %q", v.text, n, err, nameReasons[v.class])
		}
	}
}

func TestNameParts(t *testing.T) {
	for _, c := range []struct {
		name        Name
		branch, tag bool
		short       string
	}{
		{"refs/heads/a/b", true, false, "a/b"},
		{"refs/tags/v1", false, true, "v1"},
		{"refs/heads/refs/tags/v1", true, false, "refs/tags/v1"},
		{"HEAD", false, false, "HEAD"},
	} {
		if c.name.IsBranch() != c.branch || c.name.IsTag() != c.tag || c.name.Short() != c.short {
			t.Errorf("%q: branch %v, tag %v, short %q, want %v, %v, %q",
				c.name, c.name.IsBranch(), c.name.IsTag(), c.name.Short(), c.branch, c.tag, c.short)
		}
	}
}

// What Unicode calls invisible or controlling is refused, and so is what the
// package comment lists, no less and no more.
func TestNameRunes(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[rune]bool{}
	_, list, _ := strings.Cut(string(doc), "accepts the same names for ever:")
	list, from, _ := strings.Cut(list, "and all from ")
	for _, m := range regexp.MustCompile(`U\+([0-9A-F]+)(?:–U\+([0-9A-F]+))?`).FindAllStringSubmatch(list, -1) {
		low, _ := strconv.ParseInt(m[1], 16, 32)
		high, err := strconv.ParseInt(m[2], 16, 32)
		if err != nil {
			high = low
		}
		for r := low; r <= high; r++ {
			listed[rune(r)] = true
		}
	}
	last, err := strconv.ParseInt(from[2:7], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	invisible := []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Cs, unicode.Co, unicode.Z, unicode.Other_Default_Ignorable_Code_Point,
		unicode.Variation_Selector, unicode.Noncharacter_Code_Point}
	for r := rune(0x7f); r <= unicode.MaxRune; r++ {
		if want := !listed[r] && r < rune(last); isNameRune(r) != want {
			t.Fatalf("isNameRune(%U) = %v, the package comment says %v", r, !want, want)
		}
		// Signs that enclose the digits after them are seen.
		if isNameRune(r) && unicode.IsOneOf(invisible, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) {
			t.Fatalf("isNameRune(%U) = true for a character that does not show", r)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for _, c := range []struct {
		names string
		want  string // "" if they go together
	}{
		{"refs/heads/a refs/tags/a refs/heads/b", ""},
		{"refs/heads/a refs/heads/ab refs/heads/a-b refs/heads/a.b", ""},
		{"refs/heads/a/b refs/heads/a/c", ""},
		{"refs/heads/a refs/heads/a", "listed twice"},
		{"refs/heads/Main refs/heads/main", "in case only"},
		{"refs/heads/A/x refs/heads/a/X", "in case only"},
		{"refs/heads/ÄRGER refs/heads/ärger", "in case only"},
		{"refs/heads/\u00e4 refs/heads/a\u0308", "in case only"},  // composed or not
		{"refs/heads/K refs/heads/\u212a", "in case only"},        // Kelvin sign
		{"refs/heads/ς refs/heads/Σ", "in case only"},             // final sigma
		{"refs/heads/I\u0307 refs/heads/i\u0307", "in case only"}, // dotted I
		{"refs/heads/\u0130 refs/heads/i\u0307", "in case only"},  // composed
		{"refs/heads/\u0130 refs/heads/i", ""},
		{"refs/heads/a refs/heads/a/b", "a ref and a directory"},       // in order
		{"refs/heads/a/b refs/heads/a", "a ref and a directory"},       // in any order
		{"refs/heads/A refs/heads/a/b/c", "a ref and a directory"},     // and case
		{"refs/heads/ä/b refs/heads/A\u0308", "a ref and a directory"}, // and form
		{"refs/heads/a refs/heads/a-b refs/heads/a/b", "a ref and a directory"},
	} {
		var names []Name
		for _, s := range strings.Fields(c.names) {
			names = append(names, Name(s))
		}
		err := CheckNames(names)
		var nameErr *NameError
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &nameErr) || !strings.Contains(nameErr.Reason, c.want)) {
			t.Errorf("CheckNames(%q) = %v, want %q", c.names, err, c.want)
		}
	}
}

// Whatever we accept, git accepts.
func TestNamesAgainstGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("no git on PATH")
	}
	accepts := func(name string) bool {
		cmd := exec.CommandContext(t.Context(), git, "check-ref-format", name)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+t.TempDir())
		return cmd.Run() == nil
	}
	var names []string
	for _, v := range readVectors(t, "names.txt") {
		if !strings.Contains(v.text, "\x00") { // cannot be an argument
			names = append(names, v.text)
		}
	}
	for r := rune(1); r < 0x80; r++ { // each character
		names = append(names, "refs/heads/a"+string(r)+"b")
	}
	for _, s := range []string{"@", ".", "..", "@{", ".lock", "/", "//", "-", "{"} {
		for _, frame := range []string{"a%", "%a", "a%a", "a/%", "%/a", "a/%/a"} {
			names = append(names, "refs/tags/"+strings.ReplaceAll(frame, "%", s))
		}
	}
	// Those that git accepts and we do not, by our own rules.
	ours := regexp.MustCompile(`(not under|HEAD|option|".lock"|UTF-8|contains '|longer|components)`)
	for _, name := range names {
		_, err := ParseName(name)
		switch git := accepts(name); {
		case err == nil && !git:
			t.Errorf("ParseName accepts %q, git does not", name)
		case err != nil && git && !ours.MatchString(err.Error()):
			t.Errorf("ParseName(%q) = %v, but git accepts it", name, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, v := range readVectors(f, "names.txt") {
		f.Add(v.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			if !errors.As(err, new(*NameError)) {
				t.Errorf("ParseName(%q) = %v, want a NameError", s, err)
			}
			return
		}
		if string(n) != s || !n.IsBranch() && !n.IsTag() || strings.ContainsAny(s, " \n\x00\x1b\x7f") || len(s) > 255 {
			t.Errorf("ParseName(%q) = %q", s, n)
		}
		if err := CheckNames([]Name{n}); err != nil {
			t.Errorf("CheckNames(%q) = %v, want no error", n, err)
		}
	})
}
