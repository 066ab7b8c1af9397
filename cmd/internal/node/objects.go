package node

import (
	"context"
	"errors"
	"iter"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// An objectStore gives trust.Decide the objects of a mirror and, if there is
// one, of its quarantine, through git cat-file. Decide believes none of it.
type objectStore struct {
	ctx   context.Context // of the one decision that the store is made for
	repo  gitcmd.Repo
	batch *gitcmd.Batch
	err   error // the first failure that is not a missing object
}

// store reads objects for one decision; the caller closes it.
func (m *mirror) store(ctx context.Context, q *quarantine) *objectStore {
	s := &objectStore{ctx: ctx, repo: m.repo}
	if q != nil {
		s.repo = q.repo
	}
	return s
}

// Read gives one object; of trees, blobs and what is larger than a decision
// reads, only the kind.
func (s *objectStore) Read(oid refs.OID) (trust.Object, error) {
	if s.batch == nil {
		var err error
		if s.batch, err = s.repo.Batch(s.ctx); err != nil {
			return trust.Object{}, s.failed(err)
		}
	}
	o, err := s.batch.Read(oid, trust.MaxObject)
	switch {
	case errors.Is(err, gitcmd.ErrMissing):
		return trust.Object{OID: oid}, trust.ErrMissing
	case errors.Is(err, gitcmd.ErrObjectTooLarge):
		return trust.Object{OID: oid, Kind: trust.Kind(o.Kind)}, nil
	case err != nil:
		return trust.Object{}, s.failed(err)
	}
	return trust.Object{OID: oid, Kind: trust.Kind(o.Kind), Data: o.Data}, nil
}

// Commits streams what tips reach and not does not.
func (s *objectStore) Commits(tips, not []refs.OID) iter.Seq2[trust.Object, error] {
	return func(yield func(trust.Object, error) bool) {
		missing, err := s.repo.Missing(s.ctx, not)
		if err != nil {
			yield(trust.Object{}, s.failed(err))
			return
		}
		not = without(not, missing)
		err = s.repo.Commits(s.ctx, tips, not, trust.MaxObject, func(o *gitcmd.Object) bool {
			return yield(trust.Object{OID: o.OID, Kind: trust.Kind(o.Kind), Data: o.Data}, nil)
		})
		if err != nil {
			yield(trust.Object{}, s.failed(err))
		}
	}
}

func without(list, drop []refs.OID) []refs.OID {
	dropped := make(map[refs.OID]bool, len(drop))
	for _, oid := range drop {
		dropped[oid] = true
	}
	var kept []refs.OID
	for _, oid := range list {
		if !dropped[oid] {
			kept = append(kept, oid)
		}
	}
	return kept
}

func (s *objectStore) failed(err error) error {
	if s.err == nil {
		s.err = err
	}
	return err
}

// failure is why reading failed, if it did: then a decision says nothing.
func (s *objectStore) failure() error { return s.err }

func (s *objectStore) close() {
	if s.batch != nil {
		s.batch.Close() // it was only read from
	}
}
