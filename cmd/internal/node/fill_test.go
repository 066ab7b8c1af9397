package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/testnet"
)

// listed are the packs that a publisher lists now.
func (p *person) listed(url string) []refs.Pack {
	p.t.Helper()
	res, err := p.client.Show(p.t.Context(), ShowRequest{URL: url}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	packs := make([]refs.Pack, len(res.Packs))
	for i, l := range res.Packs {
		packs[i] = refs.Pack{InfoHash: l.InfoHash, Bytes: l.Bytes, From: l.From, To: l.To}
	}
	return packs
}

// awaitPacks waits until a node holds so many packs of a list.
func (p *person) awaitPacks(want int) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(2 * time.Minute); ; {
		s, err := p.client.Status(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		if len(s.Repos) == 1 && s.Repos[0].Packs >= want {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("%+v, want %d packs", s.Repos, want)
		}
	}
}

// TestFollowerServesNewcomers has a follower take each publication by itself,
// until longer packs stand for most; with the publisher away, and the follower's
// mirror tidied, a newcomer gets all from the follower.
func TestFollowerServesNewcomers(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	url := alice.publish(work).URL
	bob := follower(t, net, url)
	for range 17 {
		work.commit("")
		alice.publish(work)
		bob.fetch(url)
	}
	packs := alice.listed(url)
	needless := func(p refs.Pack) bool { return p.To > 1 && p.To-p.From > 1 }
	if _, err := refs.Cover(slices.DeleteFunc(slices.Clone(packs), needless), 0, 18); !errors.Is(err, refs.ErrNoCover) {
		t.Fatalf("what a follower needs leads a newcomer to 18 (%v): nothing is tested", err)
	}
	increments := slices.DeleteFunc(slices.Clone(packs), func(p refs.Pack) bool { return p.From == 0 })
	bob.awaitPacks(len(increments) + 1)
	alice.stop()

	n, m := closedMirror(t, bob, url)
	was := everything(t, m.dir)
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(2 * retireAfter)} {
		if err := n.tidy(t.Context(), m, at); err != nil {
			t.Fatal(err)
		}
	}
	if ripe, err := m.ripe(now.Add(2 * retireAfter)); err != nil || len(ripe) > 0 {
		t.Errorf("%d packs are off the list, and tidying left them: %v", len(ripe), err)
	}
	if everything(t, m.dir) != was {
		t.Error("tidying changed which objects there are")
	}
	fsck(t, m.dir)

	bob.start()
	carol := newPerson(t, net)
	carol.trustPublisher(url)
	carol.start()
	got, err := carol.client.Fetch(t.Context(), FetchRequest{URL: url, Peers: []string{bob.listen.String()}}, nil)
	if err != nil {
		t.Fatalf("a clone from the follower alone: %v", err)
	}
	if got.Number != 18 || !slices.Equal(got.Refs, work.refs()) {
		t.Errorf("Fetch = %+v, want number 18 with the refs %v", got, work.refs())
	}
	fsck(t, got.Mirror)
}

