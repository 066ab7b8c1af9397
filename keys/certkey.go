package keys

import (
	"cmp"
	"crypto"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// A KeyState says what a signing key may do at one moment.
type KeyState int

// The states of a signing key.
const (
	KeyValid    KeyState = iota // it may sign
	KeyNotYet                   // the moment lies before the key's creation
	KeyExpired                  // the key, its certificate or its self-signature had expired
	KeyNoSigner                 // the certificate did not let it sign data
)

func (s KeyState) String() string {
	return [...]string{"valid", "not yet valid", "expired", "not a signing key"}[s]
}

// A Period is a span of time during which a key's state is the same. From is
// included, Until is not; a zero Until means for ever.
type Period struct {
	From, Until time.Time
	State       KeyState
}

// A Revocation withdraws a key. A hard one (no reason given, or compromise)
// casts doubt on every signature the key ever made; a soft one (superseded,
// retired, user id no longer used) only on those made at or after At. RFC 9580
// §5.2.3.31.
type Revocation struct {
	At     time.Time
	Hard   bool
	Reason string
}

// A SigningKey is a primary key or subkey of a Certificate that may have made
// signatures on data, with everything that its self-signatures say about when.
// Revocations are kept apart from Periods, because a hard one has exceptions
// that only the policy knows.
type SigningKey struct {
	Fingerprint string // upper-case hex
	KeyID       uint64
	Algorithm   string
	Created     time.Time
	Primary     bool
	Weak        string      // why the algorithm is refused; empty: it is accepted
	Periods     []Period    // ascending, without gaps, the first from Created
	Revoked     *Revocation // of this key or of the primary key, the worse of them

	public *packet.PublicKey
}

// Packet returns the key for packet.PublicKey.VerifySignature. It must not be
// changed.
func (k *SigningKey) Packet() *packet.PublicKey { return k.public }

// At returns the key's state at t, revocations aside.
func (k *SigningKey) At(t time.Time) KeyState {
	state := KeyNotYet
	for _, p := range k.Periods {
		if t.Before(p.From) {
			break
		}
		state = p.State
	}
	return state
}

// fill verifies every self-signature of the entity and records what follows.
func (c *Certificate) fill(e *openpgp.Entity) {
	weakSelf := validate(e)
	config := &packet.Config{}
	primaryRevoked := worstRevocation(e.Revocations)
	e.Revocations = nil // see SigningKey: kept apart
	c.Revoked = primaryRevoked

	instants := breakpoints(e)
	latest := instants[len(instants)-1]
	if self, err := e.PrimarySelfSignature(latest, config); err == nil && self.KeyLifetimeSecs != nil && *self.KeyLifetimeSecs != 0 {
		c.Expires = c.Created.Add(time.Duration(*self.KeyLifetimeSecs) * time.Second)
	}
	c.UserIDs = userIDs(e, latest, config)

	c.addKey(e.PrimaryKey, true, primaryRevoked, extended(periods(e.PrimaryKey.CreationTime, instants, primaryStates(e, config))))
	for i := range e.Subkeys {
		sub := &e.Subkeys[i]
		revoked := worse(primaryRevoked, worstRevocation(sub.Revocations))
		sub.Revocations = nil
		c.addKey(sub.PublicKey, false, revoked, extended(periods(sub.PublicKey.CreationTime, instants, subkeyStates(e, sub, config))))
	}
	if weakSelf {
		c.Warnings = append(c.Warnings, "a self-signature uses SHA-1; ask the owner to renew the certificate")
	}
	if c.Revoked != nil {
		c.Warnings = append(c.Warnings, fmt.Sprintf("revoked on %s (%s)", c.Revoked.At.Format(time.DateOnly), c.Revoked.Reason))
	}
}

func (c *Certificate) addKey(pk *packet.PublicKey, primary bool, revoked *Revocation, spans []Period) {
	if !slices.ContainsFunc(spans, func(p Period) bool { return p.State == KeyValid || p.State == KeyExpired }) {
		return // an encryption or authentication key
	}
	k := &SigningKey{
		Fingerprint: strings.ToUpper(hex.EncodeToString(pk.Fingerprint)),
		KeyID:       pk.KeyId,
		Algorithm:   algorithmName(pk),
		Created:     pk.CreationTime.UTC(),
		Primary:     primary,
		Weak:        weakness(pk),
		Periods:     spans,
		Revoked:     revoked,
		public:      pk,
	}
	c.Keys = append(c.Keys, k)
	switch bits, err := pk.BitLength(); {
	case k.Weak != "":
		c.Warnings = append(c.Warnings, fmt.Sprintf("key %s is not accepted: %s", k.Fingerprint, k.Weak))
	case strings.HasPrefix(k.Algorithm, "rsa") && err == nil && bits < 3072:
		c.Warnings = append(c.Warnings, fmt.Sprintf("key %s has only %d bits; 3072 or more are advised", k.Fingerprint, bits))
	}
}

// validate verifies every self-signature once and writes the result where
// go-crypto would otherwise write it lazily, during a later verification, in
// whichever goroutine comes first and with that goroutine's idea of the time.
// It reports whether one of the valid ones is made with SHA-1.
func validate(e *openpgp.Entity) (weak bool) {
	primary := e.PrimaryKey
	set := func(v *packet.VerifiableSignature, err error) {
		ok := err == nil && !hasCriticalNotation(v.Packet)
		v.Valid = &ok
		embedded := v.Packet.EmbeddedSignature
		weak = weak || ok && (v.Packet.Hash == crypto.SHA1 || embedded != nil && embedded.Hash == crypto.SHA1)
	}
	// A revocation that demands more than we understand still revokes.
	revoke := func(v *packet.VerifiableSignature, err error) {
		ok := err == nil
		v.Valid = &ok
	}
	for _, id := range e.Identities {
		for _, s := range id.SelfCertifications {
			set(s, primary.VerifyUserIdSignature(id.UserId.Id, primary, s.Packet))
		}
		for _, s := range id.Revocations {
			revoke(s, primary.VerifyUserIdSignature(id.UserId.Id, primary, s.Packet))
		}
	}
	for _, s := range e.DirectSignatures {
		set(s, primary.VerifyDirectKeySignature(s.Packet))
	}
	for _, s := range e.Revocations {
		revoke(s, primary.VerifyRevocationSignature(s.Packet))
	}
	for i := range e.Subkeys {
		sub := &e.Subkeys[i]
		for _, s := range sub.Bindings {
			set(s, primary.VerifyKeySignature(sub.PublicKey, s.Packet))
		}
		for _, s := range sub.Revocations {
			revoke(s, primary.VerifySubkeyRevocationSignature(s.Packet, sub.PublicKey))
		}
	}
	return weak
}

// hasCriticalNotation says whether the signature demands that a notation be
// understood. gitpeer knows none.
func hasCriticalNotation(s *packet.Signature) bool {
	return slices.ContainsFunc(s.Notations, func(n *packet.Notation) bool { return n.IsCritical })
}

func worstRevocation(revocations []*packet.VerifiableSignature) *Revocation {
	var worst *Revocation
	for _, s := range revocations {
		if !*s.Valid {
			continue
		}
		r := &Revocation{At: s.Packet.CreationTime.UTC(), Hard: true, Reason: "no reason given"}
		if s.Packet.RevocationReason != nil {
			switch *s.Packet.RevocationReason {
			case packet.KeySuperseded:
				r.Hard, r.Reason = false, "superseded"
			case packet.KeyRetired:
				r.Hard, r.Reason = false, "retired"
			case packet.UserIDNotValid:
				r.Hard, r.Reason = false, "user id no longer valid"
			case packet.KeyCompromised:
				r.Reason = "compromised"
			}
		}
		worst = worse(worst, r)
	}
	return worst
}

func worse(a, b *Revocation) *Revocation {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.Hard != b.Hard && a.Hard, a.Hard == b.Hard && a.At.Before(b.At):
		return a
	}
	return b
}

