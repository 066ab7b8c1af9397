package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A bench is one run of the program.
type bench struct {
	dir    string // for everything that is made; removed at the end
	bin    string // where gitpeer and git-remote-gitpeer are
	out    string // for the results
	rounds int
	only   *regexp.Regexp
	repos  []*repository
	raw    io.Writer
	taken  map[string]int // samples of each configuration
	kept   string         // folder for stages that outlive this run, "" for none

	furthest int // most publications that a reader of Fetch is behind
}

// emit writes a sample down as soon as it is taken.
func (l *bench) emit(s sample) {
	l.taken[s.key()]++
	fmt.Fprintln(l.raw, s)
	fmt.Fprintln(os.Stderr, s)
}

// has says whether a sample of this round, counted from 0, is there already: one
// that was taken before a run was broken off, and that is not taken again.
func (l *bench) has(round int, name string, c config) bool {
	return l.taken[sample{Name: name, Config: c}.key()] > round
}

// A scenario measures one thing on one repository, or without one.
type scenario struct {
	name    string
	measure func(*bench, context.Context, *repository) error
}

func scenarios() []scenario {
	return []scenario{
		{"Link", (*bench).link}, {"Clone", (*bench).clone}, {"LinkClone", (*bench).linkClone}, {"Crowd", (*bench).crowd}, {"SlowCrowd", (*bench).slowCrowd},
		{"OriginDies", (*bench).originDies}, {"Fetch", (*bench).fetch}, {"Publish", (*bench).publish},
		{"Memory", (*bench).memory}, {"Profile", (*bench).profile},
	}
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	asSwitch := flags.Duration("switch", -1, "be the switch of a lab, with this `delay` (of use to bench itself)")
	report := flags.String("report", "", "write the report of a `file` of samples, and measure nothing")
	send := flags.String("tcp-send", "", "send to whoever connects to this `address` (of use to bench itself)")
	receive := flags.String("tcp-receive", "", "receive from this `address` (of use to bench itself)")
	only := flags.String("only", ".", "run the scenarios that match this `regexp`")
	l := &bench{taken: map[string]int{}}
	flags.IntVar(&l.rounds, "rounds", 5, "samples of each kind")
	resume := flags.Bool("resume", false, "do not take again the samples that raw.txt has: after a run that was broken off")
	flags.StringVar(&l.kept, "stage", "", "keep copies of repositories and what Fetch begins with in this `directory`, for further runs; -rounds 0 only prepares it")
	flags.IntVar(&l.furthest, "behind", 100, "most publications that a reader of Fetch is behind: 1, 10, 100 or 1000")
	flags.StringVar(&l.out, "out", "docs/bench", "`directory` for raw.txt, README.md and the plots")
	flags.StringVar(&l.bin, "bin", "bin", "`directory` of the programs")
	flags.Func("repo", "`NAME=DIR` of a repository, the medium one first", func(text string) error {
		name, dir, ok := strings.Cut(text, "=")
		if !ok || name == "" || strings.ContainsAny(name, "/ ") {
			return errors.New("NAME=DIR is wanted")
		}
		l.repos = append(l.repos, &repository{Name: name, from: dir})
		return nil
	})
	if len(args) > 0 && args[0] == "daemon" {
		return beNode(ctx) // somebody's GITPEER_EXE
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *asSwitch >= 0:
		return runSwitch(*asSwitch, os.Stdin, os.Stdout)
	case *send != "":
		return sendTCP(*send, os.Stdout)
	case *receive != "":
		return receiveTCP(*receive, os.Stdout)
	case *report != "":
		return writeReport(*report, l.out)
	case len(l.repos) == 0:
		return errors.New("name a repository: make bench REPOS=\"medium=DIR git=DIR\"")
	}
	if l.only, err = regexp.Compile(*only); err != nil {
		return err
	}
	if *resume {
		if err := l.count(filepath.Join(l.out, "raw.txt")); err != nil {
			return err
		}
	}
	return l.all(ctx)
}

// count counts the samples that a file has.
func (l *bench) count(file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	samples, err := parseSamples(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, s := range samples {
		l.taken[s.key()]++
	}
	return nil
}

// all runs the scenarios and writes the report.
func (l *bench) all(ctx context.Context) (err error) {
	if l.bin, err = filepath.Abs(l.bin); err != nil {
		return err
	}
	if l.kept != "" {
		if l.kept, err = filepath.Abs(l.kept); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(l.bin, "git-remote-gitpeer")); err != nil {
		return fmt.Errorf("%w; run make build", err)
	}
	if l.dir, err = os.MkdirTemp("", "gitpeer-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(l.dir)
	if err := os.MkdirAll(l.out, 0o755); err != nil {
		return err
	}
	raw, err := os.OpenFile(filepath.Join(l.out, "raw.txt"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer raw.Close()
	l.raw = raw
	fmt.Fprintf(raw, "\n%s", machine(ctx))
	failed := l.measure(ctx)
	return errors.Join(failed, raw.Sync(), writeReport(raw.Name(), l.out))
}

// measure runs the scenarios that are wanted. One that fails stops no other.
func (l *bench) measure(ctx context.Context) error {
	var failed []error
	ready := map[*repository]bool{}
	for _, s := range scenarios() {
		for _, r := range l.repos {
			if ctx.Err() != nil || !l.only.MatchString(s.name+"/"+r.Name) {
				continue
			}
			if !ready[r] {
				if err := l.prepare(ctx, r); err != nil {
					return errors.Join(append(failed, err)...)
				}
				ready[r] = true
			}
			if err := s.measure(l, ctx, r); err != nil {
				failed = append(failed, fmt.Errorf("%s of %s: %w", s.name, r.Name, err))
			}
		}
	}
	return errors.Join(append(failed, ctx.Err())...)
}

// machine describes where and with what is measured, as lines of a benchmark
// file's configuration.
func machine(ctx context.Context) string {
	var b strings.Builder
	fmt.Fprintf(&b, "date: %s\n", time.Now().UTC().Format(time.DateOnly))
	for _, line := range []struct {
		key  string
		args []string
	}{
		{"kernel", []string{"uname", "-srm"}},
		{"cpu", []string{"sh", "-c", "echo $(nproc) × $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"}},
		{"git", []string{"git", "version"}},
		{"go", []string{"go", "version"}},
		{"commit", []string{"git", "describe", "--always", "--dirty"}},
	} {
		out, err := exec.CommandContext(ctx, line.args[0], line.args[1:]...).Output()
		if err != nil {
			out = []byte("unknown")
		}
		fmt.Fprintf(&b, "%s: %s\n", line.key, strings.TrimSpace(string(out)))
	}
	return b.String()
}
