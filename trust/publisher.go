package trust

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// ClockSkew is how far a reader's clock and a signer's may be apart.
const ClockSkew = 15 * time.Minute

// maxSeqAhead is how far a seq, which is Unix time in milliseconds, may lie
// ahead of the reader's clock. Without a bound, who once held the key could
// make every later record look like a rollback.
const maxSeqAhead = 24 * time.Hour

// A Received record is what the DHT gave for an address: announce has checked
// that it is signed by the publisher, for this key and salt.
type Received struct {
	Address refs.Address
	Seq     int64
	Value   []byte // the record's bencoding, as signed
	Record  *refs.Record
}

// ValueDigest is how pins remember a record.
func (r *Received) ValueDigest() refs.Digest { return sha256.Sum256(r.Value) }

// CheckRecord decides about a record before anything else is fetched
// (TRUST.md §2.4): the publisher is known, the record not older than the pinned
// one nor another one with its seq, not expired, not from the future, not
// staler than the policy allows. The error is a *RefusedError.
//
// For a publisher that is not known it is UnknownPeer; the caller may then
// still fetch within limits, in order to say by Introduce who signed the tips.
func CheckRecord(p *Policy, pins *Pins, r *Received, now time.Time) error {
	repo, known := p.Repo(r.Address)
	if !known {
		return p.unknownPublisher(r.Address)
	}
	if err := checkSeq(pins, r, now); err != nil {
		return err
	}
	if pins != nil && now.Add(ClockSkew).Before(pins.Seen) {
		return refuse(BadTime, fmt.Sprintf("this computer's clock (%s) is behind the time of the last fetch (%s)",
			clock(now), clock(pins.Seen)), "")
	}
	if r.Record.Signed.After(now.Add(ClockSkew)) {
		return refuse(BadTime, fmt.Sprintf("the record was signed at %s, which is in the future by this computer's clock (%s)",
			clock(r.Record.Signed), clock(now)), "")
	}
	if now.After(r.Record.Expires.Add(ClockSkew)) {
		return refuse(Stale, fmt.Sprintf("the record expired at %s; it is %s by this computer's clock",
			clock(r.Record.Expires), clock(now)), "")
	}
	if repo != nil && repo.MaxStale != 0 && now.Sub(r.Record.Signed) > repo.MaxStale {
		return refuse(Stale, fmt.Sprintf("the record was signed at %s, longer ago than max-stale allows", clock(r.Record.Signed)), "")
	}
	return nil
}

func checkSeq(pins *Pins, r *Received, now time.Time) error {
	if time.UnixMilli(r.Seq).After(now.Add(maxSeqAhead)) {
		return refuse(BadTime, fmt.Sprintf("seq %d is more than a day ahead of this computer's clock (%s)", r.Seq, clock(now)), "")
	}
	if pins == nil {
		return nil
	}
	switch {
	case pins.Repository != r.Address:
		return refuse(Internal, fmt.Sprintf("the pins are those of %s", pins.Repository), "")
	case r.Seq < pins.Seq:
		return refuse(Rollback, fmt.Sprintf("seq %d is older than %d, which was accepted before", r.Seq, pins.Seq), "")
	case r.Seq == pins.Seq && r.ValueDigest() != pins.Value:
		return refuse(Equivocation, fmt.Sprintf("the publisher signed two records with seq %d", r.Seq), "")
	case r.Record.Number < pins.Number:
		return refuse(Rollback, fmt.Sprintf("the record names snapshot %d, but %d was accepted before", r.Record.Number, pins.Number), "")
	case r.Record.Number == pins.Number && r.Record.Snapshot != pins.Snapshot:
		return refuse(Equivocation, fmt.Sprintf("the publisher signed two snapshots with number %d", r.Record.Number), "")
	}
	return nil
}

// CheckSnapshot opens a snapshot's note and decides about it before any pack is
// fetched: the note is the one that the record names, signed by the publisher
// for this repository, it agrees with the record, and the pinned snapshot is in
// its chain when that reaches so far. The error is a *RefusedError.
func CheckSnapshot(pins *Pins, r *Received, note []byte) (*refs.Snapshot, error) {
	if digest := refs.DigestOf(note); digest != r.Record.Snapshot {
		return nil, refuse(BadPack, fmt.Sprintf("the snapshot's SHA-256 is %s, the record says %s", digest, r.Record.Snapshot), "")
	}
	s, err := refs.Open(note, r.Address)
	if err != nil {
		return nil, refuse(openCode(err), "the snapshot: "+printable(err.Error()), "")
	}
	head, _ := s.HeadOID()
	switch {
	case s.Number != r.Record.Number:
		return nil, refuse(Equivocation, fmt.Sprintf("the record names snapshot %d, but its digest is that of snapshot %d", r.Record.Number, s.Number), "")
	case head != r.Record.Head:
		return nil, refuse(Equivocation, fmt.Sprintf("the record says that HEAD is %s, the snapshot %s",
			orDash(string(r.Record.Head)), orDash(string(head))), "")
	}
	return s, checkChain(pins, s, r.Record.Snapshot)
}

// openCode tells a limit and a wrong signature from text that is not a
// snapshot.
func openCode(err error) Code {
	var limit *refs.LimitError
	switch {
	case errors.As(err, &limit):
		return BadPack
	case errors.Is(err, refs.ErrSignature):
		return BadSignature
	}
	return Malformed
}

// checkChain holds the pinned (number, digest) against the snapshot's chain.
func checkChain(pins *Pins, s *refs.Snapshot, digest refs.Digest) error {
	if pins == nil {
		return nil
	}
	chain := append([]refs.Link{{Number: s.Number, Digest: digest}}, s.Previous...)
	i := slices.IndexFunc(chain, func(l refs.Link) bool { return l.Number == pins.Number })
	switch {
	case s.Number < pins.Number:
		return refuse(Rollback, fmt.Sprintf("snapshot %d is older than %d, which was accepted before", s.Number, pins.Number), "")
	case i >= 0 && chain[i].Digest != pins.Snapshot:
		return refuse(Equivocation, fmt.Sprintf("the publisher signed two snapshots with number %d: the one accepted before is not in the chain of number %d",
			pins.Number, s.Number), "")
	}
	return nil
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// unknownPublisher is the refusal of an address that trust.conf does not know.
func (p *Policy) unknownPublisher(a refs.Address) error {
	return refuse(UnknownPeer, fmt.Sprintf("%s is not trusted: its publisher is %s", a.Name, a.Publisher), "gitpeer trust add "+a.String())
}
