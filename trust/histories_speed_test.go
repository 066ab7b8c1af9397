package trust

import (
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// spawned is how many commits git verify-commit is timed on: it starts gpg for
// each.
const spawned = 500

// TestHistoriesSpeed times the policy engine on the channels among the
// repositories: a cold decision about all that their published introduction
// does not contain, a warm one about ten more commits, and git verify-commit.
func TestHistoriesSpeed(t *testing.T) {
	folder := os.Getenv("GITPEER_HISTORIES")
	if folder == "" {
		t.Skip("GITPEER_HISTORIES names no folder of bare repositories")
	}
	for _, r := range findBare(t, folder) {
		t.Run(r.name, func(t *testing.T) {
			r.t = t
			in, tip, ok := r.channel()
			if !ok {
				t.Skip("not a guix channel whose introduction is known here")
			}
			found := r.keys()
			found.addFiles(t, folder+"/keys")
			policy, certs := found.signers(t)
			speed(t, r, policy, in, tip)
			speedGuix(t, r, certs, in, tip)
			r.trustInGit(found)
			oids := strings.Join(r.lines("rev-list", "--max-count=500", string(tip)), "\n")
			start := time.Now()
			r.git("", append([]string{"verify-commit"}, strings.Fields(oids)...)...)
			t.Logf("git verify-commit: %d commits, %.0f commits/s", spawned, spawned/time.Since(start).Seconds())
		})
	}
}

func speed(t *testing.T, r *bareRepo, p *Policy, in introduction, tip refs.OID) {
	w := newWorld(t)
	p.Repos = []*Repo{{Name: "channel", URL: w.address, Introduction: []refs.OID{in.commit}}}
	now, store := time.Now(), r.store()
	older := refs.OID(r.lines("rev-list", "--first-parent", "--skip=10", "--max-count=1", string(tip))[0])

	// What the policy refuses (SHA-1, DSA, keys that had expired) a user who
	// wants it all the same lists as good.
	n, kinds := 0, make(map[string]int)
	q := Query{Repository: w.address, ObjectFormat: refs.SHA1, Refs: []refs.Ref{branch("main", older)}, Each: func(v Verdict) {
		n++
		if v.Code != OK {
			p.Repos[0].Good = append(p.Repos[0].Good, v.OID)
			kinds[kind(&attestation{code: v.Code, why: v.Why})]++
		}
	}}
	resetPeak()
	before, busy, start := peak(), cpuTime(), time.Now()
	verdicts, err := Examine(p, q, store, now)
	took := time.Since(start)
	busy = cpuTime() - busy
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s cold: %d commits, %.1f s (%.0f/s), %.1f s of processor time (%.0f/s), GOMAXPROCS=%d; resident peak %d MB, %d MB before; %v, %d refused",
		in.channel, n, took.Seconds(), float64(n)/took.Seconds(), busy.Seconds(), float64(n)/busy.Seconds(), runtime.GOMAXPROCS(0), peak()>>20, before>>20, verdicts[0].Code, len(p.Repos[0].Good))

	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%7d refused by gitpeer's rules: %s", kinds[k], k)
	}

	// A list of good commits is made for exceptions. Where there are many,
	// begin where it is short, which changes nothing about ten more commits.
	p.Repos[0].Good, p.Repos[0].Introduction = nil, []refs.OID{older}
	q.Refs = []refs.Ref{branch("main", tip)}
	if _, err := Examine(p, q, store, now); err != nil {
		t.Fatal(err)
	}
	pins := w.accept(p, nil, w.publish(branch("main", older)))
	fresh := r.lines("rev-list", "--count", string(older)+".."+string(tip))[0]
	for range 3 {
		start = time.Now()
		d := Decide(p, pins, w.publish(branch("main", tip)), store, now)
		t.Logf("%s warm: %s more commits: %v in %.1f ms, git's two processes included", in.channel, fresh, d.Verdicts[0].Code, float64(time.Since(start).Microseconds())/1000)
	}
}

func speedGuix(t *testing.T, r *bareRepo, certs []*keys.Certificate, in introduction, tip refs.OID) {
	resetPeak()
	before, start := peak(), time.Now()
	v := GuixQuery{ObjectFormat: refs.SHA1, Introduction: in.commit, Signer: in.signer, Tip: tip, Keyring: certs}.Examine(r.store(), time.Now())
	t.Logf("%s by guix's rules: %v %s; %.1f s; resident peak %d MB, %d MB before", in.channel, v.Code, v.Why, time.Since(start).Seconds(), peak()>>20, before>>20)
}

// channel finds the introduction and tip of a guix channel.
func (r *bareRepo) channel() (in introduction, tip refs.OID, ok bool) {
	i := slices.IndexFunc(introductions, func(in introduction) bool {
		_, err := r.git("", "cat-file", "-e", string(in.commit))
		return err == nil
	})
	if i < 0 {
		return in, "", false
	}
	in = introductions[i]
	for _, ref := range in.tip {
		out, err := r.git("", "rev-parse", "--verify", "--quiet", ref)
		if err != nil {
			continue
		}
		tip = refs.OID(strings.TrimSpace(out))
		if r.lines("rev-list", "--count", string(in.commit)+".."+string(tip))[0] != "1" {
			return in, tip, true
		} // else a farewell commit in the place of the history
	}
	return in, "", false
}
