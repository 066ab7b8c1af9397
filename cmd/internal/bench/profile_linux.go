package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
)

// profileVariable names the file for the CPU profile of a node that is this
// program: GITPEER_EXE has gitpeer's programs start it.
const profileVariable = "GITPEER_BENCH_PROFILE"

// beNode is gitpeer daemon with a CPU profile.
func beNode(ctx context.Context) (err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	home, err := node.DefaultHome(os.Getenv)
	if err != nil {
		return err
	}
	file, err := os.Create(os.Getenv(profileVariable))
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer func() {
		pprof.StopCPUProfile()
		err = errors.Join(err, file.Close())
	}()
	return node.Run(ctx, node.Options{Home: home, Getenv: os.Getenv, Log: node.NewLogger(home, os.Stderr, slog.LevelInfo), Version: "bench"})
}

// profile writes what the nodes of a publisher and a reader spend their time on,
// in one clone over loopback, into profile.md of the output folder: of the largest
// repository, which has the most samples.
func (l *bench) profile(ctx context.Context, r *repository) error {
	if l.rounds == 0 || slices.ContainsFunc(l.repos, func(other *repository) bool { return other.Pack > r.Pack }) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h := here()
	bootstrap, pub, err := l.publishAt(ctx, h, r)
	if err != nil {
		return err
	}
	defer pub.person.leave(ctx)
	files := map[string]string{"seeder": filepath.Join(l.dir, "seeder.pprof"), "reader": filepath.Join(l.dir, "reader.pprof")}
	profiled := func(p *person, name string) {
		p.env = append(p.env, "GITPEER_EXE="+self, profileVariable+"="+files[name])
	}
	profiled(pub.person, "seeder")
	if _, err := pub.person.restart(ctx, pub.url); err != nil {
		return err
	}
	reader, err := l.newPerson(h, "reader", bootstrap)
	if err != nil {
		return err
	}
	defer reader.leave(ctx)
	profiled(reader, "reader")
	if _, err := reader.run(ctx, "gitpeer", "trust", "add", pub.url, "--publisher-only", "--as", "bench"); err != nil {
		return err
	}
	if _, err := reader.cloneAll(ctx, pub.url); err != nil {
		return err
	}
	for _, p := range []*person{pub.person, reader} {
		if _, err := p.run(ctx, "gitpeer", "stop"); err != nil {
			return err
		}
	}
	return l.writeProfile(ctx, r, self, files)
}

func (l *bench) writeProfile(ctx context.Context, r *repository, program string, files map[string]string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# CPU profiles\n\nWritten by `make bench REPOS=%s=DIR ONLY=^Profile`: one clone (--bare) over loopback, a pack of %d bytes.\n"+
		"By `go tool pprof -top`: first the functions with the most time of their own, then those\nwith the most time in them and in what they call (cum).\n", r.Name, r.Pack)
	for _, name := range []string{"seeder", "reader"} {
		fmt.Fprintf(&b, "\n## The %s\n", name)
		for _, order := range []string{"-flat", "-cum"} {
			out, err := here().run(ctx, nil, "go", "tool", "pprof", "-top", order, "-nodecount=25", program, files[name])
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "\n```\n%s```\n", shortProfile(out.Stdout))
		}
	}
	return os.WriteFile(filepath.Join(l.out, "profile.md"), b.Bytes(), 0o644)
}

// shortProfile leaves out of what pprof writes where the program lay.
func shortProfile(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "File: ") && !strings.HasPrefix(line, "Build ID: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}
