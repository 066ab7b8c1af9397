package refs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// An ObjectFormat is the hash function of a repository, as git's
// extensions.objectFormat names it.
type ObjectFormat string

// The object formats.
const (
	SHA1   ObjectFormat = "sha1"
	SHA256 ObjectFormat = "sha256"
)

// ParseObjectFormat parses "sha1" or "sha256".
func ParseObjectFormat(s string) (ObjectFormat, error) {
	if f := ObjectFormat(s); f.Len() != 0 {
		return f, nil
	}
	return "", fmt.Errorf("unknown object format %q", shown(s))
}

// Len returns the length of an object id in bytes: 20 or 32, or 0 for an
// unknown format.
func (f ObjectFormat) Len() int {
	switch f {
	case SHA1:
		return 20
	case SHA256:
		return 32
	}
	return 0
}

// HexLen returns the length of an object id in hexadecimal digits.
func (f ObjectFormat) HexLen() int { return 2 * f.Len() }

// An OID is an object id: 40 or 64 lower-case hexadecimal digits, or "" where
// there is none.
type OID string

// ParseOID parses an object id of the given format: exactly its number of
// lower-case hexadecimal digits. The id of all zeros is accepted; IsZero
// tells.
func ParseOID(s string, f ObjectFormat) (OID, error) {
	if f.Len() == 0 {
		return "", fmt.Errorf("unknown object format %q", shown(string(f)))
	}
	if len(s) != f.HexLen() || !isLowerHex(s) {
		return "", fmt.Errorf("invalid object id %q: want %d lower-case hexadecimal digits", shown(s), f.HexLen())
	}
	return OID(s), nil
}

// IsZero reports whether o names no object: it is empty or all zeros.
func (o OID) IsZero() bool { return strings.Trim(string(o), "0") == "" }

// raw returns the bytes of o, or nil if o is not 40 or 64 digits.
func (o OID) raw() []byte {
	if len(o) != SHA1.HexLen() && len(o) != SHA256.HexLen() || !isLowerHex(string(o)) {
		return nil
	}
	b, _ := hex.DecodeString(string(o))
	return b
}

// An InfoHash names a torrent: the SHA-1 of its info dictionary (BEP 3).
type InfoHash [20]byte

// ParseInfoHash parses 40 lower-case hexadecimal digits.
func ParseInfoHash(s string) (InfoHash, error) {
	var h InfoHash
	err := parseHex(h[:], s, "infohash")
	return h, err
}

// String returns 40 lower-case hexadecimal digits.
func (h InfoHash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns String's bytes.
func (h InfoHash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is ParseInfoHash.
func (h *InfoHash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseInfoHash(string(text))
	return err
}

// A Digest is the SHA-256 of a file: of a snapshot's signed note, or of a pack.
type Digest [sha256.Size]byte

// DigestOf returns the digest of note, the bytes that Sign returned.
func DigestOf(note []byte) Digest { return sha256.Sum256(note) }

// ParseDigest parses 64 lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	err := parseHex(d[:], s, "digest")
	return d, err
}

// String returns 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d is the zero value.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText returns String's bytes.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDigest.
func (d *Digest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDigest(string(text))
	return err
}

func parseHex(dst []byte, s, what string) error {
	if len(s) != 2*len(dst) || !isLowerHex(s) {
		return fmt.Errorf("invalid %s %q: want %d lower-case hexadecimal digits", what, shown(s), 2*len(dst))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
