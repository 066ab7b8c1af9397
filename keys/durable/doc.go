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
func Replace(path string, data []byte) error { return ReplaceAll([]File{{path, data}}) }

// A File is one of those that ReplaceAll replaces.
type File struct {
	Path string
	Data []byte
}

// ReplaceAll is Replace of several files, in their order, with fewer waits for
// the disk: after a crash each has its old or its new content.
func ReplaceAll(files []File) (err error) {
	temporary := make([]string, 0, len(files))
	defer func() {
		for _, name := range temporary {
			os.Remove(name) // fails once renamed
		}
	}()
	for _, file := range files {
		f, err := os.CreateTemp(filepath.Dir(file.Path), ".tmp-*") // mode 0600
		if err != nil {
			return err
		}
		temporary = append(temporary, f.Name())
		_, err = f.Write(file.Data)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	dirs := map[string]bool{}
	for i, file := range files {
		if err := os.Rename(temporary[i], file.Path); err != nil {
			return err
		}
		dirs[filepath.Dir(file.Path)] = true
	}
	for dir := range dirs {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
