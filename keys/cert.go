package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Bounds of a signer's certificate. They are generous for a person's key with
// its history of extensions, and keep the work of loading a policy small.
const (
	MaxCertificate = 64 << 10 // bytes, without the armor and what others certified
	MaxKeyring     = 16 << 20 // bytes of what is read in order to find certificates
	MaxSubkeys     = 20
	MaxUserIDs     = 50
	maxCertSigs    = 1000 // each self-signature costs a public-key operation at load
)

// certificateArmor is the type of an armored certificate, RFC 9580 §6.2.
const certificateArmor = "PGP PUBLIC KEY BLOCK"

// ErrSecretKey says that a file given as a certificate holds a secret key.
// Nothing of it is kept.
var ErrSecretKey = errors.New("this is a secret key; export the public certificate instead")

// A CertificateError says why bytes are not a usable signer certificate.
type CertificateError struct {
	Reason string
}

func (e *CertificateError) Error() string { return "not a usable certificate: " + e.Reason }

// A Certificate is a signer's OpenPGP certificate (transferable public key,
// RFC 9580 §10.1), checked once: every self-signature, binding and revocation
// is verified by ParseCertificate, and what follows from them is kept as plain
// values. A Certificate does not change afterwards and may be shared by
// goroutines.
type Certificate struct {
	Fingerprint string        // of the primary key: upper-case hex, 40 digits (v4) or 64 (v6)
	UserIDs     []string      // self-signed and not revoked, primary first, passed through Printable
	Algorithm   string        // of the primary key, such as "ed25519" or "rsa4096"
	Created     time.Time     // of the primary key
	Expires     time.Time     // of the primary key, by its latest self-signature; zero: never
	Revoked     *Revocation   // of the primary key; nil: not revoked
	Keys        []*SigningKey // every key of the certificate that may make signatures
	Warnings    []string      // what a careful user would want to know, such as SHA-1 self-signatures

	raw []byte
}

// Armored returns the certificate as it is stored: the packets that were read,
// unchanged, in canonical armor.
func (c *Certificate) Armored() []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, certificateArmor, nil)
	if err == nil {
		_, err = w.Write(c.raw)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic("keys: armor into memory failed: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// Digest returns the SHA-256 of Armored, in hex. It names the certificate's
// file, so that an altered file is noticed when it is loaded.
func (c *Certificate) Digest() string {
	sum := sha256.Sum256(c.Armored())
	return hex.EncodeToString(sum[:])
}

// ParseCertificate reads one OpenPGP certificate, armored or binary, version 4
// or 6. It refuses secret keys (ErrSecretKey), more than one certificate, and
// what exceeds the bounds above or holds no key that could sign
// (*CertificateError).
func ParseCertificate(data []byte) (*Certificate, error) {
	c, err := readCertificate(data)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(c.Keys, func(k *SigningKey) bool { return k.Weak == "" }) {
		return nil, &CertificateError{Reason: "it has no signing key of an accepted algorithm (" + c.Algorithm + ")"}
	}
	return c, nil
}

// readCertificate is ParseCertificate for keys of any strength.
func readCertificate(data []byte) (*Certificate, error) {
	raw, err := dearmorCertificate(data)
	if err != nil {
		return nil, err
	}
	if err := surveyCertificate(raw); err != nil {
		return nil, err
	}
	packets := packet.NewReader(bytes.NewReader(raw))
	entity, err := openpgp.ReadEntity(packets)
	if err != nil {
		return nil, &CertificateError{Reason: err.Error()}
	}
	if entity.PrivateKey != nil {
		return nil, ErrSecretKey
	}
	if v := entity.PrimaryKey.Version; v != 4 && v != 6 {
		return nil, &CertificateError{Reason: fmt.Sprintf("version %d keys are not accepted", v)}
	}
	c := &Certificate{
		Fingerprint: strings.ToUpper(hex.EncodeToString(entity.PrimaryKey.Fingerprint)),
		Algorithm:   algorithmName(entity.PrimaryKey),
		Created:     entity.PrimaryKey.CreationTime.UTC(),
		raw:         raw,
	}
	c.fill(entity)
	return c, nil
}

// ParseKeyring reads several certificates, each under the conditions of
// ParseCertificate: armored blocks with one or more, or binary packets. What
// ParseCertificate refuses is left out, because keyrings are collections of
// what others made; but certificates whose keys are all Weak are kept, so that
// a verdict can say so. ErrSecretKey and damage to the whole are errors.
func ParseKeyring(data []byte) ([]*Certificate, error) {
	if len(data) > MaxKeyring {
		return nil, &CertificateError{Reason: fmt.Sprintf("a keyring larger than %d MiB", MaxKeyring>>20)}
	}
	raw, err := dearmorKeyring(data)
	if err != nil {
		return nil, err
	}
	const tagPublicKey = 6
	var certificates []*Certificate
	var one bytes.Buffer
	finish := func() error {
		c, err := readCertificate(one.Bytes())
		if err == nil && len(c.Keys) > 0 {
			certificates = append(certificates, c)
		}
		one.Reset()
		if errors.Is(err, ErrSecretKey) {
			return err
		}
		return nil
	}
	packets := packet.NewOpaqueReader(bytes.NewReader(raw))
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &CertificateError{Reason: "damaged packets: " + err.Error()}
		}
		if p.Tag == tagPublicKey && one.Len() > 0 {
			if err := finish(); err != nil {
				return nil, err
			}
		}
		if err := p.Serialize(&one); err != nil {
			return nil, &CertificateError{Reason: "damaged packets: " + err.Error()}
		}
	}
	return certificates, finish()
}

