package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked means that another node has the home.
var errLocked = errors.New("another gitpeer node is running")

// lockHome takes the lock of a home until the file is closed or the process
// ends, whichever way it ends.
func lockHome(h Home) (*os.File, error) {
	if err := os.MkdirAll(h.Data, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(h.lockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errLocked
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockPatience is how long a new node waits for the lock: an old one that was
// told to stop is about to let go of it, and a program that is just being
// started holds a copy of every open file for a moment.
const lockPatience = time.Second

// awaitLock is lockHome, tried again for a while.
func awaitLock(ctx context.Context, h Home) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	tick := time.NewTicker(lockPatience / 50)
	defer tick.Stop()
	for {
		f, err := lockHome(h)
		if !errors.Is(err, errLocked) {
			return f, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// lockFree reports whether no node has the home.
func lockFree(h Home) (bool, error) {
	f, err := os.OpenFile(h.lockFile(), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
