//go:build linux || darwin || freebsd

package node

import "golang.org/x/sys/unix"

// freeBytes is how much the user may still write to the file system of dir.
func freeBytes(dir string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