// dearmorKeyring joins the packets of all armored blocks.
func dearmorKeyring(data []byte) ([]byte, error) {
	if len(data) > 0 && data[0]&0x80 != 0 {
		return data, nil
	}
	const begin = "-----BEGIN "
	var raw []byte
	for {
		i := bytes.Index(data, []byte(begin))
		if i < 0 {
			break
		}
		data = data[i:]
		next := len(data)
		if j := bytes.Index(data[len(begin):], []byte(begin)); j >= 0 {
			next = len(begin) + j
		}
		block, err := armor.Decode(bytes.NewReader(data[:next]))
		if err != nil {
			return nil, &CertificateError{Reason: "damaged armor: " + err.Error()}
		}
		if strings.HasPrefix(block.Type, "PGP PRIVATE") {
			return nil, ErrSecretKey
		}
		body, err := io.ReadAll(block.Body)
		if err != nil || block.Type != certificateArmor {
			return nil, &CertificateError{Reason: fmt.Sprintf("a damaged or foreign block %q", block.Type)}
		}
		raw, data = append(raw, body...), data[next:]
	}
	return raw, nil
}

func dearmorCertificate(data []byte) ([]byte, error) {
	if len(data) > MaxKeyring {
		return nil, &CertificateError{Reason: fmt.Sprintf("larger than %d MiB", MaxKeyring>>20)}
	}
	raw := data
	if len(data) > 0 && data[0]&0x80 == 0 {
		if bytes.Contains(data, []byte("-----BEGIN PGP PRIVATE KEY BLOCK")) {
			return nil, ErrSecretKey
		}
		if n := bytes.Count(data, []byte("-----BEGIN ")); n > 1 {
			return nil, &CertificateError{Reason: fmt.Sprintf("%d armored blocks in one file", n)}
		}
		block, err := armor.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, &CertificateError{Reason: "neither OpenPGP packets nor an armored block"}
		}
		if block.Type != certificateArmor {
			return nil, &CertificateError{Reason: fmt.Sprintf("the armored block is a %q", block.Type)}
		}
		if raw, err = io.ReadAll(block.Body); err != nil {
			return nil, &CertificateError{Reason: "damaged armor: " + err.Error()}
		}
	}
	if len(raw) == 0 {
		return nil, &CertificateError{Reason: "it is empty"}
	}
	if len(raw) > MaxCertificate {
		raw = withoutForeign(raw)
	}
	if len(raw) > MaxCertificate {
		return nil, &CertificateError{Reason: fmt.Sprintf("larger than %d KiB without what others certified", MaxCertificate>>10)}
	}
	return raw, nil
}