// breakpoints lists, ascending, every moment at which some self-signature of
// the entity can change the state of one of its keys. Between two of them
// nothing changes, so asking go-crypto at each is enough.
func breakpoints(e *openpgp.Entity) []time.Time {
	created := []*packet.PublicKey{e.PrimaryKey}
	var sigs []*packet.VerifiableSignature
	for _, id := range e.Identities {
		sigs = append(sigs, slices.Concat(id.SelfCertifications, id.Revocations)...)
	}
	sigs = append(sigs, e.DirectSignatures...)
	for i := range e.Subkeys {
		created = append(created, e.Subkeys[i].PublicKey)
		sigs = append(sigs, e.Subkeys[i].Bindings...)
	}
	var seconds []int64
	add := func(from time.Time, life *uint32) {
		seconds = append(seconds, from.Unix())
		if life != nil && *life != 0 {
			// go-crypto counts the last second as valid, so the state
			// changes one second later.
			seconds = append(seconds, from.Unix()+int64(*life)+1)
		}
	}
	for _, pk := range created {
		add(pk.CreationTime, nil)
	}
	for _, v := range sigs {
		add(v.Packet.CreationTime, v.Packet.SigLifetimeSecs)
		if v.Packet.EmbeddedSignature != nil {
			add(v.Packet.EmbeddedSignature.CreationTime, v.Packet.EmbeddedSignature.SigLifetimeSecs)
		}
		for _, pk := range created {
			add(pk.CreationTime, v.Packet.KeyLifetimeSecs)
		}
	}
	slices.Sort(seconds)
	seconds = slices.Compact(seconds)
	instants := make([]time.Time, len(seconds))
	for i, s := range seconds {
		instants[i] = time.Unix(s, 0).UTC()
	}
	return instants
}

