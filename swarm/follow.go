package swarm

import "context"

// Follow calls ready with each part of the torrent as soon as its pieces are
// verified, whatever comes first, every byte in one part, and returns once all
// of them are, or the download has failed, or ctx ends. Parts can be read with
// ReadAt. It asks for pieces as [Download.Read] does, at the first byte that is
// missing; one goroutine may do either at a time.
func (d *Download) Follow(ctx context.Context, ready func(off, n int64)) error {
	defer context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.changed.Broadcast()
	})()
	told := make([]bool, d.info.Pieces())
	first := 0 // piece that was not told
	for verified := int64(-1); first < len(told); {
		d.raise(first)
		var err error
		if verified, err = d.grown(ctx, verified); err != nil {
			return err
		}
		d.tell(told, ready)
		for first < len(told) && told[first] {
			first++
		}
	}
	return nil
}

// grown waits until more than so many bytes are verified.
func (d *Download) grown(ctx context.Context, verified int64) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.done && d.verified <= verified {
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case d.err != nil:
			return 0, d.err
		}
		d.changed.Wait()
	}
	return d.verified, nil
}

// tell calls ready for the pieces that are complete and were not told.
func (d *Download) tell(told []bool, ready func(off, n int64)) {
	for i := 0; i < len(told); i++ {
		from := i
		for i < len(told) && !told[i] && d.entry.store.complete(i) {
			told[i] = true
			i++
		}
		if from < i {
			off, _ := d.info.pieceBounds(from)
			last, length := d.info.pieceBounds(i - 1)
			ready(off, last+length-off)
		}
	}
}

// ReadAt implements [io.ReaderAt] for parts that are verified; of others it
// reads anything.
func (d *Download) ReadAt(b []byte, off int64) (int, error) { return d.entry.store.readAt(b, off) }

// File is the path of the file that the torrent is in, or "" if it was seeded
// before and lies elsewhere.
func (d *Download) File() string {
	if d.file == nil {
		return ""
	}
	return d.req.File
}
