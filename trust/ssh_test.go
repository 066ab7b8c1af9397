package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/gitpeer/gitpeer/refs"
)

// An sshDraft is an SSH signature to be made, which a test may distort.
type sshDraft struct {
	namespace, reserved, hash string
	version                   uint32
	trailing                  []byte
}

func sshString(b, s []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// sshSign makes an SSHSIG block as PROTOCOL.sshsig has it.
func sshSign(t testing.TB, key ssh.Signer, algorithm string, payload []byte, changes ...func(*sshDraft)) string {
	t.Helper()
	d := &sshDraft{namespace: "git", hash: "sha512", version: 1}
	for _, change := range changes {
		change(d)
	}
	hash := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha512": crypto.SHA512, "sha1": crypto.SHA1}[d.hash]
	h := hash.New()
	h.Write(payload)
	signed := []byte(sshMagic)
	for _, field := range [][]byte{[]byte(d.namespace), []byte(d.reserved), []byte(d.hash), h.Sum(nil)} {
		signed = sshString(signed, field)
	}
	sig, err := key.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, signed, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	blob := binary.BigEndian.AppendUint32([]byte(sshMagic), d.version)
	for _, field := range [][]byte{key.PublicKey().Marshal(), []byte(d.namespace), []byte(d.reserved), []byte(d.hash),
		append(sshString(sshString(nil, []byte(sig.Format)), sig.Blob), sig.Rest...)} {
		blob = sshString(blob, field)
	}
	return sshArmor(append(blob, d.trailing...))
}

func sshArmor(blob []byte) string {
	text := base64.StdEncoding.EncodeToString(blob)
	var b strings.Builder
	b.WriteString(sshBegin + "\n")
	for len(text) > 70 {
		b.WriteString(text[:70] + "\n")
		text = text[70:]
	}
	b.WriteString(text + "\n" + sshEnd + "\n")
	return b.String()
}

// A securityKey signs as a FIDO authenticator does: PROTOCOL.u2f.
type securityKey struct {
	ed    ed25519.PrivateKey
	ec    *ecdsa.PrivateKey
	flags byte
}

func (k securityKey) PublicKey() ssh.PublicKey {
	var blob []byte
	if k.ed != nil {
		blob = sshString(sshString(nil, []byte(ssh.KeyAlgoSKED25519)), k.ed.Public().(ed25519.PublicKey))
	} else {
		point, _ := k.ec.PublicKey.Bytes()
		blob = sshString(sshString(sshString(nil, []byte(ssh.KeyAlgoSKECDSA256)), []byte("nistp256")), point)
	}
	key, err := ssh.ParsePublicKey(sshString(blob, []byte("ssh:")))
	if err != nil {
		panic(err)
	}
	return key
}

func (k securityKey) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(r, data, k.PublicKey().Type())
}

func (k securityKey) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	app, msg := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	rest := []byte{k.flags, 0, 0, 0, 7}
	signed := append(append(app[:], rest...), msg[:]...)
	if k.ed != nil {
		return &ssh.Signature{Format: algorithm, Blob: ed25519.Sign(k.ed, signed), Rest: rest}, nil
	}
	digest := sha256.Sum256(signed)
	r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest[:])
	if err != nil {
		return nil, err
	}
	return &ssh.Signature{Format: algorithm, Blob: ssh.Marshal(struct{ R, S *big.Int }{r, s}), Rest: rest}, nil
}

