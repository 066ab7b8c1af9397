package trust

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
)

// A fault is what is wrong with one commit or tag.
type fault struct {
	code Code
	ref  refs.Ref     // by which it was reached
	oid  refs.OID     // the commit, or the tag object
	att  *attestation // what its signature is worth
}

// isTag reports whether the fault is that of the tag itself.
func (f fault) isTag() bool { return f.ref.Name.IsTag() && f.oid == f.ref.OID }

// cure says what to type next: the command that would make the object
// acceptable, by whoever can type it, with a remark where one command is not
// all there is to say. "" means that there is nothing to be done but to ask.
func (j *judge) cure(g *group, f fault) string {
	switch f.code {
	case Unsigned:
		return j.sign(g, f, "")
	case BadSignature, Malformed:
		return j.sign(g, f, " (to make it anew)")
	case WeakAlgorithm:
		return j.sign(g, f, " (with an ed25519 key, and SHA-256 or SHA-512)")
	case Untrusted:
		return j.admit(g, f)
	case BadTime:
		return j.renew(g, f)
	}
	return ""
}

// sign is how an author mends what is not signed well, and how the reader takes
// it all the same, where nothing points to a forgery. It says whose command is whose: a reader who amends a commit
// only makes one of their own.
func (j *judge) sign(g *group, f fault, remark string) string {
	command := "git commit --amend --no-edit -S"
	switch {
	case f.isTag():
		command = fmt.Sprintf("git tag -s -f %s %s", shellWord(f.ref.Name.Short()), shellWord(f.ref.Name.Short()+"^{}"))
	case f.oid != f.ref.OID && f.oid != f.ref.Peeled:
		command = "git rebase -r --exec 'git commit --amend --no-edit -S' " + string(f.oid) + "^"
	}
	url, author := j.url(), "its author types: "+command+remark
	switch {
	case f.code == Unsigned && j.first && url != "":
		return "gitpeer trust add " + url + " --publisher-only    # checks no signatures; or " + author
	case f.code != Unsigned && f.code != WeakAlgorithm || j.first || url == "" && f.isTag():
		return author
	case url == "":
		return author + "; --intro " + string(f.oid) + " takes it as it is, with all before it"
	case f.isTag() && f.code == Unsigned:
		loose := *g.rule
		loose.Tags = TagsAny
		return author + "; to take unsigned tags: " + ruleCommand(url, &loose)
	}
	return author + "; to take it as it is: gitpeer trust add " + url + " --good " + string(f.oid)
}

// admit is how a reader comes to trust a signer.
func (j *judge) admit(g *group, f fault) string {
	url := j.url()
	a := f.att
	switch {
	case a.by == nil && a.add == "":
		return j.sign(g, f, " (with gpg.format openpgp or ssh)")
	case a.by == nil && KnownForge(a.claimed) != "":
		return "gitpeer trust add " + a.add + " --forge    # lets whoever may press buttons at " + KnownForge(a.claimed) + " write; then a rule has to name it"
	case a.by == nil && strings.HasPrefix(a.add, "0x"):
		return "gitpeer trust add " + a.add + "    # out of your gpg keyring, once the owner has confirmed it; or name the file: alice.asc"
	case a.by == nil:
		return "gitpeer trust add " + a.add
	case slices.Contains(g.rule.Signers, a.by.signer.Name):
		return j.sign(g, f, " (with their own key, on their own computer)")
	case url != "":
		with := *g.rule
		with.Signers = append(slices.Clone(with.Signers), a.by.signer.Name)
		return ruleCommand(url, &with)
	}
	return "add --signer " + a.by.signer.Name
}

// renew is what can be done about time.
func (j *judge) renew(g *group, f fault) string {
	a := f.att
	if a.time > j.now.Add(ClockSkew).Unix() {
		return "date    # is this computer's clock right? If it is, the author's was not"
	}
	if a.by == nil {
		return ""
	}
	s := a.by.signer
	switch {
	case a.hard:
		return "gitpeer trust show " + s.Name + "    # to keep what was signed before the key was stolen, set checkpoint = OID for the repository in trust.conf"
	case s.RetiredAt != "":
		return "gitpeer trust show " + s.Name + "    # retired-at says which commit is the last"
	case s.Cert != nil && (a.by.pgp.Revoked != nil || s.Cert.Revoked != nil):
		return j.sign(g, f, " (with a key that is in force)")
	case s.Cert != nil:
		return fmt.Sprintf("gpg --refresh-keys 0x%s && gitpeer trust add 0x%s    # if its owner has extended it", s.Cert.Fingerprint, s.Cert.Fingerprint)
	}
	return ""
}

// moved is about a tag that is not what it was.
func (j *judge) moved() string {
	if url := j.url(); url != "" {
		return "gitpeer trust log " + url + "    # has what was accepted; ask the publisher to give what changed a new tag"
	}
	return ""
}

// lost is about a tag that is gone.
func (j *judge) lost(gone Verdict) string {
	if url := j.url(); url != "" {
		return fmt.Sprintf("gitpeer trust log %s    # has what was accepted; ask the publisher to put the tag back: git push %s %s:%s", url, url, gone.OID, gone.Ref)
	}
	return ""
}

// join is about a root that does not descend from the introduction.
func (j *judge) join(root refs.OID) string {
	const shown = 4
	url := j.url()
	if url == "" || len(j.intro) > shown {
		return ""
	}
	command := "gitpeer trust add " + url
	for _, oid := range append(slices.Clone(j.intro), root) {
		command += " --intro " + string(oid)
	}
	return command + "    # if that history belongs here"
}

// url is that of the repository that is decided about, "" if none is named.
func (j *judge) url() string {
	if j.snapshot.Repository == (refs.Address{}) {
		return ""
	}
	return j.snapshot.Repository.String()
}

// ruleCommand is the command that adds or replaces a rule.
func ruleCommand(url string, r *Rule) string {
	command := "gitpeer trust add " + url
	for _, name := range r.Signers {
		command += " --signer " + name
	}
	if r.Mode != ModeAll {
		command += " --mode " + string(r.Mode)
	}
	if r.Pattern != "refs/*" {
		command += " --ref " + shellWord(r.Pattern)
	}
	if r.Tags == TagsAny {
		command += " --tags any"
	}
	if quorum := max(r.Quorum, r.dropped); quorum > 1 {
		command += fmt.Sprintf(" --quorum %d", quorum)
	}
	return command
}

// shellWord quotes a word for a POSIX shell: the names of refs are a
// publisher's, and hints are typed.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./+:@%,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
