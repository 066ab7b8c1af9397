package keys

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

var certEpoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func certDay(n int) time.Time { return certEpoch.AddDate(0, 0, n) }

func certConfig(when time.Time, changes ...func(*packet.Config)) *packet.Config {
	c := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519, DefaultHash: crypto.SHA512, Time: func() time.Time { return when }}
	for _, change := range changes {
		change(c)
	}
	return c
}

func newEntity(t testing.TB, c *packet.Config) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Alice", "", "alice@example.org", c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func serialize(t testing.TB, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parseEntity(t testing.TB, e *openpgp.Entity) *Certificate {
	t.Helper()
	c, err := ParseCertificate(serialize(t, e))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificate(t *testing.T) {
	e := newEntity(t, certConfig(certDay(0), func(c *packet.Config) { c.KeyLifetimeSecs = 100 * 86400 }))
	if err := e.AddSigningSubkey(certConfig(certDay(10))); err != nil {
		t.Fatal(err)
	}
	c := parseEntity(t, e)
	if c.Algorithm != "ed25519" || len(c.UserIDs) != 1 || c.UserIDs[0] != "Alice <alice@example.org>" || !c.Expires.Equal(certDay(100)) || len(c.Keys) != 2 {
		t.Errorf("certificate = %+v, want ed25519, Alice, two keys, expiry on day 100", c)
	}
	again, err := ParseCertificate(c.Armored())
	if err != nil || !bytes.Equal(again.Armored(), c.Armored()) || again.Digest() != c.Digest() {
		t.Errorf("ParseCertificate(Armored()) = %v, want the same again", err)
	}
	if sum := sha256.Sum256(c.Armored()); hex.EncodeToString(sum[:]) != c.Digest() {
		t.Errorf("Digest() = %s, want the SHA-256 of Armored()", c.Digest())
	}
	for _, test := range []struct {
		key  int
		day  int
		want KeyState
	}{
		{0, -1, KeyNotYet}, {0, 0, KeyValid}, {0, 99, KeyValid}, {0, 101, KeyExpired},
		{1, 9, KeyNotYet}, {1, 10, KeyValid}, {1, 99, KeyValid}, {1, 101, KeyExpired}, // with the primary key
	} {
		if got := c.Keys[test.key].At(certDay(test.day)); got != test.want {
			t.Errorf("key %d on day %d: %v, want %v", test.key, test.day, got, test.want)
		}
	}
	if got := c.Keys[0].At(certDay(100)); got != KeyValid {
		t.Errorf("in the last second: %v, want valid", got)
	}
	if got := c.Keys[0].At(certDay(100).Add(time.Second)); got != KeyExpired {
		t.Errorf("a second later: %v, want expired", got)
	}
}

// TestCertificateExtended: the latest self-signature says until when the key is
// valid, also for the time before it: with those that it replaced and without.
func TestCertificateExtended(t *testing.T) {
	e := newEntity(t, certConfig(certDay(0), func(c *packet.Config) { c.KeyLifetimeSecs = 100 * 86400 }))
	id := e.Identities["Alice <alice@example.org>"]
	first := id.SelfCertifications[0]
	renew := func(day, life int) *packet.VerifiableSignature {
		s := *first.Packet
		seconds := uint32(life * 86400)
		s.CreationTime, s.KeyLifetimeSecs = certDay(day), &seconds
		if err := s.SignUserId(id.UserId.Id, e.PrimaryKey, e.PrivateKey, certConfig(certDay(day))); err != nil {
			t.Fatal(err)
		}
		return packet.NewVerifiableSig(&s)
	}
	extension := renew(150, 1000)
	id.SelfCertifications = append(id.SelfCertifications, extension)
	both := parseEntity(t, e)
	id.SelfCertifications = []*packet.VerifiableSignature{extension}
	minimal := parseEntity(t, e)
	for day, want := range map[int][2]KeyState{
		50: {KeyValid, KeyValid}, 120: {KeyValid, KeyValid}, 200: {KeyValid, KeyValid}, 1001: {KeyExpired, KeyExpired},
	} {
		if a, b := both.Keys[0].At(certDay(day)), minimal.Keys[0].At(certDay(day)); a != want[0] || b != want[1] {
			t.Errorf("day %d: %v with both self-signatures, %v with the newer, want %v", day, a, b, want)
		}
	}
	if !both.Expires.Equal(certDay(1000)) {
		t.Errorf("Expires = %v, want day 1000", both.Expires)
	}
	if n := len(both.Keys[0].Periods); n != 2 {
		t.Errorf("%d periods, want 2: valid, expired", n)
	}
}

