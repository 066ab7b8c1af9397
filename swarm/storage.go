package swarm

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/anacrolix/torrent/metainfo"
	"github.com/anacrolix/torrent/storage"
)

// errReadOnly answers a write to a torrent that is only seeded. The library has no reason to try.
var errReadOnly = errors.New("swarm: torrent is read-only")

// errBadPiece tells the library that a piece did not match. It is an error and not a mere "no"
// because the library answers "no" by banning an IP address, and whom to blame is for [blame].
var errBadPiece = errors.New("swarm: piece does not match its hash")

// A store holds the bytes of one torrent for the library: either a complete source, or a file that
// is being filled. Positional reads and writes only: mapping files, the library's default, costs
// ten times the memory and half the speed (measured).
//
// The source can be replaced while peers read (see [Node.Seed]).
type store struct {
	blame *blame // who sent what; told of every piece that is checked

	mu     sync.RWMutex // held for reading during every access to source and file
	info   *Info        // nil until the metadata is known
	source io.ReaderAt  // where complete pieces are read
	file   *os.File     // where blocks are written; nil once complete or when only seeding
	have   []bool       // verified pieces
	left   int          // pieces that are still missing
	closed bool

	// verified is called after each piece that was verified, without locks held.
	verified func(piece int)
}

// newSeedStore returns a store in which everything is complete.
func newSeedStore(info *Info, r io.ReaderAt) *store {
	return &store{info: info, source: r, blame: newBlame(nil)}
}

// replace makes r the source of a complete torrent and returns once nobody reads the old one.
func (s *store) replace(r io.ReaderAt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source, s.file = r, nil
}

// fill makes f the file to download into, with the pieces of have already verified.
func (s *store) fill(info *Info, f *os.File, have []bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info, s.source, s.file, s.have = info, f, f, have
	s.left = 0
	for _, ok := range have {
		if !ok {
			s.left++
		}
	}
}

func (s *store) currentInfo() *Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.info
}

func (s *store) complete(piece int) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.have == nil || s.have[piece]
}

// missing returns the number of pieces that are not verified yet.
func (s *store) missing() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.left
}

func (s *store) set(piece int, ok bool) {
	s.mu.Lock()
	changed := s.have != nil && s.have[piece] != ok
	if changed {
		s.have[piece] = ok
		if ok {
			s.left--
		} else {
			s.left++
		}
	}
	s.mu.Unlock()
	if changed && ok && s.verified != nil {
		s.verified(piece)
	}
}

// put writes a piece whose hash is right and marks it verified, if it is not yet. Nobody writes
// meanwhile, and what a peer sends of the piece later is left aside.
func (s *store) put(piece int, data []byte) error {
	s.mu.Lock()
	if s.closed || s.file == nil || s.have[piece] {
		s.mu.Unlock()
		return nil
	}
	off, _ := s.info.pieceBounds(piece)
	if _, err := s.file.WriteAt(data, off); err != nil {
		s.mu.Unlock()
		return err
	}
	s.have[piece] = true
	s.left--
	s.mu.Unlock()
	s.blame.settle(piece, data)
	if s.verified != nil {
		s.verified(piece)
	}
	return nil
}

// OpenTorrent implements storage.ClientImpl. The library calls it when the metadata is known; what
// it passes is what [Info] has allowed.
func (s *store) OpenTorrent(_ context.Context, info *metainfo.Info, _ metainfo.Hash) (storage.TorrentImpl, error) {
	own := s.currentInfo()
	if own == nil || info.Length != own.length || info.PieceLength != own.pieceLength || len(info.Files) != 0 || info.HasV2() {
		return storage.TorrentImpl{}, errors.New("swarm: metadata did not come from us")
	}
	return storage.TorrentImpl{
		Piece: func(p metainfo.Piece) storage.PieceImpl { return &storePiece{s, p.Index()} },
		Close: s.close,
	}, nil
}

// close makes every later access fail.
func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// readAt reads like [io.ReaderAt] and never returns 0, nil, which would stop the program.
func (s *store) readAt(b []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return 0, os.ErrClosed
	}
	n, err := s.source.ReadAt(b, off)
	if n < len(b) && err == nil {
		err = io.ErrNoProgress
	}
	return n, err
}

