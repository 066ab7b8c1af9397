package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/gitpeer/gitpeer/keys/durable"
)

// maxFileBytes bounds a key file. One that holds an Ed25519 key has some 400
// bytes, an RSA key of 16384 bits some 12 000.
const maxFileBytes = 64 << 10

var (
	// ErrPassphrase means that a key file is encrypted and there is nobody
	// to ask for the passphrase.
	ErrPassphrase = errors.New("key is protected by a passphrase")
	// ErrWrongPassphrase means that the passphrase given is not the key's.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrNotKey means that a file holds no OpenSSH key, or a damaged one.
	ErrNotKey = errors.New("not an OpenSSH key")
)

// A PermissionError says that others than its owner can read or change a
// private key file.
type PermissionError struct {
	Path string
	Mode fs.FileMode // permission bits
}

func (e *PermissionError) Error() string {
	return fmt.Sprintf("key file %q is open to others (mode %04o)", e.Path, e.Mode)
}

// A KindError says that a key is not an Ed25519 key.
type KindError struct {
	Path string
	Kind string // the key's type as OpenSSH names it, such as ssh-rsa
}

func (e *KindError) Error() string {
	return fmt.Sprintf("key file %q holds a key of type %q, want %q", e.Path, e.Kind, ssh.KeyAlgoED25519)
}

// A Passphrase asks for a passphrase. The prompt is one line without colon.
type Passphrase func(prompt string) ([]byte, error)

// Generate makes a key and writes it to path, as an OpenSSH private key that
// is not encrypted and that only its owner can read, and its public half to
// path.pub. Both are on disk when it returns. It overwrites nothing: the error
// is fs.ErrExist if either file is there. ssh-keygen -p -f path sets a
// passphrase.
func Generate(path, comment string) (ID, error) {
	id, err := generate(path, comment)
	if err != nil {
		return ID{}, fmt.Errorf("cannot make key: %w", err)
	}
	return id, nil
}

func generate(path, comment string) (ID, error) {
	if strings.ContainsFunc(comment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ID{}, fmt.Errorf("comment %q has control characters", comment)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return ID{}, err
	}
	id := newSigner(key).id
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return ID{}, err
	}
	public, err := sshKey(id)
	if err != nil {
		return ID{}, err
	}
	line := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(public)), "\n")
	if comment != "" {
		line += " " + comment
	}
	if err := create(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return ID{}, err
	}
	if err := create(path+".pub", []byte(line+"\n"), 0o644); err != nil {
		return ID{}, errors.Join(err, os.Remove(path))
	}
	return id, durable.Sync(filepath.Dir(path))
}

// create writes a file that must not be there yet, and leaves none behind if
// it fails.
func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Load returns the signer for the private key in path, an OpenSSH private key
// file as Generate or ssh-keygen make it. pass is asked once if the key is
// encrypted; it may be nil. Errors: *PermissionError, *KindError, ErrNotKey,
// ErrPassphrase, ErrWrongPassphrase, pass's and the file system's.
func Load(path string, pass Passphrase) (Signer, error) {
	key, err := load(path, pass)
	if err != nil {
		return nil, fmt.Errorf("cannot load key: %w", err)
	}
	return newSigner(key), nil
}

func load(path string, pass Passphrase) (ed25519.PrivateKey, error) {
	data, mode, err := read(path)
	if err != nil {
		return nil, err
	}
	if mode&0o077 != 0 {
		return nil, &PermissionError{Path: path, Mode: mode}
	}
	public, err := publicHalf(path, data)
	if err != nil {
		return nil, err
	}
	raw, err := ssh.ParseRawPrivateKey(data)
	if errors.As(err, new(*ssh.PassphraseMissingError)) {
		if raw, err = decrypt(path, data, pass); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNotKey, path, err)
	}
	key, ok := raw.(*ed25519.PrivateKey)
	// The public half is in the clear, where anybody who can write the file
	// can change it; and Ed25519 must not sign under a foreign public key.
	if !ok || len(*key) != ed25519.PrivateKeySize || newSigner(ed25519.NewKeyFromSeed(key.Seed())).id != public {
		return nil, fmt.Errorf("%w: %q: private and public half do not match", ErrNotKey, path)
	}
	return ed25519.NewKeyFromSeed(key.Seed()), nil
}

