package swarm

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// The network goes away in the middle of a download, and comes back: soon enough, and it goes on by
// itself; later, and the next one goes on where it stopped. The seeder's link carries each piece
// once.
func TestOutage(t *testing.T) {
	for name, test := range map[string]struct {
		lasts time.Duration
		fails bool
	}{
		"short": {DefaultStallTimeout - 5*time.Second, false},
		"long":  {2 * DefaultStallTimeout, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pseudo{21, 4 << 20}
				info := p.info(t)
				net := newShapedNet(10 * time.Millisecond)
				outlive(t)
				home, away := net.host(8e6, 8e6), net.host(8e6, 8e6)
				seeder, reader := home.node(t), away.node(t)
				seed(t, seeder, p)
				req := FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(seeder), File: filepath.Join(t.TempDir(), "pack")}
				d := fetch(t, reader, req)
				if _, err := io.CopyN(io.Discard, d, p.size/2); err != nil {
					t.Fatal(err)
				}
				for _, l := range []*shapedLink{&home.up, &home.down, &away.up, &away.down} {
					l.out(test.lasts)
				}
				err := d.Wait()
				if e := new(StalledError); errors.As(err, &e) != test.fails || (err != nil) != test.fails {
					t.Fatalf("Wait = %v, want a StalledError: %v", err, test.fails)
				}
				d.Close()
				if !test.fails {
					if sent := seeder.TorrentStats(info.InfoHash()).Sent; sent != p.size {
						t.Errorf("%d bytes were sent, want %d", sent, p.size)
					}
					return
				}
				time.Sleep(test.lasts)
				before, kept := seeder.TorrentStats(info.InfoHash()).Sent, verifiedIn(t, info, req.File)
				if kept < p.size/2 || before-kept > inFlight {
					t.Errorf("%d bytes were sent, and %d are here", before, kept)
				}
				readAll(t, fetch(t, reader, req), p)
				if sent := seeder.TorrentStats(info.InfoHash()).Sent - before; sent != p.size-kept {
					t.Errorf("then %d bytes were sent, want the %d that were missing", sent, p.size-kept)
				}
			})
		})
	}
}

// A download whose file cannot be written ends, and asks for nothing more, even if nobody closes it.
func TestFailedAsksForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pseudo{22, 1 << 20}
		info := p.info(t)
		net := newShapedNet(10 * time.Millisecond)
		outlive(t)
		home := net.host(8e6, 8e6)
		seeder, reader := home.node(t), net.host(8e6, 8e6).node(t)
		seed(t, seeder, p)
		d := fetch(t, reader, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(seeder)})
		d.file.Close()
		if err := d.Wait(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Wait = %v, want the error of the file", err)
		}
		time.Sleep(time.Minute)
		if sent := seeder.TorrentStats(info.InfoHash()).Sent; sent > inFlight {
			t.Errorf("%d bytes were sent to who cannot write them", sent)
		}
	})
}

// inFlight bounds what the outage costs: what was in the sockets and links, 64 KiB each way, what the
// library has ready to write, and the pieces of which a part had come.
const inFlight = 512 << 10

// verifiedIn is how many bytes of a torrent are right in a file.
func verifiedIn(t *testing.T, info *Info, file string) (sum int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := verify(t.Context(), info, f, func(n int64) { sum += n }); err != nil {
		t.Fatal(err)
	}
	return sum
}
