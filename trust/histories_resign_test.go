package trust

import (
	"bytes"
	"crypto/ed25519"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// maxResigned bounds the copy, which is in memory.
const maxResigned = 100_000

// resign decides about a copy of a repository's default branch in which every
// commit has the bytes that somebody wrote, but a signature of ours: OpenPGP, or
// SSH where it was SSH. It shows what the keys that are not to be had hide: that
// nothing in the shape of the history itself is refused.
func resign(t *testing.T, r *bareRepo) {
	tip := ""
	for _, ref := range []string{"refs/heads/main", "refs/heads/master"} {
		if out, err := r.git("", "rev-parse", "--verify", "--quiet", ref); err == nil {
			tip = strings.TrimSpace(out)
			break
		}
	}
	if tip == "" {
		t.Skip("neither main nor master")
	}
	if n, _ := strconv.Atoi(r.lines("rev-list", "--count", tip)[0]); n < 2 || n > maxResigned {
		t.Skipf("%d commits", n)
	}
	w := newWorld(t)
	alice := newPerson(t, "alice")
	w.signer(alice)
	bob, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	p := w.policy()
	key, err := keys.ParseSSHKey(string(ssh.MarshalAuthorizedKey(bob.PublicKey())))
	if err != nil {
		t.Fatal(err)
	}
	p.Signers = append(p.Signers, &Signer{Name: "bob", SSH: key})
	if err := p.index(); err != nil {
		t.Fatal(err)
	}
	copies := make(map[refs.OID]refs.OID)
	repo := &Repo{Name: "tools", URL: w.address}
	malformed, bySSH := 0, 0
	for o, err := range r.cat(strings.NewReader(strings.Join(r.lines("rev-list", "--topo-order", "--reverse", tip), "\n") + "\n")) {
		if err != nil {
			t.Fatal(err)
		}
		s, err := splitCommit(refs.SHA1, o.Data)
		if err != nil {
			t.Logf("commit %s is refused for its form: %v", o.OID, err)
			malformed++
			continue // its children lose a parent
		}
		payload := string(s.payload())
		for _, parent := range s.parents {
			line := "parent " + string(parent) + "\n"
			changed := ""
			if c := copies[parent]; c != "" {
				changed = "parent " + string(c) + "\n"
			}
			payload = strings.Replace(payload, line, changed, 1)
		}
		if len(s.parents) == 0 {
			copies[o.OID] = w.add(KindCommit, payload)
			repo.Introduction = append(repo.Introduction, copies[o.OID])
			continue
		}
		signature := ""
		if bytes.HasPrefix(s.signature, []byte(sshBegin)) {
			signature = sshSign(t, bob, ssh.KeyAlgoED25519, []byte(payload))
			bySSH++
		} else {
			signature = armored(t, alice.sign([]byte(payload), day(1)))
		}
		copies[o.OID] = w.add(KindCommit, withSignature(payload, "gpgsig", signature))
	}
	p.Repos = []*Repo{repo}
	v := w.want(p, nil, w.publish(branch("main", copies[refs.OID(tip)])), "main", OK)
	t.Logf("%d commits with signatures of ours, %d of them SSH, %d malformed left out: %v %s", len(copies), bySSH, malformed, v.Code, v.Why)
}
