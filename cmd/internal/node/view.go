package node

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
)

// A packView gives the original bytes of a pack out of git's completed file.
//
// index-pack --fix-thin keeps the entries of a thin pack where they are,
// appends the bases that it lacks, and rewrites the object count in the header
// and the checksum at the end (gitformat-pack(5)). So the original is: the
// header as it came, the file's bytes after it, and the trailer as it came.
type packView struct {
	file    io.ReaderAt
	header  [packfile.HeaderLen]byte
	trailer []byte
	size    int64 // of the original
}

// ReadAt reads original bytes. It is safe for concurrent use if file is.
func (v *packView) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at negative offset %d", off)
	}
	read := 0
	body := v.size - int64(len(v.trailer))
	for len(p) > 0 && off < v.size {
		var n int
		switch {
		case off < packfile.HeaderLen:
			n = copy(p, v.header[off:])
		case off < body:
			var err error
			n, err = v.file.ReadAt(p[:min(int64(len(p)), body-off)], off)
			if n == 0 {
				if err == nil || err == io.EOF {
					err = io.ErrUnexpectedEOF // the file is shorter than it was
				}
				return read, err
			}
		default:
			n = copy(p, v.trailer[off-body:])
		}
		read, off, p = read+n, off+int64(n), p[n:]
	}
	if len(p) > 0 {
		return read, io.EOF
	}
	return read, nil
}

// A lazyFile is opened when it is first read, so that a node that seeds
// thousands of packs starts at once.
type lazyFile struct {
	path string

	mu     sync.Mutex // guards what follows
	f      *os.File
	closed bool
}

func (l *lazyFile) open() (*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, os.ErrClosed
	}
	if l.f != nil {
		return l.f, nil
	}
	var err error
	l.f, err = os.Open(l.path)
	return l.f, err
}

// ReadAt reads from the file, as os.File does.
func (l *lazyFile) ReadAt(p []byte, off int64) (int, error) {
	f, err := l.open()
	if err != nil {
		return 0, err
	}
	return f.ReadAt(p, off)
}

// Close closes the file; later reads fail.
func (l *lazyFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
