package gitcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
)

// A PackSpec says what a pack holds and how it is made.
type PackSpec struct {
	Tips, Bases []refs.OID // it holds what tips reach and bases do not; it is thin if there are bases
	Format      refs.ObjectFormat
	// Anew finds new deltas, with five times as many candidates for each as git
	// pack-objects has by default, in place of those of the packs at hand. That
	// takes minutes for a large history, and often halves the pack.
	Anew bool
	// Progress, if not nil, is told for how many of how many objects deltas have
	// been looked for.
	Progress func(done, total int64)
}

// PackObjects writes a pack to w. Without bases, deltas lie next to what they are
// against, so that whoever resolves them while the pack comes in has little to
// keep or to do twice.
func (r Repo) PackObjects(ctx context.Context, p PackSpec, w io.Writer) error {
	in := revisions(except(p.Tips, p.Bases), p.Bases)
	args := []string{"-c", "pack.windowMemory=256m", "-c", "pack.deltaCacheSize=64m",
		"pack-objects", "--progress", "--revs", "--stdout", "--delta-base-offset"}
	if p.Anew {
		args = append(args, "--no-reuse-delta", "--no-use-bitmap-index", "--window=50")
	}
	if len(p.Bases) > 0 {
		args = append(args, "--thin")
	} else {
		tagged, remove, err := r.tagged(ctx, p.Tips, p.Format)
		if err != nil {
			return err
		}
		defer remove()
		r = tagged
	}
	cmd := r.Command(ctx, args...)
	stderr := &packMessages{tail: tail{max: maxStderr}, report: p.Progress}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, w, stderr
	err := cmd.Run()
	stderr.said(stderr.line)
	return failure(cmd, &stderr.tail, err)
}

// packMessages takes progress out of what git pack-objects says.
type packMessages struct {
	tail
	report func(done, total int64) // may be nil
	line   []byte                  // that has not ended
}

// compressing is the progress of looking for deltas.
var compressing = regexp.MustCompile(`^Compressing objects: +[0-9]+% \(([0-9]+)/([0-9]+)\)`)

// isProgress matches what is not to be told to people.
var isProgress = regexp.MustCompile(`^((Enumerating|Counting|Compressing|Writing) objects: |Delta compression using |Total [0-9])`)

// Write implements [io.Writer].
func (m *packMessages) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		end := bytes.IndexAny(rest, "\r\n") + 1
		if end == 0 {
			m.line = lastOf(append(m.line, rest...))
			break
		}
		m.said(lastOf(append(m.line, rest[:end]...)))
		m.line, rest = m.line[:0], rest[end:]
	}
	return len(b), nil
}

// lastOf is what is kept of a line.
func lastOf(line []byte) []byte { return line[max(0, len(line)-maxStderr):] }

// said takes a line.
func (m *packMessages) said(line []byte) {
	if found := compressing.FindSubmatch(line); found != nil && m.report != nil {
		done, _ := strconv.ParseInt(string(found[1]), 10, 64) // digits, or too many: then 0 or the most there is
		total, _ := strconv.ParseInt(string(found[2]), 10, 64)
		m.report(done, total)
	}
	if !isProgress.Match(line) {
		m.tail.Write(line)
	}
}

// tagged is a repository with the same objects for a while, whose refs are tags
// of all tips. git pack-objects puts each delta after its base only in what is
// not newer than the newest tag that it finds; what is newer, or everything where
// there is no tag, it writes in the order of history (builtin/pack-objects.c,
// compute_write_order).
func (r Repo) tagged(ctx context.Context, tips []refs.OID, format refs.ObjectFormat) (_ Repo, remove func(), err error) {
	dir, err := os.MkdirTemp(r.Quarantine, "tagged-*")
	if err != nil {
		return r, nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	tagged := Repo{Dir: dir, Quarantine: r.Quarantine, Alternates: append([]string{filepath.Join(r.Dir, "objects")}, r.Alternates...)}
	if err = Init(ctx, dir, format); err == nil {
		var list strings.Builder
		for _, oid := range slices.Compact(slices.Sorted(slices.Values(tips))) {
			fmt.Fprintf(&list, "%s refs/tags/tip-%[1]s\n", oid)
		}
		err = os.WriteFile(filepath.Join(dir, "packed-refs"), []byte(list.String()), 0o600)
	}
	if err != nil {
		remove()
	}
	return tagged, remove, err
}

// IndexOptions say how strictly a pack is taken in.
type IndexOptions struct {
	MaxInput int64 // bytes; 0 is no limit
	FixThin  bool  // complete the pack from objects that are already here
	Whole    bool  // the pack must be self-contained and connected

	// What the pack is declared to hold, which bounds what git may use: see
	// bounds. Objects 0 is no declaration.
	Objects, Inflated, Object int64
}

// An Indexed is a pack that index-pack has taken in.
type Indexed struct {
	Hash string // of the name: pack-<Hash>.pack
}

// ErrNotSelfContained means that a pack which had to stand by itself refers to
// objects that it does not hold.
var ErrNotSelfContained = errors.New("pack is not self-contained")

// tolerated are the complaints of fsck that say nothing about safety and that
// old, honest histories are full of; the forges let the same three pass.
const tolerated = "badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore"

// IndexPack reads a pack and writes it with its index into the repository's
// quarantine, checking every object, as git would on a strict server.
func (r Repo) IndexPack(ctx context.Context, pack io.Reader, o IndexOptions) (*Indexed, error) {
	args := []string{"-c", "pack.indexVersion=2", "index-pack", "--stdin", "--strict=" + tolerated}
	if o.FixThin {
		args = append(args, "--fix-thin")
	}
	if o.Whole {
		args = append(args, "--check-self-contained-and-connected")
	}
	if o.MaxInput > 0 {
		args = append(args, "--max-input-size="+strconv.FormatInt(o.MaxInput, 10))
	}
	cmd := r.Command(ctx, args...)
	var out bytes.Buffer
	err := pipeWithin(cmd, o.bounds(), pack, &out)
	var exit *exec.ExitError
	if o.Whole && errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil, ErrNotSelfContained
	}
	if err != nil {
		return nil, err
	}
	kind, hash, ok := strings.Cut(strings.TrimSpace(out.String()), "\t")
	if !ok || kind != "pack" && kind != "keep" {
		return nil, fmt.Errorf("git index-pack: unexpected answer %q", out.String())
	}
	return &Indexed{Hash: hash}, nil
}

// Repack writes a pack of exactly these objects, with its index, as
// <prefix>-<hash>.pack, and returns the hash.
func (r Repo) Repack(ctx context.Context, oids []refs.OID, prefix string) (hash string, err error) {
	out, err := run(r.Command(ctx, "-c", "pack.windowMemory=256m", "-c", "pack.deltaCacheSize=64m", "-c", "pack.indexVersion=2",
		"pack-objects", "--quiet", "--delta-base-offset", prefix), revisions(oids, nil))
	return strings.TrimSpace(string(out)), err
}
