package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent"

	"github.com/gitpeer/gitpeer/refs"
)

const (
	// DefaultStallTimeout is how long a fetch waits for the next byte.
	DefaultStallTimeout = 30 * time.Second
	// DefaultAloneTimeout is how long a fetch waits that is connected to nobody: two searches in the
	// DHT, and every known address dialled several times, or 500 once. With the time for the record it
	// is within half a minute.
	DefaultAloneTimeout = 20 * time.Second

	// progressInterval gives at most five reports a second.
	progressInterval = 200 * time.Millisecond
	// redialInterval is how often known peers that are not connected are tried again.
	redialInterval = 3 * time.Second
)

// FetchRequest says what to fetch, and where to put it.
type FetchRequest struct {
	InfoHash refs.InfoHash
	// Length is the length that the torrent must have, 0 if any will do.
	Length int64
	// MaxBytes is the largest length allowed, 0 if Length decides.
	MaxBytes int64
	// File is the path of the file to write, sparse until it is complete. If it exists, what is
	// right in it is kept and not fetched again.
	File string
	// Peers are addresses to begin with; [Node.AddPeers] gives more. With some, the DHT is asked
	// only if the torrent has not come after 1.5 s.
	Peers []netip.AddrPort
	// Mirrors are web servers to fetch from besides; the first 8 are used.
	Mirrors []Mirror
	// Progress is called at most five times a second, never at the same time, and once at the end.
	Progress func(Progress)
	// StallTimeout ends a fetch that receives nothing for so long; 0 is [DefaultStallTimeout].
	// AloneTimeout ends one that is connected to nobody; 0 is [DefaultAloneTimeout].
	StallTimeout, AloneTimeout time.Duration
}

// Stage is what a fetch is doing.
type Stage string

// The stages of a fetch.
const (
	StageMetadata Stage = "metadata" // looking for peers and for the info dictionary
	StageVerify   Stage = "verify"   // hashing what an earlier fetch has left
	StageDownload Stage = "download"
	StageDone     Stage = "done"
)

// Progress describes a fetch under way.
type Progress struct {
	Stage    Stage
	Length   int64   // bytes of the torrent, 0 until known
	Verified int64   // bytes whose hash is right, with those of an earlier fetch
	Received int64   // bytes of data that came in by now, with those in unfinished pieces and wrong ones
	Rate     float64 // bytes a second, over the last few seconds
	Peers    int     // connected
	Known    int     // addresses that were ever given
}

// SizeError reports a torrent of another length than allowed. Nothing of it was downloaded.
type SizeError struct {
	InfoHash  refs.InfoHash
	Length    int64
	Want, Max int64 // 0 if not asked for
}

func (e *SizeError) Error() string {
	if e.Want != 0 && e.Length != e.Want {
		return fmt.Sprintf("torrent %s has %d bytes, not %d", e.InfoHash, e.Length, e.Want)
	}
	return fmt.Sprintf("torrent %s has %d bytes, more than %d", e.InfoHash, e.Length, e.Max)
}

// NoPeersError reports a fetch that had no connection to any peer when it gave up.
type NoPeersError struct {
	InfoHash refs.InfoHash
	Stage    Stage
	Tried    []netip.AddrPort // everything that was tried
	Nodes    int              // DHT nodes that answered a search for the infohash
	Mirrors  []error          // what went wrong with each mirror, *[MirrorError]
	Waited   time.Duration
}

// maxTriedShown is how many addresses an error repeats.
const maxTriedShown = 4

func (e *NoPeersError) Error() string {
	tried := ""
	for i, a := range e.Tried {
		if i == maxTriedShown {
			tried += " …"
			break
		}
		tried += " " + a.String()
	}
	if tried != "" {
		tried = ":" + tried
	}
	text := fmt.Sprintf("no peer for torrent %s after %s (%d addresses tried%s, %d DHT nodes asked)",
		e.InfoHash, e.Waited.Round(time.Millisecond), len(e.Tried), tried, e.Nodes)
	for _, err := range e.Mirrors {
		text += "; " + err.Error()
	}
	return text
}

// StalledError reports a fetch whose connected peers sent nothing useful.
type StalledError struct {
	InfoHash refs.InfoHash
	Progress Progress
	Waited   time.Duration
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("nothing from %d peers for torrent %s in %s (%s, %d of %d bytes)",
		e.Progress.Peers, e.InfoHash, e.Waited.Round(time.Millisecond),
		e.Progress.Stage, e.Progress.Verified, e.Progress.Length)
}

