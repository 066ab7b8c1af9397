package node

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/testnet"
	"github.com/gitpeer/gitpeer/trust"
)

// follower is somebody whose node runs, trusts a publisher and has fetched what
// is published.
func follower(t *testing.T, net *testnet.Network, url string) *person {
	t.Helper()
	p := newPerson(t, net)
	p.trustPublisher(url)
	p.start()
	p.fetch(url)
	return p
}

// acceptedOnce sets up alice, who has published, and bob, who has fetched that
// and not what alice published after it.
func acceptedOnce(t *testing.T) (bob *person, work *workTree, url string, next func()) {
	t.Helper()
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	url = alice.publish(work).URL
	bob = follower(t, net, url)
	return bob, work, url, func() {
		work.commit("")
		work.git("branch", "-f", "topic/one")
		alice.publish(work)
	}
}

func (p *person) dir(url string) string {
	p.t.Helper()
	a, err := refs.ParseAddress(url)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.home.Mirror(a)
}

// TestKilledWhileAccepting breaks an acceptance at each of its later steps, the
// way a crash there would leave it, and restarts the node.
func TestKilledWhileAccepting(t *testing.T) {
	for _, blocked := range []string{"packs", "snapshots", "record", "pins"} {
		t.Run(blocked, func(t *testing.T) {
			bob, work, url, next := acceptedOnce(t)
			next()
			// A folder where the file, or a file where the folder, should be:
			// the step fails and everything after it does not happen.
			path := filepath.Join(bob.dir(url), "gitpeer", blocked)
			aside := path + ".aside"
			if err := os.Rename(path, aside); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(blocked, "s") && blocked != "pins" {
				os.WriteFile(path, nil, 0o600)
			} else {
				os.MkdirAll(filepath.Join(path, "in the way"), 0o700)
			}
			if _, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil); err == nil {
				t.Fatal("the acceptance did not fail")
			}
			bob.stop()
			os.RemoveAll(path)
			if err := os.Rename(aside, path); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(bob.dir(url), "gitpeer", "accepting")); err != nil {
				t.Fatalf("nothing to finish: %v", err)
			}
			bob.start()
			m, err := openMirror(t.Context(), bob.home, mustAddress(t, url))
			if err != nil {
				t.Fatal(err)
			}
			if got := m.current().Snapshot; got.Number != 2 || !slices.Equal(got.Refs, work.refs()) {
				t.Errorf("after the restart the mirror has number %d, want 2", got.Number)
			}
			if got := bob.fetch(url); got.Changed || !slices.Equal(got.Refs, work.refs()) {
				t.Errorf("the next fetch: %+v, want nothing new", got)
			}
			fsck(t, bob.dir(url))
		})
	}
}

func mustAddress(t *testing.T, url string) refs.Address {
	t.Helper()
	a, err := refs.ParseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestUnfinishedInOneProcess lets an acceptance fail and succeed without a
// restart in between.
func TestUnfinishedInOneProcess(t *testing.T) {
	bob, work, url, next := acceptedOnce(t)
	next()
	path := filepath.Join(bob.dir(url), "gitpeer", "pins")
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(filepath.Join(path, "in the way"), 0o700)
	if _, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil); err == nil {
		t.Fatal("the acceptance did not fail")
	}
	os.RemoveAll(path)
	if got := bob.fetch(url); got.Number != 2 || !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("Fetch = %+v, want number 2 with all refs", got)
	}
}

// TestKilledBeforeAccepting leaves a quarantine behind, as kill -9 during a
// download does.
func TestKilledBeforeAccepting(t *testing.T) {
	bob, _, url, next := acceptedOnce(t)
	before := bob.mirrorState(mustAddress(t, url))
	bob.stop()
	left := filepath.Join(bob.dir(url), "gitpeer", quarantinePrefix+"1", "pack")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(left, "tmp_pack_x"), []byte("half a pack"), 0o600)
	bob.start()
	if after := bob.mirrorState(mustAddress(t, url)); after != before {
		t.Errorf("a killed download left something behind:\n%s", after)
	}
	next()
	if got := bob.fetch(url); got.Number != 2 {
		t.Errorf("the next fetch brought number %d, want 2", got.Number)
	}
}

// TestQuarantineClearedAway leaves an acceptance whose packs were not moved yet,
// and no quarantine, which somebody has cleared away: the old state holds, and the next
// fetch works.
func TestQuarantineClearedAway(t *testing.T) {
	bob, work, url, next := acceptedOnce(t)
	next()
	m, err := openMirror(t.Context(), bob.home, mustAddress(t, url))
	if err != nil {
		t.Fatal(err)
	}
	was := m.current()
	item, err := was.Item.Format()
	if err != nil {
		t.Fatal(err)
	}
	var lost *packFile
	for _, p := range m.packs {
		lost = p
	}
	stored := lost.stored()
	stored.Pack = strings.Repeat("ab", 20)
	raw, err := json.Marshal(acceptance{Item: item, Note: was.Note, Pins: was.Pins.Format(), Quarantine: quarantinePrefix + "gone", Packs: []packJSON{stored}})
	if err != nil {
		t.Fatal(err)
	}
	bob.stop()
	if err := os.WriteFile(m.path("accepting"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	bob.start()
	if got := bob.fetch(url); got.Number != 2 || !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("Fetch = %+v, want number 2", got)
	}
}

func TestTwoFetchesAtOnce(t *testing.T) {
	bob, work, url, next := acceptedOnce(t)
	next()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
			if err != nil || !slices.Equal(got.Refs, work.refs()) {
				t.Errorf("one of four fetches at once: %v", err)
			}
		})
	}
	wg.Wait()
	fsck(t, bob.dir(url))
}

