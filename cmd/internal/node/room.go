package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
)

const (
	// indexEntryBytes is what an index has for each object, and a little more.
	indexEntryBytes = 40
	// tableEntryBytes is what the tables of a pack that is indexed along have for
	// each entry, where memory has no room for them.
	tableEntryBytes = 100
	// spareBytes is for all else that a mirror writes.
	spareBytes = 1 << 20
)

// A roomError is a disk that is too small for what is to come.
type roomError struct {
	Dir        string
	Need, Free int64
}

func (e *roomError) Error() string {
	return fmt.Sprintf("no space left in %s for the packs: they take %d MiB, %d MiB are free", e.Dir, e.Need>>20, e.Free>>20)
}

// fullBytes is what is left of a disk that a small file may not fit on.
const fullBytes = 64 << 10

// blameDisk adds to an error of git, which says where it could not write, or
// why, but seldom both, that the disk of dir is full, if it is.
func blameDisk(dir string, err error) error {
	if free, known := freeBytes(dir); err == nil || !diskFull(err) && (!known || free > fullBytes) {
		return err
	}
	return &fullError{dir, err}
}

// A fullError is a disk that has become full.
type fullError struct {
	Dir string
	Err error
}

func (e *fullError) Error() string { return fmt.Sprintf("no space left in %s: %v", e.Dir, e.Err) }
func (e *fullError) Unwrap() error { return e.Err }

// diskFull reports whether an error, of this process or of git, is that the disk
// is full.
func diskFull(err error) bool {
	var git *gitcmd.Error
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.As(err, new(*fullError)) ||
		errors.As(err, &git) && (strings.Contains(git.Stderr, "No space left on device") || strings.Contains(git.Stderr, "Disk quota exceeded"))
}

// checkRoom refuses packs that will not fit on the disk, before anything is
// downloaded into dir, beside what an earlier attempt has left there. A pack
// that git indexes is there twice for a moment: as it came, and as git writes it.
func checkRoom(dir string, packs []refs.Pack, free func(string) (int64, bool)) error {
	need, tables := int64(spareBytes), int64(0) // those of one pack at a time
	for _, p := range packs {
		need += max(0, p.Bytes-takenBytes(filepath.Join(dir, p.InfoHash.String()))) + p.Objects*indexEntryBytes
		switch {
		case p.From > 0 || p.HintBytes == 0:
			need += p.Bytes
		case p.Objects > packfile.DefaultEntries:
			tables = max(tables, p.Objects*tableEntryBytes)
		}
	}
	if got, known := free(dir); known && got < need+tables {
		return &roomError{dir, need + tables, got}
	}
	return nil
}
