package trust

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// guixFile is where a guix channel keeps who may sign, at the root of the tree
// of each commit.
const guixFile = ".guix-authorizations"

// maxPolicyFile bounds a policy file out of a tree. guix's has 8 KB.
const maxPolicyFile = 256 << 10

// A GuixQuery asks whether a history is authentic by the rules of
// `guix git authenticate`, for which the list of signers lies in the history
// itself. It is for comparing verdicts, and for users of guix channels; gitpeer
// never fetches by it, because the policy is then not the reader's.
type GuixQuery struct {
	ObjectFormat refs.ObjectFormat
	Introduction refs.OID // the introductory commit
	Signer       string   // fingerprint of the key that must have signed it
	Tip          refs.OID
	Keyring      []*keys.Certificate // as in the channel's keyring branch
	Each         func(Verdict)       // if set, is given a verdict about every commit that is looked at
}

// Examine gives the verdict about the tip. Its rules, from guix's manual and
// "Building a Secure Software Supply Chain with GNU Guix" (Courtès 2022):
//
// The introductory commit is signed by the given key. Every other commit that
// the tip reaches and the introductory one does not is signed by a key that is
// listed in the .guix-authorizations of all of its parents. A parent without
// the file lists nobody, and so does a missing parent. A commit does not remove
// the file when a parent has it. Expiry and revocation do not count: a key is
// put out of force by taking it off the list. DSA keys are as good as others:
// seven of guix's committers have one.
//
// Stricter than guix: SHA-1 signatures are refused everywhere, and objects have
// to be within the strict grammar.
func (q GuixQuery) Examine(o Objects, now time.Time) (verdict Verdict) {
	verdict = Verdict{OID: q.Tip, Rule: "guix"}
	defer verdict.caught()
	policy := &Policy{}
	for i, cert := range q.Keyring {
		policy.Signers = append(policy.Signers, &Signer{Name: fmt.Sprintf("key-%d", i+1), Cert: cert})
	}
	if err := policy.index(); err != nil {
		verdict.Code, verdict.Why = Usage, printable(err.Error())
		return verdict
	}
	h := newHistory(&verifier{policy: policy, format: q.ObjectFormat, now: now, asGuix: true}, o)
	h.wantTrees()
	g := &guix{h: h, lists: make(map[refs.OID]*guixList), each: q.Each}
	bad, code, why := g.check(q)
	verdict.Code, verdict.Why = code, printable(why)
	if bad >= 0 {
		verdict.Commit = h.oid(bad)
		a, _ := h.attestation(bad)
		a.fill(&verdict)
	}
	return verdict
}

// guix is one examination.
type guix struct {
	h     *history
	lists map[refs.OID]*guixList // by tree, and by blob: few blobs for many trees
	each  func(Verdict)
}

// A guixList is the content of a .guix-authorizations: fingerprints, upper-case
// hex. nil: there is no such file.
type guixList struct {
	fingerprints map[string]bool
}

// check visits every commit between introduction and tip.
func (g *guix) check(q GuixQuery) (bad int32, code Code, why string) {
	fail := func(i int32, code Code, why string) (int32, Code, string) {
		return i, code, "commit " + string(g.h.oid(i)) + " " + why
	}
	intro, tip := g.h.id(q.Introduction), g.h.id(q.Tip)
	if err := g.h.load(intro, forSignature); err != nil {
		return fail(intro, objectCode(err), "cannot be read: "+err.Error())
	}
	switch a, _ := g.h.attestation(intro); {
	case a.code != OK:
		return fail(intro, a.code, a.why)
	case !strings.EqualFold(a.by.fingerprint(), strings.ReplaceAll(q.Signer, " ", "")):
		return fail(intro, Untrusted, "is not signed by the key of the introduction")
	}
	base := g.h.frontier([]int32{intro})
	if ok, err := base.contains(tip); err != nil || ok {
		return g.before(intro, tip, err)
	}
	if _, err := g.h.stream([]refs.OID{q.Tip}, []refs.OID{q.Introduction}, forSignature); err != nil {
		return fail(tip, objectCode(err), "cannot be read: "+err.Error())
	}
	seen := map[int32]bool{tip: true}
	descends := false
	for stack := []int32{tip}; len(stack) > 0; {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := g.h.load(i, forSignature); err != nil {
			return fail(i, objectCode(err), "cannot be read: "+err.Error())
		}
		code, why := g.commit(i)
		if g.each != nil {
			told := Verdict{OID: g.h.oid(i), Rule: "guix", Code: code, Why: printable(why)}
			a, _ := g.h.attestation(i)
			a.fill(&told)
			g.each(told)
		}
		if code != OK {
			return fail(i, code, why)
		}
		for _, p := range g.h.parentsOf(i) {
			ok, err := base.contains(p)
			if err != nil {
				return fail(p, objectCode(err), "cannot be read: "+err.Error())
			}
			descends = descends || p == intro
			if !ok && !seen[p] {
				seen[p] = true
				stack = append(stack, p)
			}
		}
	}
	if !descends {
		return fail(tip, Moved, "does not descend from the introductory commit")
	}
	return -1, OK, ""
}

