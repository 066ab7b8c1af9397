package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/testnet"
	"github.com/gitpeer/gitpeer/trust"
)

// A forger is a publisher who signs whatever it likes, with a real DHT node and
// a real torrent client, but without gitpeer's checks.
type forger struct {
	t      *testing.T
	key    keys.Signer
	addr   refs.Address
	swarm  *swarm.Node
	number uint64
	last   []byte // note
	seq    int64
}

func newForger(t *testing.T, net *testnet.Network) *forger {
	t.Helper()
	return newForgerWith(t, net, keys.FromSeed([32]byte{66}))
}

// newForgerWith makes a forger that has somebody's key.
func newForgerWith(t *testing.T, net *testnet.Network, key keys.Signer) *forger {
	t.Helper()
	f := &forger{t: t, key: key, seq: time.Now().UnixMilli()}
	f.addr = refs.Address{Publisher: f.key.ID(), Name: "tools"}
	var err error
	f.swarm, err = swarm.Listen(t.Context(), swarm.Config{Listen: "127.0.0.1:0", Bootstrap: net.Bootstrap(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.swarm.Close() })
	return f
}

// pack packs what a work tree's refs reach.
func (f *forger) pack(w *workTree) []byte {
	f.t.Helper()
	cmd := exec.Command("git", "pack-objects", "--all", "--stdout", "-q")
	cmd.Dir = w.dir
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// honest is the pack line that a pack deserves.
func (f *forger) honest(pack []byte) (refs.Pack, *swarm.Info) {
	f.t.Helper()
	h := swarm.NewHasher()
	h.Write(pack)
	info, err := h.Sum("forged.pack")
	if err != nil {
		f.t.Fatal(err)
	}
	line := refs.Pack{InfoHash: info.InfoHash(), SHA256: refs.DigestOf(pack), Bytes: int64(len(pack)), To: f.number + 1}
	if stats, err := packfile.Scan(bytes.NewReader(pack), refs.SHA1, packfile.HardLimits, nil); err == nil {
		line.Objects, line.Inflated = stats.Objects, stats.Inflated
	}
	return line, info
}

// seed serves bytes as a torrent.
func (f *forger) seed(info *swarm.Info, r io.ReaderAt) {
	f.t.Helper()
	s, err := f.swarm.Seed(info, r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Close() })
}

// snapshot is the next one, with the refs of a work tree.
func (f *forger) snapshot(list []refs.Ref, packs ...refs.Pack) *refs.Snapshot {
	s := &refs.Snapshot{
		Repository: f.addr, Number: f.number + 1, Time: time.Now().UTC().Truncate(time.Second),
		ObjectFormat: refs.SHA1, Refs: list, Packs: packs, Head: chooseHead(list),
	}
	if f.last != nil {
		s.Previous = []refs.Link{{Number: f.number, Digest: refs.DigestOf(f.last)}}
	}
	return s
}

// release signs a snapshot, seeds it and publishes its record.
func (f *forger) release(s *refs.Snapshot) {
	f.t.Helper()
	note, err := refs.Sign(s, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.releaseNote(note, s)
	f.number, f.last = s.Number, note
}

// releaseNote seeds any bytes as the note of a record, with others behind it.
func (f *forger) releaseNote(note []byte, s *refs.Snapshot, attached ...byte) {
	f.t.Helper()
	f.releaseBytes(append(refs.Compress(note), attached...), s, refs.DigestOf(note))
}

// releaseBytes seeds any bytes as the snapshot of a record.
func (f *forger) releaseBytes(parcel []byte, s *refs.Snapshot, digest refs.Digest) {
	f.t.Helper()
	h := swarm.NewHasher()
	h.Write(parcel)
	info, err := h.Sum("snapshot")
	if err != nil {
		f.t.Fatal(err)
	}
	f.seed(info, bytes.NewReader(parcel))
	r := &refs.Record{InfoHash: info.InfoHash(), Number: s.Number, Snapshot: digest,
		Signed: time.Now().UTC().Truncate(time.Second), Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	r.Head, _ = s.HeadOID()
	f.record(r)
}

// record puts a record in the DHT under the next seq.
func (f *forger) record(r *refs.Record) {
	f.t.Helper()
	f.seq++
	value, err := r.Format()
	if err != nil {
		f.t.Fatal(err)
	}
	item, err := announce.SignItem(f.key, f.addr.Salt(), f.seq, value)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(item)
}

// put stores an item on the closest nodes, and announces the forger there.
func (f *forger) put(item *announce.Item) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Minute)
	defer cancel()
	l, err := f.swarm.DHT().Lookup(ctx, f.key.ID(), f.addr.Salt())
	if err != nil {
		f.t.Fatal(err)
	}
	outcomes, err := f.swarm.DHT().Store(ctx, l.Closest, item)
	if err != nil || !slices.ContainsFunc(outcomes, announce.Outcome.Holds) {
		f.t.Fatalf("Store: %v, %v", outcomes, err)
	}
	if _, err := f.swarm.DHT().Announce(ctx, l.Closest, item.Target(), f.swarm.Addr().Port()); err != nil {
		f.t.Fatal(err)
	}
}

// victim is somebody who trusts the forger's word.
func victim(t *testing.T, net *testnet.Network, f *forger) *person {
	t.Helper()
	p := newPerson(t, net)
	p.trustPublisher(f.addr.String())
	return p.start()
}

// mirrorState is everything that a refused fetch must leave as it was: the refs
// and every file of a mirror, apart from the decision log.
func (p *person) mirrorState(a refs.Address) string {
	p.t.Helper()
	dir := p.home.Mirror(a)
	out, err := exec.Command("sh", "-c", `cd "$0" 2>/dev/null || exit 0; find . -type f ! -path ./gitpeer/log | sort | xargs -r sha256sum; find . -path './gitpeer/quarantine-*'`, dir).Output()
	if err != nil {
		p.t.Fatal(err)
	}
	return string(out)
}

// refuses checks that a fetch is refused with a code, says something that
// holds want, and changes nothing.
func (p *person) refuses(f *forger, code trust.Code, want string) {
	p.t.Helper()
	before := p.mirrorState(f.addr)
	got, err := p.client.Fetch(p.t.Context(), FetchRequest{URL: f.addr.String()}, nil)
	if err == nil {
		p.t.Fatalf("accepted %+v, want code %v", got, code)
	}
	e := wantCode(p.t, err, code)
	if !strings.Contains(e.Message, want) {
		p.t.Errorf("message %q, want it to say %q", e.Message, want)
	}
	// A first contact makes the empty mirror; nothing may be in it.
	after := p.mirrorState(f.addr)
	if before == "" && strings.Contains(after, "objects/") {
		p.t.Errorf("a refused first fetch left objects:\n%s", after)
	}
	if before != "" && after != before {
		p.t.Errorf("a refused fetch changed the mirror:\nbefore\n%s\nafter\n%s", before, after)
	}
}

// accepted publishes a work tree honestly and has the victim fetch it.
func (f *forger) accepted(p *person, w *workTree) {
	f.t.Helper()
	f.publish(w)
	p.fetch(f.addr.String())
}

// publish publishes a work tree honestly, but for the refs that are not its own.
func (f *forger) publish(w *workTree, more ...refs.Ref) {
	f.t.Helper()
	pack := f.pack(w)
	line, info := f.honest(pack)
	f.seed(info, bytes.NewReader(pack))
	f.release(f.snapshot(append(w.refs(), more...), line))
}

func TestRefusedPacks(t *testing.T) {
	net := loopback(t)
	work := newWorkTree(t, "sha1")
	work.commit("")
	work.commit("")
	for name, c := range map[string]struct {
		forge func(f *forger, pack []byte) ([]byte, func(*refs.Pack))
		want  string
	}{
		"A13 corrupt": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			pack[len(pack)/2] ^= 0x40
			return pack, func(*refs.Pack) {}
		}, ""},
		"A13 cut short": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			return pack[:len(pack)-30], func(*refs.Pack) {}
		}, ""},
		"A13 bytes after its end": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			return append(pack, "junk"...), func(*refs.Pack) {}
		}, ""},
		"A14 more inflated bytes than declared": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			return pack, func(p *refs.Pack) { p.Inflated /= 2 }
		}, "inflated bytes"},
		"A14 more objects than declared": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			return pack, func(p *refs.Pack) { p.Objects-- }
		}, "objects"},
		"another digest": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			return pack, func(p *refs.Pack) { p.SHA256[0] ^= 1 }
		}, "SHA-256"},
		"another length": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			return pack, func(p *refs.Pack) { p.Bytes++ }
		}, "bytes"},
		"A14 declared beyond all limits": {func(f *forger, pack []byte) ([]byte, func(*refs.Pack)) {
			return pack, func(p *refs.Pack) { p.Bytes = refs.MaxPackBytes }
		}, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t, net)
			f.addr.Name = refs.RepoName(strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
					return r
				}
				return '-'
			}, strings.ToLower(name)))
			bob := victim(t, net, f)
			pack, edit := c.forge(f, f.pack(work))
			line, info := f.honest(pack)
			if line.Objects == 0 { // it cannot be scanned: declare what the whole one has
				whole, _ := f.honest(f.pack(work))
				line.Objects, line.Inflated = whole.Objects, whole.Inflated
			}
			f.seed(info, bytes.NewReader(pack))
			edit(&line)
			f.release(f.snapshot(work.refs(), line))
			bob.refuses(f, trust.BadPack, c.want)
			if left, err := os.ReadDir(bob.home.incoming()); err != nil || len(left) > 0 {
				t.Errorf("a refused download is left on disk: %v, %v", left, err)
			}
		})
	}
}

