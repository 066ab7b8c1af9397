package gpg

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// maxExport bounds what is read from gpg: the certificates of the best
// connected people, with all certifications, have a few megabytes.
const maxExport = 16 << 20

// patience is how long gpg may take. It answers in milliseconds unless it
// waits for a lock.
const patience = 20 * time.Second

// ErrNoGPG says that there is no gpg to run.
var ErrNoGPG = errors.New("gpg is not installed")

// A NotFoundError says that no certificate of the keyring fits.
type NotFoundError struct{ Query string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("gpg has no certificate for %q", e.Query)
}

// An AmbiguousError says that several certificates of the keyring fit.
type AmbiguousError struct {
	Query        string
	Fingerprints []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("gpg has %d certificates for %q: %s", len(e.Fingerprints), e.Query, strings.Join(e.Fingerprints, ", "))
}

// A Keyring is the public keyring of the user, read with a gpg program.
type Keyring struct {
	Program string // "" is gpg, found in PATH
	Home    string // GNUPGHOME; "" is what the environment says

	// Environ is the environment of gpg; nil is that of this process.
	Environ []string
}

var (
	hexQuery  = regexp.MustCompile(`^(0x)?([0-9A-Fa-f]{16}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$`)
	mailQuery = regexp.MustCompile(`^<?([^\s<>@\x00-\x20]+@[^\s<>@\x00-\x20]+)>?$`)
)

// selector turns what a person calls a key into what gpg takes for exactly
// that, or "" if it is neither a fingerprint, a key id nor a mail address.
// Short key ids (8 digits) are not taken: anyone can make a key that has one.
func selector(query string) string {
	if m := hexQuery.FindStringSubmatch(strings.ReplaceAll(query, " ", "")); m != nil {
		return "0x" + strings.ToUpper(m[2])
	}
	if m := mailQuery.FindStringSubmatch(query); m != nil {
		return "<" + m[1] + ">"
	}
	return ""
}

// Named reports whether a text could name a certificate of a keyring: a
// fingerprint, a 16-digit key id or a mail address.
func Named(query string) bool { return selector(query) != "" }

// Find lists the fingerprints of the certificates that a fingerprint (of the
// primary key or of a subkey), key id or mail address stands for, in upper-case
// hex. Finding none is not an error.
func (k Keyring) Find(ctx context.Context, query string) ([]string, error) {
	which := selector(query)
	if which == "" {
		return nil, unselectable(query)
	}
	out, err := k.run(ctx, "--with-colons", "--list-keys", "--", which)
	if err != nil {
		return nil, err
	}
	var fingerprints []string
	primary := false
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		switch {
		case fields[0] == "pub":
			primary = true
		case fields[0] == "fpr" && primary && len(fields) > 9:
			fingerprints = append(fingerprints, fields[9])
			primary = false
		}
	}
	return fingerprints, nil
}

func unselectable(query string) error {
	return fmt.Errorf("%q is neither a fingerprint, a 16-digit key id nor a mail address", query)
}

// Export returns the one certificate that a query, as Find takes it, stands
// for: binary packets, the owner's statements only. It fails with a
// *NotFoundError, an *AmbiguousError or ErrNoGPG.
func (k Keyring) Export(ctx context.Context, query string) ([]byte, error) {
	which := selector(query)
	if which == "" {
		return nil, unselectable(query)
	}
	out, err := k.run(ctx, "--export", "--", which)
	switch {
	case err != nil:
		return nil, err
	case len(out) == 0:
		return nil, &NotFoundError{Query: query}
	}
	cert, err := strip(out)
	if err == nil {
		return cert, nil
	}
	if found, lost := k.Find(ctx, query); lost == nil && len(found) > 1 {
		return nil, &AmbiguousError{Query: query, Fingerprints: found}
	}
	return nil, fmt.Errorf("certificate %s from gpg: %w", which, err)
}

