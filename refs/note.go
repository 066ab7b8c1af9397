package refs

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/gitpeer/gitpeer/keys"
)

// algEd25519 is the algorithm byte of plain Ed25519 in a C2SP signed note.
const algEd25519 = 1

// maxSignatureBytes is the length of what a signature adds to a text: an empty
// line (1), the dash and a space (4), the id and a space (62), the base64 of
// four bytes of key hash and sixty-four of signature (92), and a newline (1).
const maxSignatureBytes = 160

// noteKey is a publisher as a signed note knows it: both a note.Verifier and,
// where signer is set, a note.Signer.
type noteKey struct {
	id     keys.ID
	signer keys.Signer
}

func (k noteKey) Name() string { return k.id.String() }

func (k noteKey) KeyHash() uint32 {
	h := sha256.New()
	h.Write([]byte(k.Name() + "\n"))
	h.Write(append([]byte{algEd25519}, k.id[:]...))
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func (k noteKey) Verify(msg, sig []byte) bool { return k.id.Verify(msg, sig) }

func (k noteKey) Sign(msg []byte) ([]byte, error) {
	sig, err := k.signer.Sign(msg)
	if err == nil && (len(sig) != ed25519.SignatureSize || !k.id.Verify(msg, sig)) {
		err = ErrSignature // an agent, say, that signs as somebody else
	}
	return sig, err
}

// Sign formats s and signs it as its publisher: k must be s.Repository's. The
// result is a C2SP signed note with exactly one signature.
func Sign(s *Snapshot, k keys.Signer) ([]byte, error) {
	if k.ID() != s.Repository.Publisher {
		return nil, fmt.Errorf("cannot sign snapshot of %s as %s: %w", s.Repository, k.ID(), ErrSignature)
	}
	text, err := s.Format()
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: string(text)}, noteKey{k.ID(), k})
	if err != nil {
		return nil, fmt.Errorf("cannot sign snapshot: %w", err)
	}
	return signed, nil
}

// A RepositoryError says that a snapshot is genuine and of another repository.
type RepositoryError struct {
	Got, Want Address
}

func (e *RepositoryError) Error() string {
	return fmt.Sprintf("snapshot of %s, want %s", e.Got, e.Want)
}

// Open returns the snapshot in signed, after checking that it is a signed note
// with exactly one signature, by a.Publisher, and speaks of a. It accepts only
// the bytes that Sign returns. Nothing of the text is parsed before the
// signature is verified. Errors: *LimitError, ErrSignature, *RepositoryError,
// and Parse's.
func Open(signed []byte, a Address) (*Snapshot, error) {
	if err := limit("snapshot bytes", int64(len(signed)), MaxSnapshotBytes); err != nil {
		return nil, fmt.Errorf("cannot open snapshot: %w", err)
	}
	key := noteKey{id: a.Publisher}
	n, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return nil, fmt.Errorf("cannot open snapshot: %w: %w", ErrSignature, err)
	}
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 || !isCanonical(signed, n) {
		return nil, fmt.Errorf("cannot open snapshot: %w: want exactly one signature, in canonical base64", ErrSignature)
	}
	s, err := parseText(n.Text)
	if err != nil {
		return nil, err
	}
	if s.Repository != a {
		return nil, &RepositoryError{Got: s.Repository, Want: a}
	}
	return s, nil
}

// isCanonical reports whether signed is n's text and its one signature and
// nothing else. note.Open drops repeated signatures, and base64 has several
// spellings of one value.
func isCanonical(signed []byte, n *note.Note) bool {
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return false
	}
	tail := "\n— " + n.Sigs[0].Name + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
	return len(signed) == len(n.Text)+len(tail) && bytes.HasSuffix(signed, []byte(tail))
}
