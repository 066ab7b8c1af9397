package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A host is where commands run: a network namespace, or this machine itself
// with its loopback interface.
type host struct {
	Name  string
	netns string // "" for this machine
	Addr  string // of its interface, 127.0.0.1 for this machine
}

func here() *host { return &host{Name: "here", Addr: "127.0.0.1"} }

// command makes a command that runs on h.
func (h *host) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	if h.netns != "" {
		args = append([]string{"ip", "netns", "exec", h.netns}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// An outcome is what a command has cost.
type outcome struct {
	Wall, CPU time.Duration
	Stdout    string
}

// run runs a command to its end.
func (h *host) run(ctx context.Context, env []string, args ...string) (outcome, error) {
	cmd := h.command(ctx, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	out := outcome{Wall: time.Since(begin), Stdout: stdout.String()}
	if err != nil {
		return out, fmt.Errorf("%s on %s: %w\n%s", strings.Join(args, " "), h.Name, err, stderr.String())
	}
	out.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return out, nil
}

// A process runs in the background until it is ended.
type process struct{ pid int }

// cpu returns the time that a process and its ended children have used. The
// clock ticks a hundred times a second on every Linux.
func (p process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	// The second field, in brackets, may hold anything; utime is the 14th.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", p.pid, text)
	}
	var ticks int64
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// peak returns the peak resident memory of a process, in bytes.
func (p process) peak() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return kib << 10, err
}

// A person has a home, a node, and a host to be on.
type person struct {
	host *host
	dir  string
	env  []string
}

// newPerson makes somebody with an empty home.
func (l *bench) newPerson(h *host, name, bootstrap string) (*person, error) {
	dir, err := os.MkdirTemp(l.dir, name+"-")
	if err != nil {
		return nil, err
	}
	return l.personAt(h, dir, bootstrap), nil
}

// personAt is somebody whose home is dir.
func (l *bench) personAt(h *host, dir, bootstrap string) *person {
	return &person{host: h, dir: dir, env: []string{
		"HOME=" + dir, "GITPEER_HOME=" + filepath.Join(dir, "gitpeer"), "GITPEER_BOOTSTRAP=" + bootstrap,
		"GITPEER_LISTEN=" + h.Addr + ":0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Bench", "GIT_AUTHOR_EMAIL=bench@example.org", "GIT_COMMITTER_NAME=Bench", "GIT_COMMITTER_EMAIL=bench@example.org",
		"PATH=" + l.bin + ":" + os.Getenv("PATH"),
	}}
}

func (p *person) run(ctx context.Context, args ...string) (outcome, error) {
	// The host resolves the program: ip and exec look in our PATH, not in the command's.
	return p.host.run(ctx, p.env, append([]string{"env"}, args...)...)
}

// node finds the person's node.
func (p *person) node() (process, error) {
	text, err := os.ReadFile(filepath.Join(p.dir, "gitpeer", "lock"))
	if err != nil {
		return process{}, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return process{pid}, err
}

// leave stops the person's node and discards everything of theirs.
func (p *person) leave(ctx context.Context) error {
	_, err := p.run(context.WithoutCancel(ctx), "gitpeer", "stop")
	if err != nil {
		return err
	}
	return discard(p.dir)
}

// discard takes a folder out of the way. It is removed when all is done: for
// five seconds ext4 uses no inode again, and looks long for others, so that a
// clone right after the removal of another takes up to twice as long.
func discard(dir string) error {
	to, err := os.MkdirTemp(filepath.Dir(dir), "discarded-")
	if err != nil {
		return err
	}
	return os.Rename(dir, filepath.Join(to, filepath.Base(dir)))
}
