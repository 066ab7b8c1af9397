package trust

import (
	"bytes"
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// attested signs a payload by sign, puts the packets into a commit and attests
// it with the people's certificates, at the time now.
func attested(t *testing.T, sign func(payload []byte) []byte, people ...*person) attestation {
	t.Helper()
	w := newWorld(t)
	for _, p := range people {
		w.signer(p)
	}
	payload := w.payload(day(10))
	data := withSignature(payload, "gpgsig", armored(t, sign([]byte(payload))))
	v := &verifier{policy: w.policy(), format: refs.SHA1, now: now}
	_, a := v.commit([]byte(data))
	return a
}

// TestSemanticsTable has the rows of TRUST.md §4.1, in their order, on which
// the versions of go-crypto do not agree with each other or with us.
func TestSemanticsTable(t *testing.T) {
	alice := newPerson(t, "alice")
	mallory := newPerson(t, "mallory")
	rsa := newPerson(t, "rsa", func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 })
	expired := newPerson(t, "expired", func(c *packet.Config) { c.KeyLifetimeSecs = 100 * 86400 })

	at := func(p *person, n int, changes ...func(*draft)) func([]byte) []byte {
		return func(payload []byte) []byte { return p.sign(payload, day(n), changes...) }
	}
	hash := func(h crypto.Hash) func(*draft) { return func(d *draft) { d.Hash = h } }
	revoked := func(name string, reason packet.ReasonForRevocation) *person {
		p := newPerson(t, name)
		if err := p.entity.Revoke(reason, "", p.at(day(100))); err != nil {
			t.Fatal(err)
		}
		return p
	}
	superseded, retired := revoked("superseded", packet.KeySuperseded), revoked("retired", packet.KeyRetired)
	subkey := newPerson(t, "subkey")
	if err := subkey.entity.AddSigningSubkey(subkey.at(day(1))); err != nil {
		t.Fatal(err)
	}
	signing := &subkey.entity.Subkeys[len(subkey.entity.Subkeys)-1]
	bySubkey := func(d *draft) {
		d.key, d.PubKeyAlgo = signing.PrivateKey, signing.PublicKey.PubKeyAlgo
		d.IssuerFingerprint, d.IssuerKeyId = signing.PublicKey.Fingerprint, &signing.PublicKey.KeyId
	}
	if err := signing.Revoke(packet.KeySuperseded, "", subkey.at(day(100))); err != nil {
		t.Fatal(err)
	}
	made := func(m handmade) func([]byte) []byte {
		return func(payload []byte) []byte { return alice.forge(payload, m) }
	}
	literal := []byte{0xcb, 0x06, 'b', 0, 0, 0, 0, 0}

	for _, test := range []struct {
		name string
		sign func([]byte) []byte
		by   *person
		want Code
	}{
		{"SHA-1 data signature", at(rsa, 10, hash(crypto.SHA1)), rsa, WeakAlgorithm},
		{"RSA with SHA-256", at(rsa, 10, hash(crypto.SHA256)), rsa, OK},
		{"Ed25519 v4", at(alice, 10), alice, OK},
		{"key expired now, signed before", at(expired, 50), expired, OK},
		{"signed after expiry", at(expired, 200), expired, BadTime},
		{"signed before the key was made", at(alice, -30), alice, BadTime},
		{"signed in the future", at(alice, 1001), alice, BadTime},
		{"signed within the clock skew", func(b []byte) []byte { return alice.sign(b, now.Add(10*time.Minute)) }, alice, OK},
		{"own lifetime over", at(alice, 10, func(d *draft) { life := uint32(86400); d.SigLifetimeSecs = &life }), alice, BadTime},
		{"revoked superseded, signed before", at(superseded, 50), superseded, OK},
		{"revoked superseded, signed after", at(superseded, 150), superseded, BadTime},
		{"revoked retired, signed before", at(retired, 50), retired, OK},
		{"revoked retired, signed after", at(retired, 150), retired, BadTime},
		{"subkey superseded, signed before", at(subkey, 50, bySubkey), subkey, OK},
		{"subkey superseded, signed after", at(subkey, 150, bySubkey), subkey, BadTime},
		{"two packets, unknown and good", func(b []byte) []byte {
			return slices.Concat(mallory.sign(b, day(10)), alice.sign(b, day(10)))
		}, alice, BadSignature},
		{"two packets, good and unknown", func(b []byte) []byte {
			return slices.Concat(alice.sign(b, day(10)), mallory.sign(b, day(10)))
		}, alice, BadSignature},
		{"two packets of one key, corrupt and good", func(b []byte) []byte {
			corrupt := alice.sign(b, day(10))
			corrupt[len(corrupt)-1] ^= 1
			return slices.Concat(corrupt, alice.sign(b, day(10)))
		}, alice, BadSignature},
		{"corrupt", func(b []byte) []byte {
			corrupt := alice.sign(b, day(10))
			corrupt[len(corrupt)-1] ^= 1
			return corrupt
		}, alice, BadSignature},
		{"literal packet before", func(b []byte) []byte { return slices.Concat(literal, alice.sign(b, day(10))) }, alice, BadSignature},
		{"literal packet after", func(b []byte) []byte { return slices.Concat(alice.sign(b, day(10)), literal) }, alice, BadSignature},
		{"trailing junk bytes", func(b []byte) []byte { return append(alice.sign(b, day(10)), "junk!"...) }, alice, BadSignature},
		{"text mode", func(b []byte) []byte {
			return alice.sign(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), day(10), func(d *draft) { d.SigType = packet.SigTypeText })
		}, alice, BadSignature},
		{"on something else", func([]byte) []byte { return alice.sign([]byte("something else"), day(10)) }, alice, BadSignature},
		{"unknown signer", at(mallory, 10), alice, Untrusted},
		{"handmade", made(alice.standard(day(10))), alice, OK},
		{"claims alice, made by mallory", func(b []byte) []byte { return mallory.forge(b, alice.standard(day(10))) }, alice, BadSignature},
		{"key id only", made(handmade{hashed: append(alice.standard(day(10)).hashed[1:], alice.keyID())}), alice, OK},
		{"key id of somebody else", made(handmade{hashed: alice.standard(day(10)).hashed[1:], unhashed: [][]byte{mallory.keyID()}}), alice, Untrusted},
		{"fingerprint not signed", made(handmade{hashed: alice.standard(day(10)).hashed[1:], unhashed: alice.standard(day(10)).hashed[:1]}), alice, OK},
		{"fingerprint not signed, of somebody else", made(handmade{hashed: alice.standard(day(10)).hashed[1:], unhashed: mallory.standard(day(10)).hashed[:1]}), alice, Untrusted},
		{"key id and fingerprint of two", made(handmade{hashed: alice.standard(day(10)).hashed, unhashed: [][]byte{mallory.keyID()}}), alice, BadSignature},
		{"key id and fingerprint of two, neither signed", made(handmade{hashed: alice.standard(day(10)).hashed[1:], unhashed: [][]byte{alice.keyID(), mallory.standard(day(10)).hashed[0]}}), alice, BadSignature},
		{"key id only, not signed", made(handmade{hashed: alice.standard(day(10)).hashed[1:], unhashed: [][]byte{alice.keyID()}}), alice, OK},
		{"no issuer", made(handmade{hashed: alice.standard(day(10)).hashed[1:]}), alice, BadSignature},
		{"no time in the signed area", made(handmade{hashed: alice.standard(day(10)).hashed[:1], unhashed: alice.standard(day(10)).hashed[1:]}), alice, BadSignature},
		{"two times", made(handmade{hashed: append(alice.standard(day(10)).hashed, alice.standard(day(11)).hashed[1])}), alice, BadSignature},
		{"two issuers", made(handmade{hashed: alice.standard(day(10)).hashed, unhashed: mallory.standard(day(10)).hashed[:1]}), alice, BadSignature},
		{"critical unknown subpacket", made(handmade{hashed: append(alice.standard(day(10)).hashed, []byte{0x80 | 110, 0})}), alice, BadSignature},
		{"unknown subpacket", made(handmade{hashed: append(alice.standard(day(10)).hashed, []byte{110, 0})}), alice, OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			if a := attested(t, test.sign, test.by); a.code != test.want {
				t.Errorf("code = %v (%s), want %v", a.code, a.why, test.want)
			}
		})
	}
}

