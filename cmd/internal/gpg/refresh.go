package gpg

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/keys"
)

// Refresh exports certificates again, as Export does, with one run of gpg for
// all: what has become of them since, such as a revocation, stands in the
// keyring. Each is replaced in its place. What the keyring has not, and what is
// no OpenPGP certificate, stays as it is, as does a revoked certificate that the
// keyring knows without its revocation: a revocation is not taken back. Where
// gpg fails, or has more than maxExport to say, all stay.
func (k Keyring) Refresh(ctx context.Context, certs [][]byte) [][]byte {
	args := []string{"--export", "--"}
	for _, cert := range certs {
		if which := selector(Fingerprint(cert)); which != "" {
			args = append(args, which)
		}
	}
	refreshed := slices.Clone(certs)
	if len(args) == 2 {
		return refreshed
	}
	out, err := k.run(ctx, args...)
	if err != nil {
		return refreshed
	}
	found := map[string][]byte{}
	for _, whole := range split(out) {
		if cert, err := strip(whole); err == nil {
			found[Fingerprint(cert)] = cert
		}
	}
	for i, old := range certs {
		cert, ok := found[Fingerprint(old)]
		if ok && !bytes.Equal(cert, old) && (revoked(cert) || !revoked(old)) {
			refreshed[i] = cert
		}
	}
	return refreshed
}

// Fingerprint returns the fingerprint of a binary certificate's primary key in
// upper-case hex, or "" if it begins with none. Nothing else is looked at.
func Fingerprint(cert []byte) string {
	p, err := packet.NewOpaqueReader(bytes.NewReader(cert)).Next()
	if err != nil || p.Tag != tagPublicKey {
		return ""
	}
	if key := publicKey(p); key != nil {
		return strings.ToUpper(hex.EncodeToString(key.Fingerprint))
	}
	return ""
}

// names lists what a signature may call the keys of a certificate: their
// fingerprints and key ids, as a claim has them.
func names(cert []byte) []string {
	var list []string
	packets := packet.NewOpaqueReader(bytes.NewReader(cert))
	for {
		p, err := packets.Next()
		if err != nil {
			return list
		}
		if p.Tag != tagPublicKey && p.Tag != tagPublicSubkey {
			continue
		}
		if key := publicKey(p); key != nil {
			list = append(list, strings.ToUpper(hex.EncodeToString(key.Fingerprint)), fmt.Sprintf("%016X", key.KeyId))
		}
	}
}

func publicKey(p *packet.OpaquePacket) *packet.PublicKey {
	parsed, err := p.Parse()
	if err != nil {
		return nil
	}
	key, _ := parsed.(*packet.PublicKey)
	return key
}

// split cuts what gpg exported into certificates, each beginning with its
// primary key. What follows damage is left out, as is the certificate with it.
func split(certs []byte) [][]byte {
	var list [][]byte
	var one bytes.Buffer
	finish := func() {
		if one.Len() > 0 {
			list = append(list, bytes.Clone(one.Bytes()))
			one.Reset()
		}
	}
	packets := packet.NewOpaqueReader(bytes.NewReader(certs))
	for {
		p, err := packets.Next()
		if err == io.EOF {
			finish()
			return list
		}
		if err != nil {
			return list
		}
		if p.Tag == tagPublicKey {
			finish()
		}
		if err := p.Serialize(&one); err != nil {
			return list
		}
	}
}

func revoked(cert []byte) bool {
	c, err := keys.ParseCertificate(cert)
	return err == nil && c.Revoked != nil
}
