package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/testnet"
	"github.com/gitpeer/gitpeer/trust"
)

// A person is somebody with a home and a running node.
type person struct {
	t      *testing.T
	home   Home
	client *Client
	listen netip.AddrPort
	stop   func()
	env    map[string]string
	net    *testnet.Network
}

// loopback starts a DHT of real nodes on 127.0.0.1. The test runs beside
// others: most of its time it waits.
func loopback(t *testing.T) *testnet.Network {
	t.Helper()
	t.Parallel()
	return newDHT(t)
}

func newDHT(t *testing.T) *testnet.Network {
	t.Helper()
	net, err := testnet.Loopback(t.Context(), 12)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close)
	return net
}

// newPerson makes a home; its node is not running yet.
func newPerson(t *testing.T, net *testnet.Network) *person {
	t.Helper()
	dir := t.TempDir()
	p := &person{t: t, net: net, env: map[string]string{
		"GITPEER_HOME": dir, "GITPEER_LISTEN": "127.0.0.1:0", "GITPEER_BOOTSTRAP": strings.Join(net.Bootstrap(), ","),
	}}
	var err error
	if p.home, err = DefaultHome(func(k string) string { return p.env[k] }); err != nil {
		t.Fatal(err)
	}
	return p
}

// configure writes the file config.
func (p *person) configure(text string) *person {
	p.t.Helper()
	if err := os.WriteFile(p.home.configFile(), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// limited starts the node of a person again, with a limit to what it sends a
// second.
func (p *person) limited(upload string) *person {
	p.stop()
	return p.configure("[limit]\n\tupload = " + upload + "\n").start()
}

// start runs the node of a person until the test ends or p.stop.
func (p *person) start() *person {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan netip.AddrPort, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Home: p.home, Getenv: func(k string) string { return p.env[k] }, Version: "test",
			Stall: time.Minute, // a busy machine may take seconds to greet; who is connected to nobody gives up sooner
			Log:   slog.New(slog.NewTextHandler(testWriter{p.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
			Ready: func(a netip.AddrPort) { ready <- a },
		})
	}()
	p.stop = sync1(func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Errorf("node ended: %v", err)
		}
	})
	p.t.Cleanup(p.stop)
	select {
	case p.listen = <-ready:
	case err := <-ended:
		ended <- nil
		p.t.Fatalf("node did not start: %v", err)
	}
	var err error
	if p.client, err = Connect(p.t.Context(), p.home); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// isolate restarts the node of a person without any other node of the DHT: all
// of them have ended, and it has forgotten them.
func (p *person) isolate() {
	p.t.Helper()
	p.stop()
	p.net.Close()
	p.env["GITPEER_BOOTSTRAP"] = "127.0.0.1:9" // discards
	if err := os.RemoveAll(p.home.stateDir()); err != nil {
		p.t.Fatal(err)
	}
	p.start()
}

func sync1(f func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			f()
		}
	}
}

