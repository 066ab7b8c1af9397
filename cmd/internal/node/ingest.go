package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
)

// A quarantine is an object directory beside a mirror's own: what comes in is
// checked here, and moves only after everything has passed. Removing the
// folder forgets it without a trace.
type quarantine struct {
	repo gitcmd.Repo
	dir  string
}

// newQuarantine makes an empty quarantine for the mirror.
func (m *mirror) newQuarantine() (*quarantine, error) {
	dir, err := os.MkdirTemp(m.path(), quarantinePrefix+"*")
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "pack"), 0o700); err != nil {
		return nil, err
	}
	repo := m.repo
	repo.Quarantine = dir
	return &quarantine{repo: repo, dir: dir}, nil
}

const quarantinePrefix = "quarantine-"

func (q *quarantine) remove() { os.RemoveAll(q.dir) }

// An ingested pack lies in a quarantine, completed and indexed by git.
type ingested struct {
	Hash   string         // of git's file name
	Stats  packfile.Stats // of the bytes as they came
	SHA256 refs.Digest    // of the bytes as they came
}

// ingest streams one pack through the scanner and git index-pack into the
// quarantine. base says that the pack must stand by itself; otherwise it may be
// thin. also, if not nil, sees every byte.
func (q *quarantine) ingest(ctx context.Context, pack io.Reader, in ingestSpec) (*ingested, error) {
	toScan, scanEnd := io.Pipe()
	toIndex, indexEnd := io.Pipe()
	sum := sha256.New()
	sinks := []io.Writer{sum, scanEnd, indexEnd}
	if in.Also != nil {
		sinks = append(sinks, in.Also)
	}
	out := &ingested{}
	var scanErr, indexErr, copyErr error
	var g errgroup.Group
	g.Go(func() error {
		var stats *packfile.Stats
		if stats, scanErr = packfile.Scan(toScan, in.Format, in.Limits, count(in.Checked)); scanErr == nil {
			out.Stats = *stats
		}
		toScan.CloseWithError(errors.Join(scanErr, errSinkClosed))
		return nil
	})
	g.Go(func() error {
		var indexed *gitcmd.Indexed
		indexed, indexErr = q.repo.IndexPack(ctx, toIndex, gitcmd.IndexOptions{
			MaxInput: in.Limits.Bytes, FixThin: !in.Whole, Whole: in.Whole,
			Objects: in.Limits.Objects, Inflated: in.Limits.Inflated, Object: in.Limits.Object,
		})
		if indexErr == nil {
			out.Hash = indexed.Hash
		}
		indexErr = blameDisk(q.dir, indexErr)
		toIndex.CloseWithError(errSinkClosed)
		return nil
	})
	_, copyErr = io.CopyBuffer(io.MultiWriter(sinks...), pack, make([]byte, 256<<10))
	scanEnd.CloseWithError(copyErr) // nil is the end of the pack
	indexEnd.CloseWithError(copyErr)
	g.Wait()
	if err := ingestError(ctx, scanErr, indexErr, copyErr); err != nil {
		return nil, err
	}
	sum.Sum(out.SHA256[:0])
	return out, nil
}

// ingestSpec says what a pack is expected to be.
type ingestSpec struct {
	Format refs.ObjectFormat
	Limits packfile.Limits
	Whole  bool      // a base: self-contained
	Also   io.Writer // sees every byte too, if not nil
	// Checked counts the objects of the pack, if not nil.
	Checked *atomic.Int64
}

// errSinkClosed is what the copying loop sees once a reader has had enough.
var errSinkClosed = errors.New("reader has stopped")

// ingestError picks the error that says most: a broken limit, then what ended
// the stream, then what git said of the bytes.
func ingestError(ctx context.Context, scan, index, stream error) error {
	var over *packfile.LimitError
	var git *gitcmd.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(scan, &over):
		return over
	case stream != nil && !errors.Is(stream, errSinkClosed):
		return stream
	case diskFull(index), errors.As(index, &git) && git.Interrupted():
		return index // no fault of the pack's
	case index != nil:
		return &packError{index}
	case scan != nil:
		return &packError{scan}
	}
	return stream
}

// A packError is a pack that git, or the scanner, refuses.
type packError struct{ Err error }

func (e *packError) Error() string { return "pack is refused: " + e.Err.Error() }
func (e *packError) Unwrap() error { return e.Err }

// compare says how an ingested pack differs from what a snapshot declares.
func (in *ingested) compare(p refs.Pack) error {
	switch {
	case in.Stats.Bytes != p.Bytes:
		return fmt.Errorf("pack %s has %d bytes, the snapshot says %d", p.InfoHash, in.Stats.Bytes, p.Bytes)
	case in.SHA256 != p.SHA256:
		return fmt.Errorf("pack %s has SHA-256 %s, the snapshot says %s", p.InfoHash, in.SHA256, p.SHA256)
	case in.Stats.Objects != p.Objects:
		return fmt.Errorf("pack %s has %d objects, the snapshot says %d", p.InfoHash, in.Stats.Objects, p.Objects)
	case in.Stats.Inflated != p.Inflated:
		return fmt.Errorf("pack %s has %d inflated bytes, the snapshot says %d", p.InfoHash, in.Stats.Inflated, p.Inflated)
	}
	return nil
}
