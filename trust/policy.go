package trust

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A Mode says which commits of a ref have to be signed: TRUST.md §2.2.
type Mode string

// The modes.
const (
	ModeAll       Mode = "all"       // every commit since the introduction
	ModeChain     Mode = "chain"     // every commit on the first-parent path since the introduction
	ModeTip       Mode = "tip"       // the commit or tag that the ref points at
	ModePublisher Mode = "publisher" // none
)

// A TagPolicy says which tags are accepted.
type TagPolicy string

// The tag policies.
const (
	TagsSigned TagPolicy = "signed"
	TagsAny    TagPolicy = "any"
)

// A Policy is the parsed trust.conf with its certificates. It does not change
// and may be shared by goroutines. The zero Policy trusts nobody.
type Policy struct {
	Publishers []*Publisher
	Signers    []*Signer
	Repos      []*Repo
	Rules      []*Rule

	byFingerprint map[string]*authority // OpenPGP fingerprints
	byKeyID       map[uint64]*authority // for signatures that only have a key id
	bySSH         map[string]*authority // SSH wire format
	rewind        bool                  // see WithRewind
}

// A Publisher gives a publisher a petname, and may trust all its repositories.
type Publisher struct {
	Name string
	Key  keys.ID
	All  bool // repos = all: every repository of this publisher may be fetched
	line int
}

// A Signer is somebody whose commits may be accepted.
type Signer struct {
	Name      string
	Cert      *keys.Certificate // or
	SSH       *keys.SSHKey
	RetiredAt refs.OID // may sign only this commit and its ancestors; "" no limit
	Revoked   bool     // like a hard revocation in the certificate
	Forge     bool     // a service that signs what people do on its web pages
	ForgeAny  bool     // it may sign more than merges (forge-merges-only = false)
	line      int
}

// A Repo is a repository that may be fetched.
type Repo struct {
	Name         string
	URL          refs.Address
	Publishers   []string      // names of entries that may publish it besides URL's own
	Introduction []refs.OID    // commits that are taken as they are, with all before them
	Good         []refs.OID    // single commits or tags that are taken although their signature is not
	Checkpoint   []refs.OID    // commits up to which a hard revocation is not held against a signer
	MaxStale     time.Duration // 0: only the record's own expiry counts
	line         int
}

// A Rule says who may write which refs.
type Rule struct {
	Name      string
	Repo      string // name of a Repo, or
	Publisher string // name of a Publisher with repos = all
	Pattern   string // a full ref name, or a prefix that ends in *
	Signers   []string
	Mode      Mode
	Quorum    int
	Tags      TagPolicy
	Rewind    bool
	dropped   int // the quorum that WithoutQuorum took away
	line      int
}

// An authority is a key and the signer whose it is.
type authority struct {
	signer *Signer
	pgp    *keys.SigningKey // or
	ssh    *keys.SSHKey
}

func (a *authority) fingerprint() string {
	if a.pgp != nil {
		return a.pgp.Fingerprint
	}
	return a.ssh.Fingerprint
}

// Load reads trust.conf and the certificates that it names from the directory.
// A missing directory or file is an empty policy, which refuses everything.
// The error is a *ConfigError, or what the file system said.
func Load(dir string) (*Policy, error) {
	p, _, err := load(dir)
	return p, err
}

func load(dir string) (*Policy, *document, error) {
	path := filepath.Join(dir, ConfigName)
	text, err := readBounded(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	doc, err := parseDocument(string(text))
	if err == nil {
		var p *Policy
		if p, err = compile(doc, certDir(filepath.Join(dir, CertsName))); err == nil {
			return p, doc, nil
		}
	}
	var bad *ConfigError
	if errors.As(err, &bad) && bad.File == "" {
		bad.File = path
	}
	return nil, nil, err
}

// Parse reads a policy from the text of trust.conf; certs gives the content of
// a certificate by its file name. The error is a *ConfigError.
func Parse(text string, certs func(name string) ([]byte, error)) (*Policy, error) {
	doc, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	return compile(doc, certs)
}

// CertsName is the name of the certificates' directory beside trust.conf.
const CertsName = "certs"

// certDir reads certificates from a directory.
func certDir(dir string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		return readBounded(filepath.Join(dir, name), 2*keys.MaxCertificate)
	}
}

// readBounded reads a regular file of at most max bytes.
func readBounded(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &ConfigError{File: path, Reason: "not a regular file"}
	case info.Size() > most:
		return nil, &ConfigError{File: path, Reason: fmt.Sprintf("larger than %d KiB", most>>10)}
	}
	return os.ReadFile(path)
}