// TestKeyIDFallback: a signature without a signed fingerprint goes by the key
// id, and so no two keys of a policy may share one; by its fingerprint it finds
// the key all the same (TRUST.md §4.1 rule 2).
func TestKeyIDFallback(t *testing.T) {
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	twin := *bob.cert().Keys[0] // no two real keys are known to share an id
	twin.KeyID = alice.cert().Keys[0].KeyID
	cert := *bob.cert()
	cert.Keys = []*keys.SigningKey{&twin}
	p := &Policy{Signers: []*Signer{{Name: "alice", Cert: alice.cert(), line: 3}, {Name: "bob", Cert: &cert, line: 5}}}
	var bad *ConfigError
	if err := p.index(); !errors.As(err, &bad) || bad.Line != 5 || !strings.Contains(err.Error(), "different keys with one id") ||
		!strings.Contains(err.Error(), alice.cert().Fingerprint) || !strings.Contains(err.Error(), cert.Fingerprint) {
		t.Errorf("index() of two keys with one id = %v, want a *ConfigError at line 5 with both fingerprints", err)
	}
	if _, err := (&Policy{Signers: p.Signers[:1]}).Extend(Signer{Name: "bob", Cert: &cert}); !errors.As(err, &bad) {
		t.Errorf("Extend() by a key with the same id = %v, want a *ConfigError", err)
	}
	p = &Policy{Signers: []*Signer{p.Signers[0], {Name: "bob", Cert: bob.cert()}}}
	if err := p.index(); err != nil {
		t.Fatal(err)
	}
	id, fpr := p.Signers[0].Cert.Keys[0].KeyID, p.Signers[0].Cert.Fingerprint
	other := p.Signers[1].Cert.Fingerprint
	for name, test := range map[string]struct {
		sig  pgpSignature
		want string
	}{
		"fingerprint":                     {pgpSignature{fingerprint: fpr}, "alice"},
		"key id":                          {pgpSignature{keyID: id}, "alice"},
		"key id, other's unsigned":        {pgpSignature{keyID: id, hint: other}, ""},
		"unsigned fingerprint":            {pgpSignature{hint: other}, "bob"},
		"unknown fingerprint, known id":   {pgpSignature{fingerprint: strings.Repeat("0", 24) + fpr[24:], keyID: id}, ""},
		"unknown fingerprint, not signed": {pgpSignature{hint: strings.Repeat("0", 24) + fpr[24:], keyID: id}, ""},
		"unknown id":                      {pgpSignature{keyID: id + 1}, ""},
	} {
		got := ""
		if a := test.sig.of(p); a != nil {
			got = a.signer.Name
		}
		if got != test.want {
			t.Errorf("%s: of() = %q, want %q", name, got, test.want)
		}
	}
}

