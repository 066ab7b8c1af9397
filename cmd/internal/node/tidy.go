package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/keys/durable"
	"github.com/gitpeer/gitpeer/refs"
)

// Packs leave the list of a snapshot: a longer one stands for them. A mirror
// that followed holds hundreds of them after as many publications, each with an
// index, and with bases that the next one has too. Tidying takes away those that
// have been off the list for a while. Which objects lie where is read from the
// indexes: what is in no other pack is first packed into one of the mirror's own,
// which nobody is served. So every object stays, reached by a ref or not.

const (
	// retireAfter is how long a pack is kept once it has left the list: whoever
	// was downloading it then has finished, or has looked at the list again.
	retireAfter = time.Hour
	// tidyEvery is how often the node looks.
	tidyEvery = 20 * time.Minute
	// tidyAtLeast is how many packs are worth packing together.
	tidyAtLeast = 16
	// tidyFactor bounds what is packed again and again: an own pack that has more
	// bytes than so many times those of the packs to remove stays as it is.
	tidyFactor = 4
)

// tidyAll tidies the mirrors now and then, until ctx ends.
func (n *Node) tidyAll(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		n.mu.Lock()
		mirrors := slices.Collect(maps.Values(n.mirrors))
		n.mu.Unlock()
		for _, m := range mirrors {
			if err := n.tidy(ctx, m, time.Now()); err != nil && ctx.Err() == nil {
				n.log.Warn("a mirror could not be tidied", "repository", m.addr.String(), "error", err)
			}
			n.filler.want(m)
		}
	}
}

// tidy removes the packs of a mirror that have been off the list for a while.
func (n *Node) tidy(ctx context.Context, m *mirror, now time.Time) error {
	end, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if m.current() == nil {
		return nil
	}
	ripe, err := m.ripe(now)
	if err != nil || len(ripe) == 0 {
		return err
	}
	t, err := m.newTidying(ripe)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.repack(ctx); err != nil {
		return err
	}
	return t.remove(n)
}

// ripe lists the packs that have been off the list for long enough, and notes
// since when the others have.
func (m *mirror) ripe(now time.Time) ([]*packFile, error) {
	was := map[refs.InfoHash]time.Time{}
	raw, err := readOptional(m.path("retired"))
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, &was)
	}
	if err != nil {
		return nil, fmt.Errorf("gitpeer/retired: %w", err)
	}
	needed := m.needed()
	since := map[refs.InfoHash]time.Time{}
	var ripe []*packFile
	m.mu.Lock()
	defer m.mu.Unlock()
	for ih, p := range m.packs {
		if needed[ih] {
			continue
		}
		at, ok := was[ih]
		if !ok || at.After(now) {
			at = now.UTC().Truncate(time.Second)
		}
		since[ih] = at
		if now.Sub(at) >= retireAfter {
			ripe = append(ripe, p)
		}
	}
	if maps.EqualFunc(was, since, time.Time.Equal) {
		return ripe, nil
	}
	if raw, err = json.Marshal(since); err != nil {
		return nil, err
	}
	return ripe, durable.Replace(m.path("retired"), raw)
}

// needed are the packs that the list names, and those that travel with the
// snapshots that are kept.
func (m *mirror) needed() map[refs.InfoHash]bool {
	s := m.current().Snapshot
	needed := map[refs.InfoHash]bool{}
	for _, line := range s.Packs {
		needed[line.InfoHash] = true
	}
	for number := s.Number; number > 0 && number+keepSnapshots > s.Number; number-- {
		old, err := m.keptSnapshot(number)
		if err != nil {
			continue
		}
		if line, ok := old.snapshot.Attached(); ok {
			needed[line.InfoHash] = true
		}
	}
	return needed
}

// A tidying is one removal of packs.
type tidying struct {
	mirror  *mirror
	ripe    []*packFile
	names   []string // names (hashes) of the packs to remove
	stay    []*packIndex
	leave   []*packIndex // of names, in the same order
	rest    []string     // own packs among them
	missing []refs.OID   // objects of leave that are not in stay
}

// newTidying compares the indexes. Packs that the node was killed in the middle
// of removing are own packs then: nobody is served them.
func (m *mirror) newTidying(ripe []*packFile) (t *tidying, err error) {
	t = &tidying{mirror: m, ripe: ripe}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	going, held := map[string]bool{}, map[string]bool{}
	for _, p := range ripe {
		going[p.Hash] = true
	}
	m.mu.Lock()
	for _, p := range m.packs {
		held[p.Hash] = true
		if going[p.Hash] && !slices.Contains(ripe, p) {
			delete(going, p.Hash) // one file may be several packs
		}
	}
	m.mu.Unlock()
	names, err := m.packNames()
	if err != nil {
		return nil, err
	}
	var bytes int64
	for name := range going {
		size, err := fileSize(m.packPath(name, ".pack"))
		if err != nil {
			return nil, err
		}
		bytes += size
	}
	for _, name := range names {
		if held[name] {
			continue
		}
		if size, err := fileSize(m.packPath(name, ".pack")); err != nil {
			return nil, err
		} else if size <= tidyFactor*bytes {
			going[name] = true
			t.rest = append(t.rest, name)
		}
	}
	format := m.current().Snapshot.ObjectFormat
	for _, name := range names {
		index, err := openPackIndex(m.packPath(name, ".idx"), format)
		if err != nil {
			return nil, err
		}
		if going[name] {
			t.leave, t.names = append(t.leave, index), append(t.names, name)
		} else {
			t.stay = append(t.stay, index)
		}
	}
	t.missing, err = t.lost()
	return t, err
}

