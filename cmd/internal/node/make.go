package node

import (
	"context"
	"fmt"
	"io"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// A packMaker makes the packs of one publication.
type packMaker struct {
	mirror   *mirror
	heap     *heap
	q        *quarantine
	objects  []string // object directories of the work repository
	format   refs.ObjectFormat
	anew     bool // look for new deltas in what stands by itself
	progress ProgressFunc
}

// A madePack is a pack as the snapshot lists it and as the mirror keeps it.
type madePack struct {
	Line refs.Pack
	File *packFile
}

// make packs what the tips of snapshot number to reach and those of snapshot
// from do not. The pack streams once: git pack-objects writes it, and the piece
// hasher, the scanner and, if it is thin, git index-pack read it.
func (p *packMaker) make(ctx context.Context, r refs.Range, newTips, oldTips []refs.OID) (*madePack, error) {
	packing := p.q.repo
	packing.Alternates = p.objects
	read, write := io.Pipe()
	packed := make(chan error, 1)
	stage := fmt.Sprintf("Packing %d..%d", r.From, r.To)
	go func() {
		err := packing.PackObjects(ctx, gitcmd.PackSpec{
			Tips: newTips, Bases: oldTips, Format: p.format, Anew: p.anew && r.From == 0,
			Progress: func(done, total int64) {
				p.progress(Progress{Stage: "Compressing", Done: done, Total: total, Unit: "objects"})
			},
		}, write)
		write.CloseWithError(err)
		packed <- err
	}()
	hasher := swarm.NewHasher()
	in, hint, err := p.ingest(ctx, read, ingestSpec{
		Format: p.format,
		Limits: packfile.HardLimits,
		Whole:  r.From == 0,
		Also:   io.MultiWriter(hasher, &progressWriter{report: p.progress, stage: stage}),
	})
	read.CloseWithError(errSinkClosed)
	packErr := <-packed
	if err != nil {
		return nil, err
	}
	if hint != nil {
		defer hint.Entries.Close()
	}
	if packErr != nil {
		return nil, packErr
	}
	p.progress(Progress{Stage: stage, Done: in.Stats.Bytes, Unit: "bytes", Over: true})
	info, err := hasher.Sum(packName(p.mirror.addr, r))
	if err != nil {
		return nil, err
	}
	made := &madePack{
		Line: refs.Pack{
			InfoHash: info.InfoHash(), SHA256: in.SHA256,
			Bytes: in.Stats.Bytes, Objects: in.Stats.Objects, Inflated: in.Stats.Inflated,
			From: r.From, To: r.To,
		},
		File: in.file(info, r.To),
	}
	if hint == nil || in.Stats.Bytes < minHinted {
		return made, nil
	}
	if err := hint.torrent(hintTorrent(p.mirror.addr, r)); err != nil {
		return nil, err
	}
	made.Line.Hint, made.Line.HintBytes, made.File.Hint = hint.Info.InfoHash(), hint.Info.Length(), hint.Info
	return made, p.q.saveHint(hint)
}

// minHinted is the length from which a pack has a hint: git index-pack takes no
// tenth of a second for a shorter one.
const minHinted = 256 << 10

// ingest takes in a pack that was made, and gives its hint if it has one.
func (p *packMaker) ingest(ctx context.Context, pack io.Reader, spec ingestSpec) (*ingested, *hintFile, error) {
	if spec.Whole {
		defer p.heap.index()()
		return p.q.ingestWhole(ctx, pack, spec)
	}
	in, err := p.q.ingest(ctx, pack, spec)
	return in, nil, err
}

// packName is the name of a pack's torrent: for people and stock clients, never
// for a path of ours.
func packName(a refs.Address, r refs.Range) string {
	return fmt.Sprintf("%s-%d-%d.pack", a.Name, r.From, r.To)
}

// hintTorrent is the name of the torrent of a pack's hint.
func hintTorrent(a refs.Address, r refs.Range) string { return packName(a, r) + ".hint" }

// file describes an ingested pack as the mirror keeps it.
func (in *ingested) file(info *swarm.Info, to uint64) *packFile {
	return &packFile{Info: info, Hash: in.Hash, Header: in.Stats.Header, Tail: in.Stats.Trailer, To: to}
}

// A progressWriter reports how many bytes went by.
type progressWriter struct {
	report ProgressFunc
	stage  string
	n      int64
	said   int64
}

// progressStep is how many bytes pass between two reports.
const progressStep = 1 << 20

func (w *progressWriter) Write(b []byte) (int, error) {
	w.n += int64(len(b))
	if w.n-w.said >= progressStep {
		w.said = w.n
		w.report(Progress{Stage: w.stage, Done: w.n, Unit: "bytes"})
	}
	return len(b), nil
}
