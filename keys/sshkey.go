package keys

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// MaxSSHKey bounds the text of an SSH public key. An RSA key of 16 384 bits
// needs 2.8 KB.
const MaxSSHKey = 8 << 10

// An SSHKey is a public key whose SSH signatures (SSHSIG) a signer makes on
// commits and tags. It does not change and may be shared by goroutines.
type SSHKey struct {
	Fingerprint string // SHA256:…, as ssh-keygen -l shows it
	Algorithm   string // such as "ssh-ed25519"
	Comment     string // as written after the key, passed through Printable

	public ssh.PublicKey
}

// An SSHKeyError says why text is not the public key of an SSH signer.
type SSHKeyError struct {
	Reason string
}

func (e *SSHKeyError) Error() string { return "not a usable SSH public key: " + e.Reason }

// ParseSSHKey reads one line of an authorized_keys or .pub file, without
// options. It takes ed25519, ECDSA and RSA (at least 2048 bits) keys, and the
// two kinds of security keys; certificates and DSA it refuses
// (*SSHKeyError).
func ParseSSHKey(text string) (*SSHKey, error) {
	if len(text) > MaxSSHKey {
		return nil, &SSHKeyError{Reason: fmt.Sprintf("longer than %d bytes", MaxSSHKey)}
	}
	if strings.Contains(text, "PRIVATE KEY-----") {
		return nil, ErrSecretKey
	}
	text = strings.TrimSpace(text)
	if strings.ContainsAny(text, "\r\n") {
		return nil, &SSHKeyError{Reason: "more than one line"}
	}
	public, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	switch {
	case err != nil:
		return nil, &SSHKeyError{Reason: strings.TrimPrefix(err.Error(), "ssh: ")}
	case len(options) != 0 || len(rest) != 0:
		return nil, &SSHKeyError{Reason: "options are not allowed here"}
	}
	return newSSHKey(public, comment)
}

// ParseSSHBlob reads a public key in SSH wire format, under the same
// conditions as ParseSSHKey.
func ParseSSHBlob(blob []byte) (*SSHKey, error) {
	if len(blob) > MaxSSHKey {
		return nil, &SSHKeyError{Reason: fmt.Sprintf("longer than %d bytes", MaxSSHKey)}
	}
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, &SSHKeyError{Reason: strings.TrimPrefix(err.Error(), "ssh: ")}
	}
	return newSSHKey(public, "")
}

func newSSHKey(public ssh.PublicKey, comment string) (*SSHKey, error) {
	if err := checkSSHAlgorithm(public); err != nil {
		return nil, err
	}
	return &SSHKey{
		Fingerprint: ssh.FingerprintSHA256(public),
		Algorithm:   public.Type(),
		Comment:     Printable(comment, 256),
		public:      public,
	}, nil
}

func checkSSHAlgorithm(public ssh.PublicKey) error {
	switch public.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		key, ok := public.(ssh.CryptoPublicKey)
		if !ok {
			return &SSHKeyError{Reason: "an unreadable RSA key"}
		}
		rsaKey, ok := key.CryptoPublicKey().(*rsa.PublicKey)
		if !ok || rsaKey.N.BitLen() < 2048 {
			return &SSHKeyError{Reason: "RSA needs at least 2048 bits"}
		}
		return nil
	}
	return &SSHKeyError{Reason: fmt.Sprintf("algorithm %q is not accepted", public.Type())}
}

// Blob returns the key in SSH wire format. Two keys are the same if and only
// if their blobs are.
func (k *SSHKey) Blob() []byte { return k.public.Marshal() }

// Text returns the key as a line of an authorized_keys file, without comment.
func (k *SSHKey) Text() string {
	return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(k.public)))
}

// ErrSSHSignature says that an SSH signature does not verify.
var ErrSSHSignature = errors.New("the SSH signature does not match")

// Verify checks an SSH signature on data. It returns *SSHKeyError if the
// signature's algorithm is refused (ssh-rsa, which uses SHA-1) and
// ErrSSHSignature if it does not match.
func (k *SSHKey) Verify(data []byte, sig *ssh.Signature) error {
	switch sig.Format {
	case ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512:
		if k.Algorithm != ssh.KeyAlgoRSA {
			return ErrSSHSignature
		}
	case k.Algorithm:
		if k.Algorithm == ssh.KeyAlgoRSA {
			return &SSHKeyError{Reason: "ssh-rsa signatures use SHA-1"}
		}
	default:
		return ErrSSHSignature
	}
	if err := k.public.Verify(data, sig); err != nil {
		return ErrSSHSignature
	}
	return nil
}
