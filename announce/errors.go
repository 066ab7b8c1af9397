package announce

import (
	"errors"
	"fmt"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// ErrNotFound: DHT nodes answered, and none of them holds a record. The
// repository was never published, nobody has kept its record alive, or the
// nodes asked are withholding it; a reader cannot tell these apart.
var ErrNotFound = errors.New("no record found in the DHT")

// ErrNotAnnounced: no DHT node took the announcement of this host as a peer.
var ErrNotAnnounced = errors.New("no DHT node took the announcement of this peer")

// A RollbackError: nodes hold only records older than one accepted before.
// Either the nodes that hold the newer one are out of reach, or somebody
// replays an old one.
type RollbackError struct {
	Seen  *Item // the newest record found
	Floor int64 // the seq accepted before
}

func (e *RollbackError) Error() string {
	return fmt.Sprintf("only old records found in the DHT: the newest has seq %d, and seq %d was accepted before",
		e.Seen.Seq, e.Floor)
}

// An Equivocation is evidence against a publisher: two different values that
// its key signed for one salt at one seq.
type Equivocation struct{ A, B *Item }

// Verify returns nil if the evidence holds for everybody: both items verify,
// and they differ in nothing but value and signature.
func (e *Equivocation) Verify() error {
	if err := e.A.Verify(); err != nil {
		return err
	}
	if err := e.B.Verify(); err != nil {
		return err
	}
	if e.A.Target() != e.B.Target() || e.A.Seq != e.B.Seq {
		return &ItemError{Reason: "the two items are not for one target and seq"}
	}
	if e.A.SameValue(e.B) {
		return &ItemError{Reason: "the two items say the same"}
	}
	return nil
}

// An EquivocationError: the publisher signed two different records with one
// seq, and nothing newer. Its message has both, as signed.
type EquivocationError struct{ Equivocation }

func (e *EquivocationError) Error() string {
	return fmt.Sprintf("the publisher signed two different records with seq %d:\n\t%s\n\t%s",
		e.A.Seq, quoteItem(e.A), quoteItem(e.B))
}

func quoteItem(i *Item) string {
	text, err := i.Format()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%q", text)
}

// A FutureError: the newest record claims to be from more than [MaxAhead]
// after this computer's clock. One of the two clocks is wrong, or somebody
// used a stolen key to make every later seq impossible.
type FutureError struct {
	Item *Item
	Time time.Time // what its seq, or its time of signing, says
	Now  time.Time // what this computer's clock says
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("the record with seq %d claims the time %s, but this computer's clock says %s",
		e.Item.Seq, stamp(e.Time), stamp(e.Now))
}

// An ExpiredError: the newest record has expired. Its publisher has not
// renewed it, or the renewals are being withheld. Resolution is complete, for
// callers whose user allows some staleness.
type ExpiredError struct {
	Resolution *Resolution
	Now        time.Time // what this computer's clock says
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("the record with seq %d expired at %s (this computer's clock says %s)",
		e.Resolution.Item.Seq, stamp(e.Resolution.Record.Expires), stamp(e.Now))
}

// A RecordError: the newest item is signed by the publisher, but is not a
// record that this version understands. Older records do not count: the
// publisher has replaced them.
type RecordError struct {
	Item *Item
	Err  error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("the record with seq %d is malformed: %v", e.Item.Seq, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// An InUseError: the DHT holds a record by our key that we do not know, of a
// seq that ours does not replace. The key is in use on another computer, or
// the local state was lost or set back.
//
// Sent nil: nothing was sent. To go on all the same, after taking over the
// refs it names, pass Seen as the last known item. Sent not nil: another
// writer came in between, and some nodes may hold Sent for a while.
type InUseError struct {
	Last   *Item // the last item we knew; nil if none
	Seen   *Item
	Record *refs.Record // of Seen; nil if it is malformed
	Sent   *Item
}

func (e *InUseError) Error() string {
	when, last := "", "and none is known here"
	if e.Record != nil {
		when = " signed " + stamp(e.Record.Signed)
	}
	switch {
	case e.Sent != nil:
		last = fmt.Sprintf("and ours has seq %d", e.Sent.Seq)
	case e.Last != nil:
		last = fmt.Sprintf("and the last known here has seq %d", e.Last.Seq)
	}
	return fmt.Sprintf("the key is in use elsewhere: the DHT holds a record with seq %d%s, %s", e.Seen.Seq, when, last)
}

// A NewerError: the DHT holds a newer item than the one to be republished.
type NewerError struct{ Ours, Seen *Item }

func (e *NewerError) Error() string {
	return fmt.Sprintf("the DHT holds a newer record: seq %d, ours has %d", e.Seen.Seq, e.Ours.Seq)
}

// A NotStoredError: no node holds the item, and that is known: each refused
// it, or was asked afterwards and did not have it.
type NotStoredError struct {
	Item     *Item
	Outcomes []Outcome // one per node asked
}

func (e *NotStoredError) Error() string {
	if len(e.Outcomes) == 0 {
		return "the record was not stored: no DHT node accepts writes"
	}
	msg := fmt.Sprintf("the record was stored on none of %d DHT nodes", len(e.Outcomes))
	for _, o := range e.Outcomes {
		if o.Status == Refused || o.Status == Newer {
			return fmt.Sprintf("%s; one said %d %q", msg, o.Code, o.Message)
		}
	}
	return msg
}

// An UnknownOutcomeError: the item was sent, and whether any node stored it
// is not known. Do not undo what was done locally: keep Item, look with
// [Resolve] when nodes answer again, and [Republish] it if it is not there.
// Never sign another value with its seq.
type UnknownOutcomeError struct {
	Item     *Item
	Outcomes []Outcome // one per node asked
	Err      error     // what kept us from finding out; nil if only silence did
}

func (e *UnknownOutcomeError) Error() string {
	msg := fmt.Sprintf("it is not known whether the record with seq %d was stored: %d of %d DHT nodes said so, and it could not be read back",
		e.Item.Seq, count(e.Outcomes, Outcome.Holds), len(e.Outcomes))
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func count(outcomes []Outcome, is func(Outcome) bool) (n int) {
	for _, o := range outcomes {
		if is(o) {
			n++
		}
	}
	return n
}
