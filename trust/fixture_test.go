package trust

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// epoch is when the tests' keys were made; tests count days from it.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func day(n int) time.Time { return epoch.AddDate(0, 0, n) }

// now is when the tests' decisions are made.
var now = day(1000)

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// A person has a key and signs with it.
type person struct {
	t      testing.TB
	name   string
	entity *openpgp.Entity
	config packet.Config
}

func newPerson(t testing.TB, name string, changes ...func(*packet.Config)) *person {
	t.Helper()
	p := &person{t: t, name: name, config: packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519, DefaultHash: crypto.SHA512}}
	for _, change := range changes {
		change(&p.config)
	}
	var err error
	if p.entity, err = openpgp.NewEntity(name, "", name+"@example.org", p.at(epoch)); err != nil {
		t.Fatal(err)
	}
	return p
}

// at is the person's configuration at a time.
func (p *person) at(when time.Time) *packet.Config {
	c := p.config
	plain := false
	c.NonDeterministicSignaturesViaNotation = &plain
	c.Time = func() time.Time { return when }
	return &c
}

func (p *person) public() []byte {
	p.t.Helper()
	var b bytes.Buffer
	if err := p.entity.Serialize(&b); err != nil {
		p.t.Fatal(err)
	}
	return b.Bytes()
}

