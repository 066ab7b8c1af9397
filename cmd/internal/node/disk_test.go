package node

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gitpeer/gitpeer/testnet"
)

// bareClone is what git makes of a work tree, without the samples of hooks, which
// are 25 KB.
func bareClone(t *testing.T, w *workTree) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bare.git")
	if out, err := exec.Command("git", "clone", "-q", "--bare", "--no-local", "--template=", w.dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}
	return dir
}

// A folder is what there is under it.
type folder struct {
	files   map[string]int64 // bytes, by their slashed name in the folder
	bytes   int64            // of all files
	folders int              // with itself
}

func readFolder(t *testing.T, dir string) *folder {
	t.Helper()
	f := &folder{files: map[string]int64{}}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			f.folders++
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		short, err := filepath.Rel(dir, name)
		f.files[filepath.ToSlash(short)] = info.Size()
		f.bytes += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// beyond is what a mirror has that a bare clone has not.
var beyond = regexp.MustCompile(`^gitpeer/(log|peers|pins|record|seeding|snapshots/[0-9]+|(packs|hints)/[0-9a-f]{40})$|^objects/pack/[^/]*\.keep$`)

// cloned gives bob's mirror of a work tree that alice publishes, and a bare clone.
func cloned(t *testing.T, net *testnet.Network, alice *person, work *workTree) (mirror, bare *folder) {
	t.Helper()
	url := alice.publish(work).URL
	bob := follower(t, net, url)
	bob.stop() // writes what it writes at the end
	mirror, bare = readFolder(t, bob.dir(url)), readFolder(t, bareClone(t, work))
	for name := range mirror.files {
		_, there := bare.files[name]
		refOrPack := strings.HasPrefix(name, "refs/") || name == "packed-refs" || strings.HasPrefix(name, "objects/pack/")
		if !there && !refOrPack && !beyond.MatchString(name) {
			t.Errorf("the mirror has a file that a bare clone has not, for no reason that is known here: %s", name)
		}
	}
	return mirror, bare
}

// TestDisk holds what a mirror takes on the disk, in bytes, against a bare clone.
func TestDisk(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	r := rand.NewChaCha8([32]byte{})
	for i := range 3000 {
		name := filepath.Join(work.dir, fmt.Sprintf("d%d", i%30), fmt.Sprintf("f%d", i))
		b := make([]byte, 300)
		r.Read(b)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		work.commit("")
	}
	mirror, bare := cloned(t, net, alice, work)
	t.Logf("mirror %d bytes, bare clone %d: %.3f", mirror.bytes, bare.bytes, float64(mirror.bytes)/float64(bare.bytes))
	if mirror.bytes*100 > bare.bytes*105 {
		t.Errorf("the mirror takes %d bytes, more than 1.05 times the %d of a bare clone", mirror.bytes, bare.bytes)
	}
}

// Bounds of what a mirror of one pack has besides, however small the repository.
const (
	fixedBytes   = 2000
	fixedFolders = 3 // gitpeer, packs, snapshots
)

// TestDiskOfTiny holds the part that does not depend on the repository.
func TestDiskOfTiny(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	mirror, bare := cloned(t, net, alice, work)
	if more := mirror.bytes - bare.bytes; more > fixedBytes {
		t.Errorf("the mirror has %d bytes more than a bare clone, want at most %d: %v", more, fixedBytes, mirror.files)
	}
	if more := mirror.folders - bare.folders; more > fixedFolders {
		t.Errorf("the mirror has %d folders more than a bare clone, want at most %d", more, fixedFolders)
	}
}