// TestCertificateRenewedLater: a subkey that had expired when the only
// self-signature left was made was valid before all the same.
func TestCertificateRenewedLater(t *testing.T) {
	e := newEntity(t, certConfig(certDay(0)))
	if err := e.AddSigningSubkey(certConfig(certDay(0), func(c *packet.Config) { c.KeyLifetimeSecs = 100 * 86400 })); err != nil {
		t.Fatal(err)
	}
	id := e.Identities["Alice <alice@example.org>"]
	renewed := *id.SelfCertifications[0].Packet
	renewed.CreationTime = certDay(200)
	if err := renewed.SignUserId(id.UserId.Id, e.PrimaryKey, e.PrivateKey, certConfig(certDay(200))); err != nil {
		t.Fatal(err)
	}
	id.SelfCertifications = []*packet.VerifiableSignature{packet.NewVerifiableSig(&renewed)}
	sub := parseEntity(t, e).Keys[1]
	for day, want := range map[int]KeyState{50: KeyValid, 150: KeyExpired, 250: KeyExpired} {
		if got := sub.At(certDay(day)); got != want {
			t.Errorf("day %d: %v, want %v", day, got, want)
		}
	}
}

func TestCertificateRevoked(t *testing.T) {
	for reason, hard := range map[packet.ReasonForRevocation]bool{
		packet.NoReason: true, packet.KeyCompromised: true, packet.KeySuperseded: false, packet.KeyRetired: false,
	} {
		e := newEntity(t, certConfig(certDay(0)))
		if err := e.AddSigningSubkey(certConfig(certDay(0))); err != nil {
			t.Fatal(err)
		}
		if err := e.Revoke(reason, "", certConfig(certDay(50))); err != nil {
			t.Fatal(err)
		}
		c := parseEntity(t, e)
		for i, k := range c.Keys {
			if k.Revoked == nil || k.Revoked.Hard != hard || !k.Revoked.At.Equal(certDay(50)) || k.At(certDay(60)) != KeyValid {
				t.Errorf("reason %d, key %d: revoked %+v, want hard %t on day 50, and the periods without it", reason, i, k.Revoked, hard)
			}
		}
	}
}

// TestCertificateClaimedSubkey: without a back-signature by the subkey,
// anybody could claim another's key as their own.
func TestCertificateClaimedSubkey(t *testing.T) {
	e := newEntity(t, certConfig(certDay(0)))
	if err := e.AddSigningSubkey(certConfig(certDay(0))); err != nil {
		t.Fatal(err)
	}
	sub := &e.Subkeys[len(e.Subkeys)-1]
	binding := sub.Bindings[0].Packet
	binding.EmbeddedSignature = nil
	if err := binding.SignKey(sub.PublicKey, e.PrivateKey, certConfig(certDay(0))); err != nil {
		t.Fatal(err)
	}
	if c := parseEntity(t, e); len(c.Keys) != 1 || !c.Keys[0].Primary {
		t.Errorf("%d keys, want the primary alone", len(c.Keys))
	}
}

