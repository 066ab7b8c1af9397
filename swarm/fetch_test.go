package swarm

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lying changes a byte in some blocks.
type lying struct {
	pseudo
	wrong func(block int64) bool
}

func (l lying) ReadAt(b []byte, off int64) (int, error) {
	n, err := l.pseudo.ReadAt(b, off)
	for i := range b[:n] {
		if at := off + int64(i); at%blockLength == 7 && l.wrong(at/blockLength) {
			b[i] ^= 1
		}
	}
	return n, err
}

// Peers that send wrong bytes are found out, whether they spoil everything or a block here and
// there, and whoever else has a part in the piece; the others finish, though all share one address.
func TestLiars(t *testing.T) {
	p := pseudo{1, 4 << 20} // 128 pieces of two blocks
	for name, test := range map[string]struct {
		wrong  func(int64) bool
		honest int
	}{
		"everything":     {func(int64) bool { return true }, 2},
		"second blocks":  {func(b int64) bool { return b%2 == 1 }, 2},
		"one block":      {func(b int64) bool { return b == 77 }, 1},
		"last block":     {func(b int64) bool { return b == 255 }, 1},
		"now and then":   {func(b int64) bool { return b%17 == 3 }, 1},
		"all but honest": {func(b int64) bool { return b%5 == 3 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			reader := newNode(t)
			info := p.info(t)
			var all []*Node
			for range 2 {
				liar := newNode(t)
				if _, err := liar.Seed(info, lying{p, test.wrong}); err != nil {
					t.Fatal(err)
				}
				all = append(all, liar)
			}
			for range test.honest {
				honest := newNode(t)
				seed(t, honest, p)
				all = append(all, honest)
			}
			var mu sync.Mutex
			var last Progress
			req := FetchRequest{
				InfoHash: info.InfoHash(), Peers: addrs(all...),
				File:     filepath.Join(t.TempDir(), "pack"),
				Progress: func(p Progress) { mu.Lock(); defer mu.Unlock(); last = p },
			}
			if test.honest == 0 {
				d, err := reader.Fetch(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				waitFor(t, "bans of both liars", func() bool { return reader.banned.Load() == 2 })
				if d.Close(); d.Wait() == nil {
					t.Error("liars alone have brought it all")
				}
				return
			}
			d := fetch(t, reader, req)
			readAll(t, d, p)
			d.Wait()
			mu.Lock()
			defer mu.Unlock()
			if waste := last.Received - p.size; waste > p.size {
				t.Errorf("%d bytes wasted on %d", waste, p.size)
			}
			if reader.bans.match(keysOf(all[2].Addr(), [20]byte{}), time.Now()) {
				t.Error("an honest peer is banned")
			}
		})
	}
}

// gate holds everything back until it is opened.
type gate struct {
	pseudo
	open chan struct{}
}

func (g gate) ReadAt(b []byte, off int64) (int, error) {
	<-g.open
	return g.pseudo.ReadAt(b, off)
}

func newGate(t testing.TB, p pseudo) gate {
	g := gate{p, make(chan struct{})}
	t.Cleanup(func() {
		select {
		case <-g.open:
		default:
			close(g.open)
		}
	})
	return g
}

// partial has only the first bytes, whatever it says.
type partial struct {
	pseudo
	have int64
}

func (p partial) ReadAt(b []byte, off int64) (int, error) {
	if off >= p.have {
		return 0, errors.New("not here")
	}
	return p.pseudo.ReadAt(b, off)
}

// A fetch that was ended in the middle goes on where it stopped: what is right in the file is not
// fetched again, and what is wrong in it is.
func TestResume(t *testing.T) {
	p := pseudo{2, 2<<20 + 5}
	info := p.info(t)
	half := 32 * info.PieceLength()
	first, second := newNode(t), newNode(t)
	if _, err := first.Seed(info, partial{p, half}); err != nil {
		t.Fatal(err)
	}
	seed(t, second, p)
	file := filepath.Join(t.TempDir(), "pack")

	reader := newNode(t)
	d := fetch(t, reader, FetchRequest{InfoHash: info.InfoHash(), File: file, Peers: addrs(first)})
	if _, err := io.CopyN(io.Discard, d, half); err != nil {
		t.Fatal(err)
	}
	reader.Close() // as far as the file goes, this is kill -9: nothing is written on Close
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Read after Close = %v", err)
	}
	d.Close()

	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("damage"), 3*info.PieceLength()+100)
	f.Close()

	reader = newNode(t)
	var received int64
	d = fetch(t, reader, FetchRequest{
		InfoHash: info.InfoHash(), File: file, Peers: addrs(second),
		Progress: func(p Progress) { received = p.Received },
	})
	readAll(t, d, p)
	d.Wait()
	if want := p.size - half + info.PieceLength(); received != want {
		t.Errorf("received %d bytes, want %d", received, want)
	}
	// And once more, with everything there.
	d.Close()
	d = fetch(t, reader, FetchRequest{
		InfoHash: info.InfoHash(), File: file, Peers: addrs(second),
		Progress: func(p Progress) { received = p.Received },
	})
	readAll(t, d, p)
	d.Wait()
	if received != 0 {
		t.Errorf("received %d bytes of a complete pack", received)
	}
}

