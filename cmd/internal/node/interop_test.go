//go:build interop

package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// These tests take what `gitpeer show --json` and export-static give to the
// programs of others.

// interopRun is how long such a program may take.
const interopRun = 3 * time.Minute

func tool(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = t.TempDir(), os.Stderr, time.Second
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir)
	kill := time.AfterFunc(interopRun, func() {
		if cmd.Process != nil {
			cmd.Process.Kill()
		}
	})
	t.Cleanup(func() { kill.Stop() })
	return cmd
}

// TestInteropShow: libtorrent downloads every pack and the snapshot from the
// magnet links; when the publisher has gone, a reader clones from libtorrent.
func TestInteropShow(t *testing.T) {
	if exec.Command("/usr/bin/python3", "-c", "import libtorrent").Run() != nil {
		t.Skip("no libtorrent for /usr/bin/python3")
	}
	net := loopback(t)
	alice, work := publisher(t, net, 5)
	var url string
	for range 9 {
		work.commit("")
		url = alice.publish(work).URL
	}
	shown, err := alice.client.Show(t.Context(), ShowRequest{URL: url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	links := []string{shown.Magnet}
	for _, p := range shown.Packs {
		links = append(links, p.Magnet)
	}
	script, err := filepath.Abs("testdata/libtorrent_repo.py")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := tool(t, "/usr/bin/python3", script, dir, alice.listen.String())
	cmd.Stdin = strings.NewReader(strings.Join(links, "\n"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var port int
	if _, err := fmt.Fscanf(out, "port %d\n", &port); err != nil {
		t.Fatalf("libtorrent did not get everything: %v", err)
	}
	sums := map[refs.Digest]bool{}
	files, _ := filepath.Glob(filepath.Join(dir, "*.pack"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sums[sha256.Sum256(b)] = true
	}
	for _, p := range shown.Packs {
		if !sums[p.SHA256] {
			t.Errorf("pack %d-%d is not among the %d files of libtorrent", p.From, p.To, len(files))
		}
	}
	alice.stop()
	bob := newPerson(t, net).start()
	bob.trustPublisher(url)
	got, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url, Peers: []string{fmt.Sprintf("127.0.0.1:%d", port)}}, nil)
	if err != nil || !slices.Equal(got.Refs, work.refs()) {
		t.Fatalf("Fetch from libtorrent = %+v, %v", got, err)
	}
	fsck(t, got.Mirror)
}

// TestInteropExport: aria2 downloads from an exported folder by the torrent file
// alone: the web seed that it names is all there is.
func TestInteropExport(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 3)
	dir := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(dir))))
	t.Cleanup(web.Close)
	url := alice.publish(work).URL
	alice.stop()
	alice.configure("[repo \"tools\"]\n\turl = " + url + "\n\tmirror = " + web.URL + "/" + filepath.Base(dir) + "/\n").start()
	if _, err := alice.client.Export(t.Context(), ExportRequest{URL: url, Dir: dir}, nil); err != nil {
		t.Fatal(err)
	}
	torrents, _ := filepath.Glob(filepath.Join(dir, "*.torrent"))
	if len(torrents) < 2 {
		t.Fatalf("%d torrent files", len(torrents))
	}
	for _, torrent := range torrents {
		to := t.TempDir()
		if out, err := tool(t, "aria2c", "--no-conf", "--enable-dht=false", "--bt-enable-lpd=false", "--seed-time=0", "--dir="+to, torrent).Output(); err != nil {
			t.Fatalf("aria2c %s: %v\n%s", torrent, err, out)
		}
		want, err := os.ReadFile(strings.TrimSuffix(torrent, ".torrent"))
		if err != nil {
			t.Fatal(err)
		}
		entries, _ := os.ReadDir(to)
		if len(entries) != 1 {
			t.Fatalf("aria2c made %v", entries)
		}
		if got, err := os.ReadFile(filepath.Join(to, entries[0].Name())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("aria2c got %d bytes, %v, want %d", len(got), err, len(want))
		}
	}
}

// TestInteropMutable: npm's bittorrent-dht follows the mutable link.
func TestInteropMutable(t *testing.T) {
	const version = "11.0.12"
	install := tool(t, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "bittorrent-dht@"+version)
	if err := os.WriteFile(filepath.Join(install.Dir, "package.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := install.Run(); err != nil {
		t.Skipf("npm cannot install bittorrent-dht %s: %v", version, err)
	}
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	published := alice.publish(work)
	shown, err := alice.client.Show(t.Context(), ShowRequest{URL: published.URL}, nil)
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/mutable.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(install.Dir, "mutable.mjs"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := tool(t, "node", append([]string{"mutable.mjs", shown.Mutable}, net.Bootstrap()...)...)
	cmd.Dir = install.Dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	raw, _ := io.ReadAll(out)
	var got struct {
		Seq int64
		IH  refs.InfoHash
	}
	if err := cmd.Wait(); err != nil || json.Unmarshal(raw, &got) != nil || got.Seq != published.Seq || got.IH != published.InfoHash {
		t.Errorf("bittorrent-dht reads %s, %v, want seq %d and infohash %s", raw, err, published.Seq, published.InfoHash)
	}
}
