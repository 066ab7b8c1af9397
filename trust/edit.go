package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
)

// ErrLocked means that trust.conf.lock exists: another program is changing the
// policy, or was killed while it did.
var ErrLocked = errors.New("trust.conf is being changed by another program; if none is, remove trust.conf.lock")

// An Editor changes a policy. Comments and the order of entries in trust.conf
// stay as they were written by hand.
type Editor struct {
	Policy *Policy // as it was before the first change

	doc   *document
	certs map[string][]byte // to be written, by file name
}

// Edit changes the policy in a directory: it takes the lock, loads the policy,
// lets change work on it, checks that the result is a valid policy, and
// replaces trust.conf atomically (files 0600, directories 0700). If anything
// fails, nothing has changed, save that a certificate may have been stored
// which no entry names. It returns the new policy.
func Edit(dir string, change func(*Editor) error) (*Policy, error) {
	certs := filepath.Join(dir, CertsName)
	if err := os.MkdirAll(certs, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ConfigName)
	lock, err := os.OpenFile(path+".lock", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, err
	}
	renamed := false
	defer func() {
		lock.Close()
		if !renamed {
			os.Remove(path + ".lock")
		}
	}()
	policy, doc, err := load(dir)
	if err != nil {
		return nil, err
	}
	e := &Editor{Policy: policy, doc: doc, certs: make(map[string][]byte)}
	if err := change(e); err != nil {
		return nil, err
	}
	for _, l := range e.doc.lines {
		if strings.ContainsAny(l.text, "\r\n") {
			return nil, &ConfigError{File: path, Reason: fmt.Sprintf("a line end inside the value of %q", l.key)}
		}
	}
	text := e.doc.String()
	stored := certDir(certs)
	next, err := Parse(text, func(name string) ([]byte, error) {
		if content, ok := e.certs[name]; ok {
			return content, nil
		}
		return stored(name)
	})
	if err != nil {
		return nil, err
	}
	for name, content := range e.certs {
		if err := durable.Replace(filepath.Join(certs, name), content); err != nil {
			return nil, err
		}
	}
	if _, err := lock.WriteString(text); err != nil {
		return nil, err
	}
	if err := errors.Join(lock.Sync(), lock.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(path+".lock", path); err != nil {
		return nil, err
	}
	renamed = true
	return next, durable.Sync(dir)
}

// An ExistsError says that a name is taken, or that what is to be added is
// there under another name.
type ExistsError struct {
	Section, Name string // of the entry that is there
	Same          bool   // it is the same key or address
}

func (e *ExistsError) Error() string {
	if e.Same {
		return fmt.Sprintf("it is already there as %s %q", e.Section, e.Name)
	}
	return fmt.Sprintf("there is already a %s %q", e.Section, e.Name)
}

// A NotFoundError says that trust.conf has no such entry.
type NotFoundError struct {
	Section, Name string // Section is "" when any would have done
}

func (e *NotFoundError) Error() string {
	if e.Section == "" {
		return fmt.Sprintf("trust.conf has no entry %q", shorten(e.Name))
	}
	return fmt.Sprintf("trust.conf has no %s %q", e.Section, shorten(e.Name))
}

// set writes keys of a section, and the version before the first section.
func (e *Editor) set(section, name string, pairs ...string) {
	if _, _, ok := e.doc.find("gitpeer", ""); !ok {
		e.doc.set("gitpeer", "", "version", configVersion)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			e.doc.set(section, name, pairs[i], pairs[i+1])
		}
	}
}

func (e *Editor) has(section, name string) bool {
	_, _, ok := e.doc.find(section, name)
	return ok
}

// vacant checks that a name can be given to a new entry.
func (e *Editor) vacant(section, name string) error {
	if err := checkEntryName(name); err != nil {
		return err
	}
	if e.has(section, name) {
		return &ExistsError{Section: section, Name: name}
	}
	return nil
}

// AddSigner adds a signer with either a certificate or an SSH key.
func (e *Editor) AddSigner(s Signer) error {
	if other := e.owner(s); other != "" {
		return &ExistsError{Section: "signer", Name: other, Same: true}
	}
	if err := e.vacant("signer", s.Name); err != nil {
		return err
	}
	if s.SSH != nil {
		e.set("signer", s.Name, "ssh", s.SSH.Text(), "retired-at", string(s.RetiredAt))
	} else {
		e.set("signer", s.Name, "cert", e.store(s.Cert), "retired-at", string(s.RetiredAt))
	}
	return e.SetForge(s)
}

