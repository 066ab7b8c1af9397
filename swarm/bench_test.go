package swarm

import (
	"io"
	"path/filepath"
	"runtime"
	"testing"
)

// benchSize is the length of the pack in BenchmarkFetch. Run it with -benchtime=5x or so.
const benchSize = 256 << 20

// BenchmarkFetch moves a pack from one node to another over loopback and reads it as a stream:
// MB/s, and the growth of the heap. Seeder and reader share the process.
func BenchmarkFetch(b *testing.B) {
	p := pseudo{1, benchSize}
	info := p.info(b)
	a := newNode(b)
	if _, err := a.Seed(info, p); err != nil {
		b.Fatal(err)
	}
	var before, m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.SetBytes(p.size)
	var most uint64
	for b.Loop() {
		reader := newNode(b)
		d, err := reader.Fetch(b.Context(), FetchRequest{
			InfoHash: info.InfoHash(), File: filepath.Join(b.TempDir(), "pack"), Peers: addrs(a),
			Progress: func(Progress) {
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, d); n != p.size || err != nil {
			b.Fatal(n, err)
		}
		d.Wait()
		d.Close()
		reader.Close()
	}
	grown := int64(most) - int64(before.HeapAlloc)
	b.ReportMetric(float64(grown)/(1<<20), "heap-MiB")
	if grown > 64<<20 {
		b.Errorf("heap grew by %d bytes", grown)
	}
}

// BenchmarkHasher is what a publish pays for not knowing the length beforehand.
func BenchmarkHasher(b *testing.B) {
	buf := make([]byte, 1<<20)
	pseudo{1, 1 << 20}.ReadAt(buf, 0)
	h := NewHasher()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		h.Write(buf)
	}
}

// BenchmarkSeeds adds torrents: time and memory of each.
func BenchmarkSeeds(b *testing.B) {
	n := newNode(b)
	var infos []*Info
	for i := range 2000 {
		infos = append(infos, pseudo{uint64(i), 1 << 20}.info(b))
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		var seeds []*Seed
		for i, info := range infos {
			s, err := n.Seed(info, pseudo{uint64(i), 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			seeds = append(seeds, s)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		for _, s := range seeds {
			s.Close()
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(infos)), "B/torrent")
}