// periods turns a function of time into its list of constant spans, from the
// key's creation on.
func periods(created time.Time, instants []time.Time, state func(time.Time) KeyState) []Period {
	var spans []Period
	for _, t := range instants {
		if t.Before(created) {
			continue
		}
		s := state(t)
		if n := len(spans); n > 0 {
			if spans[n-1].State == s {
				continue
			}
			spans[n-1].Until = t
		}
		spans = append(spans, Period{From: t, State: s})
	}
	return spans
}

// extended lets a key's last extension count for the time before it as well:
// spans that are expired become valid if the key is valid again later. gpg puts
// a new self-signature in the place of the one before, so the certificates of
// people who extend their keys in good time have gaps all the same (of guix's
// 171 000 signatures, 7 808 fall into one); and whoever extends a
// key stands by what it signed. Of an export with only the newest
// self-signature the same follows.
func extended(spans []Period) []Period {
	var out []Period
	again := false
	for _, p := range slices.Backward(spans) {
		again = again || p.State == KeyValid
		if p.State == KeyExpired && again {
			p.State = KeyValid
		}
		if n := len(out); n > 0 && out[n-1].State == p.State {
			out[n-1].From = p.From
			continue
		}
		out = append(out, p)
	}
	slices.Reverse(out)
	return out
}

// primaryStates and subkeyStates ask go-crypto for the state at a moment.
// Certificates are often exported with only their newest self-signature
// (gpg's export-minimal, keys.openpgp.org). It speaks for the time between the
// key's creation and itself as well: otherwise every commit made before the
// last extension of the key would be refused.
func primaryStates(e *openpgp.Entity, config *packet.Config) func(time.Time) KeyState {
	self := primarySelf(e, config)
	return func(t time.Time) KeyState {
		sig, err := self(t)
		switch {
		case sig == nil:
			return KeyNoSigner
		case sig.FlagsValid && !sig.FlagSign || !sig.FlagsValid && e.PrimaryKey.Version == 6:
			return KeyNoSigner
		case err != nil:
			return KeyExpired
		}
		return KeyValid
	}
}

