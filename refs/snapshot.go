package refs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Snapshot is the state of a repository's refs at one publication, and what
// brings a reader there. The package comment has its text form.
type Snapshot struct {
	Repository   Address
	Number       uint64    // 1 for the first publication, then one more each
	Time         time.Time // when it was signed; whole seconds, UTC
	Previous     []Link    // Number−1 and so on down, newest first
	ObjectFormat ObjectFormat
	Head         Name   // the branch that HEAD names, "" if none; it may be unborn
	Refs         []Ref  // sorted by name
	Packs        []Pack // sorted by From, then To

	// Signers are certificates of those who signed the tips, or earlier ones, as
	// far as the publisher has them: binary OpenPGP certificates and SSH public keys in
	// wire format, sorted. They spare a reader the search at first contact,
	// and grant nothing: a reader trusts only what its own policy lists.
	Signers [][]byte

	// Mirrors are web servers that may have the torrents' files, sorted. They
	// are a hint of the publisher's, who may name any server of the world: a
	// reader that follows it minds where that leads.
	Mirrors []Mirror
}

// A Ref is one branch or tag.
type Ref struct {
	Name   Name
	OID    OID
	Peeled OID // the object an annotated tag leads to in the end; else ""
}

// A Link names an earlier snapshot by its number and the digest of its note.
type Link struct {
	Number uint64
	Digest Digest
}

// A Pack is one pack file and where in the plan it stands: it brings a reader
// that holds any snapshot k, From ≤ k < To, to snapshot To. From 0 is a base,
// for a reader that holds nothing.
type Pack struct {
	InfoHash InfoHash // of the torrent that carries it
	SHA256   Digest   // of the file
	Bytes    int64    // length of the file
	Objects  int64    // entries, as its header counts them
	Inflated int64    // sum over the entries of the size of the object each yields
	From, To uint64
	// Hint is the torrent that tells where the entries of the pack lie, so that
	// it can be indexed while it comes in. It has HintBytes; 0 if there is none.
	Hint      InfoHash
	HintBytes int64
}

// Errors that carry nothing.
var (
	// ErrVersion means a snapshot or record of a version that this package
	// does not know.
	ErrVersion = errors.New("unknown format version")
	// ErrSignature means that a note is not signed exactly once, by the
	// publisher.
	ErrSignature = errors.New("not signed by the publisher")
)

// A LimitError says that something is larger than this package handles.
type LimitError struct {
	What     string
	Got, Max int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d exceeds the limit of %d", e.What, e.Got, e.Max)
}

func limit(what string, got, most int64) error {
	if got > most {
		return &LimitError{What: what, Got: got, Max: most}
	}
	return nil
}

// HeadOID returns the object that HEAD leads to, or false if HEAD is unborn
// or absent.
func (s *Snapshot) HeadOID() (OID, bool) {
	r, ok := s.Lookup(s.Head)
	return r.OID, ok
}

// Lookup returns the ref with that name.
func (s *Snapshot) Lookup(name Name) (Ref, bool) {
	i, ok := slices.BinarySearchFunc(s.Refs, name, func(r Ref, n Name) int {
		return compareNames(r.Name, n)
	})
	if !ok {
		return Ref{}, false
	}
	return s.Refs[i], true
}

// check returns what makes s a snapshot that has no text, or nil. Format and
// Parse both end in it, so that they accept the same snapshots.
func (s *Snapshot) check() error {
	for _, step := range []func() error{s.checkHeader, s.checkPrevious, s.checkRefs, s.checkPacks, s.checkSigners, s.checkMirrors} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Snapshot) checkHeader() error {
	if s.Repository.Publisher.IsZero() {
		return errors.New("no publisher")
	}
	if _, err := ParseRepoName(string(s.Repository.Name)); err != nil {
		return err
	}
	if s.Number == 0 {
		return errors.New("number 0")
	}
	if s.Number > MaxNumber {
		return &LimitError{What: "number", Got: int64(min(s.Number, 1<<63-1)), Max: MaxNumber}
	}
	if err := checkTime(s.Time); err != nil {
		return err
	}
	if s.ObjectFormat.Len() == 0 {
		return fmt.Errorf("unknown object format %q", shown(string(s.ObjectFormat)))
	}
	return nil
}

// checkTime refuses what has no four-digit year, or comes before Unix time.
func checkTime(t time.Time) error {
	if u := t.Unix(); u < 1 || u > maxTime {
		return errors.New("time outside the years 1970 to 9999")
	}
	return nil
}

// maxTime is 9999-12-31T23:59:59Z.
const maxTime = 253402300799

func (s *Snapshot) checkPrevious() error {
	if err := limit("previous snapshots", int64(len(s.Previous)), MaxPrevious); err != nil {
		return err
	}
	if s.Number > 1 && len(s.Previous) == 0 {
		return fmt.Errorf("number %d without a previous snapshot", s.Number)
	}
	for i, l := range s.Previous {
		if want := s.Number - 1 - uint64(i); l.Number != want || l.Number == 0 {
			return fmt.Errorf("previous snapshot %d stands where %d belongs", l.Number, want)
		}
	}
	return nil
}

