package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed move.py
var libtorrentScript []byte

// python is the interpreter that Debian's python3-libtorrent is for.
const python = "/usr/bin/python3"

// movePack lets libtorrent move the pack that gitpeer moves, and nothing else:
// no index, no objects. Without libtorrent it measures nothing.
func (l *bench) movePack(ctx context.Context, r *repository, s *site, c config) error {
	if exec.CommandContext(ctx, python, "-c", "import libtorrent").Run() != nil {
		return nil
	}
	dir, err := os.MkdirTemp(l.dir, "libtorrent-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	script, torrent := filepath.Join(dir, "move.py"), filepath.Join(dir, "pack.torrent")
	if err := os.WriteFile(script, libtorrentScript, 0o600); err != nil {
		return err
	}
	packs, err := filepath.Glob(filepath.Join(r.plain, "objects", "pack", "*.pack"))
	if err != nil || len(packs) != 1 {
		return fmt.Errorf("%d packs: %w", len(packs), err)
	}
	origin := s.published.person.host
	const port = 19420
	seed := fmt.Sprintf("%s:%d", origin.Addr, port)
	cmd := origin.command(ctx, nil, python, script, "seed", packs[0], torrent, seed)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := fmt.Fscan(out, new(string)); err != nil {
		return fmt.Errorf("libtorrent: %w", err)
	}
	server := process{cmd.Process.Pid}
	before, err := server.cpu()
	if err != nil {
		return err
	}
	h := s.readers[0]
	got, err := h.run(ctx, nil, python, script, "get", torrent, dir+"/in", h.Addr+":0", seed)
	if err != nil {
		return err
	}
	after, err := server.cpu()
	if err != nil {
		return err
	}
	gigabytes := float64(r.Pack) / 1e9
	l.emit(sample{"Clone", append(append(config{"repo=" + r.Name}, c...), "by=libtorrent"), map[string]float64{
		"s": got.Wall.Seconds(), "cpu-s": got.CPU.Seconds(), "server-s": (after - before).Seconds(),
		"cpu-s/GB": got.CPU.Seconds() / gigabytes, "server-s/GB": (after - before).Seconds() / gigabytes,
	}})
	return nil
}
