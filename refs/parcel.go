package refs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// ErrParcel means that the file of a snapshot's torrent does not begin with a
// compressed note.
var ErrParcel = errors.New("no compressed snapshot")

// Compress returns the beginning of a snapshot's torrent: the note as one gzip
// member. Others need not compress alike: who passes a snapshot on passes on the
// bytes that came.
func Compress(note []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(note)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // the level is one that there is, and a buffer takes everything
	}
	return b.Bytes()
}

// Unpack takes the file of a snapshot's torrent apart: the note, the bytes that
// it was compressed to, and what follows them, which a reader holds against
// [Snapshot.Attached]. Nothing is verified yet. It returns slices of parcel; a
// note is at most MaxSnapshotBytes. Errors: *LimitError, ErrParcel.
func Unpack(parcel []byte) (note, compressed, attached []byte, err error) {
	if err := limit("snapshot file bytes", int64(len(parcel)), MaxParcelBytes); err != nil {
		return nil, nil, nil, fmt.Errorf("cannot unpack snapshot: %w", err)
	}
	rest := bytes.NewReader(parcel) // an io.ByteReader: no byte too much is taken from it
	z, err := gzip.NewReader(rest)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot unpack snapshot: %w: %w", ErrParcel, err)
	}
	z.Multistream(false)
	note, err = io.ReadAll(io.LimitReader(z, MaxSnapshotBytes+1))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot unpack snapshot: %w: %w", ErrParcel, err)
	}
	if err := limit("snapshot bytes", int64(len(note)), MaxSnapshotBytes); err != nil {
		return nil, nil, nil, fmt.Errorf("cannot unpack snapshot: %w", err)
	}
	end := len(parcel) - rest.Len()
	return note, parcel[:end:end], parcel[end:], nil
}

// Attached returns the pack whose bytes follow the note in the snapshot's
// torrent: the one that leads on from the snapshot before, if it is small.
func (s *Snapshot) Attached() (Pack, bool) {
	for _, p := range s.Packs {
		if p.From+1 == s.Number && p.To == s.Number && p.Bytes <= MaxAttachedBytes {
			return p, true
		}
	}
	return Pack{}, false
}
