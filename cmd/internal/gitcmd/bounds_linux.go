package gitcmd

import (
	"errors"

	"golang.org/x/sys/unix"
)

// impose bounds a process. One that has ended already needs none.
func (b bounds) impose(pid int) error {
	for _, r := range []struct {
		resource int
		limit    uint64
	}{
		{unix.RLIMIT_AS, b.memory},
		{unix.RLIMIT_CPU, b.cpu},
	} {
		if r.limit == 0 {
			continue
		}
		var was unix.Rlimit
		if err := unix.Prlimit(pid, r.resource, nil, &was); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return err
		}
		limit := min(r.limit, was.Max)
		err := unix.Prlimit(pid, r.resource, &unix.Rlimit{Cur: min(limit, was.Cur), Max: limit}, nil)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