func TestA15PackLacksObjects(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.accepted(bob, work)
	// The refs name commits that no pack brings.
	was := f.pack(work)
	line, info := f.honest(was)
	line.From, line.To = 1, 2
	work.commit("")
	f.seed(info, bytes.NewReader(was))
	f.release(f.snapshot(work.refs(), line))
	bob.refuses(f, trust.BadPack, "which is not there")
}

func TestA15BaseIsNotSelfContained(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	cmd := exec.Command("git", "pack-objects", "--stdout", "-q")
	cmd.Dir = work.dir
	cmd.Stdin = strings.NewReader(work.git("rev-parse", "HEAD") + "\n") // the commit without its tree
	pack, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	line, info := f.honest(pack)
	f.seed(info, bytes.NewReader(pack))
	f.release(f.snapshot(work.refs(), line))
	bob.refuses(f, trust.BadPack, "")
}

func TestA2Rollback(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.accepted(bob, work)
	old := f.last
	work.commit("")
	f.number = 1
	f.accepted(bob, work)
	// An earlier snapshot under a newer record.
	s, err := refs.Open(old, f.addr)
	if err != nil {
		t.Fatal(err)
	}
	f.releaseNote(old, s)
	bob.refuses(f, trust.Rollback, "2 was accepted before")
}

