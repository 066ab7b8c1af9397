package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/cmd/internal/gitcmd"
	"github.com/gitpeer/gitpeer/cmd/internal/packfile"
	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// A mirror is the store of one repository: see the package comment.
type mirror struct {
	addr refs.Address
	dir  string
	repo gitcmd.Repo

	op  chan struct{} // full while an operation works on the mirror: see begin
	ear chan struct{} // full while the publisher is heard as a witness: see hear

	mu         sync.Mutex // guards what follows, and the files that hold it
	state      *state     // nil until something was accepted
	packs      map[refs.InfoHash]*packFile
	unfinished bool                    // an acceptance failed half-way: it is finished before anything else
	glimpse    glimpse                 // of the newest record
	meeting    meeting                 // at the rendezvous, the last one
	waiting    int                     // how many are in begin
	giveWay    context.CancelCauseFunc // ends the backfill under way; nil if there is none
}

// current is the accepted state, nil before the first. It does not change: a
// new state is a new value.
func (m *mirror) current() *state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// pack gives a pack that the mirror holds, or nil.
func (m *mirror) pack(ih refs.InfoHash) *packFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.packs[ih]
}

// A state is what was accepted last.
type state struct {
	Item     *announce.Item
	Record   *refs.Record
	Note     []byte // the snapshot, byte for byte
	Snapshot *refs.Snapshot
	Pins     *trust.Pins

	// Until it is accepted, what came with the note: see parcel.go.
	Compressed []byte // the note in its torrent
	Attached   []byte // what follows it there, unverified
}

// A packFile is a pack that the mirror holds and can seed.
type packFile struct {
	Info   *swarm.Info
	Hash   string // of git's file name
	Header [packfile.HeaderLen]byte
	Tail   []byte // the original trailer
	To     uint64 // the snapshot that it leads to
	// Hint is the torrent of the pack's hint, in gitpeer/hints, or nil. A file
	// that is lost there is no damage: it is not seeded, that is all.
	Hint *swarm.Info
}

// packJSON is a packFile as it is stored in gitpeer/packs/<infohash>.
type packJSON struct {
	Pack   string `json:"pack"`    // names objects/pack/pack-<Pack>.pack
	Header string `json:"header"`  // hex
	Tail   string `json:"trailer"` // hex
	To     uint64 `json:"to"`
	Info   []byte `json:"info"` // bencoded info dictionary
	Hint   []byte `json:"hint,omitempty"`
}

// stored is p as it is stored.
func (p *packFile) stored() packJSON {
	j := packJSON{Pack: p.Hash, Header: hex.EncodeToString(p.Header[:]), Tail: hex.EncodeToString(p.Tail), To: p.To, Info: p.Info.Bytes()}
	if p.Hint != nil {
		j.Hint = p.Hint.Bytes()
	}
	return j
}

func parsePackFile(b []byte) (*packFile, error) {
	var j packJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, err
	}
	info, err := swarm.ParseInfo(j.Info)
	if err != nil {
		return nil, err
	}
	p := &packFile{Info: info, Hash: j.Pack, To: j.To}
	if len(j.Hint) > 0 {
		if p.Hint, err = swarm.ParseInfo(j.Hint); err != nil {
			return nil, err
		}
	}
	header, err := hex.DecodeString(j.Header)
	if err != nil || len(header) != packfile.HeaderLen {
		return nil, fmt.Errorf("pack header %q is not %d bytes of hex", j.Header, packfile.HeaderLen)
	}
	copy(p.Header[:], header)
	if p.Tail, err = hex.DecodeString(j.Tail); err != nil {
		return nil, fmt.Errorf("pack trailer: %w", err)
	}
	if _, err := hex.DecodeString(j.Pack); err != nil {
		return nil, fmt.Errorf("pack name: %w", err)
	}
	return p, nil
}

// path names something in the mirror's gitpeer folder.
func (m *mirror) path(elem ...string) string {
	return filepath.Join(append([]string{m.dir, "gitpeer"}, elem...)...)
}

func (m *mirror) packPath(hash, ext string) string {
	return filepath.Join(m.dir, "objects", "pack", "pack-"+hash+ext)
}

