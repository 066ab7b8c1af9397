package ui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/node"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// Exit statuses that are not a verdict of the policy. Those that are come from
// package trust.
const (
	Usage       = 2   // the command line, a configuration or a key file needs the person's attention
	Internal    = 70  // EX_SOFTWARE: a failure that is none of the others
	TryLater    = 75  // EX_TEMPFAIL: not found, no peers, time-out
	Interrupted = 130 // 128 + SIGINT, as shells have it
)

// A UsageError is a command line that cannot be understood. Topic, if any, is
// the subcommand whose help says how it is used.
type UsageError struct {
	Message string
	Topic   string
	Hint    string // instead of the pointer to the help
}

func (e *UsageError) Error() string { return e.Message }

// Usagef makes a UsageError about a subcommand.
func Usagef(topic, format string, args ...any) error {
	return &UsageError{Message: fmt.Sprintf(format, args...), Topic: topic}
}

// A HintError is an error for which the caller knows what to do.
type HintError struct {
	Err  error
	Hint string
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }

// An ExitError ends the program with the status of a program that it ran, and
// without a word of its own.
type ExitError struct {
	Status int
}

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Status) }

func isExit(err error) bool {
	var exit *ExitError
	return errors.As(err, &exit)
}

// Code is the exit status for an error (TRUST §2.6): the one table for all
// programs.
func Code(err error) int {
	var (
		exit       *ExitError
		answer     *node.Error
		usage      *UsageError
		id         *keys.IDError
		kind       *keys.KindError
		permission *keys.PermissionError
		address    *refs.AddressError
		name       *refs.NameError
		refused    *trust.RefusedError
		config     *trust.ConfigError
		settings   *node.ConfigError
	)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &exit):
		return exit.Status
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.As(err, &answer):
		return int(answer.Code)
	case errors.As(err, &refused):
		return int(refused.Code())
	case errors.As(err, &config), errors.As(err, &settings), errors.Is(err, trust.ErrLocked):
		return Usage
	case errors.As(err, &usage), errors.As(err, &id), errors.As(err, &address), errors.As(err, &name):
		return Usage
	case errors.As(err, &kind), errors.As(err, &permission), errors.Is(err, keys.ErrNotKey),
		errors.Is(err, keys.ErrPassphrase), errors.Is(err, keys.ErrWrongPassphrase),
		errors.Is(err, keys.ErrNotInAgent), errors.Is(err, ErrNoTerminal):
		return Usage
	case errors.Is(err, gitcmd.ErrNotRepository):
		return Usage
	case errors.Is(err, node.ErrNotRunning):
		return TryLater
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrPermission):
		return Usage
	case errors.Is(err, context.DeadlineExceeded):
		return TryLater
	}
	return Internal
}

// hint is what to type after an error, or "".
func hint(err error) string {
	var (
		given      *HintError
		answer     *node.Error
		usage      *UsageError
		permission *keys.PermissionError
		refused    *trust.RefusedError
		config     *trust.ConfigError
	)
	switch {
	case errors.As(err, &given):
		return given.Hint
	case errors.As(err, &answer):
		return answer.Hint
	case errors.As(err, &usage):
		switch {
		case usage.Hint != "":
			return usage.Hint
		case usage.Topic != "":
			return "gitpeer help " + usage.Topic
		}
		return "gitpeer help"
	case errors.As(err, &refused):
		return refused.Hint()
	case errors.As(err, &config):
		return "edit the file, then gitpeer trust list"
	case errors.As(err, &permission):
		return "chmod 600 " + Quote(permission.Path)
	case errors.Is(err, node.ErrNotRunning):
		return "gitpeer daemon    # or any command that needs the node starts one"
	}
	return ""
}