func TestCertificateRefused(t *testing.T) {
	e := newEntity(t, certConfig(certDay(0)))
	public := serialize(t, e)
	var private bytes.Buffer
	if err := e.SerializePrivate(&private, nil); err != nil {
		t.Fatal(err)
	}
	many := newEntity(t, certConfig(certDay(0)))
	for range MaxSubkeys {
		if err := many.AddSigningSubkey(certConfig(certDay(0))); err != nil {
			t.Fatal(err)
		}
	}
	c := parseEntity(t, e)
	var certificate *CertificateError
	for name, data := range map[string][]byte{
		"empty":            nil,
		"text":             []byte("hello"),
		"two certificates": append(bytes.Clone(public), serialize(t, newEntity(t, certConfig(certDay(0))))...),
		"two blocks":       append(c.Armored(), c.Armored()...),
		"a signature":      []byte("-----BEGIN PGP SIGNATURE-----\n\nAAEC\n-----END PGP SIGNATURE-----\n"),
		"truncated":        public[:len(public)/2],
		"too large":        make([]byte, MaxKeyring+1),
		"too many subkeys": serialize(t, many),
		"subkey first":     public[bytes.LastIndex(public, []byte{0xce}):],
	} {
		if _, err := ParseCertificate(data); !errors.As(err, &certificate) {
			t.Errorf("%s: ParseCertificate() = %v, want a *CertificateError", name, err)
		}
	}
	if _, err := ParseCertificate(private.Bytes()); !errors.Is(err, ErrSecretKey) {
		t.Errorf("secret key: ParseCertificate() = %v, want ErrSecretKey", err)
	}
	if _, err := ParseCertificate([]byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAEC\n-----END PGP PRIVATE KEY BLOCK-----\n")); !errors.Is(err, ErrSecretKey) {
		t.Errorf("armored secret key: ParseCertificate() = %v, want ErrSecretKey", err)
	}
}

// TestCertificateCertified: what others certify does not make a certificate too
// large, and is not kept if it would. People who go to key signing parties have
// hundreds of kilobytes of it.
func TestCertificateCertified(t *testing.T) {
	e := newEntity(t, certConfig(certDay(0)))
	if err := e.AddSigningSubkey(certConfig(certDay(1))); err != nil {
		t.Fatal(err)
	}
	plain := parseEntity(t, e)
	friend := newEntity(t, certConfig(certDay(0)))
	id := "Alice <alice@example.org>"
	if err := e.SignIdentity(id, friend, certConfig(certDay(2))); err != nil {
		t.Fatal(err)
	}
	if few := parseEntity(t, e); bytes.Equal(few.Armored(), plain.Armored()) {
		t.Error("a small certificate was changed")
	}
	other := e.Identities[id].OtherCertifications
	for range MaxCertificate / 100 {
		e.Identities[id].OtherCertifications = append(e.Identities[id].OtherCertifications, other...)
	}
	raw := serialize(t, e)
	if len(raw) <= MaxCertificate {
		t.Fatalf("%d bytes, want more than %d", len(raw), MaxCertificate)
	}
	picture := []byte{0xc0 | 17, 5, 4, 1, 'a', 'b', 'c'}
	for name, raw := range map[string][]byte{"certified": raw, "pictured": append(raw, picture...)} {
		c, err := ParseCertificate(raw)
		if err != nil || !bytes.Equal(c.Armored(), plain.Armored()) {
			t.Errorf("%s: ParseCertificate = %v, want what is left without the certifications", name, err)
		}
		if list, err := ParseKeyring(raw); err != nil || len(list) != 1 {
			t.Errorf("%s: ParseKeyring = %d certificates, %v, want 1", name, len(list), err)
		}
	}
	// Its own signatures stay, however many.
	self := e.Identities[id].SelfCertifications
	for range MaxCertificate / 100 {
		e.Identities[id].SelfCertifications = append(e.Identities[id].SelfCertifications, self...)
	}
	var refused *CertificateError
	if _, err := ParseCertificate(serialize(t, e)); !errors.As(err, &refused) {
		t.Errorf("ParseCertificate of too many self-signatures = %v, want a CertificateError", err)
	}
}