// before is the answer about a tip that the introduction already contains: only
// the introductory commit itself is authentic.
func (g *guix) before(intro, tip int32, err error) (int32, Code, string) {
	switch {
	case err != nil:
		return tip, objectCode(err), "its history cannot be read: " + err.Error()
	case tip != intro:
		return tip, Moved, "commit " + string(g.h.oid(tip)) + " does not descend from the introductory commit"
	}
	return -1, OK, ""
}

// commit applies the rules to one commit.
func (g *guix) commit(i int32) (Code, string) {
	a, _ := g.h.attestation(i)
	if a.code != OK {
		return a.code, a.why
	}
	parents := g.h.parentsOf(i)
	var lists []*guixList
	for _, p := range parents {
		list, err := g.list(p)
		if err != nil {
			return objectCode(err), "has a parent whose " + guixFile + " cannot be read: " + err.Error()
		}
		lists = append(lists, list)
	}
	own, err := g.list(i)
	if err != nil {
		return objectCode(err), "has a " + guixFile + " that cannot be read: " + err.Error()
	}
	if own == nil && slices.ContainsFunc(lists, func(l *guixList) bool { return l != nil }) {
		return Untrusted, "removes " + guixFile
	}
	fingerprint := a.by.fingerprint()
	if len(lists) == 0 || slices.ContainsFunc(lists, func(l *guixList) bool { return l == nil || !l.fingerprints[fingerprint] }) {
		return Untrusted, "is signed by " + fingerprint + ", whom not all of its parents authorise"
	}
	return OK, ""
}

// list returns the authorizations in a commit's tree.
func (g *guix) list(i int32) (*guixList, error) {
	tree, err := g.h.tree(i)
	if err != nil {
		return nil, err
	}
	if list, ok := g.lists[tree]; ok {
		return list, nil
	}
	blob, err := g.h.entry(tree, guixFile)
	if err != nil {
		return nil, err
	}
	list, err := g.read(blob)
	if err != nil {
		return nil, err
	}
	g.lists[tree] = list
	return list, nil
}

// read returns the authorizations in a blob, nil if there is none.
func (g *guix) read(blob refs.OID) (*guixList, error) {
	if list, ok := g.lists[blob]; ok || blob == "" {
		return list, nil
	}
	content, err := g.h.object(blob, KindBlob)
	if err != nil {
		return nil, err
	}
	list, err := parseGuix(content)
	if err != nil {
		return nil, err
	}
	g.lists[blob] = list
	return list, nil
}

// tree returns the tree of a commit.
func (h *history) tree(i int32) (refs.OID, error) {
	if err := h.load(i, forAncestry); err != nil {
		return "", err
	}
	number := int32(0)
	if int(i) < h.trees.of.n {
		number = *h.trees.of.at(i)
	}
	if number == 0 {
		return "", &CorruptError{OID: h.oid(i), Reason: "its tree is not known"}
	}
	return h.trees.ids.oid(number - 1), nil
}

// file returns the content of a regular file at the root of a tree, nil if
// there is none.
func (h *history) file(tree refs.OID, name string) ([]byte, error) {
	blob, err := h.entry(tree, name)
	if err != nil || blob == "" {
		return nil, err
	}
	return h.object(blob, KindBlob)
}