func TestSSHSignatures(t *testing.T) {
	signer := func(key any) ssh.Signer {
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	touched, untouched := securityKey{ed: ed, flags: 1}, securityKey{ed: ed}

	for _, test := range []struct {
		name      string
		key       ssh.Signer
		algorithm string
		change    func(*sshDraft)
		want      Code
	}{
		{"ed25519", signer(ed), ssh.KeyAlgoED25519, nil, OK},
		{"ed25519 with sha256", signer(ed), ssh.KeyAlgoED25519, func(d *sshDraft) { d.hash = "sha256" }, OK},
		{"ecdsa p256", signer(p256), ssh.KeyAlgoECDSA256, nil, OK},
		{"ecdsa p384", signer(p384), ssh.KeyAlgoECDSA384, nil, OK},
		{"ecdsa p521", signer(p521), ssh.KeyAlgoECDSA521, nil, OK},
		{"rsa-sha2-256", signer(rsaKey), ssh.KeyAlgoRSASHA256, nil, OK},
		{"rsa-sha2-512", signer(rsaKey), ssh.KeyAlgoRSASHA512, nil, OK},
		{"ssh-rsa is SHA-1", signer(rsaKey), ssh.KeyAlgoRSA, nil, WeakAlgorithm},
		{"sk-ssh-ed25519", touched, ssh.KeyAlgoSKED25519, nil, OK},
		{"sk-ssh-ed25519 not touched", untouched, ssh.KeyAlgoSKED25519, nil, BadSignature},
		{"sk-ecdsa", securityKey{ec: p256, flags: 1}, ssh.KeyAlgoSKECDSA256, nil, OK},
		{"sk-ecdsa not touched", securityKey{ec: p256}, ssh.KeyAlgoSKECDSA256, nil, BadSignature},
		{"namespace of files", signer(ed), ssh.KeyAlgoED25519, func(d *sshDraft) { d.namespace = "file" }, BadSignature},
		{"reserved field", signer(ed), ssh.KeyAlgoED25519, func(d *sshDraft) { d.reserved = "x" }, BadSignature},
		{"hash sha1", signer(ed), ssh.KeyAlgoED25519, func(d *sshDraft) { d.hash = "sha1" }, WeakAlgorithm},
		{"version 2", signer(ed), ssh.KeyAlgoED25519, func(d *sshDraft) { d.version = 2 }, BadSignature},
		{"trailing bytes", signer(ed), ssh.KeyAlgoED25519, func(d *sshDraft) { d.trailing = []byte("x") }, BadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.conf.WriteString("[signer \"bob\"]\n\tssh = " + string(ssh.MarshalAuthorizedKey(test.key.PublicKey())))
			payload := w.payload(day(1))
			var changes []func(*sshDraft)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			data := withSignature(payload, "gpgsig", sshSign(t, test.key, test.algorithm, []byte(payload), changes...))
			v := &verifier{policy: w.policy(), format: refs.SHA1, now: now}
			_, a := v.commit([]byte(data))
			if a.code != test.want {
				t.Fatalf("code = %v (%s), want %v", a.code, a.why, test.want)
			}
			if _, a := v.commit([]byte(data + "x")); test.want == OK && a.code != BadSignature {
				t.Errorf("changed message: code = %v (%s), want %v", a.code, a.why, BadSignature)
			}
		})
	}
	t.Run("unknown key", func(t *testing.T) {
		w := newWorld(t)
		payload := w.payload(day(1))
		v := &verifier{policy: w.policy(), format: refs.SHA1, now: now}
		_, a := v.commit([]byte(withSignature(payload, "gpgsig", sshSign(t, signer(other), ssh.KeyAlgoED25519, []byte(payload)))))
		if a.code != Untrusted || !strings.Contains(a.add, "ssh-ed25519 AAAA") {
			t.Errorf("code = %v, add %q, want untrusted and the key", a.code, a.add)
		}
	})
}

// TestSSHKeygen holds our reading of SSH signatures against OpenSSH's writing.
func TestSSHKeygen(t *testing.T) {
	tool, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("no ssh-keygen")
	}
	for _, kind := range [][]string{{"ed25519"}, {"rsa", "-b", "3072"}, {"ecdsa", "-b", "384"}} {
		t.Run(kind[0], func(t *testing.T) {
			dir := t.TempDir()
			key := filepath.Join(dir, "key")
			run := func(args ...string) {
				if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
					t.Fatalf("ssh-keygen: %v\n%s", err, out)
				}
			}
			run(append([]string{"-q", "-N", "", "-C", "bob@example.org", "-f", key, "-t"}, kind...)...)
			w := newWorld(t)
			payload := w.payload(day(1))
			file := filepath.Join(dir, "payload")
			if err := os.WriteFile(file, []byte(payload), 0o600); err != nil {
				t.Fatal(err)
			}
			run("-Y", "sign", "-n", "git", "-f", key, file)
			signature, err := os.ReadFile(file + ".sig")
			if err != nil {
				t.Fatal(err)
			}
			public, err := os.ReadFile(key + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			w.conf.WriteString("[signer \"bob\"]\n\tssh = " + string(public))
			v := &verifier{policy: w.policy(), format: refs.SHA1, now: now}
			if _, a := v.commit([]byte(withSignature(payload, "gpgsig", string(signature)))); a.code != OK || a.by.signer.Name != "bob" {
				t.Errorf("code = %v (%s), want ok by bob", a.code, a.why)
			}
		})
	}
}
