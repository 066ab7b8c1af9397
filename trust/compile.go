package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// configVersion is the version of trust.conf that this package reads.
const configVersion = "1"

// A compiler turns a document into a policy.
type compiler struct {
	policy *Policy
	certs  func(name string) ([]byte, error)
}

// An entry is a section with its keys, taken out as they are understood: what
// is left over is an error.
type entry struct {
	section, name string
	line          int
	values        map[string]configLine
	lines         map[string]int
}

// compile reads the sections of a document. Whatever it does not know, it
// refuses: a mistyped key must not silently be a weaker policy.
func compile(doc *document, certs func(string) ([]byte, error)) (*Policy, error) {
	entries, err := collect(doc)
	if err != nil {
		return nil, err
	}
	c := &compiler{policy: &Policy{}, certs: certs}
	sections := map[string]func(*entry) error{
		"gitpeer": c.header, "publisher": c.publisher, "signer": c.signer, "repo": c.repo, "rule": c.rule,
	}
	for _, e := range entries {
		read, ok := sections[e.section]
		if !ok {
			return nil, &ConfigError{Line: e.line, Reason: fmt.Sprintf("unknown section %q", e.section)}
		}
		if (e.name == "") != (e.section == "gitpeer") {
			return nil, &ConfigError{Line: e.line, Reason: "want [gitpeer], and a name in quotes in all other sections"}
		}
		if err := read(e); err != nil {
			var bad *ConfigError
			if !errors.As(err, &bad) {
				err = &ConfigError{Line: e.line, Reason: err.Error()}
			}
			return nil, err
		}
		for key, line := range e.lines {
			if _, left := e.values[key]; left {
				return nil, &ConfigError{Line: line, Reason: fmt.Sprintf("unknown key %q in [%s]", key, e.section)}
			}
		}
	}
	if len(entries) > 0 && entries[0].section != "gitpeer" {
		return nil, &ConfigError{Line: entries[0].line, Reason: "want [gitpeer] with version = 1 first"}
	}
	if err := c.policy.check(); err != nil {
		return nil, err
	}
	return c.policy, c.policy.index()
}

func collect(doc *document) ([]*entry, error) {
	var entries []*entry
	seen := make(map[string]bool)
	for i, l := range doc.lines {
		switch {
		case l.section != "":
			id := l.section + " " + l.name
			if seen[id] {
				return nil, &ConfigError{Line: i + 1, Reason: fmt.Sprintf("[%s %q] is there twice", l.section, l.name)}
			}
			seen[id] = true
			entries = append(entries, &entry{section: l.section, name: l.name, line: i + 1,
				values: make(map[string]configLine), lines: make(map[string]int)})
		case l.key != "" && len(entries) == 0:
			return nil, &ConfigError{Line: i + 1, Reason: "a key before the first section"}
		case l.key != "":
			e := entries[len(entries)-1]
			if _, ok := e.lines[l.key]; ok {
				return nil, &ConfigError{Line: i + 1, Reason: fmt.Sprintf("%q is there twice", l.key)}
			}
			e.values[l.key], e.lines[l.key] = l, i+1
		}
	}
	return entries, nil
}

// take returns a key's value and strikes it off.
func (e *entry) take(key string) (string, bool) {
	l, ok := e.values[key]
	delete(e.values, key)
	return l.value, ok
}

// bad makes an error about a key.
func (e *entry) bad(key, format string, args ...any) error {
	return &ConfigError{Line: e.lines[key], Reason: fmt.Sprintf(format, args...)}
}

// flag takes a key whose value is true or false.
func (e *entry) flag(key string) (bool, error) {
	switch value, ok := e.take(key); {
	case !ok || value == "false":
		return false, nil
	case value == "true":
		return true, nil
	}
	return false, e.bad(key, "%s: want true or false", key)
}

// oids takes a key whose value is a list of object ids.
func (e *entry) oids(key string) ([]refs.OID, error) {
	value, _ := e.take(key)
	var oids []refs.OID
	for _, word := range strings.Fields(value) {
		oid, err := refs.ParseOID(word, refs.SHA1)
		if err != nil {
			oid, err = refs.ParseOID(word, refs.SHA256)
		}
		if err != nil || oid.IsZero() {
			return nil, e.bad(key, "%s: %q is not a full object id (40 or 64 digits)", key, shorten(word))
		}
		oids = append(oids, oid)
	}
	return oids, nil
}

