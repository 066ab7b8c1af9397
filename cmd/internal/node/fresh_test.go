package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/trust"
)

func TestFresh(t *testing.T) {
	at := time.Now()
	first := &announce.Item{Seq: 1, Value: []byte("a")}
	for name, c := range map[string]struct {
		saw     func(m *mirror)
		item    *announce.Item
		arrived time.Duration // since at
		now     time.Duration
		age     time.Duration
		want    bool
	}{
		"never looked":        {item: first, age: time.Minute},
		"looked before":       {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}) }, item: first, arrived: 1, now: 1},
		"looked meanwhile":    {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}) }, item: first, arrived: -1, now: 1, want: true},
		"young enough":        {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}) }, item: first, arrived: 1, now: 4 * time.Second, age: 5 * time.Second, want: true},
		"too old":             {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}) }, item: first, arrived: 1, now: 5 * time.Second, age: 5 * time.Second},
		"the clock went back": {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}) }, item: first, arrived: -time.Hour, now: -time.Second, age: 5 * time.Second},
		"a long wait":         {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}) }, item: first, arrived: -1, now: time.Hour},
		"told of a newer one": {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}); m.saw(glimpse{item: &announce.Item{Seq: 2}}) }, item: first, arrived: -1, age: time.Minute},
		"told of another":     {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}); m.saw(glimpse{item: &announce.Item{Seq: 1}}) }, item: first, arrived: -1, age: time.Minute},
		"told of the same":    {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}); m.saw(glimpse{item: first}) }, item: first, arrived: -1, want: true},
		"told of an older one": {saw: func(m *mirror) {
			m.saw(glimpse{item: first, asked: at})
			m.saw(glimpse{item: &announce.Item{}, asked: at.Add(1)})
		}, item: first, arrived: -1, want: true},
		"looked again": {saw: func(m *mirror) {
			m.saw(glimpse{item: first, asked: at.Add(-time.Hour)})
			m.saw(glimpse{item: first, asked: at})
		}, item: first, arrived: -1, want: true},
		"an older look later": {saw: func(m *mirror) {
			m.saw(glimpse{item: first, asked: at})
			m.saw(glimpse{item: first, asked: at.Add(-time.Hour)})
		}, item: first, arrived: -1, want: true},
		"accepted another one": {saw: func(m *mirror) { m.saw(glimpse{item: first, asked: at}) }, item: &announce.Item{Seq: 1, Value: []byte("b")}, arrived: -1, age: time.Minute},
	} {
		var m mirror
		if c.saw != nil {
			c.saw(&m)
		}
		if got := m.glimpse.fresh(c.item, at.Add(c.arrived), at.Add(c.now), c.age); got != c.want {
			t.Errorf("%s: fresh = %v, want %v", name, got, c.want)
		}
	}
}

// TestFetchFresh: with node.fresh, a fetch relies on the last lookup, unless the
// user asks for another one, the node has heard of something newer, or what it
// has is damaged. The policy of the moment holds all the same.
func TestFetchFresh(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 2)
	url := alice.publish(work).URL
	bob := newPerson(t, net).configure("[node]\n\tfresh = 60s\n").start()
	bob.trustPublisher(url)
	fetch := func(req FetchRequest, number uint64, lookups int) {
		t.Helper()
		req.URL = url
		looked := 0
		res, err := bob.client.Fetch(t.Context(), req, func(p Progress) {
			if p.Stage == "Looking up the record" && p.Over {
				looked++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if res.Number != number || looked != lookups {
			t.Fatalf("fetch = number %d after %d lookups, want %d after %d", res.Number, looked, number, lookups)
		}
	}
	fetch(FetchRequest{}, 1, 1)
	fetch(FetchRequest{}, 1, 0)
	work.commit("")
	alice.publish(work)
	fetch(FetchRequest{Look: true}, 2, 1)
	fetch(FetchRequest{}, 2, 0)
	work.commit("")
	alice.publish(work)
	if _, err := bob.client.Resolve(t.Context(), ResolveRequest{URL: url}, nil); err != nil {
		t.Fatal(err)
	}
	fetch(FetchRequest{}, 3, 1)
	packs, err := filepath.Glob(filepath.Join(bob.fetch(url).Mirror, "objects", "pack", "*.idx"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	if err := os.Remove(packs[0]); err != nil {
		t.Fatal(err)
	}
	fetch(FetchRequest{}, 3, 1)
	fetch(FetchRequest{}, 3, 0)
	if err := os.Remove(filepath.Join(bob.home.Config, trust.ConfigName)); err != nil {
		t.Fatal(err)
	}
	_, err = bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
	wantCode(t, err, trust.UnknownPeer)
}