// owner names who has a signer's key already, "" if nobody has.
func (e *Editor) owner(s Signer) string {
	if s.SSH != nil {
		if other, ok := e.Policy.bySSH[string(s.SSH.Blob())]; ok {
			return other.signer.Name
		}
		return ""
	}
	for _, k := range s.Cert.Keys {
		if other, ok := e.Policy.byFingerprint[k.Fingerprint]; ok {
			return other.signer.Name
		}
	}
	return ""
}

// store keeps a certificate to be written and returns its file name.
func (e *Editor) store(c *keys.Certificate) string {
	name := c.Digest() + ".asc"
	e.certs[name] = c.Armored()
	return name
}

// UpdateSigner replaces a signer's certificate by a newer one of the same
// primary key: with an extended expiry, a new subkey, or a revocation.
func (e *Editor) UpdateSigner(name string, c *keys.Certificate) error {
	s, ok := e.Policy.Signer(name)
	if !ok {
		return &NotFoundError{"signer", name}
	}
	if s.Cert == nil || s.Cert.Fingerprint != c.Fingerprint {
		return fmt.Errorf("signer %q has another key than %s", name, c.Fingerprint)
	}
	e.set("signer", name, "cert", e.store(c))
	return nil
}

// SetForge records whether a signer is a service, and what it may sign.
func (e *Editor) SetForge(s Signer) error {
	if !e.has("signer", s.Name) {
		return &NotFoundError{"signer", s.Name}
	}
	e.doc.unset("signer", s.Name, "forge")
	e.doc.unset("signer", s.Name, "forge-merges-only")
	if s.Forge {
		e.set("signer", s.Name, "forge", "true")
	}
	if s.Forge && s.ForgeAny {
		e.set("signer", s.Name, "forge-merges-only", "false")
	}
	return nil
}

// RetireSigner lets a signer keep what they signed up to a commit, and sign
// nothing after it.
func (e *Editor) RetireSigner(name string, at refs.OID) error {
	if !e.has("signer", name) {
		return &NotFoundError{"signer", name}
	}
	e.set("signer", name, "retired-at", string(at))
	return nil
}

// RevokeSigner refuses everything a signer ever signed, but for ancestors of
// checkpoints and what is listed as good.
func (e *Editor) RevokeSigner(name string) error {
	if !e.has("signer", name) {
		return &NotFoundError{"signer", name}
	}
	e.set("signer", name, "revoked", "true")
	return nil
}

// AddPublisher gives a publisher a petname; with p.All, all of its repositories
// may be fetched.
func (e *Editor) AddPublisher(p Publisher) error {
	if err := e.vacant("publisher", p.Name); err != nil {
		return err
	}
	if other := e.Policy.Petname(p.Key); other != "" {
		return &ExistsError{Section: "publisher", Name: other, Same: true}
	}
	all := ""
	if p.All {
		all = "all"
	}
	e.set("publisher", p.Name, "key", p.Key.String(), "repos", all)
	return nil
}

// TrustAll lets all repositories of a publisher that has a petname be fetched.
func (e *Editor) TrustAll(name string) error {
	if !e.has("publisher", name) {
		return &NotFoundError{"publisher", name}
	}
	e.set("publisher", name, "repos", "all")
	return nil
}

// AddRepo lets a repository be fetched.
func (e *Editor) AddRepo(r Repo) error {
	if err := e.vacant("repo", r.Name); err != nil {
		return err
	}
	for _, other := range e.Policy.Repos {
		if other.URL == r.URL {
			return &ExistsError{Section: "repo", Name: other.Name, Same: true}
		}
	}
	e.set("repo", r.Name, "url", r.URL.String(), "publishers", strings.Join(r.Publishers, " "),
		"introduction", joinOIDs(r.Introduction), "good", joinOIDs(r.Good), "checkpoint", joinOIDs(r.Checkpoint),
		"max-stale", formatDuration(r.MaxStale))
	return nil
}

// ListPublishers lets further publishers, by their names, publish a repository.
func (e *Editor) ListPublishers(repo string, names ...string) error {
	i := slices.IndexFunc(e.Policy.Repos, func(r *Repo) bool { return r.Name == repo })
	if i < 0 {
		return &NotFoundError{"repo", repo}
	}
	list := slices.Clone(e.Policy.Repos[i].Publishers)
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	e.setList("repo", repo, "publishers", list)
	return nil
}

