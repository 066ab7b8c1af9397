package trust

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// sqFile is where a project that uses Sequoia's sq-git keeps who may do what,
// at the root of the tree of each commit.
const sqFile = "openpgp-policy.toml"

// A SequoiaQuery asks whether a commit is authentic by the rules of sq-git, for
// which the policy lies in the history itself. It is for comparing verdicts;
// gitpeer never fetches by it, because the policy is then not the reader's.
type SequoiaQuery struct {
	ObjectFormat refs.ObjectFormat
	Root         refs.OID // the trust root; what it is, is the user's word
	Tip          refs.OID
	Each         func(Verdict) // if set, is given a verdict about every commit between root and tip
}

// Examine gives the verdict about the tip. Its rules, from sq-git's manual and
// book: a commit is authentic if it is the trust root, or if one of its parents
// is authentic and that parent's policy lets the commit's signer sign commits;
// so an authorised merge vouches for all that it merges. A commit that changes
// the policy needs more: add_user to add a name or grant a capability that the
// signer has, retire_user to take one away, audit to change the list of good
// commits. A commit on the tip's good list is taken without its signature, if
// it does not change the policy.
//
// Stricter than sq-git: SHA-1 signatures are refused, objects have to be within
// the strict grammar, and a hard revocation counts in whichever policy of the
// path it is seen, good list or not.
func (q SequoiaQuery) Examine(o Objects, now time.Time) (verdict Verdict) {
	verdict = Verdict{OID: q.Tip, Rule: "sq-git"}
	defer verdict.caught()
	s := &sequoia{h: newHistory(&verifier{policy: &Policy{}, format: q.ObjectFormat, now: now}, o),
		policies: make(map[refs.OID]*sqPolicy), good: make(map[refs.OID]bool), revoked: make(map[string]bool)}
	s.h.wantTrees()
	bad, code, why := s.check(q)
	verdict.Code, verdict.Why = code, printable(why)
	if bad >= 0 {
		verdict.Commit, s.tip = s.h.oid(bad), s.fault
	}
	s.tip.fill(&verdict)
	return verdict
}

// sequoia is one examination.
type sequoia struct {
	h        *history
	policies map[refs.OID]*sqPolicy // by tree; nil: no policy
	good     map[refs.OID]bool
	revoked  map[string]bool // fingerprints of hard-revoked certificates seen
	by       attestation     // of the commit that is looked at
	fault    attestation     // of the commit that is at fault
	tip      attestation     // of the tip, which comes last, if it is authentic
}

// An sqUser is an entry of a policy.
type sqUser struct {
	capabilities map[string]bool
	certs        []*keys.Certificate
}

// An sqPolicy is an openpgp-policy.toml.
type sqPolicy struct {
	users map[string]*sqUser
	good  []refs.OID
}

// sqCapabilities are what a user can be given.
var sqCapabilities = []string{"sign_commit", "sign_tag", "sign_archive", "add_user", "retire_user", "audit"}