// TestKeyAlgorithms has the algorithms of TRUST.md §4.1 rule 3.
func TestKeyAlgorithms(t *testing.T) {
	curve := func(c packet.Curve) func(*packet.Config) {
		return func(cfg *packet.Config) { cfg.Algorithm, cfg.Curve = packet.PubKeyAlgoECDSA, c }
	}
	modern := func(a packet.PublicKeyAlgorithm, v6 bool) func(*packet.Config) {
		return func(cfg *packet.Config) { cfg.Algorithm, cfg.V6Keys = a, v6 }
	}
	for _, test := range []struct {
		name   string
		config func(*packet.Config)
	}{
		{"Ed25519 v4, algorithm 27", modern(packet.PubKeyAlgoEd25519, false)},
		{"Ed25519 v6", modern(packet.PubKeyAlgoEd25519, true)},
		{"Ed448 v6", modern(packet.PubKeyAlgoEd448, true)},
		{"P-256", curve(packet.CurveNistP256)},
		{"P-384", curve(packet.CurveNistP384)},
		{"P-521", curve(packet.CurveNistP521)},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPerson(t, "p", test.config)
			if a := attested(t, func(b []byte) []byte { return p.sign(b, day(10)) }, p); a.code != OK {
				t.Errorf("code = %v (%s), want ok", a.code, a.why)
			}
		})
	}
}

