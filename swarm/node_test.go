package swarm_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/testnet"
)

func listen(t *testing.T, cfg swarm.Config) *swarm.Node {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	n, err := swarm.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func packInfo(t *testing.T, data []byte) *swarm.Info {
	t.Helper()
	h := swarm.NewHasher()
	h.Write(data)
	info, err := h.Sum("pack")
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A reader that knows nothing but the infohash and some DHT nodes finds the seeder, at the port
// where it really listens.
func TestFetchByInfoHash(t *testing.T) {
	network, err := testnet.Loopback(t.Context(), 12)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	data := bytes.Repeat([]byte("pack"), 50_000)
	info := packInfo(t, data)
	cfg := swarm.Config{Bootstrap: network.Bootstrap()}
	seeder, reader := listen(t, cfg), listen(t, cfg)
	for _, n := range []*swarm.Node{seeder, reader} {
		if err := n.DHT().Bootstrap(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := seeder.Seed(info, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for { // until it is announced; the test's deadline bounds it
		l, err := reader.DHT().FindPeers(t.Context(), announce.Target(info.InfoHash()))
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Peers) > 0 {
			if l.Peers[0] != seeder.Addr() {
				t.Errorf("announced %v, want %v", l.Peers[0], seeder.Addr())
			}
			break
		}
	}
	d, err := reader.Fetch(t.Context(), swarm.FetchRequest{InfoHash: info.InfoHash(), File: filepath.Join(t.TempDir(), "pack")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	n := listen(t, swarm.Config{StateDir: dir})
	addr := n.Addr()
	if addr.Port() == 0 || n.DHT().Addr() != addr {
		t.Errorf("Addr = %v, of the DHT %v", addr, n.DHT().Addr())
	}
	if _, err := swarm.Listen(t.Context(), swarm.Config{Listen: addr.String()}); err == nil {
		t.Error("two nodes on one address")
	}
	if err := n.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 || files[0].Name() != "dht" {
		t.Errorf("state directory holds %v", files)
	}
	n = listen(t, swarm.Config{Listen: addr.String()}) // both sockets are free again
	n.Close()

	for _, bad := range []string{"", "127.0.0.1", "localhost:1", "127.0.0.1:x", "[::1]:0", "127.0.0.1:70000"} {
		if _, err := swarm.Listen(t.Context(), swarm.Config{Listen: bad}); err == nil {
			t.Errorf("Listen(%q) succeeds", bad)
		}
	}
	// A port that only UDP has is of no use; port 0 takes another one.
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := swarm.Listen(t.Context(), swarm.Config{Listen: udp.LocalAddr().String()}); err == nil {
		t.Error("Listen takes a port whose UDP half is in use")
	}
}

// The library has defaults that would leave files in the working directory.
func TestNoStrayFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	data := bytes.Repeat([]byte("x"), 100_000)
	info := packInfo(t, data)
	a, b := listen(t, swarm.Config{}), listen(t, swarm.Config{})
	s, err := a.Seed(info, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := filepath.Join(t.TempDir(), "pack")
	d, err := b.Fetch(t.Context(), swarm.FetchRequest{
		InfoHash: info.InfoHash(), File: file, Peers: []netip.AddrPort{a.Addr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Error(err)
	}
	d.Close()
	if files, _ := os.ReadDir("."); len(files) != 0 {
		t.Errorf("%v was made", files[0].Name())
	}
}
