package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sort"

	"github.com/gitpeer/gitpeer/refs"
)

// A packIndex answers which objects a pack has, out of git's own index file
// (gitformat-pack(5), version 2). It keeps nothing of it in memory but the
// table of first bytes.
type packIndex struct {
	*os.File
	fanout [256]uint32
	oidLen int
}

const (
	indexMagic  = "\xfftOc\x00\x00\x00\x02"
	indexHeader = len(indexMagic) + 256*4
)

func openPackIndex(path string, format refs.ObjectFormat) (*packIndex, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &packIndex{File: f, oidLen: format.Len()}
	if err := x.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}

func (x *packIndex) read() error {
	var head [indexHeader]byte
	if _, err := x.ReadAt(head[:], 0); err != nil {
		return err
	}
	if string(head[:len(indexMagic)]) != indexMagic {
		return fmt.Errorf("not a pack index of version 2")
	}
	var last uint32
	for i := range x.fanout {
		n := binary.BigEndian.Uint32(head[len(indexMagic)+4*i:])
		if n < last {
			return fmt.Errorf("counts go back")
		}
		x.fanout[i], last = n, n
	}
	info, err := x.Stat()
	if err != nil {
		return err
	}
	// Names, checksums and offsets of all objects, and two checksums.
	if want := int64(indexHeader) + int64(last)*int64(x.oidLen+8) + 2*int64(x.oidLen); info.Size() < want {
		return fmt.Errorf("%d bytes, less than the %d of %d objects", info.Size(), want, last)
	}
	return nil
}

// has reports whether the pack has an object.
func (x *packIndex) has(oid []byte) (bool, error) {
	from := uint32(0)
	if oid[0] > 0 {
		from = x.fanout[oid[0]-1]
	}
	n := int(x.fanout[oid[0]] - from)
	name := make([]byte, x.oidLen)
	var failed error
	at := sort.Search(n, func(i int) bool {
		if _, err := x.ReadAt(name, x.offset(from+uint32(i))); err != nil {
			failed = err
		}
		return bytes.Compare(name, oid) >= 0
	})
	if failed != nil || at == n {
		return false, failed
	}
	_, err := x.ReadAt(name, x.offset(from+uint32(at)))
	return err == nil && bytes.Equal(name, oid), err
}

func (x *packIndex) offset(i uint32) int64 { return int64(indexHeader) + int64(i)*int64(x.oidLen) }

// each calls f with each object's name, in order, until it fails.
func (x *packIndex) each(f func(oid []byte) error) error {
	const chunk = 4096
	buf := make([]byte, chunk*x.oidLen)
	for i := uint32(0); i < x.fanout[255]; {
		part := buf[:int(min(chunk, x.fanout[255]-i))*x.oidLen]
		if _, err := x.ReadAt(part, x.offset(i)); err != nil {
			return err
		}
		for ; len(part) > 0; part = part[x.oidLen:] {
			if err := f(part[:x.oidLen]); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}
