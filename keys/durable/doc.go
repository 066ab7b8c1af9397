// Package durable replaces files as a whole: after a crash at any point a file
// has its old or its new content, and once Replace has returned, the new one.
// Everything that gitpeer must not lose is written through it: policy,
// certificates, pins, records, snapshots.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace gives the file at path the content data, with mode 0600. The folder
// exists.
func Replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