// withoutForeign leaves out of a certificate what other people say about it,
// and pictures: certifications by other keys, user attributes and trust
// packets. Nothing here looks at them, and they are what makes certificates
// large: four of guix's 105 committers have more than MaxCertificate of them.
// What it cannot read it keeps, for surveyCertificate to judge.
func withoutForeign(raw []byte) []byte {
	const tagSignature, tagTrust, tagUserAttribute = 2, 12, 17
	var kept bytes.Buffer
	var primary *packet.PublicKey
	picture := false // the signatures that follow are on a user attribute
	packets := packet.NewOpaqueReader(bytes.NewReader(raw))
	for {
		p, err := packets.Next()
		if err == io.EOF {
			return kept.Bytes()
		}
		if err != nil {
			return raw
		}
		parsed, err := p.Parse()
		if key, ok := parsed.(*packet.PublicKey); ok && primary == nil {
			primary = key
		}
		foreign := p.Tag == tagTrust
		switch p.Tag {
		case tagUserAttribute:
			picture = true
		case tagSignature:
			foreign = picture || isForeign(parsed, primary) || err != nil && len(p.Contents) > 0 && p.Contents[0] < 4
		case tagTrust:
		default:
			picture = false
		}
		if foreign || p.Tag == tagUserAttribute {
			continue
		}
		if err := p.Serialize(&kept); err != nil {
			return raw
		}
	}
}

// isForeign reports whether p is a certification of a user id by another key
// than primary, or the revocation of one.
func isForeign(p packet.Packet, primary *packet.PublicKey) bool {
	s, ok := p.(*packet.Signature)
	if !ok || primary == nil || s.IssuerKeyId == nil || *s.IssuerKeyId == primary.KeyId {
		return false
	}
	switch s.SigType {
	case packet.SigTypeGenericCert, packet.SigTypePersonaCert, packet.SigTypeCasualCert, packet.SigTypePositiveCert,
		packet.SigTypeCertificationRevocation:
		return true
	}
	return false
}

// surveyCertificate looks at the packets' kinds before any of them is parsed.
func surveyCertificate(raw []byte) error {
	const (
		tagSignature, tagSecretKey, tagPublicKey, tagSecretSubkey = 2, 5, 6, 7
		tagUserID, tagPublicSubkey                                = 13, 14
	)
	var count [64]int
	packets := packet.NewOpaqueReader(bytes.NewReader(raw))
	for n := 0; ; n++ {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return &CertificateError{Reason: "damaged packets: " + err.Error()}
		}
		switch {
		case p.Tag == tagSecretKey || p.Tag == tagSecretSubkey:
			return ErrSecretKey
		case n == 0 && p.Tag != tagPublicKey:
			return &CertificateError{Reason: "it does not begin with a public key"}
		}
		count[p.Tag&63]++
	}
	switch {
	case count[tagPublicKey] != 1:
		return &CertificateError{Reason: fmt.Sprintf("%d certificates in one file; give one", count[tagPublicKey])}
	case count[tagPublicSubkey] > MaxSubkeys:
		return &CertificateError{Reason: fmt.Sprintf("more than %d subkeys", MaxSubkeys)}
	case count[tagUserID] > MaxUserIDs:
		return &CertificateError{Reason: fmt.Sprintf("more than %d user ids", MaxUserIDs)}
	case count[tagSignature] > maxCertSigs:
		return &CertificateError{Reason: fmt.Sprintf("more than %d signatures; use gpg --export-options export-minimal", maxCertSigs)}
	}
	return nil
}
