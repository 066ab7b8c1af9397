package trust

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// maxIntroduced bounds how many tips of an unknown repository are looked at.
const maxIntroduced = 1000

// Introduce is the refusal of a repository whose publisher trust.conf does not
// know, made useful (TRUST.md §2): it names the publisher, says who signed the
// tips, and its hint is the command that would trust them.
//
// Signatures are verified with the certificates of trust.conf and those that
// the snapshot brings. The latter are the publisher's word: whether the
// fingerprint is the right person's, only the user can find out. Objects may be
// nil when nothing but the snapshot was fetched; then it says whom the snapshot
// names.
//
// The verdicts are one about the publisher, with code UnknownPeer, and then one
// for each signer.
func Introduce(p *Policy, s *refs.Snapshot, o Objects, now time.Time) (refused *RefusedError) {
	a := s.Repository
	lead := Verdict{Code: UnknownPeer, Why: fmt.Sprintf("%s is published by %s, whom you have not said you trust", a.Name, a.Publisher),
		Hint: "gitpeer trust add " + a.String()}
	refused = &RefusedError{Verdicts: []Verdict{lead}}
	defer func() {
		if recover() != nil {
			refused = &RefusedError{Verdicts: []Verdict{lead}}
		}
	}()
	command, forges, unsigned := lead.Hint, "", false
	introduce := func(v Verdict, add string) {
		if forge := p.forgeOf(v); forge != "" && add != "" {
			v.Why += fmt.Sprintf("; that is the key of %s, which signs for whoever may merge on its pages", forge)
			forges, add = lead.Hint+" --signer "+add+" --forge    # lets "+forge+" write", ""
		}
		v.Why = printable(v.Why)
		refused.Verdicts = append(refused.Verdicts, v)
		unsigned = unsigned || v.Code == Unsigned
		if add != "" && !strings.Contains(command, " --signer "+add) {
			command += " --signer " + add
		}
	}
	if o == nil {
		for _, raw := range s.Signers {
			if v, add, ok := p.named(raw); ok {
				introduce(v, add)
			}
		}
	} else {
		for _, t := range countSigners(p.withSigners(s.Signers), s, o, now) {
			introduce(t.verdict())
		}
	}
	switch {
	case unsigned || command == lead.Hint && forges == "":
		command = lead.Hint + " --publisher-only"
	case command == lead.Hint:
		command = forges
	}
	refused.Verdicts[0].Hint = command
	return refused
}

// forgeOf names the service by whose key something is signed, "" if by none's.
func (p *Policy) forgeOf(v Verdict) string {
	if s, ok := p.Signer(v.Signer); ok && v.Signer != "" {
		return s.ForgeName()
	}
	return KnownForge(v.Fingerprint)
}

// named introduces a signer on the publisher's word alone.
func (p *Policy) named(raw []byte) (v Verdict, add string, ok bool) {
	s := parseSigner(raw)
	if s == nil {
		return v, "", false // a later version may know it
	}
	a := &authority{signer: s, ssh: s.SSH}
	if s.Cert != nil {
		a.pgp = s.Cert.Keys[0]
		v.Fingerprint = s.Cert.Fingerprint
	} else {
		v.Fingerprint = s.SSH.Fingerprint
	}
	v.Code = UnknownPeer
	if known, ok := p.SignerOf(a.fingerprint()); ok {
		v.Signer, v.Why = known.Name, fmt.Sprintf("the publisher says that %s signs here, whom you know: %s", known.Name, a.describe())
		return v, known.Name, true
	}
	v.Why = fmt.Sprintf("the publisher says that %s signs here; compare the fingerprint", a.describe())
	return v, a.argument(), true
}

// FindSigner looks for a key among the certificates that a snapshot brings: by
// the OpenPGP fingerprint of the primary key or a signing subkey (upper-case
// hex), or the SSH fingerprint (SHA256:…). Exactly one result is set if ok.
func FindSigner(s *refs.Snapshot, fingerprint string) (cert *keys.Certificate, key *keys.SSHKey, ok bool) {
	for _, raw := range s.Signers {
		signer := parseSigner(raw)
		switch {
		case signer == nil:
		case signer.SSH != nil && signer.SSH.Fingerprint == fingerprint:
			return nil, signer.SSH, true
		case signer.Cert != nil && (signer.Cert.Fingerprint == fingerprint ||
			slices.ContainsFunc(signer.Cert.Keys, func(k *keys.SigningKey) bool { return k.Fingerprint == fingerprint })):
			return signer.Cert, nil, true
		}
	}
	return nil, nil, false
}