func TestParseKeyring(t *testing.T) {
	var entities []*Certificate
	var binary, text []byte
	for range 3 {
		e := newEntity(t, certConfig(certDay(0)))
		c := parseEntity(t, e)
		entities = append(entities, c)
		binary, text = append(binary, serialize(t, e)...), append(text, c.Armored()...)
	}
	weak := newEntity(t, certConfig(certDay(0), func(c *packet.Config) { c.Algorithm, c.RSABits, c.MinRSABits = packet.PubKeyAlgoRSA, 1024, 512 }))
	binary = append(binary, serialize(t, weak)...)
	for name, data := range map[string][]byte{"binary": binary, "armored": append([]byte("a comment\n"), text...)} {
		ring, err := ParseKeyring(data)
		// The weak one is kept, for verdicts to name what is wrong with it.
		if name == "binary" && len(ring) == 4 && ring[3].Keys[0].Weak != "" {
			ring = ring[:3]
		}
		if err != nil || len(ring) != 3 || ring[2].Fingerprint != entities[2].Fingerprint {
			t.Errorf("%s: ParseKeyring() = %d certificates, %v, want 3 and the weak one", name, len(ring), err)
		}
	}
	if ring, err := ParseKeyring(nil); err != nil || len(ring) != 0 {
		t.Errorf("ParseKeyring(nothing) = %v, %v, want none", ring, err)
	}
	var private bytes.Buffer
	if err := newEntity(t, certConfig(certDay(0))).SerializePrivate(&private, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKeyring(append(bytes.Clone(serialize(t, weak)), private.Bytes()...)); !errors.Is(err, ErrSecretKey) {
		t.Errorf("ParseKeyring(with a secret key) = %v, want ErrSecretKey", err)
	}
	if _, err := ParseKeyring(binary[:len(binary)-3]); err == nil {
		t.Error("ParseKeyring(truncated) = nil, want an error")
	}
}

// TestCertificateShared is for the race detector: nothing is written after
// ParseCertificate.
func TestCertificateShared(t *testing.T) {
	e := newEntity(t, certConfig(certDay(0)))
	if err := e.AddSigningSubkey(certConfig(certDay(0))); err != nil {
		t.Fatal(err)
	}
	c := parseEntity(t, e)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, k := range c.Keys {
				if k.At(certDay(5)) != KeyValid || k.Packet() == nil || c.Digest() == "" {
					t.Error("not valid")
				}
			}
		})
	}
	wg.Wait()
}

func TestUserIDsArePrintable(t *testing.T) {
	e, err := openpgp.NewEntity("Evil\x1b[2J\u202e", "", "x@example.org", certConfig(certDay(0)))
	if err != nil {
		t.Fatal(err)
	}
	c := parseEntity(t, e)
	if got, want := c.UserIDs[0], `Evil\x1b[2J\u{202e} <x@example.org>`; got != want {
		t.Errorf("user id = %q, want %q", got, want)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain ä 漢": "plain ä 漢", "a\nb\tc": `a\x0ab\x09c`, "\x1b]0;x\x07": `\x1b]0;x\x07`, `\`: `\\`,
		"\xff\xfe": `\xff\xfe`, "\u2028": `\u{2028}`, "\u200b\u202e": `\u{200b}\u{202e}`, "\U000e0041": `\u{e0041}`,
		"\u00a0": "\u00a0", "\x7f\u009b": `\x7f\u{009b}`, "\ufffd": "\ufffd",
	} {
		if got := Printable(text, 100); got != want {
			t.Errorf("Printable(%q) = %q, want %q", text, got, want)
		}
	}
	if got := Printable("abcdef", 3); got != "abc…" {
		t.Errorf("Printable(abcdef, 3) = %q, want abc…", got)
	}
}

