package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// call runs the program in this process, with a home of the test's own.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func ownHome(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("GITPEER_HOME", dir)
	t.Setenv("GNUPGHOME", filepath.Join(dir, "none"))
	return dir
}

func TestExitStatus(t *testing.T) {
	ownHome(t)
	for _, test := range []struct {
		args   []string
		code   int
		stderr string // a part of it
	}{
		{nil, 2, ""},
		{[]string{"help"}, 0, ""},
		{[]string{"help", "trust"}, 0, ""},
		{[]string{"trust", "--help"}, 0, ""},
		{[]string{"trust", "add", "-h"}, 0, ""},
		{[]string{"help", "tusrt"}, 2, "hint: gitpeer trust\n"},
		{[]string{"xyzzy"}, 2, "hint: gitpeer help\n"},
		{[]string{"id"}, 2, "hint: gitpeer init\n"},
		{[]string{"id", "x"}, 2, "hint: gitpeer help id\n"},
		{[]string{"status"}, 75, "no gitpeer node is running"},
		{[]string{"stop"}, 0, ""},
		{[]string{"testnet", "--nodes", "0"}, 2, "from 1 to 1000"},
		{[]string{"testnet", "--listen", "example.org"}, 2, "not an IPv4 address"},
		{[]string{"testnet", "--nodes", "x"}, 2, "hint: gitpeer help testnet\n"},
		{[]string{"trust"}, 2, "an argument is missing"},
		{[]string{"trust", "show", "nobody"}, 2, "hint: gitpeer trust list\n"},
		{[]string{"trust", "remove", "a", "--retire-at", "abc"}, 2, "in full"},
		{[]string{"trust", "remove", "a", "--revoked", "--retire-at", strings.Repeat("1", 40)}, 2, "give one of them"},
		{[]string{"init", "--key", "no\x1b[2Jne"}, 2, `no\x1b[2Jne`},
	} {
		code, _, stderr := call(t, test.args...)
		if code != test.code || !strings.Contains(stderr, test.stderr) || test.stderr == "" && stderr != "" {
			t.Errorf("gitpeer %q ends with %d and says %q, want %d and %q", test.args, code, stderr, test.code, test.stderr)
		}
	}
}