// A Download is a fetch whose metadata is known. It reads as a stream, in order, each byte as soon
// as its piece is verified; the rest of the torrent is fetched whether or not anybody reads. When
// it is complete it is seeded from its file until Close. Read is for one goroutine at a time.
type Download struct {
	node  *Node
	entry *entry
	req   FetchRequest
	info  *Info
	file  *os.File
	stop  context.CancelCauseFunc
	once  sync.Once

	// mu is never held while the library is called.
	mu       sync.Mutex
	changed  *sync.Cond // verified, err or done
	stage    Stage
	verified int64
	err      error // why it failed
	done     bool  // complete
	ended    chan struct{}
	watched  chan struct{} // closed when watch has returned
	started  chan struct{} // closed when data may come in
	mirrored atomic.Int64  // bytes from mirrors

	claimed    map[int]bool // pieces that mirrors are fetching; under mu
	mirrorErrs []error      // under mu

	pos    int64 // of Read
	raised int   // pieces below have had their priority raised; of Read
}

// Fetch looks for peers, gets the info dictionary from one of them, checks it, and returns while
// the data is coming in. The context ends the download, not only the start of it.
//
// The error is a *[NoPeersError], *[StalledError], *[InfoError] (what the infohash names is not a
// torrent of ours), *[SizeError], [ErrNoTorrent], [ErrBusy], [ErrClosed], the cause of the context's end, or that
// of a file operation. If the torrent is seeded already, the Download is complete at once.
func (n *Node) Fetch(ctx context.Context, req FetchRequest) (*Download, error) {
	if req.InfoHash == (refs.InfoHash{}) {
		return nil, ErrNoTorrent
	}
	if req.StallTimeout <= 0 {
		req.StallTimeout = DefaultStallTimeout
	}
	d := &Download{node: n, req: req, stage: StageMetadata, ended: make(chan struct{}), watched: make(chan struct{}), started: make(chan struct{})}
	d.changed = sync.NewCond(&d.mu)
	ctx, d.stop = context.WithCancelCause(ctx)
	if err := n.begin(d); err != nil {
		d.stop(err)
		return nil, err
	}
	if d.done {
		if err := d.checkSize(); err != nil {
			d.Close()
			return nil, err
		}
		if req.Progress != nil {
			req.Progress(d.progress(new(rateMeter), time.Now()))
		}
		close(d.watched)
		return d, nil
	}
	if !n.spawn(func() { d.watch(ctx) }) {
		close(d.watched)
		d.fail(ErrClosed)
	}
	d.startMirrors(ctx)
	if err := d.start(ctx); err != nil {
		d.fail(err)
		err = d.failure()
		d.Close()
		return nil, err
	}
	return d, nil
}

// begin finds or makes the entry of a download.
func (n *Node) begin(d *Download) error {
	n.ops.Lock()
	defer n.ops.Unlock()
	n.rouseLocked(d.req.InfoHash) // what is only offered is complete, too
	if e := n.entry(d.req.InfoHash); e != nil {
		if n.busy(e) {
			return ErrBusy
		}
		e.users++
		d.entry, d.info = e, e.store.currentInfo()
		d.finish()
		return nil
	}
	st := &store{blame: newBlame(n), verified: d.onVerified}
	e := newEntry(d.req.InfoHash, st, &schedule{hash: d.req.InfoHash})
	if slices.ContainsFunc(d.req.Peers, func(a netip.AddrPort) bool { return dialable(a) && !n.isSelf(a) }) {
		e.schedule.due = time.Now().Add(searchAfter)
	}
	e.loading, d.entry = d, e
	_, err := n.add(e, nil)
	return err
}

