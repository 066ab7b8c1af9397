package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// asError gives every error its code and its hint: the one place that does.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	for _, classify := range []func(error) *Error{trustError, networkError, packProblem, localError} {
		if e := classify(err); e != nil {
			return e
		}
	}
	return &Error{Code: trust.Internal, Message: err.Error(), Hint: "gitpeer status    # names the node's log, which may say more"}
}

// explain makes an Error whose message is err's own.
func explain(code trust.Code, err error, hint string) *Error {
	return &Error{Code: code, Message: err.Error(), Hint: hint}
}

// trustError describes what the policy, or its configuration, refuses.
func trustError(err error) *Error {
	var (
		refused *trust.RefusedError
		config  *trust.ConfigError
		petname *trust.PetnameError
	)
	switch {
	case errors.As(err, &refused):
		return &Error{Code: refused.Code(), Message: refused.Error(), Hint: refused.Hint(), Verdicts: refused.Verdicts}
	case errors.As(err, &config):
		return explain(trust.Usage, err, "edit the file, then gitpeer trust list")
	case errors.As(err, &petname):
		return explain(trust.Usage, err, "gitpeer trust list    # shows the names that you gave")
	}
	return nil
}

// networkError describes what the DHT or the swarm could not do, or would not.
func networkError(err error) *Error {
	var (
		rollback *announce.RollbackError
		split    *announce.EquivocationError
		future   *announce.FutureError
		record   *announce.RecordError
		expired  *announce.ExpiredError
		unstored *announce.NotStoredError
		unknown  *announce.UnknownOutcomeError
		nobody   *nobodyError
		noPeers  *swarm.NoPeersError
		stalled  *swarm.StalledError
	)
	switch {
	case errors.Is(err, announce.ErrNoNodes):
		return explain(trust.TryLater, err, "gitpeer status    # is this computer online? GITPEER_BOOTSTRAP=HOST:PORT or dht.bootstrap in config names other nodes")
	case errors.Is(err, announce.ErrNotFound):
		return explain(trust.TryLater, err, "check the address; if it is right, ask the publisher to run gitpeer publish")
	case errors.As(err, &rollback):
		return explain(trust.Rollback, err, "try again later: only old copies of the record were found")
	case errors.As(err, &split):
		return explain(trust.Equivocation, err, "ask the publisher; both signed statements are printed above")
	case errors.As(err, &future):
		return explain(trust.BadTime, err, "date    # is this computer's clock right?")
	case errors.As(err, &record):
		return explain(trust.Malformed, err, "ask the publisher to publish with a current gitpeer")
	case errors.As(err, &expired):
		return explain(trust.Stale, err, "ask the publisher to run gitpeer publish")
	case errors.As(err, &unstored), errors.As(err, &unknown):
		return explain(trust.TryLater, err, "gitpeer publish    # again; the node goes on trying, too")
	case errors.As(err, &nobody):
		return explain(trust.TryLater, err, nobody.hint())
	case errors.As(err, &noPeers), errors.As(err, &stalled):
		return explain(trust.TryLater, err, "try again later; what was received is kept")
	}
	return nil
}

// isUnavailable reports whether an error says only that nobody can be reached.
func isUnavailable(err error) bool {
	var (
		noPeers *swarm.NoPeersError
		stalled *swarm.StalledError
	)
	return errors.Is(err, announce.ErrNoNodes) || errors.Is(err, announce.ErrNotFound) ||
		errors.As(err, &noPeers) || errors.As(err, &stalled)
}

// packProblem describes a pack, snapshot or torrent that is not what it should be.
func packProblem(err error) *Error {
	var (
		pack *packError
		over *packfile.LimitError
		info *swarm.InfoError
		size *swarm.SizeError
		snap *refs.LimitError
	)
	switch {
	case errors.As(err, &pack), errors.As(err, &over), errors.As(err, &info), errors.As(err, &size), errors.As(err, &snap), errors.Is(err, refs.ErrParcel):
		return explain(trust.BadPack, err, "nothing was changed; ask the publisher to publish again")
	}
	return nil
}

// roomHint is what to do about a full disk.
const roomHint = "df -h    # make room, then run the command again: what was received is kept"

// localError describes what is wrong on this side.
func localError(err error) *Error {
	var (
		permission *keys.PermissionError
		kind       *keys.KindError
		address    *refs.AddressError
		id         *keys.IDError
		name       *refs.NameError
		config     *ConfigError
		git        *gitcmd.Error
		room       *roomError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return explain(trust.TryLater, errors.New("interrupted; nothing was changed"), "run the command again")
	case errors.As(err, &room), diskFull(err):
		return explain(trust.TryLater, err, roomHint)
	case errors.As(err, &git) && git.Interrupted():
		return explain(trust.TryLater, err, "run the command again")
	case errors.Is(err, errOvertaken):
		return explain(trust.TryLater, err, "run the command again")
	case errors.As(err, &permission):
		return explain(trust.Usage, err, fmt.Sprintf("chmod 600 %s", permission.Path))
	case errors.Is(err, keys.ErrPassphrase):
		return explain(trust.Usage, err, "ssh-add    # or run the command in a terminal, to be asked")
	case errors.As(err, &kind), errors.As(err, &address), errors.As(err, &id):
		return explain(trust.Usage, err, "")
	case errors.As(err, &name):
		return explain(trust.Usage, err, "git branch -m, or choose refs with gitpeer publish --ref")
	case errors.As(err, &config):
		return explain(trust.Usage, err, "")
	case errors.Is(err, gitcmd.ErrNotRepository):
		return explain(trust.Usage, err, "git init")
	case errors.Is(err, gitcmd.ErrNotOwned):
		return explain(trust.Usage, err, "git config --global --add safe.directory DIR    # if you trust its owner")
	case errors.Is(err, fs.ErrPermission):
		return explain(trust.Usage, err, "")
	}
	return nil
}