// TestInterruptedFetchChangesNothing has somebody type Ctrl-C when the snapshot
// has come, and of the pack at most a half.
func TestInterruptedFetchChangesNothing(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	alice.limited("256k")
	url := alice.publish(work).URL
	bob := follower(t, net, url)
	work.noise("noise", 512<<10)
	alice.publish(work)
	before := bob.mirrorState(mustAddress(t, url))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := bob.client.Fetch(ctx, FetchRequest{URL: url}, func(p Progress) {
		if p.Stage == "Receiving objects" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the fetch ends with %v, want it interrupted", err)
	}
	// A show waits until the node has let go of the mirror.
	if _, err := bob.client.Show(t.Context(), ShowRequest{URL: url}, nil); err != nil {
		t.Fatal(err)
	}
	if after := bob.mirrorState(mustAddress(t, url)); after != before {
		t.Errorf("an interrupted fetch changed the mirror:\nbefore\n%s\nafter\n%s", before, after)
	}
	if got := bob.fetch(url); got.Number != 2 || !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("the next fetch brought %+v, want number 2", got)
	}
	fsck(t, bob.dir(url))
}

// TestKilledAfterAccepting leaves the downloads of what was accepted, as a kill
// right after does, and of a pack that is to be repaired.
func TestKilledAfterAccepting(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	work.big()
	url := alice.publish(work).URL
	bob := follower(t, net, url)
	_, m := closedMirror(t, bob, url)
	leave := func() (list []string) {
		for _, ih := range m.accepted() {
			file := filepath.Join(bob.home.incoming(), ih.String())
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			list = append(list, file)
		}
		return list
	}
	if list := leave(); len(list) != 3 {
		t.Fatalf("accepted are %q, want a snapshot, a pack and its hint", list)
	}
	bob.start()
	bob.stop()
	if left, err := os.ReadDir(bob.home.incoming()); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v, want nothing", left, err)
	}
	leave()
	for _, p := range m.packs {
		if err := os.Remove(m.packPath(p.Hash, ".idx")); err != nil {
			t.Fatal(err)
		}
	}
	bob.start()
	if left, err := os.ReadDir(bob.home.incoming()); err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v, want what repairs the pack", left, err)
	}
}

// TestIndexingIsEnded has git index-pack ended by others, and by the pack: what
// was downloaded is kept in one case only.
func TestIndexingIsEnded(t *testing.T) {
	for script, want := range map[string]struct {
		spoilt bool
		code   trust.Code
	}{
		"kill -TERM $$": {false, trust.TryLater}, "kill -INT $$": {false, trust.TryLater}, "kill -HUP $$": {false, trust.TryLater},
		"exit 128": {true, trust.BadPack}, "kill -XCPU $$": {true, trust.BadPack},
		"echo 'fatal: write error: No space left on device' >&2; exit 128": {false, trust.TryLater},
	} {
		var said strings.Builder
		cmd := exec.Command("sh", "-c", script)
		cmd.Stderr = &said
		failed := &gitcmd.Error{Command: "index-pack", Err: cmd.Run()}
		failed.Stderr = said.String()
		err := ingestError(t.Context(), nil, failed, errSinkClosed)
		if e := wantCode(t, asError(err), want.code); e.Hint == "" || spoilt(err) != want.spoilt {
			t.Errorf("%s: %+v, and that the download is spoilt is %v, want %v", script, e, spoilt(err), want.spoilt)
		}
	}
}

func TestNoPeers(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 2)
	url := alice.publish(work).URL
	alice.stop() // the record stays in the DHT, and nobody has the packs
	bob := newPerson(t, net)
	bob.trustPublisher(url)
	bob.start()
	_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
	if e := wantCode(t, err, trust.TryLater); e.Hint == "" || !strings.Contains(e.Message, "peer") {
		t.Errorf("%+v, want it to speak of peers and say what to do", e)
	}
}

func TestOfflineGivesTheLastVerifiedState(t *testing.T) {
	bob, work, url, _ := acceptedOnce(t)
	bob.isolate()
	got := bob.fetch(url)
	if got.Stale == "" || !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("Fetch offline = %+v, want the last state, said to be stale", got)
	}
}