// entry returns the id of a regular file at the root of a tree, "" if there is
// none.
func (h *history) entry(tree refs.OID, name string) (refs.OID, error) {
	t, err := h.object(tree, KindTree)
	if err != nil {
		return "", err
	}
	size := h.verifier.format.Len()
	for rest := t; len(rest) > 0; {
		header, after, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(after) < size {
			return "", &CorruptError{OID: tree, Reason: "a damaged tree"}
		}
		if mode, entry, _ := strings.Cut(string(header), " "); entry == name {
			if mode != "100644" && mode != "100755" {
				return "", &CorruptError{OID: tree, Reason: name + " is not a regular file"}
			}
			return refs.OID(hex.EncodeToString(after[:size])), nil
		}
		rest = after[size:]
	}
	return "", nil
}

// object reads and checks an object.
func (h *history) object(oid refs.OID, kind Kind) ([]byte, error) {
	o, err := h.objects.Read(oid)
	if err != nil {
		return nil, err
	}
	if o.Kind != kind {
		return nil, &CorruptError{OID: oid, Reason: fmt.Sprintf("a %s where a %s is needed", o.Kind, kind)}
	}
	if err := o.check(h.verifier.format, oid); err != nil {
		return nil, err
	}
	if o.Data == nil {
		return []byte{}, nil
	}
	return o.Data, nil
}

// parseGuix reads
//
//	(authorizations (version 0) (("FINGERPRINT" (name "alice") …) …))
//
// with ; comments. What follows a fingerprint is ignored, as guix does.
func parseGuix(text []byte) (*guixList, error) {
	if len(text) > maxPolicyFile {
		return nil, &CorruptError{Reason: guixFile + " is too large"}
	}
	bad := &CorruptError{Reason: guixFile + " is not (authorizations (version 0) (…))"}
	r := &sexpReader{text: text}
	top, err := r.read(0)
	if err != nil || len(top.list) != 3 || top.list[0].atom != "authorizations" || r.skip() {
		return nil, bad
	}
	version := top.list[1].list
	if len(version) != 2 || version[0].atom != "version" || version[1].atom != "0" {
		return nil, bad
	}
	l := &guixList{fingerprints: make(map[string]bool)}
	for _, entry := range top.list[2].list {
		if len(entry.list) == 0 || !entry.list[0].quoted {
			return nil, bad
		}
		l.fingerprints[strings.ToUpper(strings.ReplaceAll(entry.list[0].atom, " ", ""))] = true
	}
	return l, nil
}

// A sexp is an atom, a string or a list.
type sexp struct {
	atom   string
	quoted bool
	list   []sexp
}

// A sexpReader reads s-expressions.
type sexpReader struct {
	text []byte
}

// skip passes over blanks and comments; it reports whether anything is left.
func (r *sexpReader) skip() bool {
	for len(r.text) > 0 {
		switch c := r.text[0]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			r.text = r.text[1:]
		case c == ';':
			if i := bytes.IndexByte(r.text, '\n'); i >= 0 {
				r.text = r.text[i+1:]
			} else {
				r.text = nil
			}
		default:
			return true
		}
	}
	return false
}

func (r *sexpReader) read(depth int) (sexp, error) {
	const maxDepth = 16
	if !r.skip() || depth > maxDepth {
		return sexp{}, malformed("an unfinished or too deep expression")
	}
	switch r.text[0] {
	case '(':
		r.text = r.text[1:]
		s := sexp{list: []sexp{}}
		for {
			if !r.skip() {
				return sexp{}, malformed("a list without an end")
			}
			if r.text[0] == ')' {
				r.text = r.text[1:]
				return s, nil
			}
			item, err := r.read(depth + 1)
			if err != nil {
				return sexp{}, err
			}
			s.list = append(s.list, item)
		}
	case ')':
		return sexp{}, malformed("a ) too many")
	case '"':
		i := bytes.IndexByte(r.text[1:], '"')
		if i < 0 || bytes.IndexByte(r.text[1:i+1], '\\') >= 0 {
			return sexp{}, malformed("a string without an end, or with an escape")
		}
		s := sexp{atom: string(r.text[1 : i+1]), quoted: true}
		r.text = r.text[i+2:]
		return s, nil
	}
	i := bytes.IndexAny(r.text, " \t\r\n();\"")
	if i < 0 {
		i = len(r.text)
	}
	s := sexp{atom: string(r.text[:i])}
	r.text = r.text[i:]
	return s, nil
}