func TestA5TwoSnapshotsWithOneNumber(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.accepted(bob, work)
	s := f.snapshot(work.refs(), refs.Pack{})
	first, err := refs.Open(f.last, f.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Number, s.Previous, s.Packs, s.Time = 1, nil, first.Packs, s.Time.Add(time.Second)
	note, err := refs.Sign(s, f.key)
	if err != nil {
		t.Fatal(err)
	}
	f.releaseNote(note, s)
	bob.refuses(f, trust.Equivocation, "two snapshots")
}

func TestA7SnapshotOfAnotherRepository(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	other := *f
	other.addr.Name = "other"
	line, _ := f.honest(f.pack(work))
	s := other.snapshot(work.refs(), line)
	note, err := refs.Sign(s, f.key)
	if err != nil {
		t.Fatal(err)
	}
	f.releaseNote(note, s)
	bob.refuses(f, trust.Malformed, "")
}

func TestA3ExpiredRecord(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	f.record(&refs.Record{Number: 1, Signed: time.Now().Add(-48 * time.Hour).UTC().Truncate(time.Second),
		Expires: time.Now().Add(-time.Hour).UTC().Truncate(time.Second)})
	bob.refuses(f, trust.Stale, "expired")
}

// TestA3WithheldRecord has a reader whose policy sets max-stale meet a network
// that withholds every record: it gets no further than one that shows an old
// record.
func TestA3WithheldRecord(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.publish(work)
	parcel := refs.Compress(f.last)
	h := swarm.NewHasher()
	h.Write(parcel)
	info, err := h.Sum("snapshot")
	if err != nil {
		t.Fatal(err)
	}
	f.seed(info, bytes.NewReader(parcel))
	signed := time.Now().Add(-30 * time.Minute).UTC().Truncate(time.Second)
	r := &refs.Record{InfoHash: info.InfoHash(), Number: 1, Snapshot: refs.DigestOf(f.last), Signed: signed, Expires: signed.Add(time.Hour)}
	r.Head = work.refs()[0].OID
	f.record(r)
	bob.fetch(f.addr.String())
	conf := filepath.Join(bob.home.Config, trust.ConfigName)
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	bob.stop()
	if err := os.WriteFile(conf, []byte(strings.Replace(string(text), "[rule", "\tmax-stale = 10m\n[rule", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	bob.isolate()
	bob.refuses(f, trust.Stale, "max-stale")
}

func TestA35SnapshotOverItsLimits(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	f.releaseNote(make([]byte, refs.MaxSnapshotBytes+1), &refs.Snapshot{Number: 1})
	bob.refuses(f, trust.BadPack, "bytes")
}

// TestBranchOnATree: git would refuse it when there is no way back any more, and
// the mirror would be of no use from then on.
func TestBranchOnATree(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.publish(work, refs.Ref{Name: "refs/heads/tree", OID: refs.OID(work.git("rev-parse", "HEAD^{tree}"))})
	bob.refuses(f, trust.BadPack, "on a tree, not on a commit")
	if left, _ := filepath.Glob(filepath.Join(bob.dir(f.addr.String()), "gitpeer", "accepting")); left != nil {
		t.Errorf("%s has begun", left)
	}
}

func TestA32HostileRefNames(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	line, _ := f.honest(f.pack(work))
	note, err := refs.Sign(f.snapshot(work.refs(), line), f.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"refs/heads/../../config", "refs/heads/a b", "refs/replace/x", "refs/heads/x.lock", "refs/heads/\x1b[2J"} {
		f.releaseNote(bytes.Replace(note, []byte("refs/heads/main"), []byte(name), 2), &refs.Snapshot{Number: 1})
		// Whether name or signature is looked at first, it is refused.
		_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: f.addr.String()}, nil)
		var e *Error
		if !errors.As(err, &e) || e.Code != trust.Malformed && e.Code != trust.BadSignature {
			t.Errorf("ref %q: %v, want malformed or a bad signature", name, err)
		}
	}
}

// equivocate signs a second record with the seq of the last one, and has some
// nodes hold it.
func (f *forger) equivocate(net *testnet.Network) {
	f.t.Helper()
	rival := &refs.Record{Number: 9, Signed: time.Now().UTC().Truncate(time.Second), Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	value, err := rival.Format()
	if err != nil {
		f.t.Fatal(err)
	}
	item, err := announce.SignItem(f.key, f.addr.Salt(), f.seq, value)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := net.AddHostile(item.Target(), 3, testnet.Holds(item)); err != nil {
		f.t.Fatal(err)
	}
}

// TestA5TwoRecordsWithOneSeq has the publisher sign two records with one seq,
// which different nodes hold.
func TestA5TwoRecordsWithOneSeq(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.accepted(bob, work)
	s, err := refs.Open(f.last, f.addr)
	if err != nil {
		t.Fatal(err)
	}
	f.releaseNote(f.last, s) // a renewal, under the next seq
	f.equivocate(net)
	bob.refuses(f, trust.Equivocation, "two different records")
	kept, err := filepath.Glob(filepath.Join(bob.home.Data, "evidence", "*", "tools", "*.record"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("evidence: %v, %v, want both records", kept, err)
	}
	for _, name := range kept {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if item, err := announce.ParseItem(raw); err != nil || item.Verify() != nil || item.Seq != f.seq {
			t.Errorf("%s: %v, want a signed record with seq %d", name, err, f.seq)
		}
	}
}

// TestA2OldSeq has only nodes left that hold an older record.
func TestA2OldSeq(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.accepted(bob, work)
	m, err := openMirror(t.Context(), bob.home, f.addr)
	if err != nil {
		t.Fatal(err)
	}
	old := m.current().Item
	work.commit("")
	f.number = 1
	f.accepted(bob, work)
	before := bob.mirrorState(f.addr)
	bob.stop()
	bob.env["GITPEER_BOOTSTRAP"] = liars(t, old)
	os.RemoveAll(bob.home.stateDir())
	bob.start()
	bob.refuses(f, trust.Rollback, "")
	if after := bob.mirrorState(f.addr); after != before {
		t.Errorf("the old record changed the mirror:\n%s", after)
	}
}

// liars starts nodes that know an old record and nobody else, and tells where:
// a reader who is cut off from everybody else.
func liars(t *testing.T, old *announce.Item) string {
	t.Helper()
	net, err := testnet.Loopback(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close)
	if err := net.AddHostile(old.Target(), 4, testnet.Holds(old)); err != nil {
		t.Fatal(err)
	}
	return strings.Join(net.Liars(), ",")
}

// TestDecisionLog: what was accepted and what was refused is in the log.
func TestDecisionLog(t *testing.T) {
	net := loopback(t)
	f := newForger(t, net)
	bob := victim(t, net, f)
	work := newWorkTree(t, "sha1")
	work.commit("")
	f.accepted(bob, work)
	work.git("commit", "-q", "--amend", "-m", "another")
	pack := f.pack(work)
	line, info := f.honest(pack)
	line.From, line.To = 0, 2
	f.seed(info, bytes.NewReader(pack))
	f.release(f.snapshot(work.refs(), line))
	bob.refuses(f, trust.Moved, "no longer contains")
	file, err := os.Open(filepath.Join(bob.home.Mirror(f.addr), "gitpeer", "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var got []string
	if err := trust.ReadLog(file, func(e trust.LogEntry) error {
		got = append(got, fmt.Sprintf("%s %d", e.Action, e.Number))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"accept 1", "refuse 2"}; !slices.Equal(got, want) {
		t.Errorf("log = %q, want %q", got, want)
	}
	if _, err := bob.client.Fetch(t.Context(), FetchRequest{URL: f.addr.String(), AllowRewind: true}, nil); err != nil {
		t.Errorf("Fetch with AllowRewind: %v", err)
	}
}
