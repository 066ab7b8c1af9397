package gitcmd

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// Objects gives package trust the objects of a repository, through git
// cat-file. It is for one decision, by one goroutine.
type Objects struct {
	ctx   context.Context // of the one decision
	repo  Repo
	batch *Batch
	merge *Repo // where merges are made; nil before the first
	err   error // the first failure that is not a missing object
}

// Objects reads objects for one decision; the caller closes it, and asks Err
// whether the decision is worth anything.
func (r Repo) Objects(ctx context.Context) *Objects { return &Objects{ctx: ctx, repo: r} }

// Read implements trust.Objects: one object of any kind with its content, or
// of one that is larger than trust.MaxObject only the kind.
func (s *Objects) Read(oid refs.OID) (trust.Object, error) {
	if s.batch == nil {
		var err error
		if s.batch, err = s.repo.Batch(s.ctx); err != nil {
			return trust.Object{}, s.failed(err)
		}
	}
	o, err := s.batch.Read(oid, trust.MaxObject)
	switch {
	case errors.Is(err, ErrMissing):
		return trust.Object{OID: oid}, trust.ErrMissing
	case errors.Is(err, ErrObjectTooLarge):
		return trust.Object{OID: oid, Kind: trust.Kind(o.Kind), Size: o.Size}, nil
	case err != nil:
		return trust.Object{}, s.failed(err)
	}
	return trust.Object{OID: oid, Kind: trust.Kind(o.Kind), Data: o.Data}, nil
}

// Commits implements trust.Objects: it streams what tips reach and not does
// not.
func (s *Objects) Commits(tips, not []refs.OID) iter.Seq2[trust.Object, error] {
	return func(yield func(trust.Object, error) bool) {
		missing, err := s.repo.Missing(s.ctx, not)
		if err != nil {
			yield(trust.Object{}, s.failed(err))
			return
		}
		not = except(not, missing)
		err = s.repo.Commits(s.ctx, tips, not, trust.MaxObject, func(o *Object) bool {
			if o.Data == nil {
				return yield(trust.Object{OID: o.OID, Kind: trust.Kind(o.Kind), Size: o.Size}, nil)
			}
			return yield(trust.Object{OID: o.OID, Kind: trust.Kind(o.Kind), Data: o.Data}, nil)
		})
		if err != nil {
			yield(trust.Object{}, s.failed(err))
		}
	}
}

// Merge implements trust.Merger by git merge-tree, in a repository of its own
// that borrows the objects: neither is anything written to the one that is read,
// nor can its configuration or somebody's attributes name a program that merges.
func (s *Objects) Merge(a, b refs.OID) (refs.OID, error) {
	if s.merge == nil {
		repo, err := s.repo.workshop(s.ctx, len(a))
		if err != nil {
			return "", s.failed(err)
		}
		s.merge = repo
	}
	cmd := s.merge.Command(s.ctx, "-c", "core.attributesFile="+os.DevNull, "merge-tree", "--write-tree", "--no-messages", string(a), string(b))
	cmd.Dir = s.merge.Dir // not where somebody's .gitattributes may be
	cmd.Env = append(cmd.Env, "GIT_ATTR_NOSYSTEM=1")
	out, err := run(cmd, nil)
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode() == 1 && failed.Stderr == "" {
		return "", nil // conflicts, and not that one of them cannot be read
	}
	if err != nil {
		return "", s.failed(err)
	}
	return refs.OID(strings.TrimSpace(string(out))), nil
}

// workshop makes a repository with nothing in it that reads the objects of r; the
// caller removes it. Digits is how long an object id is.
func (r Repo) workshop(ctx context.Context, digits int) (*Repo, error) {
	format := refs.SHA1
	if digits == refs.SHA256.HexLen() {
		format = refs.SHA256
	}
	objects, err := run(r.Command(ctx, "rev-parse", "--path-format=absolute", "--git-path", "objects"), nil)
	if err != nil {
		return nil, err
	}
	borrowed := []string{strings.TrimSuffix(string(objects), "\n")}
	if r.Quarantine != "" {
		borrowed = append(borrowed, filepath.Join(r.Dir, "objects"))
	}
	dir, err := r.front(Service{Format: format})
	return &Repo{Dir: dir, Alternates: append(borrowed, r.Alternates...)}, err
}

func except(list, drop []refs.OID) []refs.OID {
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

func (s *Objects) failed(err error) error {
	if s.err == nil {
		s.err = err
	}
	return err
}

// Err is why reading failed, if it did: then a decision says nothing.
func (s *Objects) Err() error { return s.err }

// Close ends the reading.
func (s *Objects) Close() {
	if s.batch != nil {
		s.batch.Close() // it was only read from
	}
	if s.merge != nil {
		os.RemoveAll(s.merge.Dir)
	}
}