// check looks for a path of authentic commits from the tip back to the root.
func (s *sequoia) check(q SequoiaQuery) (bad int32, code Code, why string) {
	root, tip := s.h.id(q.Root), s.h.id(q.Tip)
	fail := func(i int32, code Code, why string) (int32, Code, string) {
		return i, code, "commit " + string(s.h.oid(i)) + " " + why
	}
	order, err := s.between(root, tip)
	if err != nil {
		return fail(tip, objectCode(err), "has a history that cannot be read: "+err.Error())
	}
	for _, i := range append(slices.Clone(order), root) {
		p, err := s.policy(i)
		if err != nil {
			return fail(i, objectCode(err), err.Error())
		}
		s.collect(p)
	}
	// Only the tip's own good list counts: if the tip turns out authentic, each
	// step that led to that list was authorised, for a commit that is taken as
	// good may not change the policy.
	if p, err := s.policy(tip); err == nil && p != nil {
		for _, oid := range p.good {
			s.good[oid] = true
		}
	}
	authentic := map[int32]bool{root: true}
	bad, code, why = fail(tip, Moved, "does not descend from the trust root")
	for _, i := range order { // parents first
		s.by = attestation{}
		for _, parent := range s.h.parentsOf(i) {
			if !authentic[parent] {
				continue
			}
			c, w, err := s.authorized(parent, i)
			if err != nil {
				return fail(i, objectCode(err), err.Error())
			}
			if c == OK {
				authentic[i], s.tip = true, s.by
				break
			}
			bad, code, why = fail(i, c, w)
			s.fault = s.by
		}
		if q.Each != nil {
			told := Verdict{OID: s.h.oid(i), Rule: "sq-git"}
			if !authentic[i] {
				told.Code, told.Why = Untrusted, "follows no authentic commit"
				if bad == i {
					told.Code, told.Why = code, printable(why)
				}
			}
			s.by.fill(&told)
			q.Each(told)
		}
	}
	if authentic[tip] {
		return -1, OK, ""
	}
	return bad, code, why
}

// between lists the commits that lie on paths from root to tip, root excluded,
// parents first.
func (s *sequoia) between(root, tip int32) ([]int32, error) {
	if _, err := s.h.stream([]refs.OID{s.h.oid(tip)}, []refs.OID{s.h.oid(root)}, forAncestry); err != nil {
		return nil, err
	}
	base := s.h.frontier([]int32{root})
	var order []int32
	state := make(map[int32]int) // 1 entered, 2 listed
	for stack := []int32{tip}; len(stack) > 0; {
		i := stack[len(stack)-1]
		if inBase, err := base.contains(i); err != nil || inBase || state[i] == 2 {
			if err != nil {
				return nil, err
			}
			stack = stack[:len(stack)-1]
			continue
		}
		if err := s.h.load(i, forAncestry); err != nil {
			return nil, err
		}
		if state[i] == 1 {
			state[i] = 2
			order = append(order, i)
			stack = stack[:len(stack)-1]
			continue
		}
		state[i] = 1
		for _, p := range s.h.parentsOf(i) {
			if state[p] == 0 {
				stack = append(stack, p)
			}
		}
	}
	return order, nil
}

// collect notes hard revocations, which count wherever they are seen.
func (s *sequoia) collect(p *sqPolicy) {
	if p == nil {
		return
	}
	for _, u := range p.users {
		for _, c := range u.certs {
			if c.Revoked != nil && c.Revoked.Hard {
				s.revoked[c.Fingerprint] = true
			}
		}
	}
}

// authorized applies the policy of a parent to a commit.
func (s *sequoia) authorized(parent, i int32) (Code, string, error) {
	before, err := s.policy(parent)
	if err != nil {
		return Internal, "", err
	}
	after, err := s.policy(i)
	if err != nil {
		return Internal, "", err
	}
	if before == nil {
		return Untrusted, "follows a commit without " + sqFile, nil
	}
	oid := s.h.oid(i)
	data, err := s.h.object(oid, KindCommit)
	if err != nil {
		return Internal, "", err
	}
	name, code, why := s.signer(before, data)
	if code != OK {
		if s.good[oid] && before.sameAs(after) {
			return OK, "", nil
		}
		return code, why, nil
	}
	user := before.users[name]
	for _, need := range append(before.changes(after), "sign_commit") {
		if !user.capabilities[need] {
			return Untrusted, fmt.Sprintf("is signed by %s, who may not %s", name, need), nil
		}
	}
	return OK, "", nil
}