// packNames lists the packs in the mirror's object directory.
func (m *mirror) packNames() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(m.dir, "objects", "pack"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".idx"); ok {
			names = append(names, strings.TrimPrefix(name, "pack-"))
		}
	}
	return names, nil
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// lost lists the objects of the packs to remove that are in no pack that stays.
func (t *tidying) lost() ([]refs.OID, error) {
	seen := map[refs.OID]bool{}
	var lost []refs.OID
	for _, index := range t.leave {
		err := index.each(func(oid []byte) error {
			for _, other := range t.stay {
				if has, err := other.has(oid); has || err != nil {
					return err
				}
			}
			if text := refs.OID(fmt.Sprintf("%x", oid)); !seen[text] {
				seen[text] = true
				lost = append(lost, text)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return lost, nil
}

// repack packs what would be lost. Where that is not worth it yet, only the
// packs that nothing would be lost with are removed.
func (t *tidying) repack(ctx context.Context) error {
	m := t.mirror
	if len(t.missing) == 0 {
		return nil
	}
	if len(t.names)-len(t.rest) < tidyAtLeast {
		return t.spare()
	}
	q, err := m.newQuarantine()
	if err != nil {
		return err
	}
	defer q.remove()
	name, err := q.repo.Repack(ctx, t.missing, filepath.Join(q.dir, "pack", "pack"))
	if err != nil {
		return err
	}
	for _, ext := range []string{".pack", ".rev", ".idx"} { // the .idx last, see movePack
		err := linkFile(filepath.Join(q.dir, "pack", "pack-"+name+ext), m.packPath(name, ext))
		if err != nil && (ext != ".rev" || !absent(err)) {
			return err
		}
	}
	if err := durable.Replace(m.packPath(name, ".keep"), []byte("objects of packs that gitpeer seeds no more\n")); err != nil {
		return err
	}
	index, err := openPackIndex(m.packPath(name, ".idx"), m.current().Snapshot.ObjectFormat)
	if err != nil {
		return err
	}
	t.stay = append(t.stay, index)
	t.names = slices.DeleteFunc(t.names, func(old string) bool { return old == name }) // packed just as before
	if t.missing, err = t.lost(); err != nil {
		return err
	}
	if len(t.missing) > 0 {
		return fmt.Errorf("%d objects, such as %s, are not in the pack that was made of them", len(t.missing), t.missing[0])
	}
	return nil
}

// spare leaves those packs alone without which an object would be lost.
func (t *tidying) spare() error {
	var names []string
	var leave []*packIndex
	for i, index := range t.leave {
		one := &tidying{leave: []*packIndex{index}, stay: t.stay}
		lost, err := one.lost()
		if err != nil {
			return err
		}
		if len(lost) == 0 {
			names, leave = append(names, t.names[i]), append(leave, index)
			continue
		}
		t.stay = append(t.stay, index)
	}
	t.names, t.leave = names, leave
	return nil
}

// remove removes the packs. First nobody is served them and the node forgets
// them: what a crash leaves is an own pack, or a file that git does not look at.
func (t *tidying) remove(n *Node) error {
	m := t.mirror
	gone := map[string]bool{}
	for _, name := range t.names {
		gone[name] = true
	}
	for _, p := range t.ripe {
		if !gone[p.Hash] {
			continue
		}
		if err := n.unseed(m, p.Info.InfoHash()); err != nil {
			return err
		}
		if err := os.Remove(m.path("packs", p.Info.InfoHash().String())); err != nil && !absent(err) {
			return err
		}
		if p.Hint != nil {
			os.Remove(m.hintPath(p)) // whose seeding ended when it left the list
		}
		m.mu.Lock()
		delete(m.packs, p.Info.InfoHash())
		m.mu.Unlock()
	}
	if err := durable.Sync(m.path("packs")); err != nil {
		return err
	}
	var errs []error
	for name := range gone {
		for _, ext := range []string{".idx", ".rev", ".keep", ".pack"} {
			if err := os.Remove(m.packPath(name, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, m.sweepPacks())...)
}

// sweepPacks removes files of packs that have no index: half removed, or half
// moved in by a node that was killed. The caller has the mirror's operation.
func (m *mirror) sweepPacks() error {
	held := map[string]bool{}
	m.mu.Lock()
	for _, p := range m.packs {
		held["pack-"+p.Hash] = true // what is wrong with these, a fetch repairs
	}
	m.mu.Unlock()
	dir := filepath.Join(m.dir, "objects", "pack")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		base, ext := strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), filepath.Ext(e.Name())
		if ext == ".idx" || held[base] || !strings.HasPrefix(base, "pack-") {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, base+".idx")); absent(err) {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (t *tidying) close() {
	for _, index := range append(t.stay, t.leave...) {
		index.Close()
	}
}