// openMirror opens the mirror of a repository, which may not exist yet, and
// finishes or forgets what a killed node had begun.
func openMirror(ctx context.Context, home Home, a refs.Address) (*mirror, error) {
	dir := home.Mirror(a)
	m := &mirror{addr: a, dir: dir, repo: gitcmd.Repo{Dir: dir}, op: make(chan struct{}, 1), ear: make(chan struct{}, 1), packs: map[refs.InfoHash]*packFile{}}
	if !m.repo.Exists() {
		return m, nil
	}
	if err := m.reopen(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// reopen brings the mirror, on disk and here, to a whole state.
func (m *mirror) reopen(ctx context.Context) error {
	if err := m.recover(ctx); err != nil {
		return fmt.Errorf("mirror of %s: %w", m.addr, err)
	}
	if err := m.load(); err != nil {
		return fmt.Errorf("mirror of %s: %w", m.addr, err)
	}
	m.unfinished = false
	return nil
}

// create makes the mirror on disk if it does not exist.
func (m *mirror) create(ctx context.Context, format refs.ObjectFormat) error {
	if m.repo.Exists() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.dir), 0o700); err != nil {
		return err
	}
	// Made beside its place and renamed: a folder that exists is a whole mirror.
	tmp, err := os.MkdirTemp(filepath.Dir(m.dir), newPrefix+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := gitcmd.Init(ctx, tmp, format); err != nil {
		return blameDisk(tmp, err)
	}
	for _, name := range []string{"packs", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(tmp, "gitpeer", name), 0o700); err != nil {
			return err
		}
	}
	if err := syncTree(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, m.dir); err != nil {
		return err
	}
	// The folder of the publisher may be new as well.
	return errors.Join(durable.Sync(filepath.Dir(m.dir)), durable.Sync(filepath.Dir(filepath.Dir(m.dir))))
}

// newPrefix names a mirror that is being made.
const newPrefix = ".new-"

// syncTree makes what is in a small folder durable.
func syncTree(dir string) error {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	return durable.SyncAll(paths...)
}

