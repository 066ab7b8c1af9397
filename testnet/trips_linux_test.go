//go:build interop

package testnet_test

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/testnet"
)

// TestFetchTrips counts the round trips of a fetch by the whole programs, from the record to the end
// of the packs. The reader is far from everybody. What a fetch waits for the other side grows with the
// distance, and what computers take does not: so the slope is the number of round trips, and the
// least of several fetches is that of one that nothing held up.
func TestFetchTrips(t *testing.T) {
	const near, far = 100 * time.Millisecond, 700 * time.Millisecond
	var short, long map[int]time.Duration
	t.Run("near", func(t *testing.T) { short = fetchTimes(t, near) })
	t.Run("far", func(t *testing.T) { long = fetchTimes(t, far) })
	if short == nil || long == nil {
		return // skipped, or failed
	}
	for _, c := range []struct {
		behind int
		most   float64
	}{
		{1, 4.9}, // 4: the pack comes with the snapshot
		{3, 8.9}, // 8: 4 for each torrent
	} {
		trips := float64(long[c.behind]-short[c.behind]) / float64(far-near)
		t.Logf("%d behind: %v and %v at %v and %v there and back: %.1f round trips", c.behind,
			short[c.behind].Round(time.Millisecond), long[c.behind].Round(time.Millisecond), near, far, trips)
		if trips > c.most {
			t.Errorf("%d behind: %.1f round trips from the record to the end of the packs, want at most %v", c.behind, trips, c.most)
		}
	}
}

// fetchTimes gives how long the fastest of some fetches took from the record on, by how many
// publications the reader was behind, where the other side is so far away, there and back.
func fetchTimes(t *testing.T, trip time.Duration) map[int]time.Duration {
	t.Helper()
	const fast = 1e9 // bits a second
	links, err := testnet.NewLinks([]testnet.Link{{Up: fast, Down: fast}, {Up: fast, Down: fast, Delay: trip / 2}, {Up: fast, Down: fast}})
	if err != nil {
		t.Skip("skipped: ", err)
	}
	t.Cleanup(func() { links.Close() })
	l := &natLab{t: t, dir: t.TempDir()}
	l.build()
	l.bootstrap = startTestnet(t, links, filepath.Join(l.dir, "gitpeer"))
	reader, publisher := l.person(links.Space(1)), l.person(links.Space(2))
	url, clone := publisher.publish(large), filepath.Join(reader.home, "clone")
	reader.trust(url)
	reader.git("clone", "-q", url, clone)
	least := map[int]time.Duration{}
	for range 3 {
		for _, behind := range []int{1, 3} {
			for range behind {
				publisher.publish(500)
			}
			if took := reader.timedFetch(clone); least[behind] == 0 || took < least[behind] {
				least[behind] = took
			}
		}
	}
	return least
}

// startTestnet runs a DHT on the first host and returns whom to ask first.
func startTestnet(t *testing.T, links *testnet.Links, gitpeer string) (bootstrap string) {
	t.Helper()
	cmd := links.Command(0, gitpeer, "testnet", "--nodes", "20", "--listen", links.Addr(0).String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	bootstrap, ok := strings.CutPrefix(strings.TrimSpace(line), "bootstrap ")
	if !ok {
		t.Fatalf("gitpeer testnet says %q: %v", line, err)
	}
	return bootstrap
}

// timedFetch fetches into a clone and returns the time from the end of the lookup to that of the
// verification, by the progress lines.
func (p *natPerson) timedFetch(clone string) time.Duration {
	p.lab.t.Helper()
	cmd := exec.Command("ip", p.line("git", "-C", clone, "fetch", "--progress")...)
	kill := time.AfterFunc(natTime, func() { cmd.Process.Kill() })
	defer kill.Stop()
	said, w := io.Pipe()
	cmd.Stderr = w
	go func() { w.CloseWithError(cmd.Run()) }()
	var known, verified time.Time
	var all strings.Builder
	for lines := bufio.NewScanner(said); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil || known.IsZero() || verified.IsZero() {
				p.lab.t.Fatalf("git fetch: %v\n%s", err, all.String())
			}
			return verified.Sub(known)
		}
		now := time.Now()
		all.WriteString(lines.Text() + "\n")
		switch {
		case strings.HasPrefix(lines.Text(), "Looking up the record"):
			known = now
		case strings.HasPrefix(lines.Text(), "Verifying signatures"):
			verified = now
		}
	}
}
