package keys

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strings"
)

// idPrefix is the human-readable part of an id in bech32.
const idPrefix = "gp"

// idLen is the length of an id's text: "gp1", 52 groups, 6 of checksum.
const idLen = len(idPrefix) + 1 + 52 + 6

// An ID names a publisher: it is the publisher's Ed25519 public key
// (RFC 8032 §5.1.5). Two ids are the same publisher exactly if they are equal.
type ID [ed25519.PublicKeySize]byte

// An IDError says why Text is not an id.
type IDError struct {
	Text   string // as it was given, at most 100 bytes of it
	Reason string
}

func (e *IDError) Error() string {
	return fmt.Sprintf("invalid publisher id %q: %s", e.Text, e.Reason)
}

// maxShown is how much of a text from outside an error repeats.
const maxShown = 100

func idError(text, reason string) *IDError {
	if len(text) > maxShown {
		text = text[:maxShown]
	}
	return &IDError{Text: text, Reason: reason}
}

// ParseID parses an id in bech32 (gp1…, 61 characters, all lower or all upper
// case) or in hexadecimal (64 digits, as BEP 46 magnet links carry it). It
// refuses keys under which anybody can sign. Every error is an *IDError.
func ParseID(s string) (ID, error) {
	raw, err := decodeID(s)
	if err != nil {
		return ID{}, err
	}
	id := ID(raw)
	if id.isWeak() {
		return ID{}, idError(s, "weak key")
	}
	return id, nil
}

func decodeID(s string) ([]byte, error) {
	if len(s) < 3 || !strings.EqualFold(s[:3], idPrefix+"1") {
		if len(s) != hex.EncodedLen(len(ID{})) {
			return nil, idError(s, "does not start with gp1")
		}
		raw, err := hex.DecodeString(s)
		if err != nil {
			return nil, idError(s, "not hexadecimal")
		}
		return raw, nil
	}
	if len(s) != idLen {
		return nil, idError(s, fmt.Sprintf("%d characters, want %d", len(s), idLen))
	}
	hrp, groups, err := bech32Groups(s)
	if err != nil {
		return nil, idError(s, err.Error())
	}
	if hrp != idPrefix { // a further 1 among the groups
		return nil, idError(s, errBech32Charset.Error())
	}
	raw, err := bech32Join(groups)
	if err != nil {
		return nil, idError(s, err.Error())
	}
	return raw, nil
}

// String returns the id in bech32: gp1 and 58 characters.
func (id ID) String() string { return bech32Encode(idPrefix, id[:]) }

// Hex returns the 64 lower-case hexadecimal digits of the key.
func (id ID) Hex() string { return hex.EncodeToString(id[:]) }

// Short returns the first 16 and the last 8 characters of String with … in
// between. It is for people who have seen the whole id before; it does not
// identify a publisher.
func (id ID) Short() string {
	s := id.String()
	return s[:16] + "…" + s[len(s)-8:]
}

// IsZero reports whether id is the zero value, which is no publisher's.
func (id ID) IsZero() bool { return id == ID{} }

// Verify reports whether sig is id's Ed25519 signature of message.
func (id ID) Verify(message, sig []byte) bool {
	return !id.isWeak() && ed25519.Verify(id[:], message, sig)
}

// MarshalText returns String's bytes, or none for the zero ID.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText is ParseID, or the zero ID for empty text.
func (id *ID) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	*id, err = ParseID(string(text))
	return err
}

// isWeak reports whether id is not the canonical encoding of a field element
// (y ≥ 2^255−19) or is one of the points of small order, under which a
// signature can be made without a private key. Both are refused so that an id
// stands for one key and a key for one holder.
func (id ID) isWeak() bool {
	y := id
	y[31] &= 0x7f // the sign of x
	if y[31] == 0x7f && y[0] >= 0xed {
		ones := true
		for _, b := range y[1:31] {
			ones = ones && b == 0xff
		}
		if ones {
			return true
		}
	}
	// The y coordinates of the eight points whose order divides 8:
	// 0 (order 4), 1 (order 1), −1 (order 2), and ±the one of order 8.
	switch hex.EncodeToString(y[:]) {
	case "0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a":
		return true
	}
	return false
}