// A longer file from elsewhere is cut; what it holds is looked at.
func TestResumeLongerFile(t *testing.T) {
	p := pseudo{3, 100_000}
	a, b := newNode(t), newNode(t)
	info := seed(t, a, p)
	file := filepath.Join(t.TempDir(), "pack")
	data, _ := io.ReadAll(pseudo{3, 100_000}.reader())
	if err := os.WriteFile(file, append(data, "more"...), 0o600); err != nil {
		t.Fatal(err)
	}
	readAll(t, fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), File: file, Peers: addrs(a)}), p)
	if fi, err := os.Stat(file); err != nil || fi.Size() != p.size {
		t.Errorf("Stat = %v, %v", fi, err)
	}
}

// Two pieces prove right at once: the one that completes the download may be counted first.
func TestVerifiedIsCountedOnce(t *testing.T) {
	d := blankDownload(newNode(t), pseudo{4, 100_000}.info(t))
	d.changed, d.ended = sync.NewCond(&d.mu), make(chan struct{})
	d.addVerified(60_000)
	d.finish()
	d.addVerified(40_000)
	if d.verified != 100_000 {
		t.Errorf("%d bytes verified, want 100000", d.verified)
	}
}

func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pseudo{4, 1 << 20}
		info := p.info(t)
		net := newShapedNet(10 * time.Millisecond)
		outlive(t)
		a, b := net.host(20e6, 20e6).node(t), net.host(20e6, 20e6).node(t)
		if _, err := a.Seed(info, newGate(t, p)); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		d := fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a), StallTimeout: 4 * time.Second})
		_, err := d.Read(make([]byte, 1))
		if e := new(StalledError); !errors.As(err, &e) || e.Progress.Peers != 1 || e.Progress.Stage != StageDownload {
			t.Errorf("Read = %v (%T), want a StalledError with one peer", err, err)
		}
		if took := time.Since(begun); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("it took %v, want a little more than 4s", took)
		}
		if d.Wait() != err {
			t.Errorf("Wait = %v, want the same as Read", d.Wait())
		}
	})
}

func TestCancel(t *testing.T) {
	p := pseudo{5, 1 << 20}
	info := p.info(t)
	a, b := newNode(t), newNode(t)
	if _, err := a.Seed(info, newGate(t, p)); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	d, err := b.Fetch(ctx, FetchRequest{InfoHash: info.InfoHash(), File: filepath.Join(t.TempDir(), "pack"), Peers: addrs(a)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cancel(cause)
	if _, err := io.Copy(io.Discard, d); !errors.Is(err, cause) {
		t.Errorf("Copy = %v, want the cause", err)
	}
	// Before the metadata is there, too.
	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := b.Fetch(ctx, FetchRequest{InfoHash: sha1Of("x"), File: filepath.Join(t.TempDir(), "pack")}); !errors.Is(err, cause) {
		t.Errorf("Fetch = %v, want the cause", err)
	}
}

func TestBusy(t *testing.T) {
	p := pseudo{6, 1 << 20}
	info := p.info(t)
	a, b := newNode(t), newNode(t)
	g := newGate(t, p)
	if _, err := a.Seed(info, g); err != nil {
		t.Fatal(err)
	}
	d := fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a)})
	req := FetchRequest{InfoHash: info.InfoHash(), File: filepath.Join(t.TempDir(), "other")}
	if _, err := b.Fetch(t.Context(), req); !errors.Is(err, ErrBusy) {
		t.Errorf("second Fetch = %v", err)
	}
	if _, err := b.Seed(info, p); !errors.Is(err, ErrBusy) {
		t.Errorf("Seed = %v", err)
	}
	close(g.open)
	readAll(t, d, p)
	second, err := b.Fetch(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	d.Close() // the other keeps it; only the file is gone
	second.Close()
	if b.entry(info.InfoHash()) != nil {
		t.Error("torrent is still there")
	}
	b.Close()
	if _, err := b.Seed(info, p); !errors.Is(err, ErrClosed) {
		t.Errorf("Seed = %v", err)
	}
	if _, err := b.Fetch(t.Context(), req); !errors.Is(err, ErrClosed) {
		t.Errorf("Fetch = %v", err)
	}
}

// When the file cannot be written the fetch says so, at once.
func TestDiskFails(t *testing.T) {
	p := pseudo{7, 1 << 20}
	info := p.info(t)
	a, b := newNode(t), newNode(t)
	g := newGate(t, p)
	if _, err := a.Seed(info, g); err != nil {
		t.Fatal(err)
	}
	d := fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a)})
	d.file.Close()
	close(g.open)
	if err := d.Wait(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait = %v, want the error of the file", err)
	}
}

func TestMemoryAndGoroutines(t *testing.T) {
	p := pseudo{8, 32 << 20}
	info := p.info(t)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()

	a, b := newNode(t), newNode(t)
	s, err := a.Seed(info, p)
	if err != nil {
		t.Fatal(err)
	}
	var most uint64
	d := fetch(t, b, FetchRequest{
		InfoHash: info.InfoHash(), Peers: addrs(a),
		Progress: func(Progress) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		},
	})
	readAll(t, d, p)
	d.Wait()
	if grown := int64(most) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
	d.Close()
	s.Close()
	a.Close()
	b.Close()
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
}

// Whoever signs a record can name the infohash of zeros.
func TestFetchOfZeros(t *testing.T) {
	if d, err := newNode(t).Fetch(t.Context(), FetchRequest{File: filepath.Join(t.TempDir(), "pack")}); d != nil || !errors.Is(err, ErrNoTorrent) {
		t.Errorf("Fetch = %v, %v, want ErrNoTorrent", d, err)
	}
}
