package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

func testUI() (u *UI, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return New("gitpeer", strings.NewReader(""), out, errs), out, errs
}

// hostile is text that acts on a terminal in every way there is (A38).
const hostile = "a\x1b[2Jb\rc\nhint: x\u202Ed\u009b5me\xff\x7f\u200b\U000e0041"

func safe(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%q holds %U", text, r)
		}
	}
}

func TestPrintfIsSafe(t *testing.T) {
	for name, arg := range map[string]any{
		"string": hostile, "bytes": []byte(hostile), "error": errors.New(hostile), "typed": refs.Name(hostile),
	} {
		u, out, errs := testUI()
		u.Printf("<%s>\n", arg)
		u.Warnf("<%s>", arg)
		u.Notef("<%s>", arg)
		for _, text := range []string{out.String(), errs.String()} {
			safe(t, text)
			if strings.Contains(text, "\nhint:") {
				t.Errorf("%s: outside text begins a line: %q", name, text)
			}
		}
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%s: %d lines, want 1: %q", name, n, out)
		}
	}
}

func TestJSONIsSafe(t *testing.T) {
	u, out, _ := testUI()
	in := map[string]string{"k": strings.ToValidUTF8(hostile, "?") + "<&>\u2028"}
	u.JSON(in)
	safe(t, out.String())
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["k"] != in["k"] {
		t.Errorf("JSON(%q) reads as %q, %v", in, got, err)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, text string) {
		u, out, _ := testUI()
		u.JSON(text)
		safe(t, out.String())
		var got string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != strings.ToValidUTF8(text, "\ufffd") && got != string([]rune(text)) {
			t.Errorf("JSON(%q) reads as %q, %v", text, got, err)
		}
	})
}

func TestFail(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		code int
		want string // on standard error
	}{
		{"nothing", nil, 0, ""},
		{"a child's status", &ExitError{7}, 7, ""},
		{"an interrupt", fmt.Errorf("x: %w", context.Canceled), 130, "gitpeer: interrupted\n"},
		{"a time-out", context.DeadlineExceeded, 75, "gitpeer: error: context deadline exceeded\n"},
		{"anything", errors.New("boom"), 70, "gitpeer: error: boom\n"},
		{"the command line", Usagef("publish", "bad %q", "x"), 2, "gitpeer: error: bad \"x\"\nhint: gitpeer help publish\n"},
		{"the node", &node.Error{Code: trust.Rollback, Message: "old", Hint: "wait"}, 20, "gitpeer: error: old\nhint: wait\n"},
		{"the node, wrapped", fmt.Errorf("x: %w", &node.Error{Code: trust.TryLater, Message: "m"}), 75, "gitpeer: error: x: m\n"},
		{"outside text", &node.Error{Code: trust.Unsigned, Message: "a\nhint: rm -rf /"}, 10, "gitpeer: error: a\n    hint: rm -rf /\n"},
		{"escapes", &node.Error{Code: trust.Unsigned, Message: "a\x1b[2J\xff", Hint: "b\u202e"}, 10, "gitpeer: error: a\\x1b[2J\\xff\nhint: b\\u{202e}\n"},
		{"verdicts", &node.Error{Code: trust.Unsigned, Message: "m (and 1 more)", Hint: "h", Verdicts: []trust.Verdict{
			{Ref: "refs/heads/a", Why: "is not signed"}, {Ref: "refs/heads/b", Why: "is not\nsigned"}}}, 10,
			"gitpeer: error: refs/heads/a: is not signed\n    refs/heads/b: is not signed\nhint: h\n"},
		{"no key", NoKey(), 2, "gitpeer: error: there is no publisher key yet\nhint: gitpeer init\n"},
		{"no node", node.ErrNotRunning, 75, "gitpeer: error: no gitpeer node is running\nhint: gitpeer daemon    # or any command that needs the node starts one\n"},
	} {
		u, out, errs := testUI()
		if got := u.Fail(test.err); got != test.code || errs.String() != test.want || out.Len() != 0 {
			t.Errorf("%s: Fail = %d, says %q, want %d, %q", test.name, got, errs, test.code, test.want)
		}
	}
}

// TestCodeOfParsers: what a person typed wrongly is a usage error.
func TestCodeOfParsers(t *testing.T) {
	_, id := keys.ParseID("gp1x")
	_, address := refs.ParseAddress("gitpeer://")
	_, name := refs.ParseName("x")
	_, missing := keys.ReadPublic(filepath.Join(t.TempDir(), "none"))
	for _, err := range []error{id, address, name, missing, keys.ErrWrongPassphrase, fs.ErrPermission} {
		if got := Code(err); err == nil || got != Usage {
			t.Errorf("Code(%v) = %d, want %d", err, got, Usage)
		}
	}
}