// testWriter writes a node's log into the test's.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Logf("%s", strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// publisher makes a person with a key and a work repository of n commits.
func publisher(t *testing.T, net *testnet.Network, n int) (*person, *workTree) {
	t.Helper()
	p := newPerson(t, net)
	if err := os.MkdirAll(filepath.Dir(p.home.KeyFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Generate(p.home.KeyFile(), "test"); err != nil {
		t.Fatal(err)
	}
	w := newWorkTree(t, "sha1")
	for range n {
		w.commit("")
	}
	return p.start(), w
}

// A workTree is a repository of a person's, worked on with plain git.
type workTree struct {
	t   *testing.T
	dir string
	n   int
}

func newWorkTree(t *testing.T, format string) *workTree {
	t.Helper()
	w := &workTree{t: t, dir: filepath.Join(t.TempDir(), "tools")}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.git("init", "-q", "-b", "main", "--object-format="+format)
	return w
}

// git runs git with a configuration of its own and a clock that ticks.
func (w *workTree) git(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = w.dir
	date := fmt.Sprintf("%d +0000", 1_790_000_000+w.n)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "HOME="+w.dir,
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit adds a commit that changes a file of some size, and returns its id.
func (w *workTree) commit(branch string) refs.OID {
	w.t.Helper()
	w.n++
	if branch != "" {
		w.git("checkout", "-q", "-B", branch)
	}
	lines := strings.Repeat(fmt.Sprintf("line of change %d\n", w.n), 50)
	name := filepath.Join(w.dir, fmt.Sprintf("file-%d", w.n%7))
	if err := os.WriteFile(name, []byte(lines), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.git("add", "-A")
	w.git("commit", "-q", "-m", fmt.Sprintf("change %d", w.n))
	return refs.OID(w.git("rev-parse", "HEAD"))
}

// noise commits a file of so many random bytes.
func (w *workTree) noise(name string, bytes int) {
	w.t.Helper()
	b := make([]byte, bytes)
	rand.NewChaCha8([32]byte{byte(w.n)}).Read(b)
	if err := os.WriteFile(filepath.Join(w.dir, name), b, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.commit("")
}

func (w *workTree) refs() []refs.Ref {
	w.t.Helper()
	list, err := gitcmd.Repo{Dir: filepath.Join(w.dir, ".git")}.Refs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// publish publishes a work tree and returns its URL.
func (p *person) publish(w *workTree) *PublishResult {
	p.t.Helper()
	res, err := p.client.Publish(p.t.Context(), PublishRequest{Dir: w.dir}, nil)
	if err != nil {
		p.t.Fatalf("Publish: %v", err)
	}
	return res
}

// trustPublisher lets a person fetch a repository on its publisher's word.
func (p *person) trustPublisher(url string) { p.trustRule(url, "") }

// trustPublisherWithRewind does, and lets branches go where they may.
func (p *person) trustPublisherWithRewind(url string) { p.trustRule(url, "\trewind = allow\n") }

func (p *person) trustRule(url, more string) {
	p.t.Helper()
	a, err := refs.ParseAddress(url)
	if err != nil {
		p.t.Fatal(err)
	}
	text := fmt.Sprintf("[gitpeer]\n\tversion = 1\n[repo \"tools\"]\n\turl = %s\n[rule \"tools\"]\n\trepo = tools\n\tref = refs/*\n\tmode = publisher\n\ttags = any\n%s", a, more)
	if err := os.WriteFile(filepath.Join(p.home.Config, trust.ConfigName), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) fetch(url string) *FetchResult {
	p.t.Helper()
	res, err := p.client.Fetch(p.t.Context(), FetchRequest{URL: url}, nil)
	if err != nil {
		p.t.Fatalf("Fetch: %v", err)
	}
	return res
}

// wantCode checks that an error is the node's, with that code.
func wantCode(t *testing.T, err error, code trust.Code) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want code %v", err, code)
	}
	return e
}

func TestPublishAndFetch(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 5)
	work.git("tag", "-a", "-m", "first", "v1")
	published := alice.publish(work)
	if published.Number != 1 || published.Stored == 0 || published.Refs != 2 {
		t.Errorf("Publish = %+v, want number 1, 2 refs, stored on some nodes", published)
	}

	bob := newPerson(t, net).start()
	if _, err := bob.client.Fetch(t.Context(), FetchRequest{URL: published.URL}, nil); wantCode(t, err, trust.UnknownPeer).Hint == "" {
		t.Error("refusal of an unknown publisher has no hint")
	}
	bob.trustPublisher(published.URL)
	got := bob.fetch(published.URL)
	if !slices.Equal(got.Refs, work.refs()) || got.Head != "refs/heads/main" || !got.Changed {
		t.Errorf("Fetch = %+v, want the refs %v and HEAD main", got, work.refs())
	}

	for range 10 { // incremental packs, and a level
		work.commit("")
		work.git("tag", fmt.Sprintf("t%d", work.n))
		alice.publish(work)
	}
	got = bob.fetch(published.URL)
	if !slices.Equal(got.Refs, work.refs()) || got.Number != 11 {
		t.Errorf("Fetch = %+v, want number 11 with the refs %v", got, work.refs())
	}
	fsck(t, got.Mirror)
	if again := bob.fetch(published.URL); again.Changed {
		t.Error("a fetch without news says that something changed")
	}
}

// fsck checks a mirror with git, and that its refs are all there.
func fsck(t *testing.T, dir string) {
	t.Helper()
	out, err := gitcmd.Repo{Dir: dir}.Command(t.Context(), "fsck", "--full", "--strict").CombinedOutput()
	if err != nil {
		t.Errorf("git fsck of the mirror: %v\n%s", err, out)
	}
}

// TestKeyInUseElsewhere: two computers with one key; the second must not
// overwrite what the first published, and says so before it packs anything.
func TestKeyInUseElsewhere(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	alice.publish(work)
	other := newPerson(t, net)
	if err := os.MkdirAll(filepath.Dir(other.home.KeyFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(alice.home.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other.home.KeyFile(), key, 0o600); err != nil {
		t.Fatal(err)
	}
	other.start()
	_, err = other.client.Publish(t.Context(), PublishRequest{Dir: work.dir}, nil)
	if e := wantCode(t, err, trust.Moved); e.Hint == "" {
		t.Errorf("%+v, want a hint", e)
	}
	// It can take over: what is published comes first, then its own.
	if _, err := other.client.Fetch(t.Context(), FetchRequest{URL: "gitpeer://" + mustID(t, alice) + "/tools"}, nil); err != nil {
		t.Fatalf("Fetch of an own repository from another computer: %v", err)
	}
	work.commit("")
	if res := other.publish(work); res.Number != 2 {
		t.Errorf("after the fetch, Publish made number %d, want 2", res.Number)
	}
}

// TestPublishNotOwned publishes from below a folder in which another user has
// planted a repository.
func TestPublishNotOwned(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give a folder away")
	}
	alice, work := publisher(t, loopback(t), 1)
	inner := filepath.Join(work.dir, "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{work.dir, filepath.Join(work.dir, ".git")} {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	_, err := alice.client.Publish(t.Context(), PublishRequest{Dir: inner, Name: "tools"}, nil)
	if e := wantCode(t, err, trust.Usage); !strings.Contains(e.Message, "another user") || !strings.Contains(e.Hint, "safe.directory") {
		t.Errorf("%+v, want it to say that the repository is not the user's", e)
	}
}

func mustID(t *testing.T, p *person) string {
	t.Helper()
	id, err := keys.ReadPublic(p.home.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}