// run runs gpg and returns what it printed. A query without a match is not an
// error; gpg tells it from others only by what it says, so it must say it in
// English.
func (k Keyring) run(ctx context.Context, args ...string) ([]byte, error) {
	program := k.Program
	if program == "" {
		program = "gpg"
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	fixed := []string{"--batch", "--no-tty", "--quiet", "--no-auto-key-locate", "--no-auto-check-trustdb", "--lock-never",
		"--display-charset", "utf-8"}
	cmd := exec.CommandContext(ctx, program, append(fixed, args...)...)
	out, said := &bounded{max: maxExport}, &excerpt{max: 4 << 10}
	env := k.Environ
	if env == nil {
		env = os.Environ()
	}
	cmd.Env = append(slices.Clone(env), "LC_ALL=C")
	if k.Home != "" {
		cmd.Env = append(cmd.Env, "GNUPGHOME="+k.Home)
	}
	cmd.Stdout, cmd.Stderr = out, said
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("gpg: %w", ctx.Err())
	case errors.Is(err, exec.ErrNotFound):
		return nil, ErrNoGPG
	case out.over:
		return nil, fmt.Errorf("gpg printed more than %d bytes", out.max)
	case errors.As(err, &exit) && exit.ExitCode() == 2 && bytes.Contains(said.text, []byte("No public key")):
		return out.Bytes(), nil // no match, or not for each of several
	}
	return nil, fmt.Errorf("gpg: %w: %s", err, bytes.TrimSpace(said.text))
}

// A bounded buffer refuses more than max bytes. It embeds none, whose ReadFrom
// would refuse nothing.
type bounded struct {
	buffer bytes.Buffer
	max    int
	over   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer.Len()+len(p) > b.max {
		b.over = true
		return 0, io.ErrShortBuffer
	}
	return b.buffer.Write(p)
}

func (b *bounded) Bytes() []byte { return b.buffer.Bytes() }

// An excerpt keeps the first max bytes.
type excerpt struct {
	text []byte
	max  int
}

func (e *excerpt) Write(p []byte) (int, error) {
	e.text = append(e.text, p[:min(len(p), e.max-len(e.text))]...)
	return len(p), nil
}

// OpenPGP packet tags, RFC 9580 §5.
const (
	tagSignature     = 2
	tagPublicKey     = 6
	tagPublicSubkey  = 14
	tagUserAttribute = 17
)

// strip leaves out signatures of other keys than the primary one, and user
// attributes with all that is said about them. Which key issued a signature is
// taken from its own claim: a false one is found out by those who verify it.
func strip(cert []byte) ([]byte, error) {
	var kept bytes.Buffer
	var primary *packet.PublicKey
	picture := false
	packets := packet.NewOpaqueReader(bytes.NewReader(cert))
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		parsed, err := p.Parse()
		switch {
		case p.Tag == tagPublicKey:
			key, ok := parsed.(*packet.PublicKey)
			if !ok || primary != nil {
				return nil, errors.New("not one certificate with a readable primary key")
			}
			primary = key
		case primary == nil:
			return nil, errors.New("it does not begin with a public key")
		case p.Tag == tagUserAttribute:
			picture = true
			continue
		case p.Tag != tagSignature:
			picture = false
		case picture || err != nil || !issued(primary, parsed):
			continue
		}
		if err := p.Serialize(&kept); err != nil {
			return nil, err
		}
	}
	if primary == nil {
		return nil, errors.New("it is empty")
	}
	return kept.Bytes(), nil
}

func issued(primary *packet.PublicKey, p packet.Packet) bool {
	sig, ok := p.(*packet.Signature)
	if !ok {
		return false
	}
	if len(sig.IssuerFingerprint) > 0 {
		return hex.EncodeToString(sig.IssuerFingerprint) == hex.EncodeToString(primary.Fingerprint)
	}
	return sig.IssuerKeyId != nil && *sig.IssuerKeyId == primary.KeyId
}