// storePiece is one piece of a store, as the library wants to see it.
type storePiece struct {
	s     *store
	index int
}

func (p *storePiece) ReadAt(b []byte, off int64) (int, error) {
	start, length := p.s.info.pieceBounds(p.index)
	if off < 0 || off >= length {
		return 0, io.EOF
	}
	part := b[:min(int64(len(b)), length-off)]
	n, err := p.s.readAt(part, start+off)
	if errors.Is(err, os.ErrClosed) && p.s.isClosed() {
		// The library panics if a block that it reads for a peer fails to be read
		// while the torrent is being closed. It is for nobody: see [Node.letGo].
		clear(part)
		n, err = len(part), nil
	}
	if err == nil && len(part) < len(b) {
		err = io.EOF
	}
	return n, err
}

func (p *storePiece) WriteAt(b []byte, off int64) (int, error) {
	p.s.mu.RLock()
	defer p.s.mu.RUnlock()
	switch start, length := p.s.info.pieceBounds(p.index); {
	case p.s.closed:
		return 0, os.ErrClosed
	case p.s.file == nil:
		return 0, errReadOnly
	case p.s.have[p.index]:
		return len(b), nil // a mirror was faster; what is verified never changes
	case off < 0 || off+int64(len(b)) > length:
		return 0, io.ErrShortWrite
	default:
		return p.s.file.WriteAt(b, start+off)
	}
}

func (p *storePiece) MarkComplete() error {
	p.s.set(p.index, true)
	return nil
}

func (p *storePiece) MarkNotComplete() error {
	// The library also says this of a piece that it could not read just now. A verified piece
	// stays verified: it never changes under us.
	return nil
}

func (p *storePiece) Completion() storage.Completion {
	return storage.Completion{Ok: true, Complete: p.s.complete(p.index)}
}

// SelfHash implements storage.SelfHashing: the library asks it when all blocks of a piece are in.
func (p *storePiece) SelfHash() (metainfo.Hash, error) {
	buf := hashBuffers.Get().(*[]byte)
	defer hashBuffers.Put(buf)
	check := p.s.blame.check(p.index)
	sum, err := p.s.sum(p.index, *buf, check.block)
	if err != nil {
		return metainfo.Hash{}, fmt.Errorf("reading back piece %d: %w", p.index, err)
	}
	if sum != p.s.info.pieceSum(p.index) {
		check.failed()
		return metainfo.Hash{}, errBadPiece
	}
	check.passed()
	return sum, nil
}

// hashBuffers holds buffers of a whole number of blocks.
var hashBuffers = sync.Pool{New: func() any { b := make([]byte, 16*blockLength); return &b }}

// sum hashes a piece, and calls block with each of its blocks if that is not nil.
func (s *store) sum(piece int, buf []byte, block func(n int, data []byte)) ([sha1.Size]byte, error) {
	h := sha1.New()
	off, length := s.info.pieceBounds(piece)
	for n := 0; length > 0; {
		part := buf[:min(int64(len(buf)), length)]
		if m, err := s.readAt(part, off); m < len(part) {
			return [sha1.Size]byte{}, err
		}
		h.Write(part)
		off, length = off+int64(len(part)), length-int64(len(part))
		for ; block != nil && len(part) > 0; n++ {
			size := min(len(part), blockLength)
			block(n, part[:size])
			part = part[size:]
		}
	}
	return [sha1.Size]byte(h.Sum(nil)), nil
}

// verify finds out which pieces of a file are already there, by their hashes. No list of complete
// pieces is kept anywhere: it could only say what the hashes say better. It reads no further than
// the end of the file and calls progress with the bytes that were found good.
func verify(ctx context.Context, info *Info, f *os.File, progress func(int64)) ([]bool, error) {
	have := make([]bool, info.Pieces())
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := &store{info: info, source: f}
	buf := make([]byte, 16*blockLength)
	for i := range have {
		off, length := info.pieceBounds(i)
		if off+length > fi.Size() {
			break
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		sum, err := s.sum(i, buf, nil)
		if err != nil {
			return nil, err
		}
		if have[i] = sum == info.pieceSum(i); have[i] {
			progress(length)
		}
	}
	return have, nil
}
