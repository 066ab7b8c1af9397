package refs

import (
	"crypto/sha1"
	"fmt"
	"strings"

	"github.com/gitpeer/gitpeer/keys"
)

// scheme is the URL scheme, and the name git knows the remote helper by.
const scheme = "gitpeer"

// A RepoName names a repository among those of its publisher: 1 to 48
// characters of [a-z0-9._-], the first a letter or a digit.
type RepoName string

// ParseRepoName checks that s is a repository name.
func ParseRepoName(s string) (RepoName, error) {
	if !isSmallName(s) {
		return "", fmt.Errorf("invalid repository name %q: want 1 to %d of a-z 0-9 . _ -, the first a letter or digit", shown(s), MaxRepoNameBytes)
	}
	return RepoName(s), nil
}

// isSmallName reports whether s is a repository name or a petname.
func isSmallName(s string) bool {
	if len(s) < 1 || len(s) > MaxRepoNameBytes || strings.IndexByte("._-", s[0]) >= 0 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("._-", c) < 0 {
			return false
		}
	}
	return true
}

// An Address names a repository: a publisher, and a name under it.
type Address struct {
	Publisher keys.ID
	Name      RepoName
}

// An AddressError says why Text is not an address.
type AddressError struct {
	Text   string // as it was given, at most 300 bytes of it
	Reason string
	Err    error // *keys.IDError, or nil
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("invalid address %q: %s", e.Text, e.Reason)
}

func (e *AddressError) Unwrap() error { return e.Err }

// ParseAddress parses an address whose host is a publisher id:
//
//	gitpeer://<id>/<name>
//	gitpeer::gitpeer://<id>/<name>
//	gitpeer::<id>/<name>
//	<id>/<name>
//
// The last form is what git hands to a remote helper for the one before. Port,
// user, query, fragment, escapes and a trailing slash are refused. Every error
// is an *AddressError.
func ParseAddress(s string) (Address, error) {
	host, name, err := SplitURL(s)
	if err != nil {
		return Address{}, err
	}
	id, err := keys.ParseID(host)
	if err != nil {
		return Address{}, &AddressError{Text: shown(s), Reason: err.Error(), Err: err}
	}
	return Address{Publisher: id, Name: name}, nil
}

// SplitURL is ParseAddress for an address whose host may also be a petname:
// 1 to 48 characters of [a-z0-9._-], the first a letter or a digit, not
// starting with gp1. A host that starts with gp1 must be an id without a typing
// error.
func SplitURL(s string) (host string, name RepoName, err error) {
	bad := func(reason string, err error) (string, RepoName, error) {
		return "", "", &AddressError{Text: shown(s), Reason: reason, Err: err}
	}
	if len(s) > maxURLBytes {
		return bad(fmt.Sprintf("longer than %d bytes", maxURLBytes), nil)
	}
	rest := strings.TrimPrefix(s, scheme+"::")
	rest = strings.TrimPrefix(rest, scheme+"://")
	host, path, ok := strings.Cut(rest, "/")
	if !ok {
		return bad("want gitpeer://<publisher>/<name>", nil)
	}
	if _, idErr := keys.ParseID(host); idErr != nil {
		switch {
		case isMeantAsID(host):
			return bad(idErr.Error(), idErr)
		case !isSmallName(host):
			return bad("the host is neither a publisher id nor a petname", nil)
		}
	}
	name, err = ParseRepoName(path)
	if err != nil {
		return bad(err.Error(), nil)
	}
	return host, name, nil
}

// isMeantAsID reports whether host, which is not a publisher id, can only be
// one with a typing error.
func isMeantAsID(host string) bool {
	lower := strings.ToLower(host)
	return strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789._-") == "" &&
		(strings.HasPrefix(lower, "gp1") || len(host) == 64)
}

// String returns gitpeer://<id>/<name>.
func (a Address) String() string {
	return scheme + "://" + a.Publisher.String() + "/" + string(a.Name)
}

// MarshalText returns String's bytes.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAddress.
func (a *Address) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAddress(string(text))
	return err
}

// Salt returns the salt of the repository's DHT item (BEP 44): its name and
// "/HEAD", at most 53 bytes.
func (a Address) Salt() []byte { return []byte(string(a.Name) + "/HEAD") }

// Target returns where in the DHT the repository's item lies and its peers
// meet: the SHA-1 of the public key and the salt (BEP 44).
func (a Address) Target() [20]byte {
	return sha1.Sum(append(a.Publisher[:], a.Salt()...))
}
