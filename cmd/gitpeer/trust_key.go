package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/gpg"
	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// A foundKey is the public key of a signer, wherever it was found.
type foundKey struct {
	cert *keys.Certificate // or
	ssh  *keys.SSHKey
	from string // where, for people
}

// label is text that a name can be made of.
func (k *foundKey) label() string {
	switch {
	case k.cert != nil && len(k.cert.UserIDs) > 0:
		return k.cert.UserIDs[0]
	case k.ssh != nil:
		return k.ssh.Comment
	}
	return ""
}

// same reports whether both are one key.
func (k *foundKey) same(other *foundKey) bool {
	if k.cert != nil && other.cert != nil {
		return k.cert.Fingerprint == other.cert.Fingerprint
	}
	return k.ssh != nil && other.ssh != nil && k.ssh.Fingerprint == other.ssh.Fingerprint
}

func (k *foundKey) signer(name string) trust.Signer {
	return trust.Signer{Name: name, Cert: k.cert, SSH: k.ssh}
}

// maxKeyFile bounds a key file: with what others certified, some have hundreds
// of kilobytes.
const maxKeyFile = keys.MaxKeyring

// findKey recognises what a person calls a signer's key and gets it. sent are
// the certificates that a publisher sends along: they are asked last, and only
// by the full fingerprint, for nobody vouches for them but who typed that.
func (e *env) findKey(ctx context.Context, text string, sent func() ([][]byte, error)) (*foundKey, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return nil, ui.Usagef("trust", "an empty text is no key")
	case text == "-":
		return readKey(e.stdin, "standard input")
	case isSSHKey(text):
		key, err := keys.ParseSSHKey(text)
		return &foundKey{ssh: key, from: "the command line"}, usage(err)
	}
	f, err := os.Open(text)
	if err == nil {
		defer f.Close()
		return readKey(f, text)
	}
	if !gpg.Named(text) && !isSSHFingerprint(text) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ui.Usagef("trust", "%q is neither a file, a fingerprint, a mail address, an SSH key nor a publisher", text)
		}
		return nil, err
	}
	return findNamed(ctx, text, sent)
}

// findNamed looks for a key by its OpenPGP fingerprint, key id or mail address
// in the user's keyring, or by its full fingerprint, SSH ones among them, in
// what a publisher sends along.
func findNamed(ctx context.Context, text string, sent func() ([][]byte, error)) (*foundKey, error) {
	notFound := error(&gpg.NotFoundError{Query: text})
	if !isSSHFingerprint(text) {
		raw, err := gpg.Keyring{}.Export(ctx, text)
		var ambiguous *gpg.AmbiguousError
		switch {
		case err == nil:
			cert, err := keys.ParseCertificate(raw)
			return &foundKey{cert: cert, from: "your gpg keyring"}, usage(err)
		case errors.As(err, &ambiguous):
			return nil, &ui.UsageError{Message: err.Error(), Hint: "gitpeer trust add 0x" + ambiguous.Fingerprints[0]}
		case !errors.As(err, new(*gpg.NotFoundError)) && !errors.Is(err, gpg.ErrNoGPG):
			return nil, err
		}
		notFound = err
	}
	const ask = "gitpeer trust add FILE    # the key, as its owner gives it to you"
	fingerprint := fullFingerprint(text)
	if sent == nil || fingerprint == "" {
		return nil, &ui.UsageError{Message: notFound.Error(), Hint: ask}
	}
	certs, err := sent()
	if err != nil {
		return nil, fmt.Errorf("%w; and what the publisher sends along cannot be had: %w", notFound, err)
	}
	cert, key, ok := trust.FindSigner(&refs.Snapshot{Signers: certs}, fingerprint)
	if !ok {
		return nil, &ui.UsageError{Message: fmt.Sprintf("%s, and the publisher sends no key with that fingerprint along", notFound), Hint: ask}
	}
	return &foundKey{cert: cert, ssh: key, from: "the publisher's snapshot"}, nil
}

func isSSHFingerprint(text string) bool { return strings.HasPrefix(text, "SHA256:") }

// fullFingerprint returns a fingerprint as package trust writes it, or "" for
// anything less.
func fullFingerprint(text string) string {
	if isSSHFingerprint(text) {
		return text
	}
	text = strings.ToUpper(strings.ReplaceAll(text, " ", ""))
	text = strings.TrimPrefix(text, "0X")
	if len(text) != 40 && len(text) != 64 {
		return ""
	}
	return text
}

// isSSHKey reports whether text starts as a line of a .pub file does.
func isSSHKey(text string) bool {
	kind, _, ok := strings.Cut(text, " ")
	return ok && (strings.HasPrefix(kind, "ssh-") || strings.HasPrefix(kind, "ecdsa-sha2-") || strings.HasPrefix(kind, "sk-"))
}