// parseSigner reads one entry of a snapshot's signers, nil if it is of no use.
func parseSigner(raw []byte) *Signer {
	if len(raw) > 0 && raw[0]&0x80 != 0 {
		if cert, err := keys.ParseCertificate(raw); err == nil {
			return &Signer{Cert: cert}
		}
		return nil
	}
	if key, err := keys.ParseSSHBlob(raw); err == nil {
		return &Signer{SSH: key}
	}
	return nil
}

// withSigners returns a policy that can verify signatures of more keys. It is
// only for telling who signed, never for deciding: its new signers have no
// names.
func (p *Policy) withSigners(certificates [][]byte) *Policy {
	q := &Policy{Signers: slices.Clone(p.Signers)}
	for _, raw := range certificates {
		if s := parseSigner(raw); s != nil {
			q.Signers = append(q.Signers, s)
			if q.index() != nil { // somebody's key a second time
				q.Signers = q.Signers[:len(q.Signers)-1]
			}
		}
	}
	if err := q.index(); err != nil {
		return p
	}
	return q
}

// A signerCount is how many tips somebody signed.
type signerCount struct {
	att  attestation
	tips int
	ref  refs.Ref // the first of them
}

func countSigners(p *Policy, s *refs.Snapshot, o Objects, now time.Time) []*signerCount {
	v := &verifier{policy: p, format: s.ObjectFormat, now: now}
	counts := make(map[string]*signerCount)
	for i, r := range s.Refs {
		if i == maxIntroduced {
			break
		}
		att := v.tip(o, r)
		key := fmt.Sprint(att.code, " ", att.claimed)
		if att.by != nil {
			key = fmt.Sprint(att.code, " ", att.by.fingerprint())
		}
		if counts[key] == nil {
			counts[key] = &signerCount{att: att, ref: r}
		}
		counts[key].tips++
	}
	var tally []*signerCount
	for _, t := range counts {
		tally = append(tally, t)
	}
	slices.SortFunc(tally, func(a, b *signerCount) int {
		return cmp.Or(b.tips-a.tips, cmp.Compare(a.ref.Name, b.ref.Name))
	})
	return tally
}

// read reads and splits what a ref points at.
func (v *verifier) read(o Objects, r refs.Ref) (*splitObject, error) {
	object, err := o.Read(r.OID)
	if err == nil {
		err = object.check(v.format, r.OID)
	}
	switch {
	case err != nil:
		return nil, err
	case object.Kind == KindCommit:
		return splitCommit(v.format, object.Data)
	case object.Kind == KindTag:
		return splitTag(v.format, object.Data)
	}
	return &splitObject{before: object.Data}, nil
}

// tip attests what a ref points at: the tag object or the commit.
func (v *verifier) tip(o Objects, r refs.Ref) attestation {
	s, err := v.read(o, r)
	if err != nil {
		return attestation{code: Malformed, why: "cannot be read: " + err.Error()}
	}
	return v.attest(s)
}

// verdict says in one sentence who signed how many tips; add is what to give
// to --signer.
func (t *signerCount) verdict() (v Verdict, add string) {
	v = Verdict{Code: t.att.code, Ref: t.ref.Name, OID: t.ref.OID}
	t.att.fill(&v)
	tips := fmt.Sprintf("%d tips are", t.tips)
	if t.tips == 1 {
		tips = "1 tip is"
	}
	by := t.att.by
	switch {
	case t.att.code == Unsigned:
		v.Why = tips + " not signed"
	case by == nil && t.att.claimed != "":
		v.Why = fmt.Sprintf("%s signed, as the signature claims, by %s, whose certificate is not to be had here", tips, t.att.claimed)
		add = t.att.add
	case by == nil || t.att.code != OK:
		v.Why = fmt.Sprintf("%s refused: it %s", tips, t.att.why)
	case by.signer.Name != "":
		v.Why = fmt.Sprintf("%s signed by %s, %s", tips, by.signer.Name, by.describe())
		add = by.signer.Name
	default:
		v.Why = fmt.Sprintf("%s signed by %s; the certificate comes from the publisher, so compare the fingerprint", tips, by.describe())
		add = by.argument()
	}
	if v.Code == OK {
		v.Code = UnknownPeer // a good signature does not make a known publisher
	}
	return v, add
}

// describe shows a signer's user id and fingerprint.
func (a *authority) describe() string {
	if c := a.signer.Cert; c != nil && len(c.UserIDs) > 0 {
		return c.UserIDs[0] + " (" + c.Fingerprint + ")"
	}
	return a.fingerprint()
}

// argument is what `gitpeer trust add` takes for the signer's key.
func (a *authority) argument() string {
	if a.signer.Cert != nil {
		return "0x" + a.signer.Cert.Fingerprint
	}
	return `"` + a.signer.SSH.Text() + `"`
}
