package gpg

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// maxSigners is how many certificates go with a snapshot: a snapshot has room
// for few, and a reader's first contact needs only those of the tips.
const maxSigners = 32

// TipSigners collects the certificates of those who signed the commits and
// tags at the tips, as far as they are in the keyring and small enough to go
// with a snapshot. They are a courtesy to readers who have none of them yet;
// whatever cannot be had is left out in silence.
func (k Keyring) TipSigners(ctx context.Context, repo gitcmd.Repo, tips []refs.OID) [][]byte {
	var certs [][]byte
	for _, issuer := range issuers(ctx, repo, tips) {
		cert, err := k.Export(ctx, issuer)
		if err != nil || len(cert) > keys.MaxCertificate {
			continue
		}
		known := false
		for _, other := range certs {
			known = known || bytes.Equal(cert, other)
		}
		if !known {
			certs = append(certs, cert)
		}
		if len(certs) == maxSigners {
			break
		}
	}
	return certs
}

// maxObject bounds a commit or tag that is looked into.
const maxObject = 1 << 20

// issuers lists who signed the tips, and the commits that tags at the tips
// point at: fingerprints, or key ids where a signature names no more. Nothing
// is verified here.
func issuers(ctx context.Context, repo gitcmd.Repo, tips []refs.OID) []string {
	batch, err := repo.Batch(ctx)
	if err != nil {
		return nil
	}
	defer batch.Close()
	var found []string
	seen := make(map[string]bool)
	for _, oid := range tips {
		for range maxTagDepth {
			object, err := batch.Read(oid, maxObject)
			if err != nil || object.Kind != "commit" && object.Kind != "tag" {
				break
			}
			if issuer := Issuer(object.Data); issuer != "" && !seen[issuer] {
				seen[issuer] = true
				found = append(found, issuer)
			}
			target, ok := strings.CutPrefix(string(object.Data[:min(len(object.Data), 72)]), "object ")
			if !ok {
				break
			}
			target, _, _ = strings.Cut(target, "\n")
			oid = refs.OID(target)
		}
	}
	return found
}

// maxTagDepth is how far tags of tags are followed.
const maxTagDepth = 4

const (
	armorBegin = "-----BEGIN PGP SIGNATURE-----"
	armorEnd   = "-----END PGP SIGNATURE-----"
)

// Issuer says whose key the OpenPGP signature of a raw commit or tag claims to
// be from: a fingerprint or key id in upper-case hex, or "" if there is none.
func Issuer(object []byte) string {
	// A commit has its signature in a header, each line after the first
	// indented by a space; a tag has it at its end.
	text := strings.ReplaceAll(string(object), "\n ", "\n")
	begin := strings.LastIndex(text, armorBegin)
	if header, _, _ := strings.Cut(string(object), "\n\n"); strings.Contains(header, armorBegin) {
		begin = strings.Index(text, armorBegin)
	}
	if begin < 0 {
		return ""
	}
	text = text[begin:]
	end := strings.Index(text, armorEnd)
	if end < 0 {
		return ""
	}
	block, err := armor.Decode(strings.NewReader(text[:end+len(armorEnd)] + "\n"))
	if err != nil {
		return ""
	}
	p, err := packet.Read(block.Body)
	sig, ok := p.(*packet.Signature)
	switch {
	case err != nil || !ok:
		return ""
	case len(sig.IssuerFingerprint) > 0:
		return strings.ToUpper(hex.EncodeToString(sig.IssuerFingerprint))
	case sig.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	return ""
}
