package trust

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/keys"
)

// A pgpSignature is an OpenPGP signature packet that passed the rules 2 and 3
// of TRUST.md §4.1, and what its hashed area says.
type pgpSignature struct {
	raw         []byte // the whole packet
	version     int
	algorithm   byte // of the key, by its OpenPGP id
	hash        crypto.Hash
	created     time.Time
	lifetime    time.Duration // 0: for ever
	fingerprint string        // of the issuer, upper-case hex, as signed; "" if that is not there
	keyID       uint64        // of the issuer; 0 if there is none
	hint        string        // a fingerprint that is not signed: worth as much as a key id
}

// Subpacket types of RFC 9580 §5.2.3.7 that have a meaning here.
const (
	subCreated     = 2
	subLifetime    = 3
	subIssuer      = 16
	subNotation    = 20
	subFingerprint = 33
)

// knownCritical are the subpackets that may be marked critical in a signature
// on data: understood, or without bearing on whether it is valid.
var knownCritical = map[byte]bool{
	subCreated: true, subLifetime: true, subIssuer: true, subFingerprint: true,
	26: true, // policy URI
	28: true, // signer's user id
}

// acceptedHashes are OpenPGP's ids of the hash functions in use.
var acceptedHashes = map[byte]crypto.Hash{
	8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512,
	12: crypto.SHA3_256, 14: crypto.SHA3_512,
}

// algorithmDSA is OpenPGP's id of DSA.
const algorithmDSA = 17

// weakNames are the algorithms that are recognised in order to be named when
// they are refused.
var (
	weakHashes  = map[byte]string{1: "MD5", 2: "SHA-1", 3: "RIPEMD-160", 11: "SHA-224"}
	weakKeys    = map[byte]string{16: "ElGamal", algorithmDSA: "DSA", 20: "ElGamal"}
	acceptedPKs = map[byte]bool{1: true, 3: true, 19: true, 22: true, 27: true, 28: true}
)

// parsePGP reads exactly one signature packet of version 4 or 6, on binary
// data, with its time in the hashed area, and nothing before, inside or after
// it that a different reader could take for something else.
func parsePGP(raw []byte) (*pgpSignature, error) {
	s, err := readPGP(raw)
	if err == nil && weakKeys[s.algorithm] != "" {
		return nil, &signatureError{WeakAlgorithm, "the signature uses " + weakKeys[s.algorithm]}
	}
	return s, err
}