// TestBrokenPolicy: a trust.conf that is not understood is never passed over.
func TestBrokenPolicy(t *testing.T) {
	dir := ownHome(t)
	if err := os.WriteFile(filepath.Join(dir, trust.ConfigName), []byte("[signer \"x\"]\n\tcret = y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"trust", "list"}, {"trust", "show", "x"}, {"trust", "check"}, {"trust", "remove", "x"},
		{"trust", "add", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINDywWjUJma+/EYLcKG4G8mMWxLfYX/c/51KOTjGkd4x", "--as", "y"}} {
		if code, out, stderr := call(t, args...); code != ui.Usage || out != "" || !strings.Contains(stderr, "trust.conf:") {
			t.Errorf("gitpeer %q ends with %d, prints %q and says %q, want %d and where the file is wrong", args, code, out, stderr, ui.Usage)
		}
	}
}

func TestHelp(t *testing.T) {
	_, all, _ := call(t, "help")
	for _, c := range commands() {
		if c.short == "" || !strings.Contains(all, c.short) {
			t.Errorf("%s: the overview lacks %q", c.name, c.short)
		}
		code, out, _ := call(t, "help", c.name)
		if code != 0 || !strings.HasPrefix(out, "usage: gitpeer "+c.name) {
			t.Errorf("gitpeer help %s = %d, %q", c.name, code, out)
		}
		for line := range strings.Lines(out) {
			if len(line) > 81 {
				t.Errorf("help of %s: a line of %d characters: %q", c.name, len(line)-1, line)
			}
		}
	}
}

// TestFlagsAreDescribed: the help of a command has every flag that its source
// defines.
func TestFlagsAreDescribed(t *testing.T) {
	defined := regexp.MustCompile(`(?:String|Bool|Int|repeated|StringVar|BoolVar|IntVar)\((?:&[a-z.A-Z]+, )?"([a-z-]+)"`)
	for _, c := range commands() {
		files, err := filepath.Glob(c.name + "*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no file of its own: %v", c.name, err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range defined.FindAllSubmatch(source, -1) {
				if !strings.Contains(c.long, "--"+string(m[1])) {
					t.Errorf("the help of %s lacks --%s, which %s defines", c.name, m[1], file)
				}
			}
			if strings.Contains(string(source), ".json()") && !strings.Contains(c.long, "--json") {
				t.Errorf("the help of %s lacks --json", c.name)
			}
		}
	}
}

func TestParseFlags(t *testing.T) {
	for _, test := range []struct {
		args  []string
		rest  []string
		name  string
		refs  []string
		quiet bool
	}{
		{args: nil},
		{args: []string{"a"}, rest: []string{"a"}},
		{args: []string{"a", "--name", "n"}, rest: []string{"a"}, name: "n"},
		{args: []string{"--name=n", "a", "-q", "b"}, rest: []string{"a", "b"}, name: "n", quiet: true},
		{args: []string{"--ref", "x", "a", "--ref", "y"}, rest: []string{"a"}, refs: []string{"x", "y"}},
		{args: []string{"a", "--", "--name", "n"}, rest: []string{"a", "--name", "n"}},
		{args: []string{"-"}, rest: []string{"-"}},
		{args: []string{"--name", "n", "--", "-q"}, rest: []string{"-q"}, name: "n"},
	} {
		f := newFlags("x")
		name, list, when := f.String("name", "", ""), f.repeated("ref"), f.progress()
		rest, err := f.parse(test.args, 0, many)
		if err != nil || !slices.Equal(rest, test.rest) || *name != test.name || !slices.Equal(*list, test.refs) || (when() == ui.Quiet) != test.quiet {
			t.Errorf("parse(%q) = %q, %v with name %q, refs %q, quiet %v", test.args, rest, err, *name, *list, when() == ui.Quiet)
		}
	}
	for _, args := range [][]string{{"--nmae", "n"}, {"--name"}, {"a", "b", "c"}, {}} {
		f := newFlags("x")
		f.String("name", "", "")
		var usage *ui.UsageError
		if rest, err := f.parse(args, 1, 2); !errors.As(err, &usage) || usage.Topic != "x" {
			t.Errorf("parse(%q) = %q, %v, want a UsageError about x", args, rest, err)
		}
	}
	if _, err := newFlags("x").parse([]string{"-h"}, 0, 0); err != flag.ErrHelp {
		t.Errorf("parse(-h) = %v, want flag.ErrHelp", err)
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"publish", "publish", 0}, {"pubilsh", "publish", 2}, {"stat", "status", 2}, {"kitten", "sitting", 3}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0:                  "2026-11-22 12:00:00 UTC (0s ago)",
		-90 * time.Second:  "2026-11-22 11:58:30 UTC (1m ago)",
		36 * time.Hour:     "2026-11-24 00:00:00 UTC (in 36h)",
		7 * 24 * time.Hour: "2026-11-29 12:00:00 UTC (in 7d)",
	} {
		if got := moment(now.Add(d), now); got != want {
			t.Errorf("moment(now + %v) = %q, want %q", d, got, want)
		}
	}
	if got := moment(time.Time{}, now); got != "never" {
		t.Errorf("moment of no time = %q", got)
	}
}

// TestOutsideText: what a publisher chose cannot act on the terminal (A38).
func TestOutsideText(t *testing.T) {
	const bad = "x\x1b[2J\n\u202e"
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var out, errs bytes.Buffer
	e := &env{ui: ui.New("gitpeer", nil, &out, &errs)}
	printSnapshot(e.ui, &node.ShowResult{URL: bad, Head: bad, Refs: []node.ShowRef{{Name: bad, OID: bad,
		Verdict: &trust.Verdict{Code: trust.Unsigned, Why: bad, Signer: bad}}}}, now)
	printStatus(e.ui, &node.Status{Version: bad, Home: bad, Repos: []node.RepoStatus{{URL: bad, LastError: bad}}}, now)
	(&checking{env: e, policy: &trust.Policy{}}).print(&checked{URL: bad, Stale: bad, Verdicts: []trust.Verdict{{Ref: bad, Why: bad, Code: trust.Unsigned, Hint: bad}}})
	e.printSigner(&signerInfo{Name: bad, UserIDs: []string{bad}, Warnings: []string{bad}, Comment: bad})
	e.printRepo(&repoInfo{Name: bad, URL: bad})
	for _, text := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("an escape sequence is printed: %q", text)
		}
		if strings.Contains(text, "\n\\u") {
			t.Errorf("outside text begins a line: %q", text)
		}
	}
}

func TestFindKeySentAlong(t *testing.T) {
	ownHome(t)
	file := filepath.Join(t.TempDir(), "id")
	if _, err := keys.Generate(file, "bob"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.ParseSSHKey(string(text))
	if err != nil {
		t.Fatal(err)
	}
	sent := func() ([][]byte, error) { return [][]byte{[]byte("garbage"), key.Blob()}, nil }
	e := &env{stdin: strings.NewReader("")}
	got, err := e.findKey(context.Background(), key.Fingerprint, sent)
	if err != nil || got.ssh == nil || got.ssh.Fingerprint != key.Fingerprint {
		t.Errorf("findKey(%q) = %+v, %v, want the key that was sent along", key.Fingerprint, got, err)
	}
	// Only the whole fingerprint will do, and only the right one.
	for _, name := range []string{key.Fingerprint[:20], "SHA256:" + strings.Repeat("A", 43), "0123456789ABCDEF", strings.Repeat("AB", 20)} {
		if got, err := e.findKey(context.Background(), name, sent); err == nil {
			t.Errorf("findKey(%q) = %+v, want an error", name, got)
		}
	}
	if _, err := e.findKey(context.Background(), key.Fingerprint, nil); err == nil {
		t.Error("a fingerprint was found without anybody to ask")
	}
	if _, err := e.findKey(context.Background(), key.Fingerprint, func() ([][]byte, error) { return nil, errors.New("no peers") }); err == nil || !strings.Contains(err.Error(), "no peers") {
		t.Errorf("findKey without an answer = %v, want the reason", err)
	}
}

func TestReadKeyIsBounded(t *testing.T) {
	e := &env{stdin: strings.NewReader(strings.Repeat("x", maxKeyFile+1))}
	if _, err := e.findKey(context.Background(), "-", nil); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("findKey of endless input = %v, want an error that says so", err)
	}
}

