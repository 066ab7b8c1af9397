package node

import (
	"errors"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

func TestCheckRoom(t *testing.T) {
	// The hinted pack is the mirror's by a second name; of the others git writes a copy.
	packs := []refs.Pack{{From: 0, HintBytes: 9, Bytes: 1000, Objects: 10}, {From: 0, Bytes: 10}, {From: 1, Bytes: 100, Objects: 1}}
	need := int64(spareBytes + 1000 + 400 + 20 + 200 + 40)
	for _, c := range []struct {
		free  int64
		known bool
		want  bool
	}{{need, true, true}, {need - 1, true, false}, {0, false, true}} {
		err := checkRoom("/x", packs, func(string) (int64, bool) { return c.free, c.known })
		if (err == nil) != c.want {
			t.Errorf("checkRoom with %d bytes free: %v", c.free, err)
		}
		if err != nil {
			wantCode(t, asError(err), trust.TryLater)
		}
	}
	large := refs.Pack{Bytes: 1000, HintBytes: 1, Objects: packfile.DefaultEntries + 1}
	need = spareBytes + 1000 + large.Objects*(indexEntryBytes+tableEntryBytes)
	if err := checkRoom("/x", []refs.Pack{large}, func(string) (int64, bool) { return need, true }); err != nil {
		t.Error(err)
	}
	if err := checkRoom("/x", []refs.Pack{large}, func(string) (int64, bool) { return need - 1, true }); err == nil {
		t.Error("the tables of a large pack have no room on the disk, and that is not said")
	}
	if free, known := freeBytes(t.TempDir()); known && free <= 0 {
		t.Errorf("%d bytes are free", free)
	}
	if _, known := freeBytes("/nonexistent"); known {
		t.Error("a folder that is not there has room")
	}
}

// TestA36Trickle has a peer that sends a block now and then.
func TestA36Trickle(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for name, c := range map[string]struct {
		stage swarm.Stage
		rate  int64 // bytes a second
		slow  bool
	}{
		"trickles":       {swarm.StageDownload, 16 << 10 / 60, true},
		"nothing":        {swarm.StageDownload, 0, true},
		"modem":          {swarm.StageDownload, 1 << 10, false},
		"looks for peer": {swarm.StageMetadata, 0, false}, // has its own deadline
	} {
		var p pace
		var err error
		for s := int64(0); s < 600 && err == nil; s++ {
			err = p.observe(refs.InfoHash{1}, now.Add(time.Duration(s)*time.Second), swarm.Progress{Stage: c.stage, Received: s * c.rate})
		}
		var stalled *swarm.StalledError
		if errors.As(err, &stalled) != c.slow {
			t.Errorf("%s: %v, want a StalledError: %v", name, err, c.slow)
		}
		if ih, ok := absentTorrent(err); c.slow && (!ok || ih != refs.InfoHash{1}) {
			t.Errorf("%s: it is not taken for a pack to be had another way", name)
		}
	}
}
