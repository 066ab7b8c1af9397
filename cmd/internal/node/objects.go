package node

import (
	"context"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
)

// store reads objects of a mirror, of its quarantine if there is one, and of
// other object directories, for one decision; the caller closes it.
func (m *mirror) store(ctx context.Context, q *quarantine, others ...string) *gitcmd.Objects {
	repo := m.repo
	if q != nil {
		repo = q.repo
	}
	repo.Alternates = others
	return repo.Objects(ctx)
}