// TestA36OldDownloadsAreSwept leaves files of downloads that failed: a recent
// one may go on, an old one is removed when the node starts and at a fetch.
func TestA36OldDownloadsAreSwept(t *testing.T) {
	bob, _, url, next := acceptedOnce(t)
	leave := func() (old, recent string) {
		old, recent = filepath.Join(bob.home.incoming(), "old"), filepath.Join(bob.home.incoming(), "recent")
		for path, age := range map[string]time.Duration{old: keepIncoming + time.Hour, recent: keepIncoming - time.Hour} {
			when := time.Now().Add(-age)
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, when, when)); err != nil {
				t.Fatal(err)
			}
		}
		return old, recent
	}
	for what, do := range map[string]func(){
		"start": func() { bob.stop(); bob.start() },
		"fetch": func() { next(); bob.fetch(url) },
	} {
		old, recent := leave()
		do()
		if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: an old download is still there: %v", what, err)
		}
		if _, err := os.Stat(recent); err != nil {
			t.Errorf("%s: a recent download: %v", what, err)
		}
	}
}

// TestDamagedMirror takes packs of a mirror away, or cuts them off. A fetch
// brings them anew, or says what is wrong if nobody has them.
func TestDamagedMirror(t *testing.T) {
	remove := func(path string) error { return os.Remove(path) }
	for name, damage := range map[string]struct {
		ext string
		do  func(string) error
	}{
		"no pack": {".pack", remove}, "no index": {".idx", remove},
		"cut off": {".pack", func(path string) error { return errors.Join(os.Chmod(path, 0o600), os.Truncate(path, 20)) }},
	} {
		t.Run(name, func(t *testing.T) {
			bob, work, url, next := acceptedOnce(t)
			hurt := func() {
				packs, err := filepath.Glob(filepath.Join(bob.dir(url), "objects", "pack", "*"+damage.ext))
				if err != nil || len(packs) == 0 {
					t.Fatalf("no packs: %v", err)
				}
				for _, path := range packs {
					if err := damage.do(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			hurt()
			bob.fetch(url)
			fsck(t, bob.dir(url))
			hurt()
			next()
			if got := bob.fetch(url); got.Number != 2 || !slices.Equal(got.Refs, work.refs()) {
				t.Errorf("Fetch = %+v, want number 2", got)
			}
			fsck(t, bob.dir(url))
			hurt()
			bob.isolate()
			for range 2 { // it stays damaged
				res, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
				if err == nil {
					t.Fatalf("Fetch = %+v, want an error", res)
				}
				if e := wantCode(t, err, trust.TryLater); !strings.Contains(e.Message, "damaged") || e.Hint == "" {
					t.Errorf("%+v, want it to say that the mirror is damaged", e)
				}
			}
		})
	}
}

func TestUnknownName(t *testing.T) {
	net := loopback(t)
	bob := newPerson(t, net)
	url := "gitpeer://gp1eesu5gemfww0egd2s4evg2gjz8fr9slxm3wnmuxj9vydvuegu07sevhfqq/nothing"
	bob.trustPublisher(url)
	bob.start()
	_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
	if e := wantCode(t, err, trust.TryLater); e.Hint == "" {
		t.Errorf("%+v, want a hint", e)
	}
}

// Of mirrors that a killed node was making, nothing stays.
func TestUnfinishedMirrorsAreSwept(t *testing.T) {
	repos := t.TempDir()
	for _, dir := range []string{"gp1x/.new-123/objects", "gp1x/tools.git/objects"} {
		if err := os.MkdirAll(filepath.Join(repos, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweepNew(repos); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(repos, "gp1x"))
	if err != nil || len(left) != 1 || left[0].Name() != "tools.git" {
		t.Errorf("left are %v, %v, want the mirror alone", left, err)
	}
}

// TestBusyTorrent has an operation that wants a torrent which another one is
// downloading: it waits until that has ended, and then begins its own.
func TestBusyTorrent(t *testing.T) {
	sw, err := swarm.Listen(t.Context(), swarm.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer sw.Close()
	s := &swarmFetch{f: &fetching{node: &Node{swarm: sw}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := make(chan struct{})
	var once sync.Once
	go sw.Fetch(ctx, swarm.FetchRequest{InfoHash: refs.InfoHash{1}, File: filepath.Join(t.TempDir(), "x"),
		Progress: func(swarm.Progress) { once.Do(func() { close(begun) }) }})
	<-begun
	time.AfterFunc(200*time.Millisecond, cancel)
	_, err = s.fetchWhenFree(t.Context(), swarm.FetchRequest{InfoHash: refs.InfoHash{1}, File: filepath.Join(t.TempDir(), "y"), StallTimeout: 100 * time.Millisecond})
	var noPeers *swarm.NoPeersError
	if !errors.As(err, &noPeers) {
		t.Errorf("the second download: %v, want it to have looked for peers", err)
	}
	ended, cancelled := context.WithCancel(t.Context())
	cancelled()
	if _, err := s.fetchWhenFree(ended, swarm.FetchRequest{InfoHash: refs.InfoHash{2}}); err == nil {
		t.Error("under a context that has ended: no error")
	}
}
