package trust

import (
	"crypto"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/gitpeer/gitpeer/keys"
)

// sshMagic begins an SSH signature and what it is over: PROTOCOL.sshsig §2.
const sshMagic = "SSHSIG"

// sshNamespace is the namespace in which git signs.
const sshNamespace = "git"

// An sshSignature is the content of an SSHSIG block.
type sshSignature struct {
	blob        []byte // the public key in wire format
	fingerprint string // SHA256:…
	key         string // the public key as a line of text
	hash        crypto.Hash
	hashName    string
	signature   ssh.Signature
}

// parseSSH reads an SSHSIG of version 1 in the namespace of git.
func parseSSH(raw []byte) (*sshSignature, error) {
	r := reader{data: raw}
	if string(r.take(len(sshMagic))) != sshMagic {
		return nil, badSignature("not an SSH signature")
	}
	if version := r.uint32(); version != 1 {
		return nil, badSignature(fmt.Sprintf("version %d of SSH signatures", version))
	}
	s := &sshSignature{blob: r.string()}
	namespace, reserved, hash, signature := r.string(), r.string(), r.string(), r.string()
	switch {
	case r.failed:
		return nil, badSignature("a truncated SSH signature")
	case len(r.data) != 0:
		return nil, badSignature("bytes after the SSH signature")
	case string(namespace) != sshNamespace:
		return nil, badSignature("an SSH signature made for something else than git")
	case len(reserved) != 0:
		return nil, badSignature("an SSH signature with a reserved field")
	}
	switch s.hashName = string(hash); s.hashName {
	case "sha256":
		s.hash = crypto.SHA256
	case "sha512":
		s.hash = crypto.SHA512
	default:
		return nil, &signatureError{WeakAlgorithm, "an SSH signature with an unknown hash"}
	}
	public, err := ssh.ParsePublicKey(s.blob)
	if err != nil {
		return nil, badSignature("an unreadable key in the SSH signature")
	}
	s.fingerprint = ssh.FingerprintSHA256(public)
	s.key = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	sr := reader{data: signature}
	s.signature = ssh.Signature{Format: string(sr.string()), Blob: sr.string()}
	if sr.failed {
		return nil, badSignature("a truncated SSH signature")
	}
	if isSecurityKey(s.signature.Format) {
		s.signature.Rest = sr.data
	} else if len(sr.data) != 0 {
		return nil, badSignature("bytes after the SSH signature")
	}
	return s, nil
}

func isSecurityKey(format string) bool {
	return format == ssh.KeyAlgoSKED25519 || format == ssh.KeyAlgoSKECDSA256
}

// verify checks the signature over the parts of the payload.
func (s *sshSignature) verify(key *keys.SSHKey, parts ...[]byte) error {
	h := s.hash.New()
	for _, part := range parts {
		h.Write(part)
	}
	signed := []byte(sshMagic)
	for _, field := range [][]byte{[]byte(sshNamespace), nil, []byte(s.hashName), h.Sum(nil)} {
		signed = binary.BigEndian.AppendUint32(signed, uint32(len(field)))
		signed = append(signed, field...)
	}
	switch err := key.Verify(signed, &s.signature).(type) {
	case nil:
		return nil
	case *keys.SSHKeyError:
		return &signatureError{WeakAlgorithm, err.Reason}
	default:
		return badSignature("the signature does not match what it is on")
	}
}
