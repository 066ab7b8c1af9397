package trust

import (
	"crypto/sha1" // to name what is refused
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/pjbgf/sha1cd"

	"github.com/gitpeer/gitpeer/refs"
)

// A Kind is the type of a git object.
type Kind string

// The kinds of git objects.
const (
	KindCommit Kind = "commit"
	KindTag    Kind = "tag"
	KindTree   Kind = "tree"
	KindBlob   Kind = "blob"
)

// MaxObject bounds a commit or tag that is verified, in bytes. The largest of
// 40 000 real ones has 100 KB.
const MaxObject = 1 << 20

// An Object is a git object as it is stored, without the header that is hashed
// with it. Decide believes neither field of it before it has hashed them.
type Object struct {
	OID  refs.OID
	Kind Kind
	Data []byte // the receiver's: it must not change afterwards
	Size int64  // of an object whose Data was left out because it is too large; else 0
}

// ErrMissing is returned by Objects.Read, wrapped or not, for an object that
// is not there.
var ErrMissing = errors.New("object is missing")

// Objects gives Decide the raw objects of a repository. The node implements it
// on `git cat-file --batch` and `git rev-list` in the quarantine; Memory is
// for tests and small histories. Nothing it returns is believed: every object
// is hashed again, and every ancestry is followed over the bytes of the
// commits.
type Objects interface {
	// Read returns an object. Of one that is larger than MaxObject, and for
	// Decide of any tree or blob, Data may be left nil; Kind and Size must be
	// right for them to be reported well. GuixQuery reads trees and blobs.
	Read(oid refs.OID) (Object, error)
	// Commits yields the commits that are reachable from tips and not from
	// not, in any order, each once, and those of tips first if convenient.
	// Ids in not that do not exist are ignored. It is a hint that makes
	// reading fast: what it leaves out is read one by one, what it yields
	// beyond is ignored. What is larger than MaxObject is yielded as Read
	// returns it. The sequence ends after the first error.
	Commits(tips, not []refs.OID) iter.Seq2[Object, error]
}

// A CorruptError says that an object is not the one its id names.
type CorruptError struct {
	OID    refs.OID
	Reason string
}

func (e *CorruptError) Error() string { return fmt.Sprintf("object %s: %s", e.OID, e.Reason) }

// HashObject returns the id of an object. For SHA-1 it detects the known
// collision attacks (SHA-1DC) and fails with a *CorruptError.
func HashObject(format refs.ObjectFormat, kind Kind, data []byte) (refs.OID, error) {
	var scratch [64]byte
	header := append(scratch[:0], kind...)
	header = append(header, ' ')
	header = strconv.AppendInt(header, int64(len(data)), 10)
	header = append(header, 0)
	switch format {
	case refs.SHA1:
		h := sha1cd.New().(sha1cd.CollisionResistantHash)
		h.Write(header)
		h.Write(data)
		sum, collision := h.CollisionResistantSum(nil)
		if collision { // sum is another one then, so that the two differ
			plain := sha1.Sum(slices.Concat(header, data))
			return "", &CorruptError{OID: refs.OID(hex.EncodeToString(plain[:])), Reason: "its bytes are an attack on SHA-1"}
		}
		return refs.OID(hex.EncodeToString(sum)), nil
	case refs.SHA256:
		h := sha256.New()
		h.Write(header)
		h.Write(data)
		return refs.OID(hex.EncodeToString(h.Sum(nil))), nil
	}
	return "", fmt.Errorf("unknown object format %q", format)
}

// check verifies that the object is the one asked for.
func (o *Object) check(format refs.ObjectFormat, want refs.OID) error {
	if o.OID != want {
		return &CorruptError{OID: want, Reason: fmt.Sprintf("the store answered with %q", o.OID)}
	}
	if size := max(int64(len(o.Data)), o.Size); size > MaxObject {
		return &CorruptError{OID: want, Reason: fmt.Sprintf("it has %d bytes, and a commit or tag at most %d", size, MaxObject)}
	}
	oid, err := HashObject(format, o.Kind, o.Data)
	if err != nil {
		return err
	}
	if oid != want {
		return &CorruptError{OID: want, Reason: "its bytes hash to " + string(oid)}
	}
	return nil
}

// Memory is an Objects that holds everything in memory.
type Memory struct {
	format  refs.ObjectFormat
	objects map[refs.OID]Object
}

// NewMemory returns an empty store.
func NewMemory(format refs.ObjectFormat) *Memory {
	return &Memory{format: format, objects: make(map[refs.OID]Object)}
}

// Add stores an object and returns its id.
func (m *Memory) Add(kind Kind, data []byte) (refs.OID, error) {
	oid, err := HashObject(m.format, kind, data)
	if err != nil {
		return "", err
	}
	m.objects[oid] = Object{OID: oid, Kind: kind, Data: data}
	return oid, nil
}

// Read implements Objects.
func (m *Memory) Read(oid refs.OID) (Object, error) {
	o, ok := m.objects[oid]
	if !ok {
		return Object{}, fmt.Errorf("%s: %w", oid, ErrMissing)
	}
	return o, nil
}

// Commits implements Objects.
func (m *Memory) Commits(tips, not []refs.OID) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		seen := make(map[refs.OID]bool)
		walk := func(from []refs.OID, visit func(Object) bool) bool {
			for stack := append([]refs.OID(nil), from...); len(stack) > 0; {
				oid := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				if seen[oid] {
					continue
				}
				seen[oid] = true
				o, err := m.Read(oid)
				if err != nil || o.Kind != KindCommit {
					continue
				}
				if !visit(o) {
					return false
				}
				if c, err := splitCommit(m.format, o.Data); err == nil {
					stack = append(stack, c.parents...)
				}
			}
			return true
		}
		walk(not, func(Object) bool { return true })
		walk(tips, func(o Object) bool { return yield(o, nil) })
	}
}

// isMissing reports whether err says that an object is not there.
func isMissing(err error) bool { return errors.Is(err, ErrMissing) }
