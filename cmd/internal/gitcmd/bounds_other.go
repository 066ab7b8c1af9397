//go:build !linux

package gitcmd

// impose does nothing: elsewhere a process can bound only itself, and git does
// not. The limits of the scan that goes along are what holds.
func (bounds) impose(int) error { return nil }
