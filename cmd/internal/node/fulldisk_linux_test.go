package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gitpeer/gitpeer/testnet"
	"github.com/gitpeer/gitpeer/trust"
)

// A smallDisk is a file system of its own whose size changes.
type smallDisk struct {
	t   *testing.T
	dir string
}

// mountSmall mounts a file system of so many bytes at dir, which exists.
func mountSmall(t *testing.T, dir string, bytes int64) *smallDisk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	return &smallDisk{t, dir}
}

// leave makes the disk so large that so many bytes are free.
func (d *smallDisk) leave(bytes int64) {
	d.t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	used := int64(st.Blocks-st.Bfree) * st.Bsize
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", used+bytes)); err != nil {
		d.t.Fatal(err)
	}
}

// fill writes until nothing more fits, and returns how to make room again.
func (d *smallDisk) fill() (empty func()) {
	d.t.Helper()
	name := filepath.Join(d.dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(b)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			d.t.Fatal(err)
		}
	}
}

// wantFull checks that an error says that the disk is full, and what to do.
func wantFull(t *testing.T, err error) {
	t.Helper()
	e := wantCode(t, err, trust.TryLater)
	if !strings.Contains(strings.ToLower(e.Message), "no space left") || !strings.HasPrefix(e.Hint, "df ") {
		t.Errorf("message %q, hint %q, want them to say that the disk is full and what to do", e.Message, e.Hint)
	}
}

