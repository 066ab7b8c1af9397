package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// Packs that stand by themselves are indexed by package packfile, while they
// come in; git index-pack judges what that is unsure of.

// A hintFile is the hint of a pack and the torrent that carries it.
type hintFile struct {
	Info    *swarm.Info
	Entries *packfile.Entries
}

// install gives the pack in file, which is complete, its place in the
// quarantine, with its index. The file stays where it is: one file, two names.
func (q *quarantine) install(x *packfile.Index, file string) (*ingested, error) {
	in := &ingested{Hash: x.Hash(), Stats: x.Stats, SHA256: x.SHA256}
	if _, err := os.Stat(q.packPath(in.Hash, ".pack")); err == nil {
		return in, nil // from a snapshot without refs on and from nothing on are the same
	}
	idx, err := os.OpenFile(q.packPath(in.Hash, ".idx"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, err
	}
	err = errors.Join(x.WriteIdx(idx), idx.Sync(), idx.Close())
	if err != nil {
		return nil, err
	}
	pack := q.packPath(in.Hash, ".pack")
	if err := durable.LinkOrCopy(file, pack); err != nil {
		return nil, err
	}
	return in, errors.Join(durable.Sync(pack), os.Chmod(pack, 0o444))
}

func (q *quarantine) packPath(hash, ext string) string {
	return filepath.Join(q.dir, "pack", "pack-"+hash+ext)
}

// saveHint writes a hint into the quarantine.
func (q *quarantine) saveHint(h *hintFile) error {
	f, err := os.OpenFile(filepath.Join(q.dir, hintName(h.Info)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(h.Entries.WriteHint(f), f.Close())
}

// hintName is the name of a hint in a quarantine.
func hintName(info *swarm.Info) string { return "hint-" + info.InfoHash().String() }

// ingestWhole is ingest for the publisher of a pack that stands by itself: the
// scanner's by-product is the hint, and spares git index-pack. The hint is nil
// if there can be none; whoever gets one closes its entries.
func (q *quarantine) ingestWhole(ctx context.Context, pack io.Reader, in ingestSpec) (_ *ingested, _ *hintFile, err error) {
	file, err := os.CreateTemp(q.dir, "made-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	sinks := []io.Writer{file}
	if in.Also != nil {
		sinks = append(sinks, in.Also)
	}
	rec := packfile.NewRecorder(packfile.Scratch{Dir: q.dir})
	defer func() {
		if err != nil {
			rec.Close()
		}
	}()
	stats, err := scanTee(pack, io.MultiWriter(sinks...), in, rec.Add)
	if err != nil {
		return nil, nil, ingestError(ctx, err, nil, nil)
	}
	entries, err := rec.Entries(stats)
	var x *packfile.Index
	if err == nil {
		x, err = packfile.NewIndex(ctx, packfile.Source{Pack: file}, entries, packfile.Options{Format: in.Format, Limits: in.Limits, Bytes: stats.Bytes})
	}
	if errors.Is(err, packfile.ErrUnsure) || errors.Is(err, packfile.ErrNoHint) {
		in.Also = nil
		out, err := q.ingest(ctx, io.NewSectionReader(file, 0, stats.Bytes), in)
		if err != nil || entries == nil {
			rec.Close()
			return out, nil, err
		}
		return out, &hintFile{Entries: entries}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer x.Close()
	out, err := q.install(x, file.Name())
	return out, &hintFile{Entries: entries}, err
}

// scanTee scans a pack and writes all of it to w.
func scanTee(pack io.Reader, w io.Writer, in ingestSpec, each func(packfile.Entry) error) (*packfile.Stats, error) {
	toScan, end := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(io.MultiWriter(end, w), pack, make([]byte, 256<<10))
		end.CloseWithError(err) // nil is the end of the pack
		copied <- err
	}()
	stats, err := packfile.Scan(toScan, in.Format, in.Limits, each)
	toScan.CloseWithError(errSinkClosed)
	if copyErr := <-copied; err == nil {
		err = copyErr
	}
	return stats, err
}

// torrent makes the torrent of a hint.
func (h *hintFile) torrent(name string) error {
	sum := swarm.NewHasher()
	if err := h.Entries.WriteHint(sum); err != nil {
		return err
	}
	var err error
	h.Info, err = sum.Sum(name)
	return err
}

// An arriving is a pack that is being downloaded, with its hint, which comes or
// nil once it is clear that it does not.
type arriving struct {
	*swarm.Download
	hint   <-chan *hintFile
	noHint func() // gives up the hint
}

// hintPatience is how long a hint may take once its pack is complete, and how
// long it may stall: then the pack goes to git.
const hintPatience = 8 * time.Second

// openHint starts to get the hint of a pack, in g.
func (s *swarmFetch) openHint(ctx context.Context, g *errgroup.Group, p refs.Pack, format refs.ObjectFormat) *arriving {
	ctx, noHint := context.WithCancel(ctx)
	hint := make(chan *hintFile)
	g.Go(func() error {
		h := s.fetchHint(ctx, p, format)
		select {
		case hint <- h:
		case <-ctx.Done():
			if h != nil {
				h.Entries.Close()
			}
		}
		return nil // it can be done without
	})
	return &arriving{hint: hint, noHint: noHint}
}

// fetchHint gets the hint of a pack, or nil.
func (s *swarmFetch) fetchHint(ctx context.Context, p refs.Pack, format refs.ObjectFormat) *hintFile {
	if p.HintBytes == 0 || p.From != 0 || p.Objects > packfile.MaxEntries || p.HintBytes > packfile.MaxHintBytes(p.Objects) {
		return nil
	}
	d, err := s.start(ctx, swarm.FetchRequest{InfoHash: p.Hint, Length: p.HintBytes, File: s.file(p.Hint), StallTimeout: hintPatience})
	if err != nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { d.Close() })
	defer stop()
	e, err := packfile.ParseHint(d, p, format, packfile.Scratch{Dir: s.f.node.home.incoming()})
	if err != nil {
		return nil
	}
	return &hintFile{Info: d.Info(), Entries: e}
}

// awaitHint waits for a hint as long as it is of use.
func (d *arriving) awaitHint(ctx context.Context) *hintFile {
	complete := make(chan struct{})
	go func() {
		d.Wait() // ends with the download at the latest
		close(complete)
	}()
	select {
	case h := <-d.hint:
		return h
	case <-complete:
	case <-ctx.Done():
		return nil
	}
	late := time.NewTimer(hintPatience)
	defer late.Stop()
	select {
	case h := <-d.hint:
		return h
	case <-late.C:
	case <-ctx.Done():
	}
	return nil
}

// indexAlong indexes a pack while it comes in. Should that not be possible, the
// error is packfile.ErrUnsure, and nothing is in the quarantine.
func (s *swarmFetch) indexAlong(ctx context.Context, q *quarantine, d *arriving, p refs.Pack, spec ingestSpec) (*packFile, error) {
	defer d.noHint()
	if !spec.Whole || p.HintBytes == 0 || d.File() == "" {
		return nil, packfile.ErrUnsure
	}
	hint := d.awaitHint(ctx)
	if hint == nil {
		return nil, packfile.ErrUnsure
	}
	defer hint.Entries.Close()
	src := packfile.Source{Pack: d, Follow: d.Follow}
	x, err := packfile.NewIndex(ctx, src, hint.Entries, packfile.Options{Format: spec.Format, Limits: spec.Limits, Bytes: p.Bytes, Checked: spec.Checked})
	if err != nil {
		return nil, err
	}
	defer x.Close()
	in := &ingested{Hash: x.Hash(), Stats: x.Stats, SHA256: x.SHA256}
	if err := in.compare(p); err != nil {
		return nil, &packError{err}
	}
	if err := d.Wait(); err != nil {
		return nil, err
	}
	if in, err = q.install(x, d.File()); err != nil {
		return nil, fmt.Errorf("pack %s: %w", p.InfoHash, err)
	}
	file := in.file(d.Info(), p.To)
	file.Hint = hint.Info
	return file, q.saveHint(hint)
}
