package keys

import "crypto/ed25519"

// A Signer signs as one publisher. Its methods may be called from several
// goroutines at once.
type Signer interface {
	// ID returns whose signatures Sign makes.
	ID() ID
	// Sign returns the 64-byte Ed25519 signature of message (RFC 8032
	// §5.1.6; the message itself, not a digest of it).
	Sign(message []byte) ([]byte, error)
}

// FromSeed returns the signer for an Ed25519 private key given as its 32-byte
// seed (RFC 8032 §5.1.5). Seeds are for tests and vectors; keys that matter
// live in files and agents.
func FromSeed(seed [32]byte) Signer {
	return newSigner(ed25519.NewKeyFromSeed(seed[:]))
}

type keySigner struct {
	id  ID
	key ed25519.PrivateKey
}

func newSigner(key ed25519.PrivateKey) *keySigner {
	return &keySigner{id: ID(key.Public().(ed25519.PublicKey)), key: key}
}

func (s *keySigner) ID() ID { return s.id }

func (s *keySigner) Sign(message []byte) ([]byte, error) {
	return ed25519.Sign(s.key, message), nil
}
