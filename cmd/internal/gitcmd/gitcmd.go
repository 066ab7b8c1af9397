package gitcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Repo is a git directory together with the object directories that commands
// in it may read besides its own.
type Repo struct {
	Dir        string   // the git directory
	Quarantine string   // new objects go here instead of Dir/objects, if set
	Alternates []string // further object directories to read from
}

// An Error is a git command that failed.
type Error struct {
	Command string // the subcommand, such as "index-pack"
	Stderr  string // what it said, trimmed, at most maxStderr bytes
	Err     error
}

func (e *Error) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("git %s: %v", e.Command, e.Err)
	}
	return fmt.Sprintf("git %s: %s", e.Command, e.Stderr)
}

func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the exit status of the command, or -1 if it did not exit by itself.
func (e *Error) ExitCode() int {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// Interrupted reports whether somebody ended the command, as a terminal or a
// service manager does with all processes of a group at once.
func (e *Error) Interrupted() bool {
	var exit *exec.ExitError
	if !errors.As(e.Err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && slices.Contains([]syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}, status.Signal())
}

// maxStderr bounds what is kept of a command's standard error: enough for any
// message, too little to fill memory.
const maxStderr = 8 << 10

// settings hold for every command: nothing in a repository's or the user's
// configuration may run a program or change what a command reads.
var settings = []string{
	"-c", "core.hooksPath=/dev/null",
	"-c", "core.fsmonitor=false",
	"-c", "core.alternateRefsCommand=",
	"-c", "core.commitGraph=false",
	"-c", "core.packedGitLimit=128m", // address space only, but it bounds the resident set
	"-c", "gc.auto=0",
	"-c", "maintenance.auto=false",
	"-c", "log.showSignature=false",
	"-c", "transfer.unpackLimit=1",
	"-c", "safe.directory=*",
}

// Environ is the environment of every git process: the caller's without any
// GIT_* variable, and with everything off that could prompt, fetch or replace.
func Environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "GIT_") {
			env = append(env, kv)
		}
	}
	return append(env,
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_NO_LAZY_FETCH=1",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_PROTOCOL_FROM_USER=0",
		"GIT_ALLOW_PROTOCOL=",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_ADVICE=0",
		"LC_ALL=C",
	)
}

// Command is a git command in the repository; it is killed, with a grace of
// five seconds, when ctx ends.
func (r Repo) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append(settings[:len(settings):len(settings)], args...)...)
	cmd.Env = append(Environ(), "GIT_DIR="+r.Dir)
	alternates := r.Alternates
	if r.Quarantine != "" {
		cmd.Env = append(cmd.Env, "GIT_QUARANTINE_PATH="+r.Quarantine, "GIT_OBJECT_DIRECTORY="+r.Quarantine)
		alternates = append([]string{r.Dir + "/objects"}, alternates...)
	}
	if len(alternates) > 0 {
		cmd.Env = append(cmd.Env, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+quoteList(alternates))
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// quoteList writes paths as git reads them from GIT_ALTERNATE_OBJECT_DIRECTORIES:
// separated by colons, a path with a colon or a quote C-quoted.
func quoteList(paths []string) string {
	quoted := make([]string, len(paths))
	for i, p := range paths {
		if strings.ContainsAny(p, ":\"\\\n") {
			p = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(p) + `"`
		}
		quoted[i] = p
	}
	return strings.Join(quoted, ":")
}

// run runs a command to its end and returns what it printed.
func run(cmd *exec.Cmd, stdin io.Reader) ([]byte, error) {
	var out bytes.Buffer
	if err := pipe(cmd, stdin, &out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// pipe runs a command to its end between stdin and stdout.
func pipe(cmd *exec.Cmd, stdin io.Reader, stdout io.Writer) error {
	stderr := &tail{max: maxStderr}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	return failure(cmd, stderr, cmd.Run())
}

// failure describes how a command ended.
func failure(cmd *exec.Cmd, stderr *tail, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Command: subcommand(cmd.Args[1:]), Stderr: stderr.String(), Err: err}
}

// subcommand finds the name of the subcommand behind git's own options.
func subcommand(args []string) string {
	for len(args) > 1 && args[0] == "-c" {
		args = args[2:]
	}
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// A tail keeps the last max bytes written to it.
type tail struct {
	max int
	b   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*t.max {
		t.b = append(t.b[:0], t.b[len(t.b)-t.max:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	b := t.b
	if len(b) > t.max {
		b = b[len(b)-t.max:]
	}
	return strings.TrimSpace(strings.ReplaceAll(strings.TrimSpace(string(b)), "fatal: ", ""))
}
