//go:build soak

package node

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

var publications = flag.Int("publications", 1000, "how many there are after the first")

// A behind is a reader who stopped following some publications ago.
type behind struct {
	*person
	by   int
	tips []refs.Ref // that it has
}

// TestThousandPublications publishes a thousand times, one commit each, and then
// has readers fetch who are 1, 10, 100 and 1000 publications behind, and one who
// clones. It holds the bytes and the number of packs against native git's, and
// says what the mirrors take on the disk.
func TestThousandPublications(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	last := *publications
	var url string
	var readers []*behind
	began := time.Now()
	for n := 0; n <= last; n++ {
		if n > 0 {
			work.commit("")
		}
		url = alice.publish(work).URL
		if n%100 == 99 {
			t.Logf("%d publications after %v", n+1, time.Since(began).Round(time.Second))
		}
		for by := 1; by <= last; by *= 10 {
			if last-n != by {
				continue
			}
			// A copy of what is there now, so that no node comes and goes, which
			// the DHT would go on asking.
			r := &behind{newPerson(t, net), by, work.refs()}
			r.trustPublisher(url)
			if err := os.CopyFS(r.home.reposDir(), os.DirFS(alice.home.reposDir())); err != nil {
				t.Fatal(err)
			}
			readers = append(readers, r)
		}
	}
	t.Logf("%d publications: %v, %.0f ms each", last+1, time.Since(began).Round(time.Second), time.Since(began).Seconds()*1000/float64(last+1))
	readers = append(readers, &behind{newPerson(t, net), last + 1, nil})
	readers[len(readers)-1].trustPublisher(url)
	for _, r := range readers {
		r.start()
		r.measure(t, work, url)
		r.stop()
	}
	bare := bareClone(t, work)
	t.Logf("bare clone\n%s", usage(t, bare))
	t.Logf("publisher's mirror\n%s", usage(t, alice.dir(url)))
	t.Logf("newcomer's mirror\n%s", usage(t, readers[len(readers)-1].dir(url)))
}

// measure fetches, and compares with what git would have sent.
func (r *behind) measure(t *testing.T, work *workTree, url string) {
	var packs, snapshot int64
	res, err := r.client.Fetch(t.Context(), FetchRequest{URL: url}, func(p Progress) {
		switch {
		case p.Stage == receiving && p.Over:
			packs = p.Bytes
		case p.Stage == "Receiving the snapshot":
			snapshot = max(snapshot, p.Total)
		}
	})
	if err != nil {
		t.Errorf("%d behind: %v", r.by, err)
		return
	}
	if !slices.Equal(res.Refs, work.refs()) {
		t.Errorf("%d behind: refs %v, want %v", r.by, res.Refs, work.refs())
	}
	fsck(t, res.Mirror)
	native := work.native(r.tips)
	shown, err := r.client.Show(t.Context(), ShowRequest{URL: url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]refs.Pack, len(shown.Packs))
	for i, p := range shown.Packs {
		list[i] = refs.Pack{InfoHash: p.InfoHash, Bytes: p.Bytes, From: p.From, To: p.To}
	}
	have := shown.Number - uint64(r.by)
	plan, err := cover(list, have, shown.Number, nil)
	if err != nil {
		t.Fatal(err)
	}
	most := max(8*math.Log(float64(r.by))/math.Log(8), 1)
	t.Logf("%4d behind: %d packs of %d listed (at most %.0f), %d bytes of packs besides a snapshot of %d; native git %d: %.2f times, with the snapshot %.2f",
		r.by, len(plan), len(list), most, packs, snapshot, native, float64(packs)/float64(native), float64(packs+snapshot)/float64(native))
	if float64(len(plan)) > most {
		t.Errorf("%d behind: %d packs, want at most %.1f", r.by, len(plan), most)
	}
	// The newest pack came with the snapshot, and the list of packs and the last
	// 64 links of the chain, whatever the distance.
	if packs+snapshot > 2*native+8<<10 {
		t.Errorf("%d behind: %d bytes, git sends %d", r.by, packs+snapshot, native)
	}
}

// native is how many bytes git packs for who has these tips.
func (w *workTree) native(have []refs.Ref) int64 {
	var revs strings.Builder
	for _, r := range w.refs() {
		fmt.Fprintln(&revs, r.OID)
	}
	for _, r := range have {
		fmt.Fprintf(&revs, "^%s\n", r.OID)
	}
	cmd := exec.Command("git", "pack-objects", "--revs", "--thin", "--delta-base-offset", "--stdout", "-q")
	cmd.Dir, cmd.Stdin = w.dir, strings.NewReader(revs.String())
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	return int64(len(out))
}

// usage says what takes the room in a folder: files, bytes, and bytes in blocks
// of the disk, by folder and kind.
func usage(t *testing.T, dir string) string {
	type sum struct{ files, bytes, blocks int64 }
	kinds, all := map[string]sum{}, sum{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		kind := filepath.Dir(name)
		if ext := filepath.Ext(name); strings.HasPrefix(kind, "objects") {
			kind += "/*" + ext
		}
		s := sum{1, info.Size(), info.Sys().(*syscall.Stat_t).Blocks * 512}
		if d.IsDir() {
			kind, s.bytes = "folders", 0
		}
		k := kinds[kind]
		kinds[kind] = sum{k.files + s.files, k.bytes + s.bytes, k.blocks + s.blocks}
		all = sum{all.files + s.files, all.bytes + s.bytes, all.blocks + s.blocks}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int { return cmp.Compare(kinds[b].blocks, kinds[a].blocks) })
	for _, name := range names {
		fmt.Fprintf(&b, "    %-24s %5d files %9d bytes %9d in blocks\n", name, kinds[name].files, kinds[name].bytes, kinds[name].blocks)
	}
	fmt.Fprintf(&b, "    %-24s %5d files %9d bytes %9d in blocks", "all", all.files, all.bytes, all.blocks)
	return b.String()
}
