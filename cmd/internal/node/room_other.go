//go:build !linux && !darwin && !freebsd

package node

// freeBytes is not known here; a full disk is noticed when it is full.
func freeBytes(string) (int64, bool) { return 0, false }

// takenBytes is not known here either.
func takenBytes(string) int64 { return 0 }
