package gitcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
)

// manyRefs is from how many new ones on refs are kept in one file: a loose ref
// is a file to make, to flush, and to open for each reader of all refs.
const manyRefs = 32

// storesFiles reports whether refs are files in the repository: loose ones and
// packed-refs (gitrepository-layout(5)), not a reftable.
func (r Repo) storesFiles() bool {
	_, err := os.Lstat(filepath.Join(r.Dir, "reftable"))
	return errors.Is(err, fs.ErrNotExist)
}

// writeRefs gives a repository that has no refs many at once, as
// git clone does: in packed-refs. git update-ref would make a file of each
// first, which takes longer than a small clone. The names are known to be well
// formed and to be able to stand side by side (refs.CheckNames).
func (r Repo) writeRefs(ctx context.Context, want []refs.Ref) error {
	if err := r.CheckTips(ctx, want); err != nil {
		return err
	}
	// Not "peeled": what a tag leads to, git finds itself when it is asked.
	want = slices.SortedFunc(slices.Values(want), func(a, b refs.Ref) int { return strings.Compare(string(a.Name), string(b.Name)) })
	text := bytes.NewBufferString("# pack-refs with: sorted \n")
	for _, ref := range want {
		fmt.Fprintf(text, "%s %s\n", ref.OID, ref.Name)
	}
	return durable.Replace(filepath.Join(r.Dir, "packed-refs"), text.Bytes())
}

// A TipError is a ref that git would not set: its object is not there, or it is
// a branch and the object is no commit.
type TipError struct {
	Name refs.Name
	OID  refs.OID
	Kind string // commit, tree, blob or tag; "" if the object is not there
}

func (e *TipError) Error() string {
	if e.Kind == "" {
		return fmt.Sprintf("ref %q is on object %s, which is not there", e.Name, e.OID)
	}
	return fmt.Sprintf("branch %q is on a %s, not on a commit", e.Name, e.Kind)
}

// CheckTips refuses, as git update-ref does, refs on objects that are not there
// and branches that are not on commits: with a *[TipError].
func (r Repo) CheckTips(ctx context.Context, list []refs.Ref) error {
	if len(list) == 0 {
		return nil
	}
	oids := make([]refs.OID, len(list))
	for i, ref := range list {
		oids[i] = ref.OID
	}
	tips, err := r.Describe(ctx, oids)
	if err != nil {
		return err
	}
	for i, tip := range tips {
		if tip.Kind == "" || list[i].Name.IsBranch() && tip.Kind != "commit" {
			return &TipError{list[i].Name, list[i].OID, tip.Kind}
		}
	}
	return nil
}
