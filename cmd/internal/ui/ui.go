package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/keys"
)

// maxText bounds one piece of outside text on the terminal. It is longer than
// any URL, ref name or git message that a person would read to its end.
const maxText = 4 << 10

// A UI is what one run of a program says and asks. It may be used by several
// goroutines.
type UI struct {
	program string
	in      io.Reader
	out     io.Writer
	err     io.Writer

	mu     sync.Mutex
	line   int   // width of the progress line that stands on the terminal; 0: none
	outErr error // the first failure to write to out
}

// New makes the UI of a program that is called by this name. Prompts are read
// from in if that is a terminal; results go to out, all else to err.
func New(program string, in io.Reader, out, err io.Writer) *UI {
	return &UI{program: program, in: in, out: out, err: err}
}

// Printf writes a result to standard output, as fmt.Sprintf formats it, with
// every text among the arguments made printable.
func (u *UI) Printf(format string, args ...any) {
	u.write(fmt.Appendf(nil, format, printable(args)...))
}

// JSON writes one value to standard output, indented by two spaces. Characters
// that could act on a terminal are written as \u escapes, which a JSON reader
// does not tell apart.
func (u *UI) JSON(v any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		panic("ui: " + err.Error()) // only types of our own are given
	}
	u.write(escapeJSON(b.Bytes()))
}

// escapeJSON writes what is neither ASCII nor printable as \u escapes. JSON
// has such characters only inside of strings.
func escapeJSON(text []byte) []byte {
	escaped := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\n' || r != 0x7f && unicode.IsPrint(r):
			escaped = append(escaped, text[:size]...)
		case r > 0xffff:
			r -= 0x10000
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
		text = text[size:]
	}
	return escaped
}

func (u *UI) write(b []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := u.out.Write(b); err != nil && u.outErr == nil {
		u.outErr = fmt.Errorf("writing standard output: %w", err)
	}
}

// OutputError is the first failure to write a result, or nil. A program that
// could not say its result has not succeeded.
func (u *UI) OutputError() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.outErr
}

// Warnf says on standard error what is not right but does not end the program.
func (u *UI) Warnf(format string, args ...any) {
	u.say(u.program + ": warning: " + fmt.Sprintf(format, printable(args)...))
}

// Notef says a fact on standard error.
func (u *UI) Notef(format string, args ...any) {
	u.say(u.program + ": " + fmt.Sprintf(format, printable(args)...))
}

// Fail says why the program ends, with a hint if there is one, and returns the
// exit status. It says nothing of a nil error and of a child's exit status.
func (u *UI) Fail(err error) int {
	switch code := Code(err); {
	case code == 0 || isExit(err):
		return code
	case code == Interrupted:
		u.say(u.program + ": interrupted")
		return code
	default:
		u.say(u.program + ": error: " + paragraph(message(err)))
		if h := hint(err); h != "" {
			u.say("hint: " + paragraph(h))
		}
		return code
	}
}

// maxVerdicts is how many refusals are printed; gitpeer trust check has all.
const maxVerdicts = 20

// message is the text of an error. A policy that refuses has a sentence for
// every ref, or for everybody who signed in a repository that is new.
func message(err error) string {
	var answer *node.Error
	if !errors.As(err, &answer) || len(answer.Verdicts) < 2 {
		return err.Error()
	}
	var lines []string
	for i, v := range answer.Verdicts {
		if i == maxVerdicts {
			lines = append(lines, fmt.Sprintf("… and %d more", len(answer.Verdicts)-i))
			break
		}
		text := strings.ReplaceAll(v.Why, "\n", " ")
		if v.Ref != "" && !strings.HasPrefix(text, string(v.Ref)) {
			text = string(v.Ref) + ": " + text
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n")
}

// say writes lines to standard error, over a progress line that may stand there.
func (u *UI) say(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear := ""
	if u.line > 0 {
		clear = "\r" + strings.Repeat(" ", u.line) + "\r"
		u.line = 0
	}
	io.WriteString(u.err, clear+text+"\n")
}

// paragraph makes a message of several lines printable. The lines after the
// first are indented, so that none can pass for one of ours.
func paragraph(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	const maxLines = 100
	if len(lines) > maxLines {
		lines = append(lines[:maxLines], fmt.Sprintf("… %d more lines", len(lines)-maxLines))
	}
	for i, line := range lines {
		lines[i] = keys.Printable(strings.ReplaceAll(line, "\t", "    "), maxText)
	}
	return strings.Join(lines, "\n    ")
}

// printable makes every text among the arguments of a format printable.
func printable(args []any) []any {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case Text:
			safe[i] = arg
		case string:
			safe[i] = keys.Printable(v, maxText)
		case []byte:
			safe[i] = keys.Printable(string(v), maxText)
		case error:
			safe[i] = keys.Printable(v.Error(), maxText)
		case fmt.Stringer:
			safe[i] = keys.Printable(v.String(), maxText)
		default:
			safe[i] = arg
			if r := reflect.ValueOf(arg); r.Kind() == reflect.String {
				safe[i] = keys.Printable(r.String(), maxText)
			}
		}
	}
	return safe
}

// terminal returns the file behind a stream if it is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && f != nil && term.IsTerminal(int(f.Fd()))
}

// Text is text of our own, such as a help page: it is printed as it is. Nothing
// that comes from outside may become one.
type Text string
