package announce

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs/bencode"
)

// Limits of a mutable item (BEP 44).
const (
	MaxValue = 1000 // bytes of the bencoded value; nodes answer 205 above it
	MaxSalt  = 64   // bytes of the salt; nodes answer 207 above it

	// maxItem bounds ParseItem: the two above and the fixed part, rounded up.
	maxItem = 1400
	// maxDepth bounds nested lists and dictionaries in a value. Ours has
	// depth 2; a KRPC message adds 2 and all readers have a bound somewhere.
	maxDepth = 8
)

// ErrNoNodes is returned by a lookup that reached no DHT node at all.
var ErrNoNodes = errors.New("no DHT node answered")

// ItemError says why something is not a valid mutable item.
type ItemError struct{ Reason string }

func (e *ItemError) Error() string { return "invalid DHT item: " + e.Reason }

// Item is a BEP-44 mutable item: a value signed by a key for a salt and a
// sequence number. Two items with one target and one Seq but different
// values are an equivocation.
type Item struct {
	Key   keys.ID
	Salt  []byte // at most MaxSalt bytes
	Seq   int64  // not negative
	Value []byte // one canonical bencoded value, at most MaxValue bytes
	Sig   [64]byte
}

// SignItem makes and signs an item. The result verifies; what cannot be a
// valid item is an *ItemError.
func SignItem(s keys.Signer, salt []byte, seq int64, value []byte) (*Item, error) {
	item := &Item{Key: s.ID(), Salt: bytes.Clone(salt), Seq: seq, Value: bytes.Clone(value)}
	if err := item.checkShape(); err != nil {
		return nil, err
	}
	sig, err := s.Sign(item.signed())
	if err != nil {
		return nil, fmt.Errorf("sign DHT item: %w", err)
	}
	if len(sig) != len(item.Sig) {
		return nil, &ItemError{Reason: fmt.Sprintf("signature of %d bytes", len(sig))}
	}
	copy(item.Sig[:], sig)
	// An agent may hold another key than it claims to.
	if err := item.Verify(); err != nil {
		return nil, err
	}
	return item, nil
}

// Target returns where the item lives.
func (i *Item) Target() Target { return TargetOf(i.Key, i.Salt) }

// Verify returns nil if the item is within the limits, its value is canonical
// bencode and its signature is by Key; else an *ItemError.
func (i *Item) Verify() error {
	if err := i.checkShape(); err != nil {
		return err
	}
	if !ed25519.Verify(i.Key[:], i.signed(), i.Sig[:]) {
		return &ItemError{Reason: "bad signature"}
	}
	return nil
}

// Equal reports whether two items are the same in every byte.
func (i *Item) Equal(o *Item) bool {
	return i.Key == o.Key && i.Seq == o.Seq && i.Sig == o.Sig &&
		bytes.Equal(i.Salt, o.Salt) && bytes.Equal(i.Value, o.Value)
}

// SameValue reports whether two items of one target say the same. Signatures
// are left out: a key may sign one statement in two ways.
func (i *Item) SameValue(o *Item) bool { return i.Seq == o.Seq && bytes.Equal(i.Value, o.Value) }

// Format returns the canonical text of the item: the bencoded dictionary of
// k, salt, seq, sig and v as in the arguments of a BEP-44 put (salt is left
// out when empty). An item that is not well-formed is an *ItemError; the
// signature is not checked.
func (i *Item) Format() ([]byte, error) {
	if err := i.checkShape(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(i.Value)+len(i.Salt)+160)
	b = bencode.AppendString(append(b, "d1:k"...), i.Key[:])
	if len(i.Salt) > 0 {
		b = bencode.AppendString(append(b, "4:salt"...), i.Salt)
	}
	b = bencode.AppendInt(append(b, "3:seq"...), i.Seq)
	b = bencode.AppendString(append(b, "3:sig"...), i.Sig[:])
	b = append(append(b, "1:v"...), i.Value...)
	return append(b, 'e'), nil
}

// ParseItem is the inverse of [Item.Format]: it accepts nothing that Format
// would not write, and does not check the signature. Errors are *ItemError.
func ParseItem(text []byte) (*Item, error) {
	if len(text) > maxItem {
		return nil, &ItemError{Reason: fmt.Sprintf("%d bytes, more than %d", len(text), maxItem)}
	}
	dict, err := bencode.Parse(text)
	if err != nil {
		return nil, &ItemError{Reason: err.Error()}
	}
	key, _ := dict.Get("k").Str()
	salt, _ := dict.Get("salt").Str()
	seq, _ := dict.Get("seq").Int()
	sig, _ := dict.Get("sig").Str()
	item := &Item{Salt: bytes.Clone(salt), Seq: seq, Value: bytes.Clone(dict.Get("v").Raw())}
	if copy(item.Key[:], key) != len(item.Key) || copy(item.Sig[:], sig) != len(item.Sig) {
		return nil, &ItemError{Reason: "key or signature missing or short"}
	}
	// Writing it again finds all else: a missing, surplus or overlong field.
	back, err := item.Format()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(back, text) {
		return nil, &ItemError{Reason: "not canonical"}
	}
	return item, nil
}

func (i *Item) checkShape() error {
	switch {
	case i.Seq < 0:
		return &ItemError{Reason: "negative seq"}
	case len(i.Salt) > MaxSalt:
		return &ItemError{Reason: fmt.Sprintf("salt of %d bytes, more than %d", len(i.Salt), MaxSalt)}
	case len(i.Value) > MaxValue:
		return &ItemError{Reason: fmt.Sprintf("value of %d bytes, more than %d", len(i.Value), MaxValue)}
	}
	value, err := bencode.Parse(i.Value)
	if err != nil {
		return &ItemError{Reason: "value: " + err.Error()}
	}
	if value.Depth() > maxDepth {
		return &ItemError{Reason: "value: nested too deep"}
	}
	return nil
}

// signed returns the bytes that BEP 44 signs.
func (i *Item) signed() []byte {
	b := make([]byte, 0, len(i.Value)+len(i.Salt)+64)
	if len(i.Salt) > 0 {
		b = bencode.AppendString(append(b, "4:salt"...), i.Salt)
	}
	b = bencode.AppendInt(append(b, "3:seq"...), i.Seq)
	return append(append(b, "1:v"...), i.Value...)
}
