package trust

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/gitpeer/gitpeer/refs"
)

// TestIntroduce meets a repository of an unknown publisher, with tips by alice,
// carol (whose certificate comes along), dave (whose does not) and an SSH key.
func TestIntroduce(t *testing.T) {
	w := newWorld(t)
	alice, carol, dave := newPerson(t, "alice"), newPerson(t, "carol"), newPerson(t, "dave")
	w.signer(alice)
	p := w.policy()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	payload := w.payload(day(1))
	sshTip := w.add(KindCommit, withSignature(payload, "gpgsig", sshSign(t, key, ssh.KeyAlgoED25519, []byte(payload))))
	aliceTip, carolTip, daveTip := w.commit(alice, day(1)), w.commit(carol, day(1)), w.commit(dave, day(1))
	s := w.publish(branch("a", aliceTip), branch("c", carolTip), branch("d", daveTip), branch("s", sshTip), w.tag(alice, "v1", day(1), aliceTip))
	s.Signers = [][]byte{carol.public(), key.PublicKey().Marshal(), []byte("rubbish")}

	text := string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	for name, test := range map[string]struct {
		objects Objects
		want    []string
	}{
		"with objects": {w.objects, []string{
			"2 tips are signed by alice, alice <alice@example.org> (" + alice.cert().Fingerprint + ")",
			"1 tip is signed by carol <carol@example.org> (" + carol.cert().Fingerprint + "); the certificate comes from the publisher",
			"1 tip is signed, as the signature claims, by " + dave.cert().Fingerprint,
			"1 tip is signed by SHA256:",
		}},
		"snapshot alone": {nil, []string{
			"the publisher says that carol <carol@example.org> (" + carol.cert().Fingerprint + ") signs here",
			"the publisher says that SHA256:",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Introduce(p, s, test.objects, now)
			if err.Code() != UnknownPeer || !strings.Contains(err.Error(), w.address.Publisher.String()) || len(err.Verdicts) != 1+len(test.want) {
				t.Fatalf("Introduce() = %v with %d verdicts, want the publisher's id and %d", err, len(err.Verdicts), 1+len(test.want))
			}
			for i, want := range test.want {
				if got := err.Verdicts[i+1].Why; !strings.HasPrefix(got, want) {
					t.Errorf("verdict %d = %q, want %q…", i+1, got, want)
				}
			}
			for _, want := range []string{"gitpeer trust add " + w.address.String(), ` --signer 0x` + carol.cert().Fingerprint, ` --signer "` + strings.TrimSpace(text) + `"`} {
				if !strings.Contains(err.Hint(), want) {
					t.Errorf("hint = %q, want it to contain %q", err.Hint(), want)
				}
			}
		})
	}
	unsigned := w.publish(branch("u", w.commit(nil, day(1))))
	if got := Introduce(p, unsigned, w.objects, now).Hint(); !strings.HasSuffix(got, " --publisher-only") {
		t.Errorf("hint for unsigned tips = %q, want --publisher-only", got)
	}
	if cert, _, ok := FindSigner(s, carol.cert().Fingerprint); !ok || cert.Fingerprint != carol.cert().Fingerprint {
		t.Errorf("FindSigner(carol) = %v, %t", cert, ok)
	}
	if _, key, ok := FindSigner(s, ssh.FingerprintSHA256(key.PublicKey())); !ok || key == nil {
		t.Errorf("FindSigner(ssh) = %v, %t", key, ok)
	}
	if _, _, ok := FindSigner(s, dave.cert().Fingerprint); ok {
		t.Error("FindSigner(dave) found somebody")
	}
	var nobody *Policy = &Policy{}
	if err := Introduce(nobody, &refs.Snapshot{Repository: w.address}, nil, now); err.Code() != UnknownPeer {
		t.Errorf("Introduce(empty) = %v", err)
	}
}
