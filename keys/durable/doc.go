// Package durable replaces files as a whole: after a crash at any point a file
// has its old or its new content, and once Replace has returned, the new one.
// Everything that gitpeer must not lose is written through it: policy,
// certificates, pins, records, snapshots. Packs, which are large, get there by a
// second name of the same file.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
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
	var temporary []string
	defer func() {
		for _, name := range temporary {
			os.Remove(name) // fails once renamed
		}
	}()
	for some := range slices.Chunk(files, atOnce) {
		names, err := writeBeside(some)
		temporary = append(temporary, names...)
		if err != nil {
			return err
		}
	}
	var dirs []string
	for i, file := range files {
		if err := os.Rename(temporary[i], file.Path); err != nil {
			return err
		}
		if dir := filepath.Dir(file.Path); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return SyncAll(dirs...)
}

// atOnce is how many files are open, and waited for, at the same time. A file
// system can make several durable by one commit of its journal.
const atOnce = 8

// writeBeside writes each file under another name in its folder, and makes its
// content durable. The names are also those of files that it failed with.
func writeBeside(files []File) (names []string, err error) {
	var temporary []*os.File
	for _, file := range files {
		f, failed := os.CreateTemp(filepath.Dir(file.Path), ".tmp-*") // mode 0600
		if failed != nil {
			err = failed
			break
		}
		temporary, names = append(temporary, f), append(names, f.Name())
		if _, err = f.Write(file.Data); err != nil {
			break
		}
	}
	errs := make([]error, len(temporary))
	var syncs sync.WaitGroup
	for i, f := range temporary {
		syncs.Go(func() { errs[i] = errors.Join(f.Sync(), f.Close()) })
	}
	syncs.Wait()
	return names, errors.Join(append(errs, err)...)
}

// SyncAll is Sync of a few, at the same time.
func SyncAll(paths ...string) error {
	errs := make([]error, len(paths))
	var all sync.WaitGroup
	for i, path := range paths {
		all.Go(func() { errs[i] = Sync(path) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Sync makes the content of a file, or the names in a folder, durable.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// LinkOrCopy gives a file a second name, or a copy where the file system cannot:
// one that appears whole or not at all, durable, with mode 0444. On one file
// system a copy shares its blocks where that is possible (copy_file_range(2)).
// The error is fs.ErrExist if the name is taken. A crash may leave a file whose
// name begins with tmp_, which git removes from its folders.
func LinkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return copyFile(from, to)
}

func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	tmp, err := os.CreateTemp(filepath.Dir(to), "tmp_gitpeer_")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if _, err := io.Copy(tmp, src); err != nil {
		return err
	}
	if err := tmp.Chmod(0o444); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), to)
}