func decrypt(path string, data []byte, pass Passphrase) (any, error) {
	if pass == nil {
		return nil, fmt.Errorf("%q: %w", path, ErrPassphrase)
	}
	phrase, err := pass("Passphrase for " + path)
	if err != nil {
		return nil, err
	}
	defer clear(phrase)
	if len(phrase) == 0 { // an error of its own to the library
		return nil, fmt.Errorf("%q: %w", path, ErrWrongPassphrase)
	}
	raw, err := ssh.ParseRawPrivateKeyWithPassphrase(data, phrase)
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, fmt.Errorf("%q: %w", path, ErrWrongPassphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNotKey, path, err)
	}
	return raw, nil
}

// ReadPublic returns the id of the key in path without its passphrase: from the
// public half that an OpenSSH private key file carries in the clear, or, if
// path itself is a public key file, from that. If path is missing or may not be
// read, path.pub is read instead. Errors: *KindError, ErrNotKey and the file
// system's.
func ReadPublic(path string) (ID, error) {
	data, _, err := read(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		first := err
		path += ".pub"
		if data, _, err = read(path); errors.Is(err, fs.ErrNotExist) {
			err = first
		}
	}
	if err == nil {
		var id ID
		if id, err = publicHalf(path, data); err == nil {
			return id, nil
		}
	}
	return ID{}, fmt.Errorf("cannot read public key: %w", err)
}

// read returns the contents of the regular file at path and its permissions.
func read(path string) ([]byte, fs.FileMode, error) {
	// Before opening it: to open a pipe waits for its other end.
	if info, err := os.Stat(path); err != nil {
		return nil, 0, err
	} else if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%w: %q is not a regular file", ErrNotKey, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, 0, err
	}
	if len(data) > maxFileBytes {
		return nil, 0, fmt.Errorf("%w: %q is longer than %d bytes", ErrNotKey, path, maxFileBytes)
	}
	return data, info.Mode().Perm(), nil
}

// publicHalf returns the id out of a private or public key file.
func publicHalf(path string, data []byte) (ID, error) {
	public, err := parsePublic(data)
	if err != nil {
		return ID{}, fmt.Errorf("%w: %q: %w", ErrNotKey, path, err)
	}
	if public.Type() != ssh.KeyAlgoED25519 {
		return ID{}, &KindError{Path: path, Kind: public.Type()}
	}
	key, ok := public.(ssh.CryptoPublicKey).CryptoPublicKey().(ed25519.PublicKey)
	if !ok || len(key) != len(ID{}) || ID(key).isWeak() {
		return ID{}, fmt.Errorf("%w: %q: invalid public half", ErrNotKey, path)
	}
	return ID(key), nil
}

// privateMagic starts the contents of an OpenSSH private key file, and
// privateFile follows it (openssh/PROTOCOL.key).
const privateMagic = "openssh-key-v1\x00"

type privateFile struct {
	Cipher, KDF, Options string
	Keys                 uint32
	Public, Private      []byte
	Rest                 []byte `ssh:"rest"`
}

func parsePublic(data []byte) (ssh.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		public, _, _, _, err := ssh.ParseAuthorizedKey(data)
		return public, err
	}
	if block.Type != "OPENSSH PRIVATE KEY" {
		return nil, fmt.Errorf("a file of type %q", block.Type)
	}
	body, ok := bytes.CutPrefix(block.Bytes, []byte(privateMagic))
	if !ok {
		return nil, errors.New("unknown version")
	}
	var file privateFile
	if err := ssh.Unmarshal(body, &file); err != nil {
		return nil, err
	}
	if file.Keys != 1 {
		return nil, fmt.Errorf("%d keys in one file", file.Keys)
	}
	return ssh.ParsePublicKey(file.Public)
}

// sshKey returns id as an SSH public key.
func sshKey(id ID) (ssh.PublicKey, error) { return ssh.NewPublicKey(ed25519.PublicKey(id[:])) }