// start brings a download to the point where data comes in.
func (d *Download) start(ctx context.Context) error {
	d.node.AddPeers(d.req.InfoHash, d.req.Peers)
	var metadata []byte
	select {
	case metadata = <-d.entry.found:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var err error
	if d.info, err = ParseInfo(metadata); err != nil {
		return err
	}
	if err := d.checkSize(); err != nil {
		return err
	}
	d.setStage(StageVerify)
	if d.file, err = os.OpenFile(d.req.File, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	have, err := verify(ctx, d.info, d.file, d.addVerified)
	if err != nil {
		return err
	}
	if err := d.file.Truncate(d.info.length); err != nil {
		return err
	}
	d.entry.store.fill(d.info, d.file, have)
	d.setStage(StageDownload)
	d.entry.with(func(t *torrent.Torrent) {
		t.SetOnWriteChunkError(d.fail)
		if err = t.SetInfoBytes(d.info.bytes); err == nil {
			t.DownloadAll()
		}
	})
	if len(d.info.bytes) <= smallInfo {
		d.node.wakeWriters(d.entry)
	}
	d.node.hangUpLiars(d.entry, d.info)
	if d.entry.store.missing() == 0 {
		d.complete()
	}
	close(d.started)
	return err
}

func (d *Download) checkSize() error {
	max := d.req.MaxBytes
	if d.req.Length != 0 && d.info.length != d.req.Length || max != 0 && d.info.length > max {
		return &SizeError{InfoHash: d.req.InfoHash, Length: d.info.length, Want: d.req.Length, Max: max}
	}
	return nil
}

// onVerified is called by the store for each piece that proved right.
func (d *Download) onVerified(piece int) {
	_, length := d.info.pieceBounds(piece)
	d.addVerified(length)
	if d.entry.store.missing() == 0 {
		d.complete()
	}
}

func (d *Download) addVerified(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.done { // of two pieces that prove right at once, the other one may have ended it
		d.verified += n
	}
	d.changed.Broadcast()
}

func (d *Download) setStage(s Stage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stage = s
}

// complete turns the download into a seed.
func (d *Download) complete() {
	d.node.mu.Lock()
	d.entry.loading = nil
	if s := d.entry.schedule; !s.done {
		s.due = time.Now().Add(rand.N(AnnounceLater))
	}
	d.node.mu.Unlock()
	d.finish()
}

func (d *Download) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && !d.done {
		d.done, d.stage, d.verified = true, StageDone, d.info.length
		close(d.ended)
		d.changed.Broadcast()
	}
}

// fail ends the download with an error, unless it has ended.
func (d *Download) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && !d.done {
		d.err = err
		close(d.ended)
		d.changed.Broadcast()
		d.stop(err)
	}
}

func (d *Download) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Info returns the info dictionary.
func (d *Download) Info() *Info { return d.info }

// Wait returns when the download is complete or has failed, after the last call of Progress.
func (d *Download) Wait() error {
	<-d.watched
	return d.failure()
}

// Close ends the download, and the seeding unless a [Seed] has taken over. The file stays.
func (d *Download) Close() error {
	d.fail(os.ErrClosed)
	var err error
	d.once.Do(func() {
		d.stop(os.ErrClosed)
		d.node.release(d.entry)
		if d.file != nil {
			err = d.file.Close()
		}
	})
	return err
}

// Read implements [io.Reader]. It waits for the piece at the current position.
func (d *Download) Read(b []byte) (int, error) {
	if d.pos >= d.info.length {
		return 0, d.end()
	}
	if len(b) == 0 {
		return 0, nil
	}
	piece := int(d.pos / d.info.pieceLength)
	d.raise(piece)
	if err := d.await(piece); err != nil {
		return 0, err
	}
	off, length := d.info.pieceBounds(piece)
	b = b[:min(int64(len(b)), off+length-d.pos)]
	n, err := d.entry.store.readAt(b, d.pos)
	d.pos += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// end waits until the download is a seed, so that what follows its end does not find it at work, and
// returns io.EOF.
func (d *Download) end() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.done && d.err == nil {
		d.changed.Wait()
	}
	if d.done {
		return io.EOF
	}
	return d.err
}

// await waits until a piece is verified.
func (d *Download) await(piece int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.done && !d.entry.store.complete(piece) {
		if d.err != nil {
			return d.err
		}
		d.changed.Wait()
	}
	return nil
}

// readahead is how much of what comes next has priority over the rest. It is small, since peers
// that all hold the same beginning have nothing to give to each other.
const readahead = 4 << 20

// raise gives priority to a piece and those after it.
func (d *Download) raise(piece int) {
	end := min(d.info.Pieces(), piece+1+int(readahead/d.info.pieceLength))
	if piece >= d.raised || end > d.raised {
		d.entry.with(func(t *torrent.Torrent) {
			for i := max(piece, d.raised); i < end; i++ {
				if !d.entry.store.complete(i) {
					t.Piece(i).SetPriority(torrent.PiecePriorityReadahead)
				}
			}
		})
		d.raised = end
	}
}
