package trust

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// An attestation says who signed an object, as far as the object and the
// signers' keys can tell: whether that signer may write a certain ref is the
// rule's business.
type attestation struct {
	code Code
	why  string // what is wrong, to follow "commit … "; "" if code is OK
	by   *authority
	// claimed is what the signature says about its issuer; set also when the
	// issuer is not known.
	claimed string
	time    int64  // of the signature, Unix seconds; 0 if it carries none
	add     string // what `gitpeer trust add` takes to make an unknown issuer known
	hard    bool   // the key was revoked for a reason that reaches back in time
}

// A verifier attests objects. It does not change, and goroutines share it.
type verifier struct {
	policy *Policy
	format refs.ObjectFormat
	now    time.Time
	// asGuix leaves out what guix leaves out: everything about time, expiry and
	// revocation (it puts a key out of force by taking it off the list), and
	// what makes a key too weak, DSA among it.
	asGuix bool
}

// commit splits and attests a commit. The returned object is nil if the commit
// is malformed.
func (v *verifier) commit(data []byte) (*splitObject, attestation) {
	s, err := splitCommit(v.format, data)
	if err != nil {
		return nil, attestation{code: Malformed, why: "is not well-formed: " + err.Error()}
	}
	return s, v.attest(s)
}

// attest checks the signature of an object.
func (v *verifier) attest(s *splitObject) attestation {
	switch {
	case s.signature == nil:
		return attestation{code: Unsigned, why: "is not signed"}
	case bytes.HasPrefix(s.signature, []byte(sshBegin)):
		return v.attestSSH(s)
	case bytes.HasPrefix(s.signature, []byte(x509Begin)):
		return attestation{code: Untrusted, why: "has an X.509 signature; OpenPGP and SSH signatures are checked"}
	}
	return v.attestPGP(s)
}

// failed turns an error of a signature's parser or verification into an
// attestation.
func failed(a attestation, err error) attestation {
	var bad *signatureError
	if !errors.As(err, &bad) {
		bad = &signatureError{Internal, err.Error()}
	}
	a.code, a.why = bad.code, "is not properly signed: "+bad.why
	return a
}

func (v *verifier) attestPGP(s *splitObject) attestation {
	raw, err := dearmorPGP(s.signature)
	if err != nil {
		return failed(attestation{}, err)
	}
	parse := parsePGP
	if v.asGuix {
		parse = readPGP
	}
	sig, err := parse(raw)
	if err != nil {
		return failed(attestation{}, err)
	}
	a := attestation{claimed: sig.issuer(), time: sig.created.Unix(), by: sig.of(v.policy)}
	if a.by == nil {
		a.code, a.why = Untrusted, "is signed by "+a.claimed+", whom trust.conf does not list"
		a.add = "0x" + a.claimed
		if forge := KnownForge(a.claimed); forge != "" {
			a.why = fmt.Sprintf("is signed by %s itself (%s), as it does for whoever merges on its pages; no rule names that key", forge, a.claimed)
		}
		return a
	}
	key := a.by.pgp
	if key.Weak != "" && !v.asGuix {
		a.code, a.why = WeakAlgorithm, "is signed with a key that is too weak: "+key.Weak
		return a
	}
	if err := sig.verify(key, s.before, s.after); err != nil {
		return failed(a, err)
	}
	return v.timely(a, sig, key)
}

// timely applies the rules of TRUST.md §2.3 that need no history.
func (v *verifier) timely(a attestation, sig *pgpSignature, key *keys.SigningKey) attestation {
	refuse := func(format string, args ...any) attestation {
		a.code, a.why = BadTime, fmt.Sprintf(format, args...)
		return a
	}
	if v.asGuix {
		return a
	}
	day := sig.created.Format(time.DateOnly)
	switch {
	case sig.created.After(v.now.Add(ClockSkew)):
		return refuse("has a signature of %s, which is in the future by this computer's clock (%s)", clock(sig.created), clock(v.now))
	case sig.lifetime != 0 && v.now.After(sig.created.Add(sig.lifetime)):
		return refuse("has a signature that expired on %s", sig.created.Add(sig.lifetime).Format(time.DateOnly))
	}
	switch state := key.At(sig.created); state {
	case keys.KeyNotYet:
		return refuse("was signed on %s, before the key %s was made", day, key.Fingerprint)
	case keys.KeyExpired:
		return refuse("was signed on %s, when the key %s had expired", day, key.Fingerprint)
	case keys.KeyNoSigner:
		return refuse("was signed on %s, when the key %s was not one for signing", day, key.Fingerprint)
	}
	if r := key.Revoked; r != nil {
		switch {
		case r.Hard:
			a.hard = true
		case !sig.created.Before(r.At):
			return refuse("was signed on %s, after the key %s was revoked (%s)", day, key.Fingerprint, r.Reason)
		}
	}
	a.hard = a.hard || a.by.signer.Revoked
	a.claimed = "" // by says it; a history holds many of these
	return a
}

func (v *verifier) attestSSH(s *splitObject) attestation {
	raw, err := dearmorSSH(s.signature)
	if err != nil {
		return failed(attestation{}, err)
	}
	sig, err := parseSSH(raw)
	if err != nil {
		return failed(attestation{}, err)
	}
	a := attestation{claimed: sig.fingerprint, by: v.policy.bySSH[string(sig.blob)]}
	if a.by == nil {
		a.code, a.why = Untrusted, "is signed by "+a.claimed+", whom trust.conf does not list"
		a.add = `"` + sig.key + `"`
		return a
	}
	if err := sig.verify(a.by.ssh, s.before, s.after); err != nil {
		return failed(a, err)
	}
	a.hard = a.by.signer.Revoked
	return a
}

// fill writes who signed into a verdict.
func (a *attestation) fill(v *Verdict) {
	v.Fingerprint = a.claimed
	if a.by != nil {
		v.Signer, v.Fingerprint = a.by.signer.Name, a.by.fingerprint()
	}
	if a.time != 0 {
		v.Time = time.Unix(a.time, 0).UTC()
	}
}

// printable makes text from outside fit for one line of a verdict.
func printable(text string) string { return strings.TrimSpace(keys.Printable(text, 300)) }
