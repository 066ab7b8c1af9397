package node

import (
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// TestWebMirror: the publisher is gone and so is every peer; the record in the
// DHT and a static web server are enough for a clone, and for a later fetch.
func TestWebMirror(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 5)
	work.git("tag", "-a", "-m", "first", "v1")
	url := alice.publish(work).URL
	dir := filepath.Join(t.TempDir(), "www", "m")
	export := func() *ExportResult {
		t.Helper()
		res, err := alice.client.Export(t.Context(), ExportRequest{URL: url, Dir: dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if first, again := export(), export(); first.Files < 2*(first.Packs+1) || first.Packs != first.Listed || again.Files != 0 {
		t.Errorf("exports %+v and %+v, want all files, and then none", first, again)
	}
	web := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(dir))))
	t.Cleanup(web.Close)
	alice.stop()

	bob := newPerson(t, net).configure("[repo \"tools\"]\n\turl = " + url + "\n\tmirror = " + web.URL + "/m/\n").start()
	bob.trustPublisher(url)
	got := bob.fetch(url)
	if !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("Fetch = %+v, want the refs %v", got, work.refs())
	}
	fsck(t, got.Mirror)
	bob.stop()

	alice.start()
	for range 9 {
		work.commit("")
		alice.publish(work)
	}
	export()
	alice.stop()
	bob.start()
	if got := bob.fetch(url); !slices.Equal(got.Refs, work.refs()) || got.Number != 10 {
		t.Errorf("Fetch = %+v, want number 10", got)
	}
	fsck(t, got.Mirror)

	// Another reader, whose config does not name the server, says what it tried.
	bob.stop()
	carol := newPerson(t, net).start()
	carol.trustPublisher(url)
	_, err := carol.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
	if e := wantCode(t, err, trust.TryLater); !strings.Contains(e.Message, "nobody who has it can be reached") {
		t.Errorf("%+v, want it to say that there is nobody", e)
	}
}

func TestPublishNamesMirrors(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	url := alice.publish(work).URL
	alice.stop()
	alice.configure("[repo \"tools\"]\n\turl = " + url + "\n\tmirror = https://b.example.org/x/\n\tmirror = http://192.168.1.2/\n\tmirror = https://a.example.org/\n").start()
	if res := alice.publish(work); res.Number != 2 || !res.Changed {
		t.Errorf("Publish with new mirrors = %+v, want number 2", res)
	}
	if res := alice.publish(work); res.Changed {
		t.Errorf("Publish without news = %+v", res)
	}
	shown, err := alice.client.Show(t.Context(), ShowRequest{URL: url}, nil)
	if want := []refs.Mirror{"https://a.example.org/", "https://b.example.org/x/"}; err != nil || !slices.Equal(shown.Mirrors, want) {
		t.Errorf("Show names mirrors %v, %v, want %v", shown.Mirrors, err, want)
	}
}

// TestPublishMirrorFlag: --mirror is remembered, also by a push, until it is
// taken back; and magnet links name the servers as web seeds.
func TestPublishMirrorFlag(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	publish := func(mirrors ...string) (*PublishResult, error) {
		return alice.client.Publish(t.Context(), PublishRequest{Dir: work.dir, Mirrors: mirrors}, nil)
	}
	first, err := publish("https://b.example.org/x/", "https://a.example.org/")
	if err != nil {
		t.Fatal(err)
	}
	names := func(want ...refs.Mirror) {
		t.Helper()
		s, err := alice.client.Show(t.Context(), ShowRequest{URL: first.URL}, nil)
		if err != nil || !slices.Equal(s.Mirrors, want) {
			t.Fatalf("Show names mirrors %v, %v, want %v", s.Mirrors, err, want)
		}
		for _, link := range []string{s.Magnet, s.Packs[0].Magnet} {
			u, err := neturl.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			ih := strings.TrimPrefix(u.Query().Get("xt"), "urn:btih:")
			var seeds []string
			for _, m := range want {
				seeds = append(seeds, string(m)+ih)
			}
			if !slices.Equal(u.Query()["ws"], seeds) {
				t.Errorf("%s has web seeds %q, want %q", link, u.Query()["ws"], seeds)
			}
		}
	}
	names("https://a.example.org/", "https://b.example.org/x/")
	if again := alice.publish(work); again.Changed {
		t.Errorf("Publish without news = %+v", again)
	}
	tip := work.commit("")
	if _, err := alice.client.Push(t.Context(), PushRequest{GitDir: filepath.Join(work.dir, ".git"), URL: first.URL, Updates: []RefUpdate{{Dst: "refs/heads/main", New: tip}}}, nil); err != nil {
		t.Fatal(err)
	}
	names("https://a.example.org/", "https://b.example.org/x/")
	for _, bad := range [][]string{{"https://nas.local/"}, {"http://192.168.1.2/"}, {"ftp://a.example.org/"}, {"https://a.example.org"}, {noMirrors, "https://a.example.org/"},
		{"https://a.example.org/1/", "https://a.example.org/2/", "https://a.example.org/3/", "https://a.example.org/4/", "https://a.example.org/5/"}} {
		_, err := publish(bad...)
		if e := wantCode(t, err, trust.Usage); e.Hint == "" {
			t.Errorf("--mirror %q: %+v, want a hint", bad, e)
		}
	}
	if res, err := publish(noMirrors); err != nil || !res.Changed {
		t.Errorf("--mirror none: %+v, %v", res, err)
	}
	names()
}

// What a snapshot names is never taken for what the user's config names.
func TestLearnMirrors(t *testing.T) {
	snapshot := &refs.Snapshot{Mirrors: []refs.Mirror{"http://127.0.0.1:1/", "https://a.example.org/"}}
	for _, follow := range []bool{true, false} {
		s := &swarmFetch{f: &fetching{node: &Node{config: &config{Mirrors: follow}}}, mirrors: []swarm.Mirror{{URL: "https://a.example.org/", Named: true}}}
		s.learn(snapshot)
		want := []swarm.Mirror{{URL: "https://a.example.org/", Named: true}}
		if follow {
			want = append(want, swarm.Mirror{URL: "http://127.0.0.1:1/"})
		}
		if !slices.Equal(s.mirrors, want) {
			t.Errorf("node.mirrors = %v: mirrors %v, want %v", follow, s.mirrors, want)
		}
	}
}

func TestExportFails(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	url := alice.publish(work).URL
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.client.Export(t.Context(), ExportRequest{URL: url, Dir: file}, nil); err == nil {
		t.Error("export into a file succeeds")
	}
	other := strings.Replace(url, "/tools", "/other", 1)
	_, err := alice.client.Export(t.Context(), ExportRequest{URL: other, Dir: t.TempDir()}, nil)
	if e := wantCode(t, err, trust.Usage); e.Hint == "" {
		t.Errorf("%+v, want a hint", e)
	}
}

func TestIsPublicHost(t *testing.T) {
	for host, want := range map[string]bool{
		"example.org": true, "192.0.2.1": true, "2001:db8::1": true, "nas": false, "localhost": false, "x.localhost": false,
		"nas.local": false, "10.0.0.1": false, "127.0.0.1": false, "::1": false, "fd00::1": false,
	} {
		if isPublicHost(host) != want {
			t.Errorf("isPublicHost(%s) = %v", host, !want)
		}
	}
}