// ResolveURL returns the address that a host and a name stand for; the host is
// a publisher's id or a petname (refs.SplitURL takes them out of a URL).
func (p *Policy) ResolveURL(host string, name refs.RepoName) (refs.Address, error) {
	if id, err := keys.ParseID(host); err == nil {
		return refs.Address{Publisher: id, Name: name}, nil
	}
	for _, known := range p.Publishers {
		if known.Name == host {
			return refs.Address{Publisher: known.Key, Name: name}, nil
		}
	}
	return refs.Address{}, &PetnameError{Name: host}
}

// A PetnameError says that no publisher has that petname.
type PetnameError struct {
	Name string
}

func (e *PetnameError) Error() string {
	return fmt.Sprintf("no publisher is called %q in trust.conf", shorten(e.Name))
}

// Petname returns what the user calls a publisher, or "".
func (p *Policy) Petname(id keys.ID) string {
	for _, known := range p.Publishers {
		if known.Key == id {
			return known.Name
		}
	}
	return ""
}

// Lookalikes returns the publishers whose ids begin with the same eight
// characters as id without being the same: somebody may have searched for such
// a key (A34).
func (p *Policy) Lookalikes(id keys.ID) []*Publisher {
	const compared = len("gp1") + 8
	var found []*Publisher
	for _, known := range p.Publishers {
		if known.Key != id && known.Key.String()[:compared] == id.String()[:compared] {
			found = append(found, known)
		}
	}
	for _, r := range p.Repos {
		if key := r.URL.Publisher; key != id && key.String()[:compared] == id.String()[:compared] {
			found = append(found, &Publisher{Name: r.Name, Key: key})
		}
	}
	return found
}

// WithRewind returns the policy with every branch allowed to move anywhere: for
// one fetch that the user asked for with --allow-rewind. Tags stay immutable.
func (p *Policy) WithRewind() *Policy {
	copied := *p
	copied.rewind = true
	return &copied
}

// Extend returns the policy with more signers, whom only a Query can name. The
// error is a *ConfigError: one of the keys is somebody's already.
func (p *Policy) Extend(signers ...Signer) (*Policy, error) {
	copied := *p
	copied.Signers = slices.Clone(p.Signers)
	for i := range signers {
		copied.Signers = append(copied.Signers, &signers[i])
	}
	return &copied, copied.index()
}

// Signer returns the signer of that name.
func (p *Policy) Signer(name string) (*Signer, bool) {
	for _, s := range p.Signers {
		if s.Name == name {
			return s, true
		}
	}
	return nil, false
}

// SignerOf returns who has the key with that OpenPGP fingerprint (any case) or
// SSH fingerprint (SHA256:…).
func (p *Policy) SignerOf(fingerprint string) (*Signer, bool) {
	if a, ok := p.byFingerprint[strings.ToUpper(fingerprint)]; ok {
		return a.signer, true
	}
	for _, a := range p.bySSH {
		if a.fingerprint() == fingerprint {
			return a.signer, true
		}
	}
	return nil, false
}

// Repo returns the entry for an address, nil if only the publisher is known.
// Known says whether the address may be fetched at all.
func (p *Policy) Repo(a refs.Address) (repo *Repo, known bool) {
	for _, r := range p.Repos {
		if r.URL == a {
			return r, true
		}
	}
	for _, r := range p.Repos {
		if r.URL.Name != a.Name {
			continue
		}
		for _, name := range r.Publishers {
			if i := slices.IndexFunc(p.Publishers, func(q *Publisher) bool { return q.Name == name }); i >= 0 && p.Publishers[i].Key == a.Publisher {
				return r, true
			}
		}
	}
	return nil, slices.ContainsFunc(p.Publishers, func(q *Publisher) bool { return q.All && q.Key == a.Publisher })
}

// A scope is the part of a policy that concerns one repository.
type scope struct {
	policy  *Policy
	repo    *Repo   // never nil; empty if only the publisher is known
	rules   []*Rule // of the repository
	general []*Rule // of the publisher, if the repository has no entry of its own
}

// scope returns the part of the policy for an address, nil if it is unknown.
func (p *Policy) scope(a refs.Address) *scope {
	repo, known := p.Repo(a)
	if !known {
		return nil
	}
	s := &scope{policy: p, repo: repo}
	if repo == nil {
		s.repo = &Repo{}
	}
	petname := p.Petname(a.Publisher)
	for _, r := range p.Rules {
		switch {
		case repo != nil && r.Repo == repo.Name:
			s.rules = append(s.rules, r)
		case repo == nil && r.Publisher != "" && r.Publisher == petname:
			s.general = append(s.general, r)
		}
	}
	return s
}

// errNoRule says that rules exist and none covers a ref.
var errNoRule = errors.New("no rule of trust.conf covers it")

// rule returns the rule for a ref: the one with the longest literal prefix, or
// the default if there are no rules at all.
func (s *scope) rule(name refs.Name) (*Rule, error) {
	if len(s.rules)+len(s.general) == 0 {
		return s.defaultRule(), nil
	}
	for _, set := range [][]*Rule{s.rules, s.general} {
		var best *Rule
		for _, r := range set {
			if r.matches(name) && (best == nil || r.specificity() > best.specificity()) {
				best = r
			}
		}
		if best != nil {
			return best, nil
		}
	}
	return nil, errNoRule
}