// sweepNew removes the mirrors that a killed node was making.
func sweepNew(repos string) error {
	left, err := filepath.Glob(filepath.Join(repos, "gp1*", newPrefix+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// load reads the accepted state.
func (m *mirror) load() error {
	st := &state{}
	raw, err := readOptional(m.path("record"))
	if err != nil || raw == nil {
		return err
	}
	if st.Item, err = announce.ParseItem(raw); err != nil {
		return fmt.Errorf("gitpeer/record: %w", err)
	}
	if st.Record, err = refs.ParseRecord(st.Item.Value); err != nil {
		return fmt.Errorf("gitpeer/record: %w", err)
	}
	kept, err := m.keptSnapshot(st.Record.Number)
	if err != nil {
		return err
	}
	st.Note, st.Snapshot = kept.note, kept.snapshot
	pins, err := os.ReadFile(m.path("pins"))
	if err != nil {
		return err
	}
	if st.Pins, err = trust.ParsePins(pins); err != nil {
		return fmt.Errorf("gitpeer/pins: %w", err)
	}
	m.state = st
	return m.loadPacks()
}

func (m *mirror) loadPacks() error {
	entries, err := os.ReadDir(m.path("packs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		raw, err := os.ReadFile(m.path("packs", e.Name()))
		if err != nil {
			return err
		}
		p, err := parsePackFile(raw)
		if err != nil {
			return fmt.Errorf("gitpeer/packs/%s: %w", e.Name(), err)
		}
		m.packs[p.Info.InfoHash()] = p
	}
	return nil
}

// view gives the original bytes of a pack; the caller closes the file.
func (m *mirror) view(p *packFile) (*packView, *lazyFile) {
	f := &lazyFile{path: m.packPath(p.Hash, ".pack")}
	return p.view(f), f
}

// view gives the original bytes of the pack out of git's file.
func (p *packFile) view(file io.ReaderAt) *packView {
	return &packView{file: file, header: p.Header, trailer: p.Tail, size: p.Info.Length()}
}

// tips are the object ids that the refs of a snapshot name, without repeats.
func tips(list []refs.Ref) []refs.OID {
	seen := make(map[refs.OID]bool, len(list))
	var oids []refs.OID
	for _, r := range list {
		if !seen[r.OID] {
			seen[r.OID] = true
			oids = append(oids, r.OID)
		}
	}
	return oids
}

// An acceptance is everything that changes when a snapshot is accepted. It is
// stored in gitpeer/accepting before the first change and removed after the
// last one, so that a killed node finishes what it began.
type acceptance struct {
	Item       []byte     `json:"item"`
	Note       []byte     `json:"note"`
	Pins       []byte     `json:"pins"`
	Quarantine string     `json:"quarantine,omitempty"` // name of the folder in gitpeer
	Packs      []packJSON `json:"packs,omitempty"`
	Compressed []byte     `json:"compressed,omitempty"` // of a new snapshot
	Attached   []byte     `json:"attached,omitempty"`   // a pack that the mirror does not hold otherwise
}

// accept makes next the accepted state. Once it has written gitpeer/accepting
// there is no way back; before, nothing has changed. A keeper may have replaced
// the record of the accepted snapshot since next was decided: see after.
func (m *mirror) accept(ctx context.Context, next *state, q *quarantine, packs []*packFile) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := next.after(m.addr, m.state)
	if err != nil {
		return err
	}
	return m.acceptLocked(ctx, next, q, packs)
}

// errOvertaken is an acceptance that would take the mirror below its floors.
var errOvertaken = errors.New("a newer state was accepted meanwhile")

// after is next as it may follow current. The floors never go back: of two
// records of one snapshot the newer stays, and anything else that is older than
// current is errOvertaken.
func (next *state) after(a refs.Address, current *state) (*state, error) {
	switch {
	case current == nil || next.Item.Seq >= current.Item.Seq && next.Snapshot.Number >= current.Snapshot.Number:
		return next, nil
	case next.Record.Snapshot == current.Record.Snapshot:
		return next.renewed(a, current.Item, current.Record), nil
	}
	return nil, errOvertaken
}

// renewed is the state with another record of its snapshot.
func (s *state) renewed(a refs.Address, item *announce.Item, record *refs.Record) *state {
	next, pins := *s, *s.Pins
	pins.Seq, pins.Value = item.Seq, received(a, &state{Item: item}).ValueDigest()
	next.Item, next.Record, next.Pins = item, record, &pins
	return &next
}

// acceptLocked is accept of a state that may follow the current one. The caller
// holds mu.
func (m *mirror) acceptLocked(ctx context.Context, next *state, q *quarantine, packs []*packFile) error {
	item, err := next.Item.Format()
	if err != nil {
		return err
	}
	a := acceptance{Item: item, Note: next.Note, Pins: next.Pins.Format(), Compressed: next.Compressed, Attached: m.keepAttached(next, packs)}
	if q != nil {
		a.Quarantine = filepath.Base(q.dir)
		// What is to be moved must still be there after a crash.
		if err := durable.SyncAll(filepath.Join(q.dir, "pack"), q.dir, m.path()); err != nil {
			return err
		}
	}
	for _, p := range packs {
		a.Packs = append(a.Packs, p.stored())
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := durable.Replace(m.path("accepting"), raw); err != nil {
		return err
	}
	// From here on the outcome is settled: a caller who gives up does not stop it.
	m.unfinished = true
	if err := m.finish(context.WithoutCancel(ctx), &a, next.Snapshot); err != nil {
		return err
	}
	m.unfinished = false
	settled := *next
	settled.Compressed, settled.Attached = nil, nil // on disk by now
	m.state = &settled
	for _, p := range packs {
		m.packs[p.Info.InfoHash()] = p
	}
	return nil
}

// replaceItem makes a newer record of the accepted snapshot durable: a renewal.
// One that is not newer, or says something else, is left aside. An operation
// may accept a state at the same time, so what is replaced is looked at under
// the lock.
func (m *mirror) replaceItem(ctx context.Context, item *announce.Item) error {
	record, err := refs.ParseRecord(item.Value)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unfinished {
		if err := m.reopen(ctx); err != nil {
			return err
		}
	}
	old := m.state
	if old == nil || item.Seq <= old.Item.Seq || record.Snapshot != old.Record.Snapshot {
		return nil
	}
	return m.acceptLocked(ctx, old.renewed(m.addr, item, record), nil, nil)
}

// finish carries an acceptance out, of this snapshot. Each step can be done again.
func (m *mirror) finish(ctx context.Context, a *acceptance, snapshot *refs.Snapshot) error {
	var beside []durable.File // the packs
	for _, j := range a.Packs {
		files, err := m.movePack(m.path(a.Quarantine), j)
		if err != nil {
			return err
		}
		beside = append(beside, files...)
	}
	if err := durable.ReplaceAll(beside); err != nil { // and the names of the packs
		return err
	}
	if err := m.repo.SetRefs(ctx, snapshot.Refs); err != nil {
		return blameDisk(m.dir, err)
	}
	if snapshot.Head != "" {
		if err := m.repo.SetHead(ctx, snapshot.Head); err != nil {
			return blameDisk(m.dir, err)
		}
	}
	var files []durable.File
	for _, f := range []durable.File{
		{Path: m.parcelPath(snapshot.Number) + attachedSuffix, Data: a.Attached},
		{Path: m.parcelPath(snapshot.Number), Data: a.Compressed},
		{Path: m.path("record"), Data: a.Item},
		{Path: m.path("pins"), Data: a.Pins},
	} {
		if len(f.Data) > 0 { // else there already, or not there at all
			files = append(files, f)
		}
	}
	if err := durable.ReplaceAll(files); err != nil {
		return err
	}
	if err := os.Remove(m.path("accepting")); err != nil {
		return err
	}
	if a.Quarantine != "" {
		os.RemoveAll(m.path(a.Quarantine))
	}
	return durable.Sync(m.path())
}

// errPackLost means that a pack which was to be accepted is in no quarantine
// any more: somebody has cleared it away.
var errPackLost = errors.New("a pack has gone from the quarantine")

// movePack gives a pack of a quarantine its place among the mirror's objects:
// the .idx last, for git takes a pack to be there once it sees that. It returns
// what is to be written beside the pack, which makes its names durable.
func (m *mirror) movePack(quarantine string, j packJSON) ([]durable.File, error) {
	p, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	file, err := parsePackFile(p)
	if err != nil {
		return nil, err
	}
	for _, ext := range []string{".pack", ".rev", ".idx"} {
		err := linkFile(filepath.Join(quarantine, "pack", "pack-"+file.Hash+ext), m.packPath(file.Hash, ext))
		if errors.Is(err, fs.ErrNotExist) && ext == ".rev" {
			continue // older versions of git write none
		}
		if errors.Is(err, fs.ErrNotExist) {
			if _, there := os.Stat(m.packPath(file.Hash, ext)); there == nil {
				continue // moved before the node was killed
			}
			return nil, errPackLost
		}
		if err != nil {
			return nil, err
		}
	}
	if err := m.moveHint(quarantine, file); err != nil {
		return nil, err
	}
	return []durable.File{
		{Path: m.packPath(file.Hash, ".keep")}, // empty: a file with a word in it takes a whole block
		{Path: m.path("packs", file.Info.InfoHash().String()), Data: p},
	}, nil
}

// moveHint gives the hint of a pack its place in the mirror, if there is one.
func (m *mirror) moveHint(quarantine string, p *packFile) error {
	if p.Hint == nil {
		return nil
	}
	if err := os.MkdirAll(m.path("hints"), 0o700); err != nil {
		return err
	}
	err := linkFile(filepath.Join(quarantine, hintName(p.Hint)), m.hintPath(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // moved before, or lost
	}
	return err
}

// hintPath is where the mirror keeps the hint of a pack that has one.
func (m *mirror) hintPath(p *packFile) string { return m.path("hints", p.Hint.InfoHash().String()) }

// recover finishes an acceptance that was begun, and clears quarantines that
// nobody will come back to.
func (m *mirror) recover(ctx context.Context) error {
	raw, err := readOptional(m.path("accepting"))
	if err != nil {
		return err
	}
	if raw != nil {
		var a acceptance
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("gitpeer/accepting: %w", err)
		}
		if err := m.repo.Unlock(); err != nil {
			return err
		}
		snapshot, err := refs.Open(a.Note, m.addr)
		if err != nil {
			return fmt.Errorf("gitpeer/accepting: %w", err)
		}
		err = m.finish(ctx, &a, snapshot)
		var tip *gitcmd.TipError
		if errors.Is(err, errPackLost) || err != nil && errors.As(m.repo.CheckTips(ctx, snapshot.Refs), &tip) { // the refs move after the packs: the old state is whole
			err = os.Remove(m.path("accepting"))
		}
		if err != nil {
			return err
		}
	}
	left, err := filepath.Glob(m.path(quarantinePrefix + "*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// prune removes snapshots that readers hardly ask for any more.
func (m *mirror) prune() error {
	entries, err := os.ReadDir(m.path("snapshots"))
	if err != nil {
		return err
	}
	newest := m.current().Snapshot.Number
	for _, e := range entries {
		k, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), attachedSuffix), 10, 64)
		if err != nil || k+keepSnapshots > newest {
			continue
		}
		if err := os.Remove(m.path("snapshots", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// keepSnapshots is how many of the newest snapshots are kept, and seeded for
// readers who hold a record that is not the newest.
const keepSnapshots = 8
