package trust

import (
	"fmt"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
)

// KnownForge names the service whose own OpenPGP key has that fingerprint, ""
// for any other key. With such a key a forge signs what people do on its web
// pages: it says that somebody was let press a button there, not who wrote the
// commit.
//
// The keys are those of GitHub's web-flow (https://github.com/web-flow.gpg).
func KnownForge(fingerprint string) string {
	switch strings.ToUpper(fingerprint) {
	case "968479A1AFF927E37D1A566BB5690EEEBB952194", "5DE3E0509C47EA3CF04A42D34AEE18F83AFDEB23":
		return "GitHub"
	}
	return ""
}

// ForgeName names the service whose key the signer's is: of a known one its
// name, "a forge" if only trust.conf says so, and "" for a person.
func (s *Signer) ForgeName() string {
	if s.Cert != nil {
		if name := KnownForge(s.Cert.Fingerprint); name != "" {
			return name
		}
	}
	if s.Forge {
		return "a forge"
	}
	return ""
}

// mergesOnly reports whether the key is that of a service which may sign nothing
// but merges: unless trust.conf lets it sign more.
func (s *Signer) mergesOnly() bool { return s.ForgeName() != "" && !s.ForgeAny }

// A Merger is an Objects that can merge commits. Where a decision needs it and
// the Objects is none, it refuses.
type Merger interface {
	// Merge returns the tree that git makes by itself of a merge of b into a,
	// "" if that needs somebody's help. Conflicts are no error.
	Merge(a, b refs.OID) (tree refs.OID, err error)
}

// merged refuses what a forge signed if it is not the merge of two commits, with
// the tree that git makes of them and nothing else in it. In mode all both are
// checked themselves, so that whoever can press the forge's button, or has broken
// into it, adds nothing that a signer did not write. In modes chain and tip the
// forge vouches for what it merges, as any other signer does.
func (j *judge) merged(at, oid refs.OID, s *Signer) (Code, string) {
	refuse := func(format string, args ...any) (Code, string) {
		return Untrusted, fmt.Sprintf("is signed by %s with the key of %s, which may sign merges only: ", s.Name, s.ForgeName()) + fmt.Sprintf(format, args...)
	}
	if at != oid {
		return refuse("it is a tag")
	}
	o, err := j.history.objects.Read(oid)
	if err == nil {
		err = o.check(j.snapshot.ObjectFormat, oid)
	}
	if err != nil {
		return objectCode(err), "cannot be read: " + err.Error()
	}
	c, err := splitCommit(j.snapshot.ObjectFormat, o.Data)
	if err != nil {
		return Malformed, "is not well-formed: " + err.Error()
	}
	if len(c.parents) != 2 {
		return refuse("it has %d parents, and a merge has two", len(c.parents))
	}
	m, ok := j.history.objects.(Merger)
	if !ok {
		return refuse("nothing here can make the merge anew")
	}
	switch tree, err := m.Merge(c.parents[0], c.parents[1]); {
	case err != nil:
		return Internal, "cannot be compared with the merge of its parents: " + err.Error()
	case tree == "":
		return refuse("its parents conflict, so that somebody wrote what is in it")
	case tree != c.tree:
		return refuse("its content is not what git makes of its parents")
	}
	return OK, ""
}
