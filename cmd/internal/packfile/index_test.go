package packfile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A repo is a repository that a test fills with git itself.
type repo struct {
	tb     testing.TB
	dir    string
	format refs.ObjectFormat
	n      int
}

func newRepo(tb testing.TB, format refs.ObjectFormat) *repo {
	r := &repo{tb: tb, dir: tb.TempDir(), format: format}
	r.git("", "init", "-q", "--object-format="+string(format), "--initial-branch=main")
	return r
}

func (r *repo) git(stdin string, args ...string) string {
	r.tb.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = r.dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "LC_ALL=C",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org",
		fmt.Sprintf("GIT_AUTHOR_DATE=%d +0000", 1_700_000_000+r.n), fmt.Sprintf("GIT_COMMITTER_DATE=%d +0000", 1_700_000_000+r.n))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.tb.Fatalf("git %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

func (r *repo) write(name, text string) {
	r.tb.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *repo) commit() {
	r.tb.Helper()
	r.n++
	r.git("", "add", "-A")
	r.git("", "commit", "-q", "-m", fmt.Sprint("commit ", r.n))
}

// pack packs everything.
func (r *repo) pack(args ...string) []byte {
	r.tb.Helper()
	args = append([]string{"pack-objects", "-q", "--all", "--stdout", "--delta-base-offset"}, args...)
	return []byte(r.git("", args...))
}

// indexed is what git says of a pack: its .idx, or that it refuses it.
func (r *repo) indexed(pack []byte) ([]byte, error) {
	dir := r.tb.TempDir()
	empty := &repo{tb: r.tb, dir: dir, format: r.format} // no object comes from elsewhere
	empty.git("", "init", "-q", "--bare", "--object-format="+string(r.format), ".")
	name := filepath.Join(dir, "x.pack")
	if err := os.WriteFile(name, pack, 0o600); err != nil {
		r.tb.Fatal(err)
	}
	cmd := exec.Command("git", "index-pack", "--object-format="+string(r.format), "--check-self-contained-and-connected",
		"--strict=badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore", name)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	idx, err := os.ReadFile(filepath.Join(dir, "x.idx"))
	if err != nil {
		r.tb.Fatal(err)
	}
	return idx, nil
}

// history is a repository with files that change little and often, folders,
// tags of several kinds, an empty blob, and files that fsck reads.
func history(tb testing.TB, format refs.ObjectFormat, commits int) *repo {
	r := newRepo(tb, format)
	rnd := rand.New(rand.NewPCG(3, 4))
	lines := make([]string, 400)
	for i := range lines {
		lines[i] = fmt.Sprint("line ", rnd.Uint64(), "\n")
	}
	r.write("empty", "")
	r.write(".gitattributes", "*.png binary\n")
	r.write(".gitmodules", "[submodule \"sha\"]\n\tpath = sha\n\turl = https://example.org/sha\n")
	r.write("bin/blob", strings.Repeat("0123456789abcdef", 100_000))
	for i := range commits {
		lines[rnd.IntN(len(lines))] = fmt.Sprint("line ", i, "\n")
		r.write("src/main.c", strings.Join(lines, ""))
		r.write(fmt.Sprintf("doc/%d.txt", i%7), fmt.Sprint(i))
		r.write("foo", "1")
		r.write("foo.bar", "1")
		r.write("foo-/x", "1")
		r.commit()
	}
	r.git("", "tag", "-a", "-m", "a tag", "v1")
	r.git("", "tag", "-a", "-m", "of a tag", "v2", "v1")
	r.git("", "tag", "-a", "-m", "of a blob", "v3", "HEAD:empty")
	return r
}

// index scans and indexes a pack that lies in memory.
func index(tb testing.TB, pack []byte, format refs.ObjectFormat) (*Index, *Entries, error) {
	tb.Helper()
	return indexIn(tb, pack, format, Scratch{})
}

// indexIn is index with tables where s says.
func indexIn(tb testing.TB, pack []byte, format refs.ObjectFormat, s Scratch) (*Index, *Entries, error) {
	tb.Helper()
	rec := NewRecorder(s)
	stats, err := Scan(bytes.NewReader(pack), format, HardLimits, rec.Add)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(rec.Close)
	e, err := rec.Entries(stats)
	if err != nil {
		return nil, nil, err
	}
	x, err := NewIndex(tb.Context(), Source{Pack: bytes.NewReader(pack)}, e, optionsOf(pack, format))
	if err == nil {
		tb.Cleanup(x.Close)
	}
	if err == nil && (x.Stats.Objects != stats.Objects || x.Stats.Inflated != stats.Inflated || x.Stats.Bytes != stats.Bytes ||
		x.Stats.Header != stats.Header || !bytes.Equal(x.Stats.Trailer, stats.Trailer)) {
		tb.Errorf("index counts %+v, scan %+v", x.Stats, stats)
	}
	return x, e, err
}

func optionsOf(pack []byte, format refs.ObjectFormat) Options {
	return Options{Format: format, Limits: HardLimits, Bytes: int64(len(pack))}
}

func idxOf(tb testing.TB, x *Index) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := x.WriteIdx(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func hintOf(tb testing.TB, e *Entries) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := e.WriteHint(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestIndexIsGits(t *testing.T) {
	for _, format := range []refs.ObjectFormat{refs.SHA1, refs.SHA256} {
		r := history(t, format, 60)
		for _, args := range [][]string{nil, {"--depth=0"}, {"--depth=4000", "--window=300", "--no-reuse-delta"}, {"--compression=0"}} {
			pack := r.pack(args...)
			want, err := r.indexed(pack)
			if err != nil {
				t.Fatal(err)
			}
			for _, room := range []int{0, 1} {
				x, _, err := indexIn(t, pack, format, Scratch{Dir: t.TempDir(), Entries: room})
				if err != nil {
					t.Fatalf("%s %v, room for %d: %v", format, args, room, err)
				}
				if !bytes.Equal(idxOf(t, x), want) {
					t.Errorf("%s %v, room for %d: the index is not git's", format, args, room)
				}
				if on := x.table.shards[0].runs.file != nil; on != (room > 0) {
					t.Errorf("%s %v, room for %d: on the disk: %v", format, args, room, on)
				}
			}
		}
	}
}

// The pack that GITPEER_PACK names, against the .idx beside it.
func TestIndexOfRealPack(t *testing.T) {
	name := os.Getenv("GITPEER_PACK")
	if name == "" {
		t.Skip("GITPEER_PACK names no pack")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, size := realEntries(t, f)
	began := time.Now()
	x, err := NewIndex(t.Context(), Source{Pack: f}, e, Options{Format: refs.SHA1, Limits: HardLimits, Bytes: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("indexed in %v, %d MB in objects, %d MB of them twice", time.Since(began), x.Stats.Inflated>>20, x.redone>>20)
	want, err := os.ReadFile(strings.TrimSuffix(name, ".pack") + ".idx")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(idxOf(t, x), want) {
		t.Error("the index is not git's")
	}
}

// realEntries gives the entries of a real pack: from the hint that GITPEER_HINT
// names, if it is there; else from a scan, and then writes the hint there.
// GITPEER_ROOM is how many have room in memory.
func realEntries(tb testing.TB, f *os.File) (*Entries, int64) {
	tb.Helper()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	var head [HeaderLen]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		tb.Fatal(err)
	}
	save := os.Getenv("GITPEER_HINT")
	s := Scratch{Dir: tb.TempDir()}
	if text := os.Getenv("GITPEER_ROOM"); text != "" {
		if s.Entries, err = strconv.Atoi(text); err != nil {
			tb.Fatal(err)
		}
	}
	if hint, err := os.Open(save); err == nil {
		defer hint.Close()
		objects, _ := parseHeader(head[:])
		e, err := ParseHint(hint, refs.Pack{Bytes: info.Size(), Objects: objects}, refs.SHA1, s)
		if err != nil {
			tb.Fatal(err)
		}
		return e, info.Size()
	}
	rec := NewRecorder(s)
	stats, err := Scan(f, refs.SHA1, HardLimits, rec.Add)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := rec.Entries(stats)
	if err == nil && save != "" {
		err = os.WriteFile(save, hintOf(tb, e), 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return e, info.Size()
}
