package node

import (
	"errors"
	"io/fs"
	"os"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/trust"
)

// damaged lists the packs of a mirror that are no longer whole: somebody has
// removed files, or cut them off. Their content is not read.
func (m *mirror) damaged() ([]*packFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*packFile
	for _, p := range m.packs {
		pack, err := os.Stat(m.packPath(p.Hash, ".pack"))
		if err == nil && pack.Size() >= p.Info.Length() { // git's is longer by the bases of a thin pack
			_, err = os.Stat(m.packPath(p.Hash, ".idx"))
		} else if err == nil {
			err = fs.ErrNotExist
		}
		if errors.Is(err, fs.ErrNotExist) {
			list = append(list, p)
		} else if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// repair prepares a fetch to bring everything anew where packs are damaged:
// what is left of those must be neither seeded nor in the way. Until it is
// done, the mirror goes on being damaged.
func (f *fetching) repair() error {
	var err error
	if f.damaged, err = f.mirror.damaged(); err != nil || len(f.damaged) == 0 {
		return err
	}
	f.progress(Progress{Note: f.damage() + "; fetching everything again", Warning: true})
	for _, p := range f.damaged {
		if err := f.node.unseed(f.mirror, p.Info.InfoHash()); err != nil {
			return err
		}
		for _, ext := range []string{".idx", ".rev", ".pack"} { // git goes by the .idx
			if err := os.Remove(f.mirror.packPath(p.Hash, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// repaired forgets the damaged packs that nobody lists any more: what they held
// has come in others.
func (f *fetching) repaired() error {
	if len(f.damaged) == 0 {
		return nil
	}
	lost, err := f.mirror.damaged()
	if err != nil {
		return err
	}
	f.mirror.mu.Lock()
	defer f.mirror.mu.Unlock()
	for _, p := range lost {
		if err := os.Remove(f.mirror.path("packs", p.Info.InfoHash().String())); err != nil {
			return err
		}
		if p.Hint != nil {
			os.Remove(f.mirror.hintPath(p)) // nobody asks for it any more
		}
		delete(f.mirror.packs, p.Info.InfoHash())
	}
	f.damaged = nil
	return nil
}

// damage says what is wrong with the mirror.
func (f *fetching) damage() string {
	return "the mirror " + f.mirror.dir + " is damaged: pack-" + f.damaged[0].Hash + ".pack or its index is missing or cut off"
}

// unrepaired is the failure to bring anew what a damaged mirror lacks.
func (f *fetching) unrepaired(cause error) error {
	return errorf(trust.TryLater, "try again when somebody seeds it, or restore the file", "%s, and cannot be repaired now: %v", f.damage(), cause)
}

// unseed stops serving a pack.
func (n *Node) unseed(m *mirror, ih refs.InfoHash) error {
	s := n.seeding(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torrents[ih] == nil {
		return nil
	}
	return s.drop(n, ih)
}