// primarySelf asks for the self-signature of the primary key that speaks for a
// moment. The error says that the key was not valid then.
func primarySelf(e *openpgp.Entity, config *packet.Config) func(time.Time) (*packet.Signature, error) {
	var all []*packet.VerifiableSignature
	for _, id := range e.Identities {
		all = append(all, id.SelfCertifications...)
	}
	first := firstValid(append(all, e.DirectSignatures...))
	return func(t time.Time) (*packet.Signature, error) {
		return e.VerifyPrimaryKey(later(t, first), config)
	}
}

func subkeyStates(e *openpgp.Entity, sub *openpgp.Subkey, config *packet.Config) func(time.Time) KeyState {
	primary := primarySelf(e, config)
	first := firstValid(sub.Bindings)
	return func(t time.Time) KeyState {
		binding, err := sub.LatestValidBindingSignature(later(t, first), config)
		switch {
		case err != nil && first.IsZero():
			return KeyNoSigner
		case err != nil:
			return KeyExpired
		case !binding.FlagSign || binding.EmbeddedSignature == nil:
			return KeyNoSigner // without the back-signature anybody could claim the key
		case sub.Expired(binding, t):
			return KeyExpired
		}
		if _, err := primary(t); err != nil {
			return KeyExpired
		}
		return KeyValid
	}
}

// firstValid returns when the earliest valid signature was made; zero: never.
func firstValid(sigs []*packet.VerifiableSignature) time.Time {
	var first time.Time
	for _, s := range sigs {
		if at := s.Packet.CreationTime; *s.Valid && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func userIDs(e *openpgp.Entity, at time.Time, config *packet.Config) []string {
	_, primary := e.PrimaryIdentity(at, config)
	var names []string
	for name, id := range e.Identities {
		if _, err := id.Verify(at, config); err == nil && id != primary {
			names = append(names, Printable(name, 256))
		}
	}
	slices.SortFunc(names, cmp.Compare[string])
	if primary != nil {
		names = slices.Insert(names, 0, Printable(primary.Name, 256))
	}
	return names
}

// weakness says why a key's algorithm is refused: TRUST.md §4.1 rule 3.
func weakness(pk *packet.PublicKey) string {
	switch pk.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if bits, err := pk.BitLength(); err != nil || bits < 2048 {
			return fmt.Sprintf("RSA with %d bits; at least 2048 are required", bits)
		}
		return ""
	case packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
		return ""
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoECDSA:
		curve, err := pk.Curve()
		if err != nil {
			return "an unknown curve"
		}
		switch curve {
		case packet.Curve25519, packet.Curve448:
			if pk.Version == 6 {
				return "a version 6 key with a version 4 algorithm"
			}
			return ""
		case packet.CurveNistP256, packet.CurveNistP384, packet.CurveNistP521:
			return ""
		}
		return fmt.Sprintf("curve %s", curve)
	case packet.PubKeyAlgoDSA:
		return "DSA"
	}
	return fmt.Sprintf("public-key algorithm %d", pk.PubKeyAlgo)
}

// algorithmName is what is shown to people.
func algorithmName(pk *packet.PublicKey) string {
	switch pk.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		bits, _ := pk.BitLength()
		return fmt.Sprintf("rsa%d", bits)
	case packet.PubKeyAlgoEd25519:
		return "ed25519"
	case packet.PubKeyAlgoEd448:
		return "ed448"
	case packet.PubKeyAlgoDSA:
		return "dsa"
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoECDSA, packet.PubKeyAlgoECDH:
		curve, err := pk.Curve()
		if err != nil {
			return "unknown curve"
		}
		if curve == packet.Curve25519 && pk.PubKeyAlgo == packet.PubKeyAlgoEdDSA {
			return "ed25519"
		}
		return strings.ToLower(string(curve))
	}
	return fmt.Sprintf("algorithm %d", pk.PubKeyAlgo)
}