// signer verifies a commit with the certificates of a policy.
func (s *sequoia) signer(p *sqPolicy, data []byte) (name string, code Code, why string) {
	policy := &Policy{}
	for name, u := range p.users {
		for _, c := range u.certs {
			policy.Signers = append(policy.Signers, &Signer{Name: name, Cert: c})
		}
	}
	if err := policy.index(); err != nil {
		return "", Malformed, "follows a " + sqFile + " in which two users share a key"
	}
	v := *s.h.verifier
	v.policy = policy
	_, a := v.commit(data)
	s.by = a
	if a.code != OK {
		return "", a.code, a.why
	}
	if a.hard || s.revoked[a.by.signer.Cert.Fingerprint] {
		return "", BadTime, fmt.Sprintf("is signed by %s, whose key was revoked", a.by.signer.Name)
	}
	return a.by.signer.Name, OK, ""
}

// policy returns the policy in a commit's tree.
func (s *sequoia) policy(i int32) (*sqPolicy, error) {
	tree, err := s.h.tree(i)
	if err != nil {
		return nil, err
	}
	if p, ok := s.policies[tree]; ok {
		return p, nil
	}
	content, err := s.h.file(tree, sqFile)
	var p *sqPolicy
	if err == nil && content != nil {
		p, err = parseSequoia(content)
	}
	if err != nil {
		return nil, err
	}
	s.policies[tree] = p
	return p, nil
}

// changes lists the capabilities that turning p into q needs.
func (p *sqPolicy) changes(q *sqPolicy) []string {
	if q == nil {
		return sqCapabilities // the policy is removed
	}
	var need []string
	for name, after := range q.users {
		before := p.users[name]
		if before == nil {
			before = &sqUser{}
		}
		for _, c := range sqCapabilities {
			if after.capabilities[c] && !before.capabilities[c] {
				need = append(need, "add_user", c) // nobody grants what they do not have
			}
		}
		if !sameCerts(before.certs, after.certs) {
			need = append(need, "add_user")
		}
	}
	for name, before := range p.users {
		after := q.users[name]
		if after == nil || slices.ContainsFunc(sqCapabilities, func(c string) bool { return before.capabilities[c] && !after.capabilities[c] }) {
			need = append(need, "retire_user")
		}
	}
	if !slices.Equal(p.good, q.good) {
		need = append(need, "audit")
	}
	return need
}

func (p *sqPolicy) sameAs(q *sqPolicy) bool { return len(p.changes(q)) == 0 }

func sameCerts(a, b []*keys.Certificate) bool {
	return slices.EqualFunc(a, b, func(x, y *keys.Certificate) bool { return x.Digest() == y.Digest() })
}

// parseSequoia reads an openpgp-policy.toml of version 0.
func parseSequoia(text []byte) (*sqPolicy, error) {
	if len(text) > maxPolicyFile {
		return nil, &CorruptError{Reason: sqFile + " is too large"}
	}
	tables, err := parseTOML(string(text))
	if err != nil {
		return nil, &CorruptError{Reason: sqFile + ": " + err.Error()}
	}
	p := &sqPolicy{users: make(map[string]*sqUser)}
	for table, values := range tables {
		name, isUser := strings.CutPrefix(table, "authorization\x00")
		switch {
		case isUser:
			u := &sqUser{capabilities: make(map[string]bool)}
			for _, c := range sqCapabilities {
				u.capabilities[c] = values[c].text == "true"
			}
			if u.certs, err = keys.ParseKeyring([]byte(values["keyring"].text)); err != nil {
				return nil, &CorruptError{Reason: fmt.Sprintf("%s: keyring of %q: %v", sqFile, shorten(name), err)}
			}
			p.users[name] = u
		case table == "":
			for _, text := range values["commit_goodlist"].list {
				oid, err := anyOID(text)
				if err != nil {
					return nil, &CorruptError{Reason: sqFile + ": a commit in the good list is not a full id"}
				}
				p.good = append(p.good, oid)
			}
			if v := values["version"].text; v != "0" && v != "" {
				return nil, &CorruptError{Reason: sqFile + " is of an unknown version"}
			}
		}
	}
	return p, nil
}