// SetIntroduction replaces a repository's introduction.
func (e *Editor) SetIntroduction(name string, oids ...refs.OID) error {
	if !e.has("repo", name) {
		return &NotFoundError{"repo", name}
	}
	e.set("repo", name, "introduction", joinOIDs(oids))
	return nil
}

// AddGood lets single commits or tags of a repository be taken as they are,
// whatever their signatures are worth.
func (e *Editor) AddGood(name string, oids ...refs.OID) error {
	i := slices.IndexFunc(e.Policy.Repos, func(r *Repo) bool { return r.Name == name })
	if i >= 0 {
		oids = slices.Concat(e.Policy.Repos[i].Good, oids)
	} else if !e.has("repo", name) {
		return &NotFoundError{"repo", name}
	}
	e.set("repo", name, "good", joinOIDs(sortOIDs(oids)))
	return nil
}

// AddRule adds a rule, or replaces the one of that name.
func (e *Editor) AddRule(r Rule) error {
	if err := checkEntryName(r.Name); err != nil {
		return err
	}
	e.doc.remove("rule", r.Name)
	quorum, rewind := "", ""
	if r.Quorum > 1 {
		quorum = strconv.Itoa(r.Quorum)
	}
	if r.Rewind {
		rewind = "allow"
	}
	e.set("rule", r.Name, "repo", r.Repo, "publisher", r.Publisher, "ref", r.Pattern, "signers", strings.Join(r.Signers, " "),
		"mode", string(r.Mode), "tags", string(r.Tags), "quorum", quorum, "rewind", rewind)
	return nil
}

// Remove removes every entry of that name: signer, publisher, repository and
// rule; and with a repository or publisher its rules. It returns what it
// removed, as "signer alice". A signer disappears from the rules as well; a
// rule that is left without signers stays, and refuses its refs: without it
// they could fall under a weaker one.
func (e *Editor) Remove(name string) ([]string, error) {
	var removed []string
	for _, section := range []string{"signer", "publisher", "repo", "rule"} {
		if e.has(section, name) {
			e.doc.remove(section, name)
			removed = append(removed, section+" "+name)
		}
	}
	if len(removed) == 0 {
		return nil, &NotFoundError{Name: name}
	}
	gone := func(section string) bool { return slices.Contains(removed, section+" "+name) }
	for _, r := range e.Policy.Repos {
		if gone("publisher") && slices.Contains(r.Publishers, name) && e.has("repo", r.Name) {
			e.setList("repo", r.Name, "publishers", without(r.Publishers, name))
		}
	}
	for _, r := range e.Policy.Rules {
		left := without(r.Signers, name)
		switch {
		case !e.has("rule", r.Name):
		case gone("repo") && r.Repo == name, gone("publisher") && r.Publisher == name:
			e.doc.remove("rule", r.Name)
			removed = append(removed, "rule "+r.Name)
		case gone("signer") && len(left) < len(r.Signers):
			e.setList("rule", r.Name, "signers", left)
		}
	}
	return removed, nil
}

func (e *Editor) setList(section, name, key string, values []string) {
	if len(values) == 0 {
		e.doc.unset(section, name, key)
		return
	}
	e.set(section, name, key, strings.Join(values, " "))
}

func without(list []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == name })
}

func joinOIDs(oids []refs.OID) string {
	words := make([]string, len(oids))
	for i, oid := range oids {
		words[i] = string(oid)
	}
	return strings.Join(words, " ")
}

// formatDuration is the inverse of parseDuration, in the largest unit that is
// exact.
func formatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// FreeName turns text, such as a user id, into a name that no entry has yet:
// the part of a mail address before the @, or the first word; with a number
// when it is taken.
func (e *Editor) FreeName(section, text string) string {
	word := strings.ToLower(text)
	if i := strings.IndexByte(word, '@'); i >= 0 {
		word = word[:i]
		word = word[strings.LastIndexAny(word, "< ")+1:]
	} else if fields := strings.Fields(word); len(fields) > 0 {
		word = fields[0]
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return -1
	}, word)
	name = strings.TrimLeft(name, "._-")
	name = name[:min(len(name), maxEntryName-4)]
	if name == "" {
		name = section
	}
	for n, free := 2, name; ; n++ {
		if !e.has(section, free) {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}
