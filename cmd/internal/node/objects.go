package node

import (
	"context"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
)

// store reads objects of a mirror and, if there is one, of its quarantine for
// one decision; the caller closes it.
func (m *mirror) store(ctx context.Context, q *quarantine) *gitcmd.Objects {
	if q != nil {
		return q.repo.Objects(ctx)
	}
	return m.repo.Objects(ctx)
}