// TestA28WeakKeys: a key that is too weak cannot be made a signer.
func TestA28WeakKeys(t *testing.T) {
	for name, config := range map[string]func(*packet.Config){
		"RSA with 1024 bits": func(c *packet.Config) { c.Algorithm, c.RSABits, c.MinRSABits = packet.PubKeyAlgoRSA, 1024, 512 },
		"secp256k1":          func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveSecP256k1 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, "p", config)
			c, err := keys.ParseCertificate(p.public())
			if err == nil || !strings.Contains(err.Error(), "accepted algorithm") {
				t.Errorf("ParseCertificate() = %v, %v, want it refused for its algorithm", c, err)
			}
		})
	}
}

// TestA29PacketGrammar has what a signature packet may not look like.
func TestA29PacketGrammar(t *testing.T) {
	alice := newPerson(t, "alice")
	good := alice.sign([]byte("x"), day(1))
	if _, err := parsePGP(good); err != nil {
		t.Fatalf("parsePGP(good) = %v, want nil", err)
	}
	body := good[2:]
	for name, raw := range map[string][]byte{
		"empty":               {},
		"old indeterminate":   slices.Concat([]byte{0x8b}, body),
		"partial length":      slices.Concat([]byte{0xc2, 0xe1}, body),
		"public key":          slices.Concat([]byte{0xc6, byte(len(body))}, body),
		"length too long":     slices.Concat([]byte{0xc2, byte(len(body) + 1)}, body),
		"length too short":    slices.Concat([]byte{0xc2, byte(len(body) - 1)}, body),
		"version 3":           slices.Concat([]byte{0xc2, byte(len(body)), 3}, body[1:]),
		"version 5":           slices.Concat([]byte{0xc2, byte(len(body)), 5}, body[1:]),
		"truncated subpacket": slices.Concat([]byte{0xc2, byte(len(body))}, body[:4], []byte{0xff, 0xff}, body[6:]),
		"six octets of v6":    {0xc2, 6, 6, 0, 22, 10, 0x7f, 0xff},
	} {
		if sig, err := parsePGP(raw); err == nil {
			t.Errorf("%s: parsePGP() = %+v, want an error", name, sig)
		}
	}
	old := slices.Concat([]byte{0x88, byte(len(body))}, body)
	if _, err := parsePGP(old); err != nil {
		t.Errorf("parsePGP(old packet format) = %v, want nil", err)
	}
}

// TestCriticalSubpackets: what must be understood and is not, refuses.
func TestCriticalSubpackets(t *testing.T) {
	alice := newPerson(t, "alice")
	notation := func(critical bool) func(*draft) {
		return func(d *draft) {
			d.Notations = append(d.Notations, &packet.Notation{Name: "x@example.org", Value: []byte("y"), IsHumanReadable: true, IsCritical: critical})
		}
	}
	for critical, want := range map[bool]Code{false: OK, true: BadSignature} {
		a := attested(t, func(b []byte) []byte { return alice.sign(b, day(10), notation(critical)) }, alice)
		if a.code != want {
			t.Errorf("notation, critical %t: code = %v (%s), want %v", critical, a.code, a.why, want)
		}
	}
}