// choice takes a key whose value is one of several; the first is the default.
func (e *entry) choice(key string, values ...string) (string, error) {
	value, ok := e.take(key)
	if !ok {
		return values[0], nil
	}
	if !slices.Contains(values, value) {
		return "", e.bad(key, "%s: want one of %s", key, strings.Join(values, ", "))
	}
	return value, nil
}

func (c *compiler) header(e *entry) error {
	if version, _ := e.take("version"); version != configVersion {
		return malformed("want version = %s", configVersion)
	}
	return nil
}

func (c *compiler) publisher(e *entry) error {
	p := &Publisher{Name: e.name, line: e.line}
	text, ok := e.take("key")
	if !ok {
		return malformed("a publisher needs a key")
	}
	var err error
	if p.Key, err = keys.ParseID(text); err != nil {
		return e.bad("key", "%v", err)
	}
	scope, err := e.choice("repos", "listed", "all")
	p.All = scope == "all"
	c.policy.Publishers = append(c.policy.Publishers, p)
	return err
}

func (c *compiler) signer(e *entry) error {
	s := &Signer{Name: e.name, line: e.line}
	file, isCert := e.take("cert")
	text, isSSH := e.take("ssh")
	var err error
	switch {
	case isCert == isSSH:
		return malformed("a signer needs either cert or ssh")
	case isCert:
		if s.Cert, err = c.cert(file); err != nil {
			return e.bad("cert", "%v", err)
		}
	default:
		if s.SSH, err = keys.ParseSSHKey(text); err != nil {
			return e.bad("ssh", "%v", err)
		}
	}
	retired, err := e.oids("retired-at")
	if err != nil {
		return err
	}
	if len(retired) > 1 {
		return e.bad("retired-at", "retired-at takes one object id")
	}
	if len(retired) == 1 {
		s.RetiredAt = retired[0]
	}
	if s.Revoked, err = e.flag("revoked"); err != nil {
		return err
	}
	if s.Forge, err = e.flag("forge"); err != nil {
		return err
	}
	limit, err := e.choice("forge-merges-only", "true", "false")
	if err != nil {
		return err
	}
	if s.ForgeAny = limit == "false"; e.lines["forge-merges-only"] != 0 && !s.Forge {
		return e.bad("forge-merges-only", "forge-merges-only says something about a signer with forge = true")
	}
	c.policy.Signers = append(c.policy.Signers, s)
	return nil
}

// cert reads a certificate. Its file is named by the SHA-256 of its content, so
// that an altered one is noticed.
func (c *compiler) cert(file string) (*keys.Certificate, error) {
	digest, ok := strings.CutSuffix(file, ".asc")
	if _, err := refs.ParseDigest(digest); err != nil || !ok {
		return nil, malformed("%q is not the name of a certificate: want 64 hexadecimal digits and .asc", shorten(file))
	}
	content, err := c.certs(file)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", file, err)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("certificate %s has been altered: its SHA-256 is %x", file, sum)
	}
	cert, err := keys.ParseCertificate(content)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", file, err)
	}
	return cert, nil
}

func (c *compiler) repo(e *entry) error {
	r := &Repo{Name: e.name, line: e.line}
	text, ok := e.take("url")
	if !ok {
		return malformed("a repo needs a url")
	}
	var err error
	if r.URL, err = refs.ParseAddress(text); err != nil {
		return e.bad("url", "%v", err)
	}
	if list, ok := e.take("publishers"); ok {
		r.Publishers = strings.Fields(list)
	}
	if r.Introduction, err = e.oids("introduction"); err != nil {
		return err
	}
	if r.Good, err = e.oids("good"); err != nil {
		return err
	}
	if r.Checkpoint, err = e.oids("checkpoint"); err != nil {
		return err
	}
	if value, ok := e.take("max-stale"); ok {
		if r.MaxStale, err = parseDuration(value); err != nil {
			return e.bad("max-stale", "%v", err)
		}
	}
	c.policy.Repos = append(c.policy.Repos, r)
	return nil
}

