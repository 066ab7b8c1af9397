package node

import (
	"errors"
	"io/fs"
	"os"
)

// readOptional reads a file that may not be there: then it gives nil.
func readOptional(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// linkFile gives a file a second name; a name that is there already stays as it
// is, so that an interrupted acceptance can be done again.
func linkFile(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
