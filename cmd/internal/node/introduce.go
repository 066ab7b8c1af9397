package node

import (
	"context"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/trust"
)

// introduce refuses a publisher whom the policy does not know, and says who it
// is: the publisher's id, and the signers that the snapshot names, with the
// line to type. Only the snapshot is fetched, which is bounded; no pack is.
func (f *fetching) introduce(ctx context.Context, r *announce.Resolution, refused error) error {
	st, err := f.published(ctx, r)
	if err != nil {
		f.progress(Progress{Note: "the snapshot, which would name the signers, cannot be had: " + err.Error(), Warning: true})
		return refused
	}
	return trust.Introduce(f.policy, st.Snapshot, nil, time.Now())
}