// sent is how many bytes of torrents a person's node has sent.
func (p *person) sent() (sum int64) {
	p.t.Helper()
	s, err := p.client.Status(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, r := range s.Repos {
		sum += r.Sent
	}
	return sum
}

// size is how many bytes the packs of a publication have.
func (p *person) size(url string) (sum int64) {
	p.t.Helper()
	s, err := p.client.Show(p.t.Context(), ShowRequest{URL: url}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, pack := range s.Packs {
		sum += pack.Bytes
	}
	return sum
}

// downloaded is how much of the disk a person's downloads take.
func (p *person) downloaded() (sum int64) {
	p.t.Helper()
	list, err := filepath.Glob(filepath.Join(p.home.incoming(), "*"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, file := range list {
		var st syscall.Stat_t
		if err := syscall.Stat(file, &st); err == nil { // it may have gone
			sum += st.Blocks * 512
		}
	}
	return sum
}

// besides bounds what is sent of a repository besides packs: snapshot and hint.
const besides = 4 << 10

// TestFullDisk has a disk that is too small from the beginning.
func TestFullDisk(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	work.noise("noise", 3<<20)
	url := alice.publish(work).URL
	bob := newPerson(t, net)
	disk := mountSmall(t, bob.home.Data, 2<<20)
	bob.trustPublisher(url)
	bob.start()
	before := alice.sent()
	_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
	wantFull(t, err)
	if sent := alice.sent() - before; sent > besides {
		t.Errorf("%d bytes were sent of what does not fit", sent)
	}
	disk.leave(64 << 20)
	if got := bob.fetch(url); len(got.Refs) != 1 {
		t.Errorf("with room again: %+v, want the ref", got)
	}
}

// TestDiskFillsUp has a disk that is filled while a pack comes in, and emptied
// to the same room as before: less than the whole pack takes.
func TestDiskFillsUp(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	work.noise("noise", 2<<20)
	alice.limited("512k")
	url := alice.publish(work).URL
	size := alice.size(url)
	bob := newPerson(t, net)
	disk := mountSmall(t, bob.home.Data, size+spareBytes+1<<20)
	bob.trustPublisher(url)
	bob.start()
	ended := make(chan error, 1)
	go func() {
		_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
		ended <- err
	}()
	testnet.Until(t, "half of the pack", func() bool { return bob.downloaded() > size/2 })
	empty := disk.fill()
	wantFull(t, <-ended)
	before := alice.sent()
	bob.stop() // a node that is ended and started on a full disk minds neither
	bob.start()
	kept := bob.downloaded()
	if kept >= size || kept < size/2 {
		t.Fatalf("%d bytes are here of %d, want half of it at least, and not all", kept, size)
	}
	empty()
	if free, known := freeBytes(disk.dir); known && free > size {
		disk.leave(size) // of which the whole pack would not fit
	}
	bob.fetch(url)
	if sent := alice.sent() - before; sent > size-kept+16*32<<10+besides {
		t.Errorf("%d bytes were sent of %d, of which %d were here", sent, size, kept)
	}
	fsck(t, bob.dir(url))
}

// TestFullDiskOfOne has one download that finds its disk full, and another one
// at the same time that goes on.
func TestFullDiskOfOne(t *testing.T) {
	net := loopback(t)
	bob := newPerson(t, net)
	disk := mountSmall(t, t.TempDir(), 256<<10)
	if err := os.MkdirAll(bob.home.incoming(), 0o700); err != nil {
		t.Fatal(err)
	}
	policy := "[gitpeer]\n\tversion = 1\n"
	var urls [2]string
	for n := range urls {
		p, work := publisher(t, net, 1)
		work.n += 100 * n // no two repositories are alike
		work.noise("noise", 1<<20)
		p.limited("512k")
		urls[n] = p.publish(work).URL
		show, err := p.client.Show(t.Context(), ShowRequest{URL: urls[n]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(bob.home.incoming(), show.Packs[0].InfoHash.String())
		if n == 0 {
			if err := os.Symlink(filepath.Join(disk.dir, "pack"), file); err != nil {
				t.Fatal(err)
			}
		}
		policy += fmt.Sprintf("[repo \"r%d\"]\n\turl = %s\n[rule \"r%[1]d\"]\n\trepo = r%[1]d\n\tref = refs/*\n\tmode = publisher\n", n, urls[n])
	}
	if err := os.WriteFile(filepath.Join(bob.home.Config, trust.ConfigName), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	bob.start()
	other := make(chan error, 1)
	go func() {
		_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: urls[1]}, nil)
		other <- err
	}()
	testnet.Until(t, "the other download", func() bool { return bob.downloaded() > 0 })
	_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: urls[0]}, nil)
	wantFull(t, err)
	if err := <-other; err != nil {
		t.Errorf("the other download: %v", err)
	}
	fsck(t, bob.dir(urls[1]))
}

// TestFullDiskAtEachStep lets a mirror run out of room at each step of taking
// packs over, one that our own indexer reads and one that git does: nothing is
// lost, and nothing that was downloaded comes again.
func TestFullDiskAtEachStep(t *testing.T) {
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	work.big()
	url := alice.publish(work).URL
	bob := newPerson(t, net)
	repos := bob.home.reposDir()
	if err := os.MkdirAll(repos, 0o700); err != nil {
		t.Fatal(err)
	}
	disk := mountSmall(t, repos, 4<<10)
	bob.trustPublisher(url)
	bob.start()
	had := int64(0)
	for number := uint64(1); number <= 2; number++ {
		before, size := alice.sent(), alice.size(url)-had
		steps := bob.fetchIntoLittle(url, disk, size)
		if len(steps) < 10 {
			t.Errorf("number %d has failed at %q only", number, steps)
		}
		m, err := openMirror(t.Context(), bob.home, mustAddress(t, url))
		if err != nil || m.current().Snapshot.Number != number || !slices.Equal(m.current().Snapshot.Refs, work.refs()) {
			t.Fatalf("the mirror has %+v, %v, want number %d", m.current(), err, number)
		}
		if sent := alice.sent() - before; sent > size+besides {
			t.Errorf("number %d: %d bytes were sent of %d", number, sent, size)
		}
		disk.leave(1 << 20)
		fsck(t, bob.dir(url))
		had += size
		work.noise("noise", minHinted/2)
		alice.publish(work)
	}
}

// fetchIntoLittle fetches again and again while the disk of the mirror has a
// little more room each time, up to that for a pack of so many bytes, until the
// fetch succeeds. It returns what the failures said.
func (p *person) fetchIntoLittle(url string, disk *smallDisk, size int64) (failures []string) {
	p.t.Helper()
	rooms := []int64{4 << 10, 8 << 10, 12 << 10, 0, size / 2}
	for page := range int64(32) {
		rooms = append(rooms, size+page<<12)
	}
	begun := false // to accept: the pack has its place, and all else takes a few pages
	for len(rooms) > 0 {
		if _, err := os.Stat(filepath.Join(p.dir(url), "gitpeer", "accepting")); err == nil && !begun {
			begun, rooms = true, nil
			for page := range int64(32) {
				rooms = append(rooms, page<<12)
			}
		}
		disk.leave(rooms[0])
		_, err := p.client.Fetch(p.t.Context(), FetchRequest{URL: url}, nil)
		if err == nil {
			return failures
		}
		wantFull(p.t, err)
		failures = append(failures, err.Error())
		p.t.Logf("%d bytes free: %v", rooms[0], err)
		rooms = rooms[1:]
	}
	p.t.Fatal("there is room, and the fetch does not succeed")
	return nil
}
