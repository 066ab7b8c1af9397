package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

//go:embed move.py
var libtorrentScript []byte

// python is the interpreter that Debian's python3-libtorrent is for.
const python = "/usr/bin/python3"

// hasLibtorrent says whether libtorrent is there to be measured.
func hasLibtorrent(ctx context.Context) bool {
	return exec.CommandContext(ctx, python, "-c", "import libtorrent").Run() == nil
}

// A mover is libtorrent on a host, moving one pack.
type mover struct {
	process
	cmd  *exec.Cmd
	in   io.Closer
	said *bufio.Reader
}

// A moving is the pack that gitpeer moves in the hands of libtorrent, which
// moves it and nothing else: no index, no objects.
type moving struct {
	dir, script, torrent string
	pack                 int64
	address              string // of the seed
	seed                 *mover
}

// move starts a seed of a repository's pack on a host. mode is seed, or superseed
// to give different pieces to different readers (BEP 16).
func (l *bench) move(ctx context.Context, r *repository, origin *host, mode string) (*moving, error) {
	dir, err := os.MkdirTemp(l.dir, "libtorrent-")
	if err != nil {
		return nil, err
	}
	m := &moving{
		dir: dir, script: filepath.Join(dir, "move.py"), torrent: filepath.Join(dir, "pack.torrent"),
		pack: r.Pack, address: origin.Addr + ":19420",
	}
	if err := os.WriteFile(m.script, libtorrentScript, 0o600); err != nil {
		return nil, err
	}
	packs, err := filepath.Glob(filepath.Join(r.plain, "objects", "pack", "*.pack"))
	if err != nil || len(packs) != 1 {
		return nil, fmt.Errorf("%d packs: %w", len(packs), err)
	}
	if m.seed, err = m.start(ctx, origin, mode, packs[0], m.torrent, m.address); err != nil {
		return nil, err
	}
	return m, m.seed.wait()
}

// start runs the script on a host.
func (m *moving) start(ctx context.Context, h *host, args ...string) (*mover, error) {
	cmd := h.command(ctx, nil, append([]string{python, m.script}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &mover{process{cmd.Process.Pid}, cmd, in, bufio.NewReader(out)}, nil
}

// wait returns when the mover has what it wants.
func (v *mover) wait() error {
	if _, err := v.said.ReadString('\n'); err != nil {
		return errors.Join(fmt.Errorf("libtorrent: %w", err), v.end())
	}
	return nil
}

// end ends a mover, which uploads until then.
func (v *mover) end() error {
	v.in.Close()
	return v.cmd.Wait()
}

func (m *moving) end() error { return errors.Join(m.seed.end(), os.RemoveAll(m.dir)) }

// get starts a reader on a host.
func (m *moving) get(ctx context.Context, h *host, port int, peers ...string) (*mover, error) {
	return m.start(ctx, h, append([]string{"get", m.torrent, filepath.Join(m.dir, h.Name), h.Addr + ":" + strconv.Itoa(port)}, peers...)...)
}

// movePack lets libtorrent move a pack to one reader.
func (l *bench) movePack(ctx context.Context, r *repository, s *site, c config) error {
	m, err := l.move(ctx, r, s.published.person.host, "seed")
	if err != nil {
		return err
	}
	defer m.end()
	before, err := m.seed.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	reader, err := m.get(ctx, s.readers[0], 0, m.address)
	if err != nil {
		return err
	}
	if err := reader.wait(); err != nil {
		return err
	}
	wall := time.Since(begin)
	own, err := reader.cpu()
	if err != nil {
		return err
	}
	after, err := m.seed.cpu()
	if err != nil {
		return err
	}
	gigabytes := float64(m.pack) / 1e9
	v := map[string]float64{
		"s": wall.Seconds(), "cpu-s": own.Seconds(), "server-s": (after - before).Seconds(),
		"cpu-s/GB": own.Seconds() / gigabytes, "server-s/GB": (after - before).Seconds() / gigabytes,
	}
	if err := errors.Join(peak(v, "MB", reader.process), peak(v, "server-MB", m.seed.process), reader.end()); err != nil {
		return err
	}
	l.emit(sample{"Clone", c, v})
	return nil
}

// libtorrentCrowd lets libtorrent move a pack to all readers, each of whom is
// told of all others: its peer exchange would take a minute.
func (l *bench) libtorrentCrowd(ctx context.Context, r *repository, s *site) (map[string]float64, error) {
	m, err := l.move(ctx, r, s.published.person.host, "seed")
	if err != nil {
		return nil, err
	}
	defer m.end()
	const port = 19421
	all := []string{m.address}
	for _, h := range s.readers {
		all = append(all, h.Addr+":"+strconv.Itoa(port))
	}
	movers := make([]*mover, len(s.readers))
	game := &race{by: "libtorrent", server: m.seed.process, spent: func() (sum time.Duration, err error) {
		for _, v := range movers {
			own, err := v.cpu()
			if err != nil {
				return 0, err
			}
			sum += own
		}
		return sum, nil
	}}
	for i, h := range s.readers {
		game.fetch = append(game.fetch, func(ctx context.Context) (err error) {
			others := slices.Delete(slices.Clone(all), i+1, i+2)
			if movers[i], err = m.get(ctx, h, port, others...); err != nil {
				return err
			}
			return movers[i].wait()
		})
	}
	v, err := s.run(ctx, game, nil)
	for _, reader := range movers {
		if reader != nil {
			err = errors.Join(err, reader.end())
		}
	}
	return v, err
}
