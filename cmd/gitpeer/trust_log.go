package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A logCheck is what trust log --verify prints about one log.
type logCheck struct {
	File    string `json:"file"`
	Entries int    `json:"entries"`
}

func runTrustLog(ctx context.Context, e *env, args []string) error {
	f := newFlags("trust")
	verify := f.Bool("verify", false, "")
	asJSON := f.json()
	rest, err := f.parse(args, 0, 1)
	if err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	logs, err := e.logs(home, rest)
	if err != nil {
		return err
	}
	entries, checks := []trust.LogEntry{}, []logCheck{}
	for _, path := range logs {
		before := len(entries)
		err := readLog(path, func(entry trust.LogEntry) error {
			entries = append(entries, entry)
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		checks = append(checks, logCheck{path, len(entries) - before})
	}
	switch {
	case *verify && *asJSON:
		e.ui.JSON(checks)
	case *asJSON:
		e.ui.JSON(entries)
	case *verify:
		for _, c := range checks {
			e.ui.Printf("%s: %d entries, each follows from the one before\n", c.File, c.Entries)
		}
	default:
		for _, entry := range entries {
			e.printEntry(entry)
		}
	}
	return nil
}

// logs finds the decision logs of the repository that is named, or of all.
func (e *env) logs(home node.Home, names []string) ([]string, error) {
	const inMirror = "gitpeer/log"
	if len(names) == 0 {
		every := refs.Address{}
		repos := filepath.Dir(filepath.Dir(home.Mirror(every)))
		found, err := fs.Glob(os.DirFS(repos), "*/*.git/"+inMirror)
		for i := range found {
			found[i] = filepath.Join(repos, found[i])
		}
		return found, err
	}
	urls, err := e.toCheck(names)
	if err != nil {
		return nil, err
	}
	host, name, err := refs.SplitURL(urls[0])
	if err != nil {
		return nil, err
	}
	policy, err := trust.Load(home.Config)
	if err != nil {
		return nil, err
	}
	address, err := policy.ResolveURL(host, name)
	if err != nil {
		return nil, err
	}
	return []string{filepath.Join(home.Mirror(address), filepath.FromSlash(inMirror))}, nil
}

// readLog reads a log, which is empty where nothing was decided yet.
func readLog(path string, each func(trust.LogEntry) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return trust.ReadLog(f, each)
}

func (e *env) printEntry(entry trust.LogEntry) {
	e.ui.Printf("%s  %-7s %s number %d, %s\n", entry.Time.UTC().Format(time.RFC3339), string(entry.Action), entry.Repository, entry.Number, plural(entry.Refs, "ref"))
	for _, v := range entry.Verdicts {
		e.ui.Printf("    %-20s %s%s\n", v.Code, v.Ref, detail(v))
	}
}