// readPGP is parsePGP with DSA, which only guix's rules allow.
func readPGP(raw []byte) (*pgpSignature, error) {
	body, err := onePacket(raw)
	if err != nil {
		return nil, err
	}
	s := &pgpSignature{raw: raw}
	r := reader{data: body}
	s.version = int(r.byte())
	if s.version != 4 && s.version != 6 {
		return nil, badSignature(fmt.Sprintf("a version %d signature; versions 4 and 6 are accepted", s.version))
	}
	kind, key, hash := r.byte(), r.byte(), r.byte()
	hashed, unhashed := r.area(s.version), r.area(s.version)
	r.take(2) // the left 16 bits of the digest
	if r.failed || len(r.data) == 0 {
		return nil, badSignature("a truncated signature packet")
	}
	if kind != 0x00 {
		return nil, badSignature(fmt.Sprintf("a signature of type 0x%02x; only 0x00, on binary data, is accepted", kind))
	}
	if err := s.algorithms(key, hash); err != nil {
		return nil, err
	}
	if err := s.subpackets(hashed, hashedArea); err != nil {
		return nil, err
	}
	if err := s.subpackets(unhashed, unhashedArea); err != nil {
		return nil, err
	}
	if s.created.IsZero() {
		return nil, badSignature("no creation time in the signed part of the signature")
	}
	if err := s.oneIssuer(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *pgpSignature) algorithms(key, hash byte) error {
	s.algorithm = key
	var ok bool
	switch s.hash, ok = acceptedHashes[hash]; {
	case weakHashes[hash] != "":
		return &signatureError{WeakAlgorithm, "the signature uses " + weakHashes[hash]}
	case !ok:
		return &signatureError{WeakAlgorithm, fmt.Sprintf("the signature uses hash algorithm %d", hash)}
	case weakKeys[key] != "" && key != algorithmDSA:
		return &signatureError{WeakAlgorithm, "the signature uses " + weakKeys[key]}
	case !acceptedPKs[key] && key != algorithmDSA:
		return &signatureError{WeakAlgorithm, fmt.Sprintf("the signature uses public-key algorithm %d", key)}
	}
	return nil
}

// onePacket returns the body of the only packet in raw: a signature with a
// length that is definite and leaves nothing over. RFC 9580 §4.2.
func onePacket(raw []byte) ([]byte, error) {
	const tagSignature = 2
	if len(raw) < 2 || raw[0]&0x80 == 0 {
		return nil, badSignature("not an OpenPGP packet")
	}
	r := reader{data: raw}
	var tag byte
	var length uint32
	if first := r.byte(); first&0x40 != 0 {
		tag = first & 0x3f
		switch l := r.byte(); {
		case l < 192:
			length = uint32(l)
		case l < 224:
			length = uint32(l-192)<<8 + uint32(r.byte()) + 192
		case l == 255:
			length = r.uint32()
		default:
			return nil, badSignature("a packet in parts")
		}
	} else {
		tag = first >> 2 & 0x0f
		switch first & 3 {
		case 0:
			length = uint32(r.byte())
		case 1:
			length = uint32(r.uint16())
		case 2:
			length = r.uint32()
		default:
			return nil, badSignature("a packet without a length")
		}
	}
	switch {
	case tag != tagSignature:
		return nil, badSignature(fmt.Sprintf("a packet of kind %d where only a signature may stand", tag))
	case r.failed || uint64(length) > uint64(len(r.data)):
		return nil, badSignature("a truncated packet")
	case uint64(length) < uint64(len(r.data)):
		return nil, badSignature("more than one packet, or bytes after the signature")
	}
	return r.data, nil
}

// The two areas of subpackets: only what stands in the first is signed.
type subpacketArea int

const (
	hashedArea subpacketArea = iota
	unhashedArea
)

func (s *pgpSignature) subpackets(area []byte, where subpacketArea) error {
	r := reader{data: area}
	seen := make(map[byte]bool, 4)
	for len(r.data) > 0 {
		content := r.take(int(min(r.subpacketLength(), maxArmor)))
		if r.failed || len(content) == 0 {
			return badSignature("a truncated subpacket")
		}
		kind, critical := content[0]&0x7f, content[0]&0x80 != 0
		if critical && !knownCritical[kind] {
			return badSignature(fmt.Sprintf("a critical subpacket of kind %d, which is not understood", kind))
		}
		switch kind {
		case subCreated, subLifetime, subIssuer, subFingerprint:
			if seen[kind] {
				return badSignature(fmt.Sprintf("subpacket %d twice", kind))
			}
			seen[kind] = true
		}
		if err := s.subpacket(kind, content[1:], where); err != nil {
			return err
		}
	}
	return nil
}

// subpacket records what matters. The unhashed area, which anybody can change,
// is asked for nothing but a hint whose key to try.
func (s *pgpSignature) subpacket(kind byte, content []byte, where subpacketArea) error {
	switch {
	case kind == subCreated && where == hashedArea:
		if len(content) != 4 {
			return badSignature("a damaged creation time")
		}
		s.created = time.Unix(int64(binary.BigEndian.Uint32(content)), 0).UTC()
	case kind == subLifetime && where == hashedArea:
		if len(content) != 4 {
			return badSignature("a damaged lifetime")
		}
		s.lifetime = time.Duration(binary.BigEndian.Uint32(content)) * time.Second
	case kind == subFingerprint:
		if len(content) != 21 && len(content) != 33 {
			return badSignature("a damaged issuer fingerprint")
		}
		fingerprint := strings.ToUpper(hex.EncodeToString(content[1:]))
		if where == hashedArea {
			s.fingerprint = fingerprint
		} else {
			s.hint = fingerprint
		}
	case kind == subIssuer:
		if len(content) != 8 {
			return badSignature("a damaged issuer")
		}
		id := binary.BigEndian.Uint64(content)
		if s.keyID != 0 && s.keyID != id {
			return badSignature("two different issuers")
		}
		s.keyID = id
	}
	return nil
}

// verify checks the signature over the two parts of the payload.
func (s *pgpSignature) verify(key *keys.SigningKey, parts ...[]byte) error {
	p, err := packet.Read(bytes.NewReader(s.raw))
	if err != nil {
		return badSignature("an unreadable signature packet")
	}
	sig, ok := p.(*packet.Signature)
	if !ok || sig.SigType != packet.SigTypeBinary || sig.Hash != s.hash || !sig.CreationTime.Equal(s.created) {
		return badSignature("the signature packet reads in two ways")
	}
	if sig.Version != key.Packet().Version {
		return badSignature(fmt.Sprintf("a version %d signature by a version %d key", sig.Version, key.Packet().Version))
	}
	h, err := sig.PrepareVerify()
	if err != nil {
		return badSignature("an unusable signature packet")
	}
	for _, part := range parts {
		h.Write(part)
	}
	if err := key.Packet().VerifySignature(h, sig); err != nil {
		return badSignature("the signature does not match what it is on")
	}
	return nil
}

// issuer is what is shown of an issuer whose key is not known.
func (s *pgpSignature) issuer() string {
	if issuer := cmp.Or(s.fingerprint, s.hint); issuer != "" {
		return issuer
	}
	return fmt.Sprintf("%016X", s.keyID)
}

// oneIssuer refuses a signature that names no issuer, or two.
func (s *pgpSignature) oneIssuer() error {
	if s.fingerprint == "" && s.keyID == 0 && s.hint == "" {
		return badSignature("the signature does not say whose it is")
	}
	if s.fingerprint != "" && s.hint != "" && s.fingerprint != s.hint {
		return badSignature("two different issuers")
	}
	if named := cmp.Or(s.fingerprint, s.hint); named != "" && s.keyID != 0 {
		id := named[len(named)-16:]
		if len(named) == 64 { // version 6: RFC 9580 §5.5.4.3
			id = named[:16]
		}
		if id != fmt.Sprintf("%016X", s.keyID) {
			return badSignature("two different issuers")
		}
	}
	return nil
}

// of returns the key that the signature says it was made with: by the signed
// fingerprint, or else, as older programs have it, by the key id, which index
// lets no two keys share. nil: the policy does not have it.
func (s *pgpSignature) of(p *Policy) *authority {
	var a *authority
	switch {
	case s.fingerprint != "":
		a = p.byFingerprint[s.fingerprint]
	case s.keyID != 0:
		a = p.byKeyID[s.keyID]
	default:
		a = p.byFingerprint[s.hint]
	}
	if a != nil && s.hint != "" && a.pgp.Fingerprint != s.hint {
		return nil
	}
	return a
}

// A reader takes bytes from the front of data; failed says that there were too
// few.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.data) {
		r.failed, r.data = true, nil
		return nil
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// area takes an area of subpackets with its length: two bytes in version 4,
// four in version 6.
func (r *reader) area(version int) []byte {
	n := uint32(0)
	if version == 6 {
		n = r.uint32()
	} else {
		n = uint32(r.uint16())
	}
	if uint64(n) > uint64(len(r.data)) {
		r.failed, r.data = true, nil
		return nil
	}
	return r.take(int(n))
}

// subpacketLength takes the length of a subpacket: RFC 9580 §5.2.3.7.
func (r *reader) subpacketLength() uint32 {
	switch l := r.byte(); {
	case l < 192:
		return uint32(l)
	case l < 255:
		return uint32(l-192)<<8 + uint32(r.byte()) + 192
	default:
		return r.uint32()
	}
}

// string takes an SSH string: four bytes of length and the content.
func (r *reader) string() []byte {
	n := r.uint32()
	if uint64(n) > uint64(len(r.data)) {
		r.failed, r.data = true, nil
		return nil
	}
	return r.take(int(n))
}
