//go:build unix

package trust

import (
	"io/fs"
	"os"
	"syscall"
)

// isOwn reports whether a file is the user's own.
func isOwn(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(st.Uid) == os.Geteuid()
}
