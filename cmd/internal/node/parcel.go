package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
)

// The torrent of a snapshot carries the compressed note and, right behind it,
// the newest pack if that is small (the package comment of refs, "Snapshot
// torrent"). A mirror keeps the compressed note as it came, in
// gitpeer/snapshots/<number>, the accepted one nowhere else; the pack it reads
// out of its own pack file, or, if it has taken another way to the snapshot, out
// of gitpeer/snapshots/<number>.pack.

// parcelInfo is the torrent of a snapshot; attached may be nil.
func parcelInfo(s *refs.Snapshot, compressed []byte, attached io.Reader) (*swarm.Info, error) {
	h := swarm.NewHasher()
	h.Write(compressed) // never fails
	if attached != nil {
		if _, err := io.Copy(h, attached); err != nil {
			return nil, err
		}
	}
	return h.Sum(snapshotName(s))
}

// headDigits is how much of HEAD's object id the name of a snapshot torrent has.
const headDigits = 12

func snapshotName(s *refs.Snapshot) string {
	head, ok := s.HeadOID()
	if !ok {
		return string(s.Repository.Name) + "-unborn"
	}
	return string(s.Repository.Name) + "-" + string(head[:headDigits])
}

// madeParcel is the torrent of a new snapshot, whose packs are in quarantine.
func madeParcel(q *quarantine, s *refs.Snapshot, compressed []byte, made []*madePack) (*swarm.Info, error) {
	line, ok := s.Attached()
	if !ok {
		return parcelInfo(s, compressed, nil)
	}
	for _, m := range made {
		if m.Line.InfoHash != line.InfoHash {
			continue
		}
		f, err := os.Open(filepath.Join(q.dir, "pack", "pack-"+m.File.Hash+".pack"))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return parcelInfo(s, compressed, io.NewSectionReader(m.File.view(f), 0, line.Bytes))
	}
	return nil, fmt.Errorf("pack %s of snapshot %d was not made just now", line.InfoHash, s.Number)
}

func (m *mirror) parcelPath(number uint64) string {
	return m.path("snapshots", strconv.FormatUint(number, 10))
}

// A keptSnapshot is one of those in gitpeer/snapshots.
type keptSnapshot struct {
	note, compressed []byte
	snapshot         *refs.Snapshot
}

// keptSnapshot reads a kept snapshot and checks its signature. The error is
// fs.ErrNotExist if it is not kept.
func (m *mirror) keptSnapshot(number uint64) (*keptSnapshot, error) {
	path := m.parcelPath(number)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	note, compressed, rest, err := refs.Unpack(raw)
	if err == nil && len(rest) > 0 {
		err = errors.New("there is more behind it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s, err := refs.Open(note, m.addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &keptSnapshot{note, compressed, s}, nil
}

// attachedSuffix names the file of an attached pack that is not the mirror's.
const attachedSuffix = ".pack"

// A parcel is the torrent of a kept snapshot and where its bytes are.
type parcel struct {
	io.ReaderAt
	Info  *swarm.Info
	files []*lazyFile
}

// Close closes the files.
func (p *parcel) Close() error {
	var errs []error
	for _, f := range p.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// parcel opens the torrent of a kept snapshot. The error is fs.ErrNotExist if it
// is not kept, or not whole.
func (m *mirror) parcel(number uint64) (*parcel, error) {
	path := m.parcelPath(number)
	kept, err := m.keptSnapshot(number)
	if err != nil {
		return nil, err
	}
	head := &lazyFile{path: path}
	p := &parcel{ReaderAt: head, files: []*lazyFile{head}}
	var attached io.Reader
	if line, ok := kept.snapshot.Attached(); ok {
		at, file := m.attached(number, line)
		p.files = append(p.files, file)
		p.ReaderAt = &joined{head, int64(len(kept.compressed)), at}
		attached = io.NewSectionReader(at, 0, line.Bytes)
	}
	if p.Info, err = parcelInfo(kept.snapshot, kept.compressed, attached); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// attached finds the pack that is attached to a kept snapshot.
func (m *mirror) attached(number uint64, line refs.Pack) (io.ReaderAt, *lazyFile) {
	if held := m.pack(line.InfoHash); held != nil {
		view, file := m.view(held)
		return view, file
	}
	file := &lazyFile{path: m.parcelPath(number) + attachedSuffix}
	return file, file
}

// joined is two sources, one after the other.
type joined struct {
	first  io.ReaderAt
	length int64 // of the first
	second io.ReaderAt
}

// ReadAt reads as io.ReaderAt says.
func (j *joined) ReadAt(p []byte, off int64) (int, error) {
	if off >= j.length {
		return j.second.ReadAt(p, off-j.length)
	}
	part := p[:min(int64(len(p)), j.length-off)]
	n, err := j.first.ReadAt(part, off)
	if n < len(part) || n == len(p) {
		return n, err
	}
	rest, err := j.second.ReadAt(p[n:], 0)
	return n + rest, err
}

// An attachedPack is a pack that came with its snapshot. It reads like a
// download of its own torrent.
type attachedPack struct {
	*bytes.Reader
	line refs.Pack
	info *swarm.Info
}

// Info is the info dictionary of the pack's own torrent.
func (a *attachedPack) Info() *swarm.Info { return a.info }

// takeAttached returns the pack that came with a snapshot, or nil if none came,
// or if it is not what its line says.
func takeAttached(s *refs.Snapshot, b []byte) *attachedPack {
	line, ok := s.Attached()
	if !ok || int64(len(b)) != line.Bytes || refs.DigestOf(b) != line.SHA256 {
		return nil
	}
	info, err := packInfo(s.Repository, line.Range(), b)
	if err != nil || info.InfoHash() != line.InfoHash {
		return nil // the publisher names its torrents in another way
	}
	return &attachedPack{bytes.NewReader(b), line, info}
}

// packInfo is the torrent of a pack that is in memory.
func packInfo(a refs.Address, r refs.Range, pack []byte) (*swarm.Info, error) {
	h := swarm.NewHasher()
	h.Write(pack) // never fails
	return h.Sum(packName(a, r))
}

// keepAttached gives the bytes of the attached pack of next if the mirror will
// hold that pack in no other form.
func (m *mirror) keepAttached(next *state, packs []*packFile) []byte {
	a := takeAttached(next.Snapshot, next.Attached)
	if a == nil || m.packs[a.line.InfoHash] != nil {
		return nil
	}
	for _, p := range packs {
		if p.Info.InfoHash() == a.line.InfoHash {
			return nil
		}
	}
	return next.Attached
}

// absent reports whether an error says that a file is not there.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
