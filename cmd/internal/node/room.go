package node

import (
	"fmt"

	"github.com/gitpeer/gitpeer/refs"
)

const (
	// indexEntryBytes is what an index has for each object, and a little more.
	indexEntryBytes = 40
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

// checkRoom refuses packs that will not fit on the disk, before anything is
// downloaded. A thin pack is there twice for a moment: as it came, and completed.
func checkRoom(dir string, packs []refs.Pack, free func(string) (int64, bool)) error {
	need := int64(spareBytes)
	for _, p := range packs {
		need += p.Bytes + p.Objects*indexEntryBytes
		if p.From > 0 {
			need += p.Bytes
		}
	}
	if got, known := free(dir); known && got < need {
		return &roomError{dir, need, got}
	}
	return nil
}