// defaultRule is what applies without any rule: mode all, every signer. Forges
// are none of them: a rule has to name them.
func (s *scope) defaultRule() *Rule {
	r := &Rule{Pattern: "refs/*", Mode: ModeAll, Tags: TagsSigned, Quorum: 1}
	for _, signer := range s.policy.Signers {
		if signer.ForgeName() == "" {
			r.Signers = append(r.Signers, signer.Name)
		}
	}
	return r
}

func (r *Rule) matches(name refs.Name) bool {
	if prefix, ok := strings.CutSuffix(r.Pattern, "*"); ok {
		return strings.HasPrefix(string(name), prefix)
	}
	return string(name) == r.Pattern
}

// specificity orders patterns: a longer literal prefix first, and a literal
// before the same prefix with a star.
func (r *Rule) specificity() int {
	if prefix, ok := strings.CutSuffix(r.Pattern, "*"); ok {
		return 2 * len(prefix)
	}
	return 2*len(r.Pattern) + 1
}

// verifierVersion is part of every cache key: raise it when a change in this
// package makes something refused that was accepted before.
const verifierVersion = 2

// digest is the cache key of TRUST.md §2.5: whatever could change a verdict
// under the rule changes it, but for the quorum, which pinDigest adds: no
// publisher makes a commit acceptable.
func (s *scope) digest(r *Rule, introduction []refs.OID) refs.Digest {
	h := sha256.New()
	fmt.Fprintf(h, "gitpeer-rule %d\nmode %s\ntags %s\n", verifierVersion, r.Mode, r.Tags)
	for _, name := range slices.Sorted(slices.Values(r.Signers)) {
		signer, ok := s.policy.Signer(name)
		if !ok {
			continue
		}
		key := ""
		if signer.Cert != nil {
			key = signer.Cert.Digest()
		} else {
			key = signer.SSH.Text()
		}
		fmt.Fprintf(h, "signer %s %s %s %t %t\n", name, key, signer.RetiredAt, signer.Revoked, signer.mergesOnly())
	}
	fmt.Fprintf(h, "introduction %v\ngood %v\ncheckpoint %v\n",
		sortOIDs(introduction), sortOIDs(s.repo.Good), sortOIDs(s.repo.Checkpoint))
	return refs.Digest(h.Sum(nil))
}

// pinDigest is digest with the quorum, and with those who could make it up: a
// ref that is pinned under it had the quorum once, and need not have it again.
func (s *scope) pinDigest(r *Rule, introduction []refs.OID) refs.Digest {
	digest := s.digest(r, introduction)
	if r.Quorum <= 1 {
		return digest
	}
	var ids []string
	for _, id := range s.publishers(s.repo.URL.Publisher) {
		ids = append(ids, id.String())
	}
	slices.Sort(ids)
	return sha256.Sum256(fmt.Appendf(nil, "%s\nquorum %d of %v\n", digest, r.Quorum, ids))
}

// index builds the maps that signatures are looked up in, and refuses keys
// that two signers claim.
func (p *Policy) index() error {
	p.byFingerprint = make(map[string]*authority)
	p.byKeyID = make(map[uint64]*authority)
	p.bySSH = make(map[string]*authority)
	for _, s := range p.Signers {
		if s.SSH != nil {
			blob := string(s.SSH.Blob())
			if other, ok := p.bySSH[blob]; ok {
				return &ConfigError{Line: s.line, Reason: fmt.Sprintf("signers %q and %q have the same key", other.signer.Name, s.Name)}
			}
			p.bySSH[blob] = &authority{signer: s, ssh: s.SSH}
			continue
		}
		for _, k := range s.Cert.Keys {
			if other, ok := p.byKeyID[k.KeyID]; ok {
				reason := fmt.Sprintf("signers %q and %q have the same key %s", other.signer.Name, s.Name, k.Fingerprint)
				if other.pgp.Fingerprint != k.Fingerprint {
					reason = fmt.Sprintf("signers %q and %q have different keys with one id %016X, which a signature may go by: %s and %s",
						other.signer.Name, s.Name, k.KeyID, other.pgp.Fingerprint, k.Fingerprint)
				}
				return &ConfigError{Line: s.line, Reason: reason}
			}
			a := &authority{signer: s, pgp: k}
			p.byFingerprint[k.Fingerprint] = a
			p.byKeyID[k.KeyID] = a
		}
	}
	return nil
}

// sortOIDs returns a sorted copy without repetitions.
func sortOIDs(oids []refs.OID) []refs.OID {
	sorted := slices.Clone(oids)
	slices.SortFunc(sorted, cmp.Compare[refs.OID])
	return slices.Compact(sorted)
}
