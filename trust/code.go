package trust

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A Code says why something was refused. The numbers are exit statuses of all
// programs, and with the names are part of the interface that scripts rely on.
type Code int

// The codes.
const (
	OK            Code = 0
	Usage         Code = 2
	Unsigned      Code = 10 // no signature
	Untrusted     Code = 11 // a signature, but by nobody the policy lists for this ref
	BadSignature  Code = 12 // damaged, ambiguous, or does not match
	BadTime       Code = 13 // not yet or no longer valid, revoked, or a clock that is off
	WeakAlgorithm Code = 14
	Malformed     Code = 15 // an object outside the strict grammar, or not what its id says
	Rollback      Code = 20 // older than what was already accepted
	Equivocation  Code = 21 // two statements where the publisher may make one
	Stale         Code = 22 // expired, or older than the policy lets it be
	Moved         Code = 23 // a ref or tag points where it may not
	NoQuorum      Code = 24
	BadPack       Code = 30 // damaged, incomplete or over a limit
	UnknownPeer   Code = 40 // a publisher the policy does not know
	Internal      Code = 70 // the verifier itself failed
	TryLater      Code = 75 // not found, no peers, timeout
)

var codeNames = map[Code]string{
	OK: "ok", Usage: "usage", Unsigned: "unsigned", Untrusted: "untrusted-signer",
	BadSignature: "bad-signature", BadTime: "time", WeakAlgorithm: "weak-algorithm",
	Malformed: "malformed", Rollback: "rollback", Equivocation: "equivocation",
	Stale: "stale", Moved: "moved", NoQuorum: "quorum", BadPack: "pack",
	UnknownPeer: "untrusted-publisher", Internal: "internal", TryLater: "try-later",
}

// String returns the code's stable name.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("code-%d", int(c))
}

// A Verdict is what Decide found about one ref.
type Verdict struct {
	Code        Code
	Ref         refs.Name // "" when the verdict is about the publisher or the snapshot
	OID         refs.OID  // what the ref points at
	Commit      refs.OID  // the commit or tag that decided, when it is not OID itself
	Signer      string    // name in trust.conf; "" when unknown
	Fingerprint string    // of the signing key, or what the signature says it is
	Time        time.Time // of the signature; zero for SSH signatures, which carry none
	Rule        string    // name of the rule that applied; "" for the default
	Why         string    // one sentence for people, without line ends
	Hint        string    // a command that would change the verdict; "" when there is none
	Asked       bool      // of a notice: it is what the rule asks for, a fact rather than a warning
}

// verdictJSON is the stable form: TRUST.md §2.6.
type verdictJSON struct {
	Ref     refs.Name `json:"ref"`
	OID     refs.OID  `json:"oid"`
	Verdict string    `json:"verdict"`
	Code    Code      `json:"code"`
	Commit  refs.OID  `json:"commit,omitempty"`
	Signer  string    `json:"signer"`
	Fpr     string    `json:"fpr"`
	T       string    `json:"t"`
	Rule    string    `json:"rule"`
	Why     string    `json:"why"`
	Hint    string    `json:"hint,omitempty"`
}

// caught makes a panic a verdict, where it is deferred: what an examination does
// not withstand is refused.
func (v *Verdict) caught() {
	if cause := recover(); cause != nil {
		v.Code, v.Why = Internal, printable(fmt.Sprintf("the verifier failed: %v", cause))
	}
}

// MarshalJSON returns the object that --json prints for a ref. t is RFC 3339
// in UTC, or "".
func (v Verdict) MarshalJSON() ([]byte, error) {
	out := verdictJSON{v.Ref, v.OID, v.Code.String(), v.Code, v.Commit, v.Signer, v.Fingerprint, "", v.Rule, v.Why, v.Hint}
	if !v.Time.IsZero() {
		out.T = v.Time.UTC().Format(time.RFC3339)
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Verdict) UnmarshalJSON(text []byte) error {
	var in verdictJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*v = Verdict{Code: in.Code, Ref: in.Ref, OID: in.OID, Commit: in.Commit, Signer: in.Signer,
		Fingerprint: in.Fpr, Rule: in.Rule, Why: in.Why, Hint: in.Hint}
	if in.T != "" {
		t, err := time.Parse(time.RFC3339, in.T)
		if err != nil {
			return err
		}
		v.Time = t
	}
	return nil
}

// A RefusedError carries the verdicts that refuse: at least one, and none that
// is OK.
type RefusedError struct {
	Verdicts []Verdict
}

func (e *RefusedError) Error() string {
	first := e.Verdicts[0]
	text := first.Why
	if first.Ref != "" {
		text = fmt.Sprintf("%s: %s", first.Ref, first.Why)
	}
	if n := len(e.Verdicts) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// Code returns the code of the first verdict, which is the exit status.
func (e *RefusedError) Code() Code { return e.Verdicts[0].Code }

// Hint returns the first verdict's hint.
func (e *RefusedError) Hint() string { return e.Verdicts[0].Hint }

// refuse makes a RefusedError about the publisher or the snapshot as a whole.
func refuse(code Code, why, hint string) error {
	return &RefusedError{Verdicts: []Verdict{{Code: code, Why: why, Hint: hint}}}
}
