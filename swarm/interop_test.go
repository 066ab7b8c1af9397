//go:build interop

package swarm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// These tests run clients of others against ours, in both directions. They are skipped where a
// client is not installed: python3-libtorrent, aria2, transmission-daemon (Debian's names).

const interopTime = 90 * time.Second

// command starts a program that is ended with the test.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), interopTime)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir)
	return cmd
}

func needLibtorrent(t *testing.T) {
	t.Helper()
	if err := command(t, "/usr/bin/python3", "-c", "import libtorrent").Run(); err != nil {
		t.Skip("no libtorrent for /usr/bin/python3")
	}
}

// background starts a command and ends it with the test.
func background(t *testing.T, cmd *exec.Cmd) io.Reader {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return out
}

func interopPack() pseudo { return pseudo{77, 3<<20 + 12345} }

func checkFile(t *testing.T, path string) {
	t.Helper()
	got, err := os.ReadFile(path)
	want, _ := io.ReadAll(interopPack().reader())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("downloaded %d bytes, %v, want the pack of %d", len(got), err, len(want))
	}
}

// writePack writes the pack and its torrent file, for a client of others to seed.
func writePack(t *testing.T, dir string, info *Info) (torrentFile string) {
	t.Helper()
	data, _ := io.ReadAll(interopPack().reader())
	torrentFile = filepath.Join(dir, "pack.torrent")
	for path, b := range map[string][]byte{filepath.Join(dir, info.Name()): data, torrentFile: info.TorrentFile()} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return torrentFile
}

func fetchFrom(t *testing.T, info *Info, port int) {
	t.Helper()
	peer := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	readAll(t, fetch(t, newNode(t), FetchRequest{InfoHash: info.InfoHash(), Peers: []netip.AddrPort{peer}}), interopPack())
}

func TestInteropLibtorrent(t *testing.T) {
	needLibtorrent(t)
	script, err := filepath.Abs("testdata/libtorrent_peer.py")
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	info := seed(t, n, interopPack())
	t.Run("get", func(t *testing.T) {
		dir := t.TempDir()
		magnet := MagnetLink{InfoHash: info.InfoHash(), Name: info.Name(), Length: info.Length()}.String()
		out, err := command(t, "/usr/bin/python3", script, "get", magnet, dir, n.Addr().String()).Output()
		if err != nil || string(out) != "done\n" {
			t.Fatalf("libtorrent: %q, %v", out, err)
		}
		checkFile(t, filepath.Join(dir, info.Name()))
	})
	t.Run("seed", func(t *testing.T) {
		dir := t.TempDir()
		out := background(t, command(t, "/usr/bin/python3", script, "seed", writePack(t, dir, info), dir))
		var port int
		if _, err := fmt.Fscanf(out, "port %d\n", &port); err != nil {
			t.Fatal(err)
		}
		fetchFrom(t, info, port)
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	s, err := listenSockets(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	return int(s.addr().Port())
}

func TestInteropAria2(t *testing.T) {
	n := newNode(t)
	info := seed(t, n, interopPack())
	options := func(dir string, port int) []string {
		return []string{
			"--dir=" + dir, "--listen-port=" + strconv.Itoa(port), "--interface=127.0.0.1", "--enable-dht=false",
			"--bt-enable-lpd=false", "--no-conf", "--quiet", "--file-allocation=none",
		}
	}
	t.Run("seed", func(t *testing.T) {
		dir, port := t.TempDir(), freePort(t)
		background(t, command(t, "aria2c", append(options(dir, port),
			"--check-integrity", "--seed-ratio=0", writePack(t, dir, info))...))
		fetchFrom(t, info, port)
	})
	// aria2 has no way to be told of a peer: it dials nobody, so we dial it.
	t.Run("get", func(t *testing.T) {
		dir, port := t.TempDir(), freePort(t)
		file := filepath.Join(t.TempDir(), "pack.torrent")
		if err := os.WriteFile(file, info.TorrentFile(), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "aria2c", append(options(dir, port), "--seed-time=0", file)...)
		background(t, cmd)
		dialUntilDone(t, n, info, port, cmd)
		checkFile(t, filepath.Join(dir, info.Name()))
	})
}

// dialUntilDone connects a seeding node to a client that gets no peers otherwise, until it ends.
func dialUntilDone(t *testing.T, n *Node, info *Info, port int, cmd *exec.Cmd) {
	t.Helper()
	n.AddPeers(info.InfoHash(), []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))})
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("client: %v", err)
			}
			return
		case <-tick.C:
			n.redial(n.entry(info.InfoHash()))
		}
	}
}

// transmission runs a daemon and returns a function that calls its remote control.
func transmission(t *testing.T, dir string, port int) func(...string) string {
	rpc := strconv.Itoa(freePort(t))
	cmd := command(t, "transmission-daemon", "--foreground", "--config-dir", t.TempDir(), "--download-dir", dir,
		"--bind-address-ipv4", "127.0.0.1", "--peerport", strconv.Itoa(port), "--rpc-bind-address", "127.0.0.1",
		"--port", rpc, "--no-dht", "--no-lpd", "--no-portmap", "--no-incomplete-dir", "--no-auth")
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	remote := func(args ...string) string {
		out, _ := command(t, "transmission-remote", append([]string{"127.0.0.1:" + rpc}, args...)...).CombinedOutput()
		return string(out)
	}
	waitFor(t, "transmission", func() bool { return strings.Contains(remote("-si"), "VERSION") })
	return remote
}

func TestInteropTransmission(t *testing.T) {
	n := newNode(t)
	info := seed(t, n, interopPack())
	t.Run("seed", func(t *testing.T) {
		dir, port := t.TempDir(), freePort(t)
		file := writePack(t, dir, info)
		remote := transmission(t, dir, port)
		remote("-a", file)
		waitFor(t, "verification", func() bool { return strings.Contains(remote("-t1", "-i"), "Percent Done: 100%") })
		fetchFrom(t, info, port)
	})
	t.Run("get by magnet", func(t *testing.T) {
		dir, port := t.TempDir(), freePort(t)
		remote := transmission(t, dir, port)
		// 3.00 takes peers from the link, but dials none that is on loopback.
		remote("-a", MagnetLink{InfoHash: info.InfoHash(), Name: info.Name(), Length: info.Length(), Peers: []netip.AddrPort{n.Addr()}}.String())
		n.AddPeers(info.InfoHash(), []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))})
		deadline := time.After(interopTime)
		for !strings.Contains(remote("-t1", "-i"), "Percent Done: 100%") {
			select {
			case <-deadline:
				t.Fatalf("not done:\n%s", remote("-t1", "-i"))
			case <-time.After(300 * time.Millisecond):
				n.redial(n.entry(info.InfoHash()))
			}
		}
		checkFile(t, filepath.Join(dir, info.Name()))
	})
}