func (p *person) cert() *keys.Certificate {
	p.t.Helper()
	c, err := keys.ParseCertificate(p.public())
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// A signature to be made, which a test may distort.
type draft struct {
	packet.Signature
	key *packet.PrivateKey
}

// sign makes the packet of a signature on payload at a time; changes may
// distort it before it is made.
func (p *person) sign(payload []byte, when time.Time, changes ...func(*draft)) []byte {
	p.t.Helper()
	key := p.entity.PrivateKey
	d := &draft{key: key, Signature: packet.Signature{
		Version: key.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA512,
		CreationTime: when, IssuerKeyId: &key.KeyId, IssuerFingerprint: key.Fingerprint,
	}}
	for _, change := range changes {
		change(d)
	}
	c := p.at(when)
	h, err := d.Hash.New(), error(nil)
	if d.Version == 6 { // salted
		if h, err = d.PrepareSign(c); err != nil {
			p.t.Fatal(err)
		}
	}
	h.Write(payload)
	if err := d.Sign(h, d.key, c); err != nil {
		p.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.Serialize(&b); err != nil {
		p.t.Fatal(err)
	}
	return b.Bytes()
}

// A handmade signature packet of version 4 by an Ed25519 key: for what no
// library would make.
type handmade struct {
	kind             byte
	hashed, unhashed [][]byte // subpackets: kind and content
}

// standard are the subpackets of an ordinary signature.
func (p *person) standard(when time.Time) handmade {
	return handmade{hashed: [][]byte{
		append([]byte{subFingerprint, 4}, p.entity.PrimaryKey.Fingerprint...),
		binary.BigEndian.AppendUint32([]byte{subCreated}, uint32(when.Unix())),
	}}
}

func (p *person) keyID() []byte {
	return binary.BigEndian.AppendUint64([]byte{subIssuer}, p.entity.PrimaryKey.KeyId)
}

// forge signs payload with p's key by the rules of RFC 9580 §5.2.4.
func (p *person) forge(payload []byte, m handmade) []byte {
	area := func(subpackets [][]byte) []byte {
		var b []byte
		for _, s := range subpackets {
			b = append(append(b, byte(len(s))), s...)
		}
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	body := append([]byte{4, m.kind, byte(packet.PubKeyAlgoEdDSA), 10}, area(m.hashed)...)
	trailer := binary.BigEndian.AppendUint32([]byte{4, 0xff}, uint32(len(body)))
	digest := sha512.Sum512(slices.Concat(payload, body, trailer))
	seed := p.entity.PrivateKey.PrivateKey.(*eddsa.PrivateKey).D
	sig := ed25519.Sign(ed25519.NewKeyFromSeed(seed), digest[:])
	body = append(append(body, area(m.unhashed)...), digest[:2]...)
	for _, half := range [][]byte{sig[:32], sig[32:]} {
		half = bytes.TrimLeft(half, "\x00")
		body = binary.BigEndian.AppendUint16(body, uint16(8*len(half)-bits.LeadingZeros8(half[0])))
		body = append(body, half...)
	}
	return append([]byte{0xc2, byte(len(body))}, body...)
}

func armored(t testing.TB, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, "PGP SIGNATURE", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(raw)
	w.Close()
	return b.String() + "\n"
}

// A world is a repository in memory, its publisher and a policy.
type world struct {
	t         testing.TB
	objects   *Memory
	publisher keys.Signer
	address   refs.Address
	conf      strings.Builder
	certs     map[string][]byte
	number    uint64
	format    refs.ObjectFormat
	serial    int
	last      refs.Digest // of the last statement's note
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, objects: NewMemory(refs.SHA1), publisher: keys.FromSeed([32]byte{1}), certs: make(map[string][]byte), format: refs.SHA1}
	w.address = refs.Address{Publisher: w.publisher.ID(), Name: "tools"}
	w.conf.WriteString("[gitpeer]\n\tversion = 1\n")
	return w
}

func (w *world) signer(p *person, lines ...string) {
	c := p.cert()
	w.certs[c.Digest()+".asc"] = c.Armored()
	fmt.Fprintf(&w.conf, "[signer %q]\n\tcert = %s.asc\n", p.name, c.Digest())
	w.lines(lines)
}

func (w *world) repo(lines ...string) {
	fmt.Fprintf(&w.conf, "[repo \"tools\"]\n\turl = %s\n", w.address)
	w.lines(lines)
}

func (w *world) rule(name string, lines ...string) {
	fmt.Fprintf(&w.conf, "[rule %q]\n\trepo = tools\n", name)
	w.lines(lines)
}

func (w *world) lines(lines []string) {
	for _, l := range lines {
		fmt.Fprintf(&w.conf, "\t%s\n", l)
	}
}

func (w *world) policy() *Policy {
	w.t.Helper()
	p, err := Parse(w.conf.String(), func(name string) ([]byte, error) { return w.certs[name], nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// payload is a commit without signature.
func (w *world) payload(when time.Time, parents ...refs.OID) string {
	w.serial++
	var b strings.Builder
	tree := emptyTree
	if w.format == refs.SHA256 {
		tree = strings.Repeat("0", 24) + emptyTree
	}
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author A <a@example.org> %d +0000\ncommitter A <a@example.org> %d +0000\n\nchange %d\n", when.Unix(), when.Unix(), w.serial)
	return b.String()
}

// withSignature puts a signature into a commit.
func withSignature(payload, header, signature string) string {
	head, body, _ := strings.Cut(payload, "\n\n")
	return head + "\n" + header + " " + strings.ReplaceAll(strings.TrimSuffix(signature, "\n"), "\n", "\n ") + "\n\n" + body
}

func (w *world) add(kind Kind, data string) refs.OID {
	w.t.Helper()
	oid, err := w.objects.Add(kind, []byte(data))
	if err != nil {
		w.t.Fatal(err)
	}
	return oid
}

// commit adds a commit signed by p, or unsigned if p is nil.
func (w *world) commit(p *person, when time.Time, parents ...refs.OID) refs.OID {
	w.t.Helper()
	payload := w.payload(when, parents...)
	if p == nil {
		return w.add(KindCommit, payload)
	}
	return w.add(KindCommit, withSignature(payload, signatureHeader(w.format), armored(w.t, p.sign([]byte(payload), when))))
}

// tag adds an annotated tag and returns the ref that would hold it.
func (w *world) tag(p *person, name string, when time.Time, target refs.OID) refs.Ref {
	w.t.Helper()
	payload := fmt.Sprintf("object %s\ntype commit\ntag %s\ntagger A <a@example.org> %d +0000\n\nrelease\n", target, name, when.Unix())
	if p != nil {
		payload += armored(w.t, p.sign([]byte(payload), when))
	}
	return refs.Ref{Name: refs.Name("refs/tags/" + name), OID: w.add(KindTag, payload), Peeled: target}
}

func branch(name string, oid refs.OID) refs.Ref {
	return refs.Ref{Name: refs.Name("refs/heads/" + name), OID: oid}
}

// publish makes a snapshot of refs.
func (w *world) publish(list ...refs.Ref) *refs.Snapshot {
	w.number++
	s := &refs.Snapshot{Repository: w.address, Number: w.number, Time: now, ObjectFormat: w.format, Refs: list}
	slices.SortFunc(s.Refs, func(a, b refs.Ref) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// accept decides and returns the pins of the accepted snapshot.
func (w *world) accept(p *Policy, pins *Pins, s *refs.Snapshot) *Pins {
	w.t.Helper()
	accepted, err := Decide(p, pins, s, w.objects, now).Accept()
	if err != nil {
		w.t.Fatalf("Accept() = %v, want nil", err)
	}
	return accepted.Pins(&Received{Address: w.address, Record: &refs.Record{Number: s.Number}})
}

// text is what pins say; of none, nothing.
func (p *Pins) text() string {
	if p == nil {
		return ""
	}
	return string(p.Format())
}

// want decides and compares the code of one ref, that of a short name. Whatever
// the verdict, the pins and the objects are what they were.
func (w *world) want(p *Policy, pins *Pins, s *refs.Snapshot, ref string, code Code) Verdict {
	w.t.Helper()
	before, stored := pins.text(), len(w.objects.objects)
	d := Decide(p, pins, s, w.objects, now)
	if pins.text() != before || len(w.objects.objects) != stored {
		w.t.Fatalf("Decide changed the pins, or the objects")
	}
	for _, v := range d.Verdicts {
		if v.Ref.Short() == ref {
			if v.Code != code {
				w.t.Fatalf("verdict about %s = %v (%s), want %v", ref, v.Code, v.Why, code)
			}
			if _, err := d.Accept(); (code != OK) != (err != nil) && code != OK {
				w.t.Fatalf("Accept() = %v with a verdict of %v", err, code)
			}
			return v
		}
	}
	w.t.Fatalf("no verdict about %s", ref)
	return Verdict{}
}