func TestCheckOID(t *testing.T) {
	for text, ok := range map[string]bool{
		strings.Repeat("1a", 20): true, strings.Repeat("1a", 32): true, "": false, "1a": false, strings.Repeat("1A", 20): false, "HEAD": false,
	} {
		if err := checkOID(text); (err == nil) != ok {
			t.Errorf("checkOID(%q) = %v", text, err)
		}
	}
}

func TestTrustLog(t *testing.T) {
	ownHome(t)
	if code, out, stderr := call(t, "trust", "log"); code != 0 || out+stderr != "" {
		t.Errorf("trust log without one = %d, %q, %q", code, out, stderr)
	}
	address := refs.Address{Publisher: keys.FromSeed([32]byte{1}).ID(), Name: "tools"}
	home, err := node.DefaultHome(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home.Mirror(address), "gitpeer", "log")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 5, 6, 7, 0, time.UTC)
	for _, entry := range []trust.LogEntry{
		{Time: at, Action: trust.ActionAccept, Repository: address, Number: 1, Refs: 2},
		{Time: at, Action: trust.ActionRefuse, Repository: address, Number: 2, Refs: 2, Verdicts: []trust.Verdict{
			{Code: trust.Unsigned, Ref: "refs/heads/main", Why: "is not signed"}}},
	} {
		if err := trust.AppendLog(file, entry); err != nil {
			t.Fatal(err)
		}
	}
	want := "2026-11-22T05:06:07Z  accept  " + address.String() + " number 1, 2 refs\n" +
		"2026-11-22T05:06:07Z  refuse  " + address.String() + " number 2, 2 refs\n    unsigned             refs/heads/main: is not signed\n"
	for _, args := range [][]string{{"trust", "log"}, {"trust", "log", address.String()}} {
		if code, out, stderr := call(t, args...); code != 0 || out != want || stderr != "" {
			t.Errorf("gitpeer %q = %d, %q, %q, want %q", args, code, out, stderr, want)
		}
	}
	if code, out, _ := call(t, "trust", "log", "--verify"); code != 0 || !strings.Contains(out, ": 2 entries") {
		t.Errorf("trust log --verify = %d, %q", code, out)
	}
	if code, out, _ := call(t, "trust", "log", "--json"); code != 0 || !strings.Contains(out, `"action": "refuse"`) {
		t.Errorf("trust log --json = %d, %q", code, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte("refuse"), []byte("accept"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"trust", "log"}, {"trust", "log", "--verify"}} {
		if code, out, stderr := call(t, args...); code != ui.Internal || out != "" || !strings.Contains(stderr, "line 2") {
			t.Errorf("A43: gitpeer %q of a changed log = %d, %q, %q, want %d and the line", args, code, out, stderr, ui.Internal)
		}
	}
}

// TestKnownForge: the key of GitHub is not taken for a person's, and is named.
func TestKnownForge(t *testing.T) {
	webFlow := &trust.Signer{Name: "web-flow", Cert: &keys.Certificate{Fingerprint: "968479A1AFF927E37D1A566BB5690EEEBB952194"}}
	a := &addition{}
	var usage *ui.UsageError
	if err := a.checkForge(webFlow); !errors.As(err, &usage) || !strings.HasPrefix(usage.Hint, "gitpeer trust add 0x968479A1AFF927E37D1A566BB5690EEEBB952194 --forge") {
		t.Errorf("checkForge() = %v, want a refusal that names --forge", err)
	}
	a.forge = true
	if err := a.checkForge(webFlow); err != nil {
		t.Errorf("checkForge() with --forge = %v", err)
	}
	if info := describeSigner(webFlow); info.Forge != "GitHub" || !strings.Contains(remarks(info), "[the key of GitHub") {
		t.Errorf("described as forge %q, %q", info.Forge, remarks(info))
	}
	c := &checking{policy: &trust.Policy{}}
	if text := c.detail(trust.Verdict{Signer: "w", Fingerprint: webFlow.Cert.Fingerprint}); !strings.Contains(text, "the key of GitHub") {
		t.Errorf("detail() = %q, want GitHub named", text)
	}
}