func (s *Snapshot) checkRefs() error {
	if err := limit("refs", int64(len(s.Refs)), MaxRefs); err != nil {
		return err
	}
	if s.Head != "" {
		if _, err := ParseName(string(s.Head)); err != nil {
			return err
		}
		if !s.Head.IsBranch() {
			return fmt.Errorf("HEAD %q is not a branch", s.Head)
		}
	}
	names := make([]Name, len(s.Refs), len(s.Refs)+1)
	for i, r := range s.Refs {
		if _, err := ParseName(string(r.Name)); err != nil {
			return err
		}
		if i > 0 && s.Refs[i-1].Name >= r.Name {
			return nameError(string(r.Name), "not sorted, or listed twice")
		}
		if err := s.checkTips(r); err != nil {
			return fmt.Errorf("ref %q: %w", r.Name, err)
		}
		names[i] = r.Name
	}
	if _, born := s.Lookup(s.Head); s.Head != "" && !born {
		names = append(names, s.Head) // so that it can be born
	}
	return CheckNames(names)
}

func (s *Snapshot) checkTips(r Ref) error {
	if _, err := ParseOID(string(r.OID), s.ObjectFormat); err != nil {
		return err
	}
	if r.OID.IsZero() {
		return errors.New("object id of all zeros")
	}
	if r.Peeled == "" {
		return nil
	}
	if _, err := ParseOID(string(r.Peeled), s.ObjectFormat); err != nil {
		return err
	}
	if !r.Name.IsTag() || r.Peeled.IsZero() || r.Peeled == r.OID {
		return errors.New("peeled object where there can be none")
	}
	return nil
}

func (s *Snapshot) checkPacks() error {
	if err := limit("packs", int64(len(s.Packs)), MaxPacks); err != nil {
		return err
	}
	byHash := make(map[InfoHash]Pack, len(s.Packs))
	for i, p := range s.Packs {
		if err := p.check(); err != nil {
			return err
		}
		if p.To > s.Number {
			return fmt.Errorf("pack %s leads to %d, past the snapshot", p.InfoHash, p.To)
		}
		if i > 0 && comparePacks(s.Packs[i-1], p) >= 0 {
			return fmt.Errorf("pack %s not sorted, or its range listed twice", p.InfoHash)
		}
		// One file may serve several ranges; it is one file all the same.
		first, ok := byHash[p.InfoHash]
		if !ok {
			byHash[p.InfoHash] = p
			continue
		}
		first.From, first.To = p.From, p.To
		if first != p {
			return fmt.Errorf("pack %s listed with different contents", p.InfoHash)
		}
	}
	return nil
}

func (s *Snapshot) checkSigners() error {
	if err := limit("signers", int64(len(s.Signers)), MaxSigners); err != nil {
		return err
	}
	for i, certificate := range s.Signers {
		if len(certificate) == 0 {
			return errors.New("empty signer")
		}
		if err := limit("signer bytes", int64(len(certificate)), MaxSignerBytes); err != nil {
			return err
		}
		if i > 0 && bytes.Compare(s.Signers[i-1], certificate) >= 0 {
			return errors.New("signers not sorted, or one listed twice")
		}
	}
	return nil
}

func (s *Snapshot) checkMirrors() error {
	if err := limit("mirrors", int64(len(s.Mirrors)), MaxMirrors); err != nil {
		return err
	}
	for i, m := range s.Mirrors {
		if _, err := ParseMirror(string(m)); err != nil {
			return err
		}
		if i > 0 && s.Mirrors[i-1] >= m {
			return errors.New("mirrors not sorted, or one listed twice")
		}
	}
	return nil
}

func (p Pack) check() error {
	for _, f := range []struct {
		what           string
		got, low, high int64
	}{
		{"pack bytes", p.Bytes, MinPackBytes, MaxPackBytes},
		{"pack objects", p.Objects, 0, MaxObjects},
		{"pack inflated bytes", p.Inflated, 0, MaxInflatedBytes},
		{"hint bytes", p.HintBytes, 0, maxHintHead + maxHintEntry*p.Objects},
	} {
		if f.got < f.low {
			return fmt.Errorf("%s: %d is less than %d", f.what, f.got, f.low)
		}
		if err := limit(f.what, f.got, f.high); err != nil {
			return err
		}
	}
	if p.Hint == p.InfoHash && p.HintBytes != 0 || p.HintBytes == 0 && p.Hint != (InfoHash{}) {
		return fmt.Errorf("pack %s: hint that is none", p.InfoHash)
	}
	if p.From >= p.To {
		return fmt.Errorf("pack %s leads from %d to %d", p.InfoHash, p.From, p.To)
	}
	return nil
}
