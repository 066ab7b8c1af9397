package swarm

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/anacrolix/torrent"
)

// mirrorWait is how often a mirror looks for something to do, while others do all there is.
const mirrorWait = 500 * time.Millisecond

// startMirrors has the mirrors of a download take part in it until it ends.
func (d *Download) startMirrors(ctx context.Context) {
	if len(d.req.Mirrors) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	d.node.spawn(func() {
		defer cancel()
		select {
		case <-d.ended:
		case <-ctx.Done():
		}
	})
	for _, m := range d.req.Mirrors[:min(len(d.req.Mirrors), maxMirrors)] {
		d.node.spawn(func() {
			err := (&mirrorFetch{d: d, mirror: m, web: d.node.web}).run(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			d.node.log.Info("mirror is not used", "mirror", string(m.URL), "infohash", d.req.InfoHash, "error", err)
			d.mu.Lock()
			d.mirrorErrs = append(d.mirrorErrs, &MirrorError{m.URL, err})
			d.mu.Unlock()
		})
	}
}

// A mirrorFetch is one mirror's part in a download.
type mirrorFetch struct {
	d      *Download
	mirror Mirror
	web    *web
}

// run fetches what is missing until the context ends, or the mirror proves useless.
func (f *mirrorFetch) run(ctx context.Context) error {
	if f.web.isBanned(f.mirror.URL, time.Now()) {
		return errMirrorBanned
	}
	if err := f.again(ctx, f.metadata); err != nil {
		return err
	}
	select {
	case <-f.d.started:
	case <-ctx.Done():
		return ctx.Err()
	}
	for f.d.entry.store.missing() > 0 {
		if err := f.again(ctx, f.some); err != nil {
			return err
		}
	}
	return nil
}

// again calls do until it succeeds, with pauses, or there is no use in it.
func (f *mirrorFetch) again(ctx context.Context, do func(context.Context) error) error {
	pause := mirrorBackoff
	for failures := 1; ; failures++ {
		err := do(ctx)
		if errors.Is(err, errMirrorPiece) {
			f.web.ban(f.mirror.URL, time.Now())
			f.d.node.banned.Add(1)
			return err
		}
		if err == nil || ctx.Err() != nil || failures == mirrorFailures || isFinal(err) {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		pause *= 2
	}
}

// isFinal reports whether an error will be there again.
func isFinal(err error) bool {
	for _, final := range []error{errMirrorAbsent, errMirrorAddress, errMirrorRedirect, errMirrorLonger, errMirrorOther} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// metadata gets the info dictionary, unless a peer has brought it.
func (f *mirrorFetch) metadata(ctx context.Context) error {
	if f.d.entry.store.currentInfo() != nil {
		return nil
	}
	b, err := f.web.metadata(ctx, f.mirror, f.d.req.InfoHash)
	if err == nil {
		f.d.entry.foundMetadata(b)
	}
	return err
}

// some fetches the next range of missing pieces.
func (f *mirrorFetch) some(ctx context.Context) error {
	first, last := f.d.claim()
	if first < 0 { // others have all of it under way
		t := time.NewTimer(mirrorWait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return nil
	}
	defer f.d.unclaim(first, last)
	return f.pieces(ctx, first, last)
}

// claim takes the next missing pieces for one mirror: those that the reader needs next; or, while
// there are peers, those that it needs last, since peers bring the others. The range is empty if
// first is negative.
func (d *Download) claim() (first, last int) {
	info, st := d.info, d.entry.store
	most := max(1, int(mirrorRange/info.pieceLength))
	peers := len(d.node.peersOf(d.entry)) > 0
	d.mu.Lock()
	defer d.mu.Unlock()
	free := func(i int) bool { return i >= 0 && i < info.Pieces() && !d.claimed[i] && !st.complete(i) }
	first, last = -1, -1
	for i := range info.Pieces() {
		at := i
		if peers {
			at = info.Pieces() - 1 - i
		}
		if free(at) {
			first, last = at, at
			break
		}
	}
	if first < 0 {
		return first, last
	}
	for last-first+1 < most && (peers && free(first-1) || !peers && free(last+1)) {
		if peers {
			first--
		} else {
			last++
		}
	}
	if d.claimed == nil {
		d.claimed = make(map[int]bool)
	}
	for i := first; i <= last; i++ {
		d.claimed[i] = true
	}
	return first, last
}

func (d *Download) unclaim(first, last int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := first; i <= last; i++ {
		delete(d.claimed, i)
	}
}

// pieces requests a range of pieces and stores each as it comes. A server that knows no ranges
// sends the whole file: then what is missing is taken out of that.
func (f *mirrorFetch) pieces(ctx context.Context, first, last int) error {
	info := f.d.info
	begin, _ := info.pieceBounds(first)
	off, length := info.pieceBounds(last)
	end := off + length
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := f.web.get(ctx, f.mirror, f.mirror.URL.File(info.hash), fmt.Sprintf("bytes=%d-%d", begin, end-1))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusPartialContent {
		got := resp.Header.Get("Content-Range")
		want := fmt.Sprintf("bytes %d-%d/", begin, end-1)
		if total, ok := strings.CutPrefix(got, want); !ok || total != "*" && total != fmt.Sprint(info.length) {
			return fmt.Errorf("it answers Content-Range %.64q for %s%d", got, want, info.length)
		}
	} else {
		if resp.ContentLength >= 0 && resp.ContentLength != info.length {
			return fmt.Errorf("its file has %d bytes, not %d", resp.ContentLength, info.length)
		}
		first, last = 0, info.Pieces()-1
	}
	stall := time.AfterFunc(mirrorStall, func() { cancel(errMirrorSlow) })
	defer stall.Stop()
	body := &mirrorBody{ctx: ctx, r: resp.Body, f: f, stall: stall}
	for i := first; i <= last; i++ {
		if err := f.piece(ctx, body, i); err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, errMirrorSlow) {
				return cause
			}
			return err
		}
	}
	return nil
}

// piece reads one piece and stores it, if it is right and still missing.
func (f *mirrorFetch) piece(ctx context.Context, body *mirrorBody, i int) error {
	_, length := f.d.info.pieceBounds(i)
	if err := f.web.memory.Acquire(ctx, length); err != nil {
		return err
	}
	defer f.web.memory.Release(length)
	body.until = time.Now().Add(mirrorStall + time.Duration(length/mirrorMinRate)*time.Second)
	if f.d.entry.store.complete(i) {
		_, err := io.CopyN(io.Discard, body, length)
		return err
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(body, data); err != nil {
		return err
	}
	if sha1.Sum(data) != f.d.info.pieceSum(i) {
		return errMirrorPiece
	}
	if err := f.d.entry.store.put(i, data); err != nil {
		f.d.fail(err) // the disk, not the mirror
		return err
	}
	f.d.entry.with(func(t *torrent.Torrent) { t.Piece(i).UpdateCompletion() })
	return nil
}

// A mirrorBody reads an answer, minding time and rate.
type mirrorBody struct {
	ctx   context.Context
	r     io.Reader
	f     *mirrorFetch
	stall *time.Timer
	until time.Time // for the piece under way
}

func (b *mirrorBody) Read(p []byte) (int, error) {
	if time.Now().After(b.until) {
		return 0, errMirrorSlow
	}
	p = p[:min(len(p), blockLength)]
	n, err := b.r.Read(p)
	if n > 0 {
		b.stall.Reset(mirrorStall)
		b.f.d.mirrored.Add(int64(n))
		if err := b.wait(n); err != nil {
			return n, err
		}
	}
	return n, err
}

// wait holds to the rate limit. For as long as that takes the mirror is not to blame.
func (b *mirrorBody) wait(n int) error {
	l := b.f.web.limiter
	if l == nil {
		return nil
	}
	b.stall.Stop()
	began := time.Now()
	err := l.WaitN(b.ctx, n)
	b.until = b.until.Add(time.Since(began))
	b.stall.Reset(mirrorStall)
	return err
}