// idle gives a person's node and mirror with nothing running that would fill it.
func idle(t *testing.T, net *testnet.Network, p *person, a refs.Address) (*Node, *mirror) {
	t.Helper()
	p.stop()
	sw, err := swarm.Listen(t.Context(), swarm.Config{Listen: "127.0.0.1:0", Bootstrap: net.Bootstrap(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sw.Close() })
	m, err := openMirror(t.Context(), p.home, a)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{
		opts: Options{Stall: time.Minute}, home: p.home, config: &config{Seed: true}, log: slog.New(slog.NewTextHandler(testWriter{t}, nil)), ctx: t.Context(), swarm: sw,
		mirrors: map[refs.Address]*mirror{a: m}, seeds: map[refs.Address]*seeding{},
	}
	n.keeper = announce.NewKeeper(sw.DHT(), announce.KeeperHooks{})
	n.filler = newFiller(n)
	return n, m
}

// increment packs what a branch has beyond what it had before.
func (f *forger) increment(w *workTree, revs string) []byte {
	f.t.Helper()
	cmd := exec.Command("git", "pack-objects", "--revs", "--stdout", "-q")
	cmd.Dir, cmd.Stdin = w.dir, strings.NewReader(revs)
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// TestBackfillFails lists packs that a reader does not need, and of which not
// one is what it should be: the mirror stays as it was, to the byte.
func TestBackfillFails(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	w := newWorkTree(t, "sha1")
	w.big()
	whole := f.pack(w)
	base, info := f.honest(whole)
	f.seed(info, bytes.NewReader(whole))
	f.release(f.snapshot(w.refs(), base))
	bob := newPerson(t, net).configure("[node]\n\tseed = false\n")
	bob.trustPublisher(f.addr.String())
	bob.start()
	bob.fetch(f.addr.String())

	w.commit("")
	f.release(f.snapshot(w.refs(), base)) // numbers 2 and 3 are fetched by nobody
	f.release(f.snapshot(w.refs(), base))
	packs := append(f.liars(), base, f.step(w))
	slices.SortFunc(packs, func(p, q refs.Pack) int { return cmp.Or(cmp.Compare(p.From, q.From), cmp.Compare(p.To, q.To)) })
	f.release(f.snapshot(w.refs(), packs...))
	if got := bob.fetch(f.addr.String()); got.Number != 4 {
		t.Fatalf("number %d, want 4", got.Number)
	}

	n, m := idle(t, net, bob, f.addr)
	n.stopped = map[refs.Address]string{f.addr: "for this test"}
	if err := n.filler.fill(t.Context(), m); err != nil {
		t.Errorf("backfill of a repository that is not served: %v", err)
	}
	n.stopped = nil
	before := bob.mirrorState(f.addr)
	all := m.current()
	m.state = all.without(refs.Range{From: 2, To: 4}) // who waits for it waits long
	for range maxRefusals {
		err := n.filler.fill(t.Context(), m)
		for _, want := range []string{"the snapshot says", "are allowed", "pack is refused"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("fill: %v, want %q", err, want)
			}
		}
	}
	// What was refused so often is not fetched again; what nobody has is looked for.
	m.state, n.opts.Stall = all, time.Second
	err := n.filler.fill(t.Context(), m)
	if _, absent := absentTorrent(err); spoilt(err) || !absent {
		t.Errorf("fill after %d refusals: %v, want only that nobody has a pack", maxRefusals, err)
	}
	if after := bob.mirrorState(f.addr); after != before {
		t.Errorf("backfills that failed changed the mirror:\nbefore\n%s\nafter\n%s", before, after)
	}
	// There is more than seed.size already.
	n.config.Policy.Size = 1
	if room, err := n.fillRoom(m); err != nil || room > 0 {
		t.Errorf("room for %d bytes, %v, want none", room, err)
	}
	if err := n.filler.fill(t.Context(), m); err != nil {
		t.Errorf("backfill of more than may be served: %v, want none", err)
	}
}

// without is a state whose list lacks the pack of a range.
func (st *state) without(r refs.Range) *state {
	less, s := *st, *st.Snapshot
	s.Packs = slices.DeleteFunc(slices.Clone(s.Packs), func(p refs.Pack) bool { return p.Range() == r })
	less.Snapshot = &s
	return &less
}

// step is an honest pack from number 1 to 4 with the last commit of a work tree.
func (f *forger) step(w *workTree) refs.Pack {
	pack := f.increment(w, "main\n^main~1\n")
	line, info := f.honest(pack)
	f.seed(info, bytes.NewReader(pack))
	line.From, line.To = 1, 4
	return line
}

// liars are packs that nobody needs, each wrong in its own way, and larger than
// an honest step.
func (f *forger) liars() []refs.Pack {
	w := newWorkTree(f.t, "sha1")
	for range 9 {
		w.commit("")
	}
	var lines []refs.Pack
	for _, c := range []struct {
		at   refs.Range
		pack []byte
		lie  func(*refs.Pack)
		lost bool
	}{
		{refs.Range{From: 1, To: 2}, bytes.Repeat([]byte("no pack "), 200), func(p *refs.Pack) { p.Objects, p.Inflated = 1, 1 }, false},
		{refs.Range{From: 1, To: 3}, f.increment(w, "main\n"), func(p *refs.Pack) { p.SHA256[0] ^= 1 }, false},
		{refs.Range{From: 2, To: 3}, f.increment(w, "main~1\n"), func(p *refs.Pack) { p.Inflated-- }, false},
		{refs.Range{From: 2, To: 4}, f.increment(w, "main~2\n"), func(*refs.Pack) {}, true},
	} {
		line, info := f.honest(c.pack)
		line.From, line.To = c.at.From, c.at.To
		c.lie(&line)
		if !c.lost {
			f.seed(info, bytes.NewReader(c.pack))
		}
		lines = append(lines, line)
	}
	return lines
}

// TestBackfillGivesWay has an operation wait for a mirror that is being filled.
func TestBackfillGivesWay(t *testing.T) {
	m := &mirror{op: make(chan struct{}, 1)}
	ctx, end, ok := m.beginIdle(t.Context())
	if !ok {
		t.Fatal("a mirror on which nobody works is not idle")
	}
	if _, _, ok := m.beginIdle(t.Context()); ok {
		t.Error("two backfills at once")
	}
	begun := make(chan func())
	go func() {
		end, err := m.begin(t.Context())
		if err != nil {
			t.Error(err)
		}
		begun <- end
	}()
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, errGivesWay) {
		t.Errorf("the backfill ends with %v, want %v", err, errGivesWay)
	}
	end()
	end = <-begun
	if _, _, ok := m.beginIdle(t.Context()); ok {
		t.Error("a backfill beside another operation")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.begin(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("begin = %v, want that it was cancelled", err)
	}
	end()
	if m.waiting != 0 {
		t.Errorf("%d wait, want nobody", m.waiting)
	}
	m.unfinished = true
	if _, _, ok := m.beginIdle(t.Context()); ok {
		t.Error("a backfill before what was begun is finished")
	}
}