func TestParseSSHKey(t *testing.T) {
	const good = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7w0ZKTM2bC1oFqRT+HJf5dsCA0h6RmTDmkDKFlWuYK"
	k, err := ParseSSHKey(good + " bob@example.org\n")
	if err != nil || k.Text() != good || k.Comment != "bob@example.org" || !strings.HasPrefix(k.Fingerprint, "SHA256:") {
		t.Fatalf("ParseSSHKey() = %+v, %v", k, err)
	}
	if again, err := ParseSSHBlob(k.Blob()); err != nil || again.Text() != good {
		t.Errorf("ParseSSHBlob() = %v, %v, want the same key", again, err)
	}
	for name, text := range map[string]string{
		"empty":     "",
		"options":   "command=\"x\" " + good,
		"two lines": good + "\n" + good,
		"type only": "ssh-ed25519",
		"mismatch":  strings.Replace(good, "ssh-ed25519", "ssh-rsa", 1),
		"dsa":       "ssh-dss AAAAB3NzaC1kc3MAAACBAP",
		"short rsa": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7mFHdJ5vVv8cM0xJYJ0uw7H1c2Qe3wQ1oZy0Zl0b1oQ==",
		"long":      "ssh-ed25519 " + strings.Repeat("A", MaxSSHKey),
	} {
		var bad *SSHKeyError
		if _, err := ParseSSHKey(text); !errors.As(err, &bad) {
			t.Errorf("%s: ParseSSHKey() = %v, want an *SSHKeyError", name, err)
		}
	}
	if _, err := ParseSSHKey("-----BEGIN OPENSSH PRIVATE KEY-----"); !errors.Is(err, ErrSecretKey) {
		t.Errorf("private key: %v, want ErrSecretKey", err)
	}
}

// TestGnuPG reads what GnuPG exports.
func TestGnuPG(t *testing.T) {
	tool, err := exec.LookPath("gpg")
	if err != nil {
		t.Skip("no gpg")
	}
	home, err := os.MkdirTemp("", "gp") // the agent's socket needs a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	gpg := func(args ...string) []byte {
		c := exec.Command(tool, append([]string{"--homedir", home, "--batch", "--passphrase", "", "--pinentry-mode", "loopback"}, args...)...)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("gpg %v: %v", args, err)
		}
		return out
	}
	defer exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
	for _, kind := range []string{"ed25519", "rsa3072", "nistp384"} {
		user := kind + "@example.org"
		gpg("--quick-gen-key", user, kind, "sign", "2y")
		fpr := ""
		for _, line := range strings.Split(string(gpg("--with-colons", "--list-keys", user)), "\n") {
			if f := strings.Split(line, ":"); f[0] == "fpr" {
				fpr = f[9]
			}
		}
		gpg("--quick-add-key", fpr, "ed25519", "sign", "1y")
		for name, data := range map[string][]byte{"binary": gpg("--export", user), "armored": gpg("--armor", "--export", user), "minimal": gpg("--export-options", "export-minimal", "--export", user)} {
			c, err := ParseCertificate(data)
			if err != nil || c.Fingerprint != fpr || c.UserIDs[0] != user || c.Algorithm != strings.Replace(kind, "nistp384", "p384", 1) || len(c.Keys) != 2 || c.Expires.IsZero() {
				t.Errorf("%s, %s: ParseCertificate() = %+v, %v", kind, name, c, err)
			}
		}
		if _, err := ParseCertificate(gpg("--export-secret-keys", user)); !errors.Is(err, ErrSecretKey) {
			t.Errorf("%s: secret key: %v, want ErrSecretKey", kind, err)
		}
	}
}

func FuzzCertificate(f *testing.F) {
	e := newEntity(f, certConfig(certDay(0)))
	f.Add(serialize(f, e))
	c, _ := ParseCertificate(serialize(f, e))
	f.Add(c.Armored())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCertificate(data)
		if err != nil {
			return
		}
		again, err := ParseCertificate(c.Armored())
		if err != nil || fmt.Sprint(again.Fingerprint, again.UserIDs, again.Expires) != fmt.Sprint(c.Fingerprint, c.UserIDs, c.Expires) {
			t.Errorf("ParseCertificate(Armored()) = %v, %v, want the same", again, err)
		}
	})
}
