package node

import (
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

func TestSeedPolicy(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	repo := func(name string, bytes, sent int64, days int) candidate {
		return candidate{Address: refs.Address{Name: refs.RepoName(name)}, Bytes: bytes, Sent: sent, Accepted: now.AddDate(0, 0, -days)}
	}
	own := repo("own", 1000, 1e9, 1000)
	own.Own = true
	always, never := repo("always", 60, 1e6, 500), repo("never", 1, 0, 0)
	always.Choice, never.Choice = seedAlways, seedNever
	list := []candidate{own, repo("old", 10, 0, 40), repo("new", 50, 0, 0), repo("given", 10, 25, 1), repo("big", 80, 0, 2), always, never}
	for name, test := range map[string]struct {
		policy seedPolicy
		serve  bool
		want   map[string]string // stopped, and a word of why
	}{
		"nothing said": {seedPolicy{}, true, map[string]string{"never": "never"}},
		"no seeding":   {seedPolicy{}, false, map[string]string{"never": "never", "old": "node.seed", "new": "node.seed", "given": "node.seed", "big": "node.seed"}},
		"ratio":        {seedPolicy{Ratio: 2.5}, true, map[string]string{"never": "never", "given": "seed.ratio: sent 2.50"}},
		"age":          {seedPolicy{Age: 40 * 24 * time.Hour}, true, map[string]string{"never": "never", "old": "seed.age: nothing new for 40 days"}},
		"size":         {seedPolicy{Size: 70}, true, map[string]string{"never": "never", "big": "seed.size"}},
	} {
		got := test.policy.decide(test.serve, list, now)
		for a, why := range got {
			if word, ok := test.want[string(a.Name)]; !ok || !strings.Contains(why, word) {
				t.Errorf("%s: %s is stopped: %s", name, a.Name, why)
			}
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: stopped %v, want %v", name, got, test.want)
		}
	}
}

// TestPolicyStops: what the policy stops is no longer served and says why; what
// the user publishes is served whatever it says.
func TestPolicyStops(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 2)
	alice.stop()
	alice.configure("[seed]\n\tratio = 0.001\n\tsize = 1\n").start()
	url := alice.publish(work).URL
	bob := newPerson(t, net).configure("[seed]\n\tsize = 1k\n[limit]\n\tupload = 2m\n").start()
	bob.trustPublisher(url)
	bob.fetch(url)
	status, err := bob.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := status.Repos[0]; r.Bytes > 1024 && !strings.Contains(r.Stopped, "seed.size") || status.Limits.Upload != 2<<20 || status.Limits.Size != 1024 {
		t.Errorf("status %+v of %d bytes, limits %+v, want it stopped by seed.size", r, r.Bytes, status.Limits)
	}
	carol := newPerson(t, net).start() // alice serves still
	carol.trustPublisher(url)
	carol.fetch(url)
	if status, err := alice.client.Status(t.Context()); err != nil || status.Repos[0].Stopped != "" || status.Repos[0].Sent == 0 {
		t.Errorf("status of the publisher: %+v, %v, want it served, and bytes sent", status.Repos[0], err)
	}
}
