package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/trust"
)

// webMirrors are the web servers of an own repository that its snapshots name:
// those that were chosen when publishing, and those of the configuration, except
// where only this network can reach them.
func (n *Node) webMirrors(a refs.Address, chosen publishSettings) ([]refs.Mirror, error) {
	list := slices.Clone(chosen.Mirrors)
	for _, m := range n.config.repo(a).Mirrors {
		if isPublicHost(m.Host()) {
			list = append(list, m)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) > refs.MaxMirrors {
		return nil, errorf(trust.Usage, "gitpeer publish --mirror URL    # with fewer, or fewer in config", "%s has %d web mirrors, more than %d", a, len(list), refs.MaxMirrors)
	}
	return list, nil
}

// isPublicHost reports whether a host can be one of the Internet's, as far as
// its name says.
func isPublicHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsGlobalUnicast() && !a.IsPrivate()
	}
	for _, local := range []string{"localhost", "local", "internal", "lan", "home.arpa"} {
		if host == local || strings.HasSuffix(host, "."+local) {
			return false
		}
	}
	return strings.Contains(host, ".")
}

// export writes what a web server needs to serve the accepted state of a
// repository into a folder: for each torrent its file, named by the infohash,
// and its torrent file. Files that are there stay; several repositories may
// share a folder.
func (n *Node) export(ctx context.Context, req ExportRequest, progress ProgressFunc) (*ExportResult, error) {
	a, _, err := n.address(req.URL)
	if err != nil {
		return nil, err
	}
	m, err := n.mirror(ctx, a)
	if err != nil {
		return nil, err
	}
	st := m.current()
	if st == nil {
		return nil, errorf(trust.Usage, "git ls-remote "+a.String()+"    # fetches it", "there is nothing of %s here", a)
	}
	if err := os.MkdirAll(req.Dir, 0o755); err != nil {
		return nil, errorf(trust.Usage, "gitpeer export-static URL DIR    # a folder that you can write to", "%v", err)
	}
	e := &exporter{dir: req.Dir, progress: progress}
	if e.mirrors, err = n.exportMirrors(m, st.Snapshot); err != nil {
		return nil, err
	}
	res := &ExportResult{URL: a.String(), Dir: req.Dir, Number: st.Snapshot.Number, Listed: len(st.Snapshot.Packs)}
	for i, line := range st.Snapshot.Packs {
		p := m.pack(line.InfoHash)
		if p == nil {
			continue // this reader had no need of it
		}
		view, file := m.view(p)
		err := e.add(ctx, p.Info, packSource{view, file}, fmt.Sprintf("Writing pack %d/%d", i+1, len(st.Snapshot.Packs)))
		if err == nil && p.Hint != nil {
			err = e.addHint(ctx, m, p)
		}
		if err != nil {
			return nil, err
		}
		res.Packs++
	}
	// The snapshot last: whoever sees it finds its packs.
	parcel, err := m.parcel(st.Snapshot.Number)
	if err != nil {
		return nil, err
	}
	if err := e.add(ctx, parcel.Info, parcel, "Writing the snapshot"); err != nil {
		return nil, err
	}
	res.Files, res.Bytes = e.files, e.bytes
	return res, nil
}

// exportMirrors are the web servers that torrent files name: all that are known
// here, also where only this network can reach them.
func (n *Node) exportMirrors(m *mirror, s *refs.Snapshot) ([]refs.Mirror, error) {
	chosen, err := m.settings()
	list := slices.Concat(n.config.repo(m.addr).Mirrors, chosen.Mirrors, s.Mirrors)
	slices.Sort(list)
	return slices.Compact(list), err
}

// An exporter writes torrents into a folder.
type exporter struct {
	dir      string
	mirrors  []refs.Mirror
	progress ProgressFunc
	files    int
	bytes    int64
}

// add writes one torrent and closes its source.
func (e *exporter) add(ctx context.Context, info *swarm.Info, src swarm.Source, stage string) error {
	defer src.Close()
	ih := info.InfoHash()
	data := &contextReader{ctx, io.NewSectionReader(src, 0, info.Length())}
	if err := e.write(ih.String(), info.Length(), io.TeeReader(data, &progressWriter{report: e.progress, stage: stage})); err != nil {
		return err
	}
	var urls []string
	for _, m := range e.mirrors {
		urls = append(urls, m.File(ih))
	}
	torrent := info.TorrentFile(urls...)
	return e.write(ih.String()+".torrent", int64(len(torrent)), strings.NewReader(string(torrent)))
}

// addHint writes the hint of a pack, unless it is lost: that costs readers only
// time.
func (e *exporter) addHint(ctx context.Context, m *mirror, p *packFile) error {
	if fi, err := os.Stat(m.hintPath(p)); err != nil || fi.Size() != p.Hint.Length() {
		return nil
	}
	return e.add(ctx, p.Hint, &lazyFile{path: m.hintPath(p)}, "Writing a hint")
}

// write makes a file, whole or not at all. One of that length is the file: its
// name says what is in it, and it was made like this.
func (e *exporter) write(name string, length int64, r io.Reader) (err error) {
	path := filepath.Join(e.dir, name)
	if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() && fi.Size() == length {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(e.dir, ".gitpeer-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	n, err := io.Copy(f, r)
	if err == nil && n != length {
		err = io.ErrUnexpectedEOF
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	e.files++
	e.bytes += n
	return nil
}

// A contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
