package trust

import "strings"

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
