package trust

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// maxIntroduced bounds how many tips of an unknown repository are looked at.
const maxIntroduced = 1000

// Introduce is the refusal of a repository whose publisher trust.conf does not
// know, made useful (TRUST.md §2): it names the publisher, says who signed the
// tips, and its hint is the command that would trust them. Objects may be nil
// when nothing was fetched. A signature by a key that trust.conf does not list
// cannot be verified; it is called a claim.
//
// The verdicts are one about the publisher, with code UnknownPeer, and then one
// for each signer.
func Introduce(p *Policy, s *refs.Snapshot, o Objects, now time.Time) (refused *RefusedError) {
	a := s.Repository
	lead := Verdict{Code: UnknownPeer, Why: fmt.Sprintf("%s is published by %s, whom you have not said you trust", a.Name, a.Publisher),
		Hint: "gitpeer trust add " + a.String()}
	refused = &RefusedError{Verdicts: []Verdict{lead}}
	if o == nil {
		return refused
	}
	defer func() {
		if recover() != nil {
			refused = &RefusedError{Verdicts: []Verdict{lead}}
		}
	}()
	tally := countSigners(p, s, o, now)
	adds := []string{"gitpeer trust add " + a.String()}
	for _, t := range tally {
		refused.Verdicts = append(refused.Verdicts, t.verdict())
		if t.att.by != nil && t.att.code == OK {
			adds = append(adds, "--signer "+t.att.by.signer.Name)
		} else if t.att.add != "" {
			adds = append(adds, "--signer "+t.att.add)
		}
	}
	if unsigned := slices.ContainsFunc(tally, func(t *signerCount) bool { return t.att.code == Unsigned }); unsigned || len(adds) == 1 {
		adds = []string{adds[0], "--publisher-only"}
	}
	refused.Verdicts[0].Hint = strings.Join(adds, " ")
	return refused
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

// tip attests what a ref points at: the tag object or the commit.
func (v *verifier) tip(o Objects, r refs.Ref) attestation {
	object, err := o.Read(r.OID)
	if err == nil {
		err = object.check(v.format, r.OID)
	}
	if err != nil {
		return attestation{code: objectCode(err), why: "cannot be read"}
	}
	var s *splitObject
	switch object.Kind {
	case KindCommit:
		s, err = splitCommit(v.format, object.Data)
	case KindTag:
		s, err = splitTag(v.format, object.Data)
	default:
		return attestation{code: Unsigned, why: "is not a commit or tag"}
	}
	if err != nil {
		return attestation{code: Malformed, why: "is not well-formed: " + err.Error()}
	}
	return v.attest(s)
}

// verdict says in one sentence who signed how many tips.
func (t *signerCount) verdict() Verdict {
	v := Verdict{Code: t.att.code, Ref: t.ref.Name, OID: t.ref.OID}
	t.att.fill(&v)
	tips := fmt.Sprintf("%d tips are", t.tips)
	if t.tips == 1 {
		tips = "1 tip is"
	}
	switch {
	case t.att.code == Unsigned:
		v.Why = tips + " not signed"
	case t.att.by != nil && t.att.code == OK:
		v.Why = fmt.Sprintf("%s signed by %s (%s)", tips, t.att.by.describe(), v.Fingerprint)
	case t.att.claimed != "" && t.att.by == nil:
		v.Why = fmt.Sprintf("%s signed, as the signature claims, by %s, whose key you do not have", tips, t.att.claimed)
	default:
		v.Why = fmt.Sprintf("%s refused: it %s", tips, t.att.why)
	}
	v.Why = printable(v.Why)
	if v.Code == OK {
		v.Code = UnknownPeer // a good signature does not make a known publisher
	}
	return v
}

// describe names a signer with the user id of the certificate.
func (a *authority) describe() string {
	if c := a.signer.Cert; c != nil && len(c.UserIDs) > 0 {
		return fmt.Sprintf("%s, %s", a.signer.Name, c.UserIDs[0])
	}
	return a.signer.Name
}
