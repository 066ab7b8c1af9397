package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/cmd/internal/ui"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// Rules of others, for which the list of signers lies in the history.
const (
	semanticsGuix    = "guix"
	semanticsSequoia = "sq-git"
)

// foreign checks by the rules of guix or sq-git.
func (c *checking) foreign(ctx context.Context, t *target, objects trust.Objects, each func(trust.Verdict)) ([]trust.Verdict, error) {
	intro := t.base
	if len(c.intro) > 0 {
		named, err := c.commits(ctx, t.work, c.intro)
		if err != nil {
			return nil, err
		}
		intro = append(named, t.base...)
	}
	if len(intro) != 1 {
		return nil, ui.Usagef("trust", "--semantics %s starts from one commit: --intro OID", c.semantics)
	}
	examine := func(tip refs.OID) trust.Verdict {
		return trust.SequoiaQuery{ObjectFormat: t.work.ObjectFormat, Root: intro[0], Tip: tip, Each: each}.Examine(objects, c.now)
	}
	if c.semantics == semanticsGuix {
		q, err := c.guix(ctx, t, objects)
		if err != nil {
			return nil, err
		}
		q.Introduction, q.Each = intro[0], each
		examine = func(tip refs.OID) trust.Verdict {
			q.Tip = tip
			return q.Examine(objects, c.now)
		}
	} else if len(c.signers) > 0 {
		return nil, ui.Usagef("trust", "--signer says nothing with --semantics sq-git: openpgp-policy.toml lists the signers")
	}
	var verdicts []trust.Verdict
	for _, r := range t.refs {
		tip := r.OID
		if r.Peeled != "" {
			tip = r.Peeled
		}
		v := examine(tip)
		v.Ref = r.Name
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// guix prepares a question to the rules of guix: who signed the introduction,
// and the certificates of the keyring branch and the command line.
func (c *checking) guix(ctx context.Context, t *target, objects trust.Objects) (trust.GuixQuery, error) {
	q := trust.GuixQuery{ObjectFormat: t.work.ObjectFormat}
	if len(c.signers) == 0 {
		return q, ui.Usagef("trust", "--semantics guix asks who signed the introduction: --signer FINGERPRINT")
	}
	for _, text := range c.signers {
		fingerprint := fullFingerprint(text)
		if fingerprint == "" || isSSHFingerprint(text) {
			key, err := c.env.findKey(ctx, text, nil)
			if err != nil {
				return q, err
			}
			if key.cert == nil {
				return q, ui.Usagef("trust", "guix has no SSH signatures: %q", text)
			}
			q.Keyring = append(q.Keyring, key.cert)
			if len(key.cert.Keys) > 1 && q.Signer == "" {
				return q, ui.Usagef("trust", "%s has %d signing keys; say which one signed the introduction: --signer FINGERPRINT", text, len(key.cert.Keys))
			}
			fingerprint = key.cert.Keys[0].Fingerprint
		}
		if q.Signer == "" {
			q.Signer = fingerprint
		}
	}
	err := c.addKeyring(ctx, t, objects, &q)
	return q, err
}

// addKeyring reads the *.key files of the keyring branch.
func (c *checking) addKeyring(ctx context.Context, t *target, objects trust.Objects, q *trust.GuixQuery) error {
	const byDefault = "keyring"
	names := []string{c.keyring}
	if c.keyring == "" {
		names = []string{byDefault, "origin/" + byDefault}
	}
	var branch *refs.Ref
	for _, name := range names {
		found, err := c.ref1(ctx, t.work, name)
		if err != nil {
			return err
		}
		if branch == nil {
			branch = found
		}
	}
	if branch == nil {
		if c.keyring == "" && len(q.Keyring) > 0 {
			return nil // the certificates of the command line are all there is
		}
		return ui.Usagef("trust", "there is no branch %q with the certificates; --keyring REF names it", names[0])
	}
	files, err := t.work.TreeFiles(ctx, branch.OID)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name, ".key") {
			continue
		}
		o, err := objects.Read(f.OID)
		if err != nil {
			return err
		}
		certs, err := keys.ParseKeyring(o.Data)
		if errors.Is(err, keys.ErrSecretKey) {
			return fmt.Errorf("%s of the keyring: %w", f.Name, err)
		}
		if err != nil || len(certs) == 0 {
			c.env.ui.Warnf("%s of the keyring has no usable certificate, so what it signed is refused", f.Name)
			continue
		}
		q.Keyring = append(q.Keyring, certs...)
	}
	q.Keyring = distinct(q.Keyring)
	return nil
}

// distinct keeps of each certificate the copy with the most keys.
func distinct(certs []*keys.Certificate) []*keys.Certificate {
	var kept []*keys.Certificate
	for _, cert := range certs {
		i := slices.IndexFunc(kept, func(k *keys.Certificate) bool { return k.Fingerprint == cert.Fingerprint })
		switch {
		case i < 0:
			kept = append(kept, cert)
		case len(cert.Keys) > len(kept[i].Keys):
			kept[i] = cert
		}
	}
	return kept
}