func TestOutputError(t *testing.T) {
	u := New("gitpeer", nil, failing{}, io.Discard)
	u.Printf("result\n")
	if err := u.OutputError(); err == nil || !strings.Contains(err.Error(), "standard output") {
		t.Errorf("OutputError = %v, want that of standard output", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestProgressLine(t *testing.T) {
	for _, test := range []struct {
		p    node.Progress
		want string
	}{
		{node.Progress{Stage: "receiving pack 2/3", Done: 5 << 20, Total: 12 << 20, Unit: "bytes", Rate: 4 << 20, Peers: 3},
			"Receiving pack 2/3:  41% (5.00/12.00 MiB) | 4.00 MiB/s, 3 peers"},
		{node.Progress{Stage: "receiving pack 1/1", Done: 1000, Total: 5 << 30, Unit: "bytes", Peers: 1},
			"Receiving pack 1/1:   0% (1000 bytes/5.00 GiB), 1 peer"},
		{node.Progress{Stage: "receiving objects", Done: 1234, Total: 3000, Unit: "objects", Bytes: 12 << 20, Rate: 4 << 20, Peers: 3},
			"Receiving objects:  41% (1234/3000), 12.00 MiB | 4.00 MiB/s, 3 peers"},
		{node.Progress{Stage: "storing", Done: 14, Total: 20, Unit: "nodes"}, "Storing:  70% (14/20)"},
		{node.Progress{Stage: "resolving", Done: 14, Unit: "nodes"}, "Resolving: 14 nodes"},
		{node.Progress{Stage: "packing", Done: 1 << 10, Unit: "bytes"}, "Packing: 1.00 KiB"},
		{node.Progress{Stage: "verifying"}, "Verifying: ..."},
		{node.Progress{Stage: "verifying", Over: true}, "Verifying"},
		{node.Progress{Stage: "x", Done: 30, Total: 20}, "X: 100% (20/20)"},
		{node.Progress{Stage: "x", Done: 1 << 62, Total: 1 << 62, Unit: "bytes"}, "X: 100% (4294967296.00/4294967296.00 GiB)"},
		{node.Progress{Stage: "a\x1b[2J", Done: -1, Total: 10}, `A\x1b[2J:   0% (0/10)`},
	} {
		if got := progressLine(test.p); got != test.want {
			t.Errorf("progressLine(%+v) = %q, want %q", test.p, got, test.want)
		}
	}
}

func TestProgress(t *testing.T) {
	events := []node.Progress{
		{Stage: "resolving", Done: 1, Total: 20, Unit: "nodes"},
		{Stage: "resolving", Done: 2, Total: 20, Unit: "nodes"}, // too soon
		{Stage: "resolving", Done: 20, Total: 20, Unit: "nodes", Over: true},
		{Stage: "receiving", Done: 10, Total: 100},
		{Note: "commit signatures are not checked"},
		{Note: "bob was not heard", Warning: true},
		{Stage: "receiving", Done: 100, Total: 100, Over: true},
	}
	for _, test := range []struct {
		name string
		when When
		tty  bool
		want string
	}{
		{"terminal", OnTerminal, true, "Resolving:   5% (1/20)\rResolving: 100% (20/20), done.\n" +
			"Receiving:  10% (10/100)\r\r                        \rgitpeer: commit signatures are not checked\ngitpeer: warning: bob was not heard\nReceiving: 100% (100/100), done.\n"},
		{"no terminal", OnTerminal, false, "gitpeer: commit signatures are not checked\ngitpeer: warning: bob was not heard\n"},
		{"no terminal, --progress", Always, false, "Resolving: 100% (20/20), done.\ngitpeer: commit signatures are not checked\ngitpeer: warning: bob was not heard\nReceiving: 100% (100/100), done.\n"},
		{"notes", NotesOnly, true, "gitpeer: commit signatures are not checked\ngitpeer: warning: bob was not heard\n"},
		{"quiet", Quiet, true, "gitpeer: warning: bob was not heard\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, _, errs := testUI()
				show := u.progress(test.when, test.tty)
				for _, p := range events {
					show(p)
				}
				if errs.String() != test.want {
					t.Errorf("shown:\n%q, want\n%q", errs, test.want)
				}
			})
		})
	}
}

// TestProgressThrottle: many events a second become few lines, the last of
// them whole, and a shorter line covers a longer one.
func TestProgressThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _, errs := testUI()
		show := u.progress(OnTerminal, true)
		for i := range int64(1000) {
			show(node.Progress{Stage: "receiving", Done: i, Total: 1000, Peers: 3})
			time.Sleep(time.Millisecond)
		}
		if n := strings.Count(errs.String(), "\r"); n < 9 || n > 11 {
			t.Errorf("a second of progress was shown %d times, want about 10", n)
		}
		longest := strings.LastIndex(errs.String(), "\r") - strings.LastIndex(strings.TrimSuffix(errs.String(), "\r"), "\r") - 1
		errs.Reset()
		show(node.Progress{Stage: "receiving", Done: 5, Over: true})
		if want := fmt.Sprintf("%-*s\n", longest, "Receiving: 5, done."); errs.String() != want {
			t.Errorf("shown %q, want %q", errs, want)
		}
	})
}

func TestNothingIsAsked(t *testing.T) {
	u, out, errs := testUI()
	if _, err := u.Passphrase(t.Context(), "Passphrase: "); !errors.Is(err, ErrNoTerminal) {
		t.Errorf("Passphrase = %v, want ErrNoTerminal", err)
	}
	if out.Len()+errs.Len() > 0 {
		t.Errorf("something was said: %q %q", out, errs)
	}
	if tty := ControllingTerminal(errs, func(string) string { return "" }); tty != nil {
		t.Error("a terminal was opened although standard error is none")
	}
}

func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "id_ed25519")
	u, _, _ := testUI()
	if _, err := u.Credentials(t.Context(), file, ""); Code(err) != Usage || hint(err) != "gitpeer init" {
		t.Errorf("Credentials without a key = %v", err)
	}
	if _, err := keys.Generate(file, "test"); err != nil {
		t.Fatal(err)
	}
	c, err := u.Credentials(t.Context(), file, "/agent")
	if err != nil || c.AgentSocket != "/agent" || c.Passphrase != nil {
		t.Errorf("Credentials = %+v, %v", c, err)
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"": "''", "/a/b.c-d_e": "/a/b.c-d_e", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "~": "'~'",
	} {
		if got := Quote(text); got != want {
			t.Errorf("Quote(%q) = %s, want %s", text, got, want)
		}
	}
}
