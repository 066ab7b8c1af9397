package gpg

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// TipSigners collects the keys of those who signed the commits and tags at the
// tips, as a snapshot carries them: OpenPGP certificates, as far as they are in
// the keyring and small enough, and SSH public keys, which the signatures
// hold. They are a courtesy to readers who have none of them yet; whatever
// cannot be had is left out in silence. For keys of the certificates in known
// these are taken, and gpg is not asked. The result is in the order of the tips
// and has at most refs.MaxSigners.
func (k Keyring) TipSigners(ctx context.Context, repo gitcmd.Repo, tips []refs.OID, known ...[]byte) [][]byte {
	var found [][]byte
	listed := func(key []byte) bool {
		return slices.ContainsFunc(found, func(other []byte) bool { return bytes.Equal(key, other) })
	}
	certs := map[string][]byte{}
	for _, cert := range known {
		for _, name := range names(cert) {
			certs[name] = cert
		}
	}
	for _, claim := range claims(ctx, repo, tips) {
		if len(found) == refs.MaxSigners {
			break
		}
		key := []byte(claim.sshKey)
		if claim.issuer != "" {
			cert, ok := certs[claim.issuer]
			if !ok {
				var err error
				if cert, err = k.Export(ctx, claim.issuer); err != nil {
					continue
				}
			}
			key = cert
		}
		if len(key) > 0 && len(key) <= refs.MaxSignerBytes && !listed(key) {
			found = append(found, key)
		}
	}
	return found
}

// maxObject bounds a commit or tag that is looked into.
const maxObject = 1 << 20

// maxTagDepth is how far tags of tags are followed.
const maxTagDepth = 4

// maxClaims bounds the different signers that are looked for: each may cost a
// run of gpg, and whoever has a tag merged can make up as many as there are refs.
const maxClaims = 4 * refs.MaxSigners

// A claim is whose signature a commit or tag has, by its own words.
type claim struct {
	issuer string // OpenPGP: fingerprint or key id in upper-case hex
	sshKey string // SSH: public key in wire format
}

// claims lists who signed the tips, and the commits that tags at the tips
// point at: each once, the first maxClaims of them. Nothing is verified here.
func claims(ctx context.Context, repo gitcmd.Repo, tips []refs.OID) []claim {
	batch, err := repo.Batch(ctx)
	if err != nil {
		return nil
	}
	defer batch.Close()
	var found []claim
	seen := map[claim]bool{{}: true}
	for _, oid := range tips {
		for range maxTagDepth {
			object, err := batch.Read(oid, maxObject)
			if err != nil || object.Kind != "commit" && object.Kind != "tag" {
				break
			}
			if c := claimOf(object.Data); !seen[c] {
				seen[c] = true
				found = append(found, c)
				if len(found) == maxClaims {
					return found
				}
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

// claimOf finds the signature of a raw commit or tag. A commit has it in a
// header, each line after the first indented by a space; a tag at its end.
func claimOf(object []byte) claim {
	header, _, _ := strings.Cut(string(object), "\n\n")
	text := string(object)
	find := strings.LastIndex
	if strings.Contains(header, "\ngpgsig") {
		text, find = strings.ReplaceAll(text, "\n ", "\n"), strings.Index
	}
	if block := cut(text, find, "-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNATURE-----"); block != "" {
		return claim{issuer: issuer(block)}
	}
	if block := cut(text, find, "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"); block != "" {
		return claim{sshKey: sshKey(block)}
	}
	return claim{}
}

// cut returns the part of text from one line to another.
func cut(text string, find func(s, substr string) int, first, last string) string {
	begin := find(text, first)
	if begin < 0 {
		return ""
	}
	text = text[begin:]
	end := strings.Index(text, last)
	if end < 0 {
		return ""
	}
	return text[:end+len(last)] + "\n"
}

// issuer returns the fingerprint, or else the key id, that an armored OpenPGP
// signature names.
func issuer(armored string) string {
	block, err := armor.Decode(strings.NewReader(armored))
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

// sshKey returns the public key that an armored SSH signature holds
// (PROTOCOL.sshsig of OpenSSH), if it is one that could be trusted.
func sshKey(armored string) string {
	block, _ := pem.Decode([]byte(armored))
	if block == nil {
		return ""
	}
	rest, ok := strings.CutPrefix(string(block.Bytes), "SSHSIG")
	if !ok {
		return ""
	}
	var head struct {
		Version   uint32
		PublicKey string
		Rest      []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal([]byte(rest), &head); err != nil || head.Version != 1 {
		return ""
	}
	if _, err := keys.ParseSSHBlob([]byte(head.PublicKey)); err != nil {
		return ""
	}
	return head.PublicKey
}
