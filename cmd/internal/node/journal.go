package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/trust"
)

// note writes what became of a fetch into the mirror's decision log: what was
// accepted, if that is new, and what the policy refused. A fetch that failed
// for other reasons, or met a publisher who was never trusted, decided nothing.
func (f *fetching) note(res *FetchResult, err error) error {
	seen := f.seen
	if seen == nil || !f.mirror.repo.Exists() {
		return err
	}
	var refused *trust.RefusedError
	switch {
	case errors.As(err, &refused) && f.entry.Action == "": // before there was anything to decide
		f.entry = trust.LogEntry{Time: time.Now().UTC().Truncate(time.Second), Repository: f.mirror.addr,
			Seq: seen.Item.Seq, Number: seen.Record.Number, Snapshot: seen.Record.Snapshot}.Refused(err)
	case errors.As(err, &refused), err == nil && res.Changed:
	default:
		return err
	}
	return errors.Join(err, trust.AppendLog(f.mirror.path("log"), f.entry))
}

// keepEvidence stores both statements of a publisher who made two where it may
// make one, and adds to the error where they are. Each is signed, so that they
// prove it to anybody.
func (f *fetching) keepEvidence(err error) error {
	var split *announce.EquivocationError
	var pair []*announce.Item
	switch {
	case errors.As(err, &split):
		pair = []*announce.Item{split.A, split.B}
	case refusedAs(err, trust.Equivocation) && f.was != nil && f.seen != nil:
		pair = []*announce.Item{f.was.Item, f.seen.Item}
	default:
		return err
	}
	dir := filepath.Join(f.node.home.Data, "evidence", f.mirror.addr.Publisher.String(), string(f.mirror.addr.Name))
	if failed := os.MkdirAll(dir, 0o700); failed != nil {
		return errors.Join(err, failed)
	}
	full, failed := evidenceFull(dir)
	if failed != nil {
		return errors.Join(err, failed)
	}
	if full {
		return err
	}
	var kept []string
	for i, item := range pair {
		name := filepath.Join(dir, fmt.Sprintf("%d-%c.record", pair[0].Seq, 'a'+i))
		raw, failed := item.Format()
		if failed == nil {
			failed = durable.Replace(name, raw)
		}
		if failed != nil {
			return errors.Join(err, failed)
		}
		kept = append(kept, name)
	}
	for i, st := range []*state{f.was, f.seen} {
		if split != nil || st == nil || st.Note == nil {
			continue
		}
		name := filepath.Join(dir, fmt.Sprintf("%d-%c.snapshot", pair[0].Seq, 'a'+i))
		if failed := durable.Replace(name, st.Note); failed != nil {
			return errors.Join(err, failed)
		}
		kept = append(kept, name)
	}
	f.progress(Progress{Note: "both signed statements are kept: " + strings.Join(kept, ", "), Warning: true})
	return err
}

// maxEvidence is how many statements of one repository are kept: the first
// prove it, and who signs two can sign any number.
const maxEvidence = 64

func evidenceFull(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	return len(entries) >= maxEvidence, err
}