// readKey reads an OpenPGP certificate or a line with an SSH key.
func readKey(r io.Reader, from string) (*foundKey, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxKeyFile {
		return nil, ui.Usagef("trust", "%s is longer than %d KiB, which no certificate is", filepath.Base(from), maxKeyFile>>10)
	}
	if bytes.Contains(raw, []byte("PRIVATE KEY-----")) {
		return nil, usage(keys.ErrSecretKey)
	}
	if isSSHKey(strings.TrimSpace(string(raw))) {
		key, err := keys.ParseSSHKey(string(raw))
		return &foundKey{ssh: key, from: from}, usage(err)
	}
	cert, err := keys.ParseCertificate(raw)
	return &foundKey{cert: cert, from: from}, usage(err)
}

// usage makes an error about something that was given a UsageError.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &ui.UsageError{Message: err.Error(), Topic: "trust"}
}

// A signerInfo describes a signer, for people and for --json.
type signerInfo struct {
	Name        string   `json:"name"`
	Kind        string   `json:"kind"` // openpgp or ssh
	Fingerprint string   `json:"fingerprint"`
	Algorithm   string   `json:"algorithm"`
	Created     string   `json:"created,omitempty"` // RFC 3339
	Expires     string   `json:"expires,omitempty"` // RFC 3339; absent: never
	UserIDs     []string `json:"user_ids,omitempty"`
	SSHKey      string   `json:"ssh_key,omitempty"`
	SigningKeys []string `json:"signing_keys,omitempty"` // fingerprints
	Comment     string   `json:"comment,omitempty"`
	RetiredAt   string   `json:"retired_at,omitempty"`
	Revoked     bool     `json:"revoked,omitempty"`
	Forge       string   `json:"forge,omitempty"` // whose key it is, if a service's
	MergesOnly  bool     `json:"forge_merges_only,omitempty"`
	From        string   `json:"from,omitempty"` // where trust add found the key
	Warnings    []string `json:"warnings,omitempty"`
}

func describeSigner(s *trust.Signer) *signerInfo {
	info := &signerInfo{Name: s.Name, RetiredAt: string(s.RetiredAt), Revoked: s.Revoked, Forge: s.ForgeName()}
	info.MergesOnly = info.Forge != "" && !s.ForgeAny
	if s.SSH != nil {
		info.Kind, info.Fingerprint, info.Algorithm = "ssh", s.SSH.Fingerprint, s.SSH.Algorithm
		info.SSHKey, info.Comment = s.SSH.Text(), s.SSH.Comment
		return info
	}
	c := s.Cert
	info.Kind, info.Fingerprint, info.Algorithm = "openpgp", c.Fingerprint, c.Algorithm
	info.Created, info.UserIDs, info.Warnings = c.Created.UTC().Format(time.RFC3339), c.UserIDs, c.Warnings
	if !c.Expires.IsZero() {
		info.Expires = c.Expires.UTC().Format(time.RFC3339)
	}
	for _, k := range c.Keys {
		info.SigningKeys = append(info.SigningKeys, k.Fingerprint)
	}
	return info
}

// printSigner prints a signer in full.
func (e *env) printSigner(s *signerInfo) {
	kind, expires := "OpenPGP certificate", "never"
	if s.Kind == "ssh" {
		kind, expires = "SSH key, which has no dates", ""
	}
	if s.Expires != "" {
		expires = s.Expires
	}
	e.rows([][2]string{
		{"signer", s.Name}, {"kind", kind}, {"fingerprint", s.Fingerprint}, {"algorithm", s.Algorithm},
		{"key", s.SSHKey}, {"comment", s.Comment}, {"created", s.Created}, {"expires", expires},
	})
	for _, id := range s.UserIDs {
		e.rows([][2]string{{"user id", id}})
	}
	for _, k := range s.SigningKeys {
		if k != s.Fingerprint {
			e.rows([][2]string{{"signing key", k}})
		}
	}
	e.rows([][2]string{{"retired at", s.RetiredAt}, {"found in", s.From}})
	if s.Revoked {
		e.rows([][2]string{{"revoked", "everything they ever signed is refused"}})
	}
	if s.Forge != "" {
		may := "merges, if git makes the same of their parents; nothing else"
		if !s.MergesOnly {
			may = "ANYTHING: web edits and squashed requests as well as merges"
		}
		e.rows([][2]string{{"forge", s.Forge + ": it signs what people do on its web pages, whoever they are"}, {"may sign", may}})
	}
	for _, w := range s.Warnings {
		e.ui.Warnf("%s: %s", s.Name, w)
	}
}
