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

// takenBytes is how much of the disk a file takes, which may be sparse; 0 if it
// is not there.
func takenBytes(file string) int64 {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return 0
	}
	return int64(st.Blocks) * 512 // stat(2)
}