func (c *compiler) rule(e *entry) error {
	r := &Rule{Name: e.name, line: e.line, Quorum: 1}
	r.Repo, _ = e.take("repo")
	r.Publisher, _ = e.take("publisher")
	if (r.Repo == "") == (r.Publisher == "") {
		return malformed("a rule needs either repo or publisher")
	}
	r.Pattern, _ = e.take("ref")
	if err := checkPattern(r.Pattern); err != nil {
		return err
	}
	if list, ok := e.take("signers"); ok {
		r.Signers = strings.Fields(list)
	}
	mode, err := e.choice("mode", string(ModeAll), string(ModeChain), string(ModeTip), string(ModePublisher))
	if err != nil {
		return err
	}
	r.Mode = Mode(mode)
	tags, err := e.choice("tags", string(TagsSigned), string(TagsAny))
	if err != nil {
		return err
	}
	r.Tags = TagPolicy(tags)
	rewind, err := e.choice("rewind", "refuse", "allow")
	if err != nil {
		return err
	}
	r.Rewind = rewind == "allow"
	if value, ok := e.take("quorum"); ok {
		if r.Quorum, err = strconv.Atoi(value); err != nil || r.Quorum < 1 || r.Quorum > 255 {
			return e.bad("quorum", "quorum: want a number from 1 to 255")
		}
	}
	c.policy.Rules = append(c.policy.Rules, r)
	return nil
}

// checkPattern accepts a literal ref name, or a prefix of ref names and a star.
func checkPattern(pattern string) error {
	prefix, star := strings.CutSuffix(pattern, "*")
	if !strings.HasPrefix(pattern, "refs/") || strings.ContainsAny(prefix, "*?[\\ \t") {
		return malformed("ref: want a full ref name such as refs/heads/main, or one that ends in *")
	}
	if !star {
		if _, err := refs.ParseName(pattern); err != nil {
			return err
		}
	}
	return nil
}

// check looks at what only the whole policy shows.
func (p *Policy) check() error {
	publishers, repos := make(map[string]*Publisher), make(map[string]bool)
	owner := make(map[keys.ID]string)
	for _, q := range p.Publishers {
		publishers[q.Name] = q
		if other, ok := owner[q.Key]; ok {
			return &ConfigError{Line: q.line, Reason: fmt.Sprintf("publishers %q and %q have the same key", other, q.Name)}
		}
		owner[q.Key] = q.Name
	}
	urls := make(map[refs.Address]string)
	for _, r := range p.Repos {
		repos[r.Name] = true
		if other, ok := urls[r.URL]; ok {
			return &ConfigError{Line: r.line, Reason: fmt.Sprintf("repos %q and %q have the same url", other, r.Name)}
		}
		urls[r.URL] = r.Name
		for _, name := range r.Publishers {
			if publishers[name] == nil {
				return &ConfigError{Line: r.line, Reason: fmt.Sprintf("unknown publisher %q", shorten(name))}
			}
		}
	}
	patterns := make(map[string]string)
	for _, r := range p.Rules {
		if r.Repo != "" && !repos[r.Repo] {
			return &ConfigError{Line: r.line, Reason: fmt.Sprintf("unknown repo %q", shorten(r.Repo))}
		}
		if r.Publisher != "" && (publishers[r.Publisher] == nil || !publishers[r.Publisher].All) {
			return &ConfigError{Line: r.line, Reason: fmt.Sprintf("no publisher %q with repos = all", shorten(r.Publisher))}
		}
		for _, name := range r.Signers {
			if _, ok := p.Signer(name); !ok {
				return &ConfigError{Line: r.line, Reason: fmt.Sprintf("unknown signer %q", shorten(name))}
			}
		}
		// Two rules of one scope tie on a ref exactly if their patterns are
		// equal: of two different prefixes of one name, one is longer.
		id := r.Repo + "\x00" + r.Publisher + "\x00" + r.Pattern
		if other, ok := patterns[id]; ok {
			return &ConfigError{Line: r.line, Reason: fmt.Sprintf("rules %q and %q tie: both are for %s", other, r.Name, r.Pattern)}
		}
		patterns[id] = r.Name
	}
	return nil
}

// parseDuration reads a whole number with one of the units w, d, h, m.
func parseDuration(text string) (time.Duration, error) {
	units := map[byte]time.Duration{'w': 7 * 24 * time.Hour, 'd': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute}
	if len(text) < 2 {
		return 0, malformed("want a duration such as 7d, 12h or 30m")
	}
	n, err := strconv.Atoi(text[:len(text)-1])
	unit := units[text[len(text)-1]]
	if err != nil || n < 1 || n > 10000 || unit == 0 {
		return 0, malformed("want a duration such as 7d, 12h or 30m, not %q", shorten(text))
	}
	return time.Duration(n) * unit, nil
}
