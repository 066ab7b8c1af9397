//go:build linux

package testnet_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/swarm"
	"github.com/gitpeer/gitpeer/testnet"
)

// The crowd: N readers begin at the same moment to fetch a pack from an origin with a small uplink.
// Each node is a process of its own in a network namespace of its own.
const (
	crowdSize   = 50 << 20
	crowdPort   = 29000
	originUp    = 20e6 // bits a second
	readerRate  = 100e6
	crowdDelay  = 5 * time.Millisecond // of each link: 10 ms from host to host
	crowdTime   = 5 * time.Minute
	crowdRole   = "GITPEER_TEST_CROWD" // set in the processes of a crowd
	crowdPython = "/usr/bin/python3"
)

// crowdPack is the pack: bytes that look random, made again at each read.
type crowdPack struct{ size int64 }

func (p crowdPack) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) && off < p.size {
		var word [8]byte
		x := uint64(off/8)*0x9e3779b97f4a7c15 + 1
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(word[:], x^x>>31)
		m := copy(b[n:], word[off%8:min(8, off%8+p.size-off)])
		n, off = n+m, off+int64(m)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (p crowdPack) info() (*swarm.Info, error) {
	h := swarm.NewHasher()
	if _, err := io.Copy(h, io.NewSectionReader(p, 0, p.size)); err != nil {
		return nil, err
	}
	return h.Sum("crowd.pack")
}

// TestMain runs the processes of a crowd, which are this program again.
func TestMain(m *testing.M) {
	role := os.Getenv(crowdRole)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := crowdNode(context.Background(), role, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

// crowdNode is one process: "origin LISTEN", "reader LISTEN FILE INFOHASH PEER..." or "dht LISTEN...".
func crowdNode(ctx context.Context, role string, args []string) error {
	if role == "dht" {
		return crowdDHT(args)
	}
	cfg := swarm.Config{Listen: args[0]}
	n, err := swarm.Listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer n.Close()
	commands := bufio.NewScanner(os.Stdin)
	pack := crowdPack{crowdSize}
	if role == "origin" {
		info, err := pack.info()
		if err != nil {
			return err
		}
		if _, err := n.Seed(info, pack); err != nil {
			return err
		}
		fmt.Println("ready")
		commands.Scan()
		return nil
	}
	fmt.Println("ready")
	commands.Scan()
	req := swarm.FetchRequest{File: args[1]}
	if req.InfoHash, err = refs.ParseInfoHash(args[2]); err != nil {
		return err
	}
	for _, a := range args[3:] {
		req.Peers = append(req.Peers, netip.MustParseAddrPort(a))
	}
	d, err := n.Fetch(ctx, req)
	if err != nil {
		return err
	}
	defer d.Close()
	if size, err := io.Copy(io.Discard, d); err != nil || size != crowdSize {
		return fmt.Errorf("read %d bytes: %w", size, err)
	}
	fmt.Println("done")
	commands.Scan()
	return nil
}

// crowdDHT runs a DHT node on each address until its input ends.
func crowdDHT(addrs []string) error {
	for i, a := range addrs {
		conn, err := net.ListenPacket("udp4", a)
		if err != nil {
			return err
		}
		d, err := swarm.NewDHT(swarm.DHTConfig{Conn: conn, Bootstrap: addrs[:min(i, 1)]})
		if err != nil {
			return err
		}
		defer d.Close()
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// A crowd is one run.
type crowd struct {
	b       *testing.B
	links   *testnet.Links
	info    *swarm.Info
	dir     string
	readers int
	all     bool // everybody knows all addresses; else only the origin's
}

type crowdProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err bytes.Buffer
}

// expect waits for a line.
func (p *crowdProcess) expect(line string) error {
	for p.out.Scan() {
		if p.out.Text() == line {
			return nil
		}
	}
	return fmt.Errorf("%s ended: %s", strings.Join(p.cmd.Args, " "), p.err.String())
}

// start runs a program on a host; it ends with the crowd.
func (c *crowd) start(host int, env string, args ...string) (*crowdProcess, error) {
	p := &crowdProcess{cmd: c.links.Command(host, args...)}
	p.cmd.Env = append(os.Environ(), env, "HOME="+c.dir)
	p.cmd.Stderr = &p.err
	// The whole family ends with us: "ip netns exec" becomes the program.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	return p, p.cmd.Start()
}

func (p *crowdProcess) stop() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (c *crowd) addr(host int) string {
	return netip.AddrPortFrom(c.links.Addr(host), crowdPort).String()
}

// ours and libtorrent return the command lines of a node; host 0 is the origin.
func (c *crowd) ours(host int, peers []string) (env string, args []string) {
	exe, err := os.Executable()
	if err != nil {
		c.b.Fatal(err)
	}
	if host == 0 {
		return crowdRole + "=origin", []string{exe, c.addr(0)}
	}
	args = []string{exe, c.addr(host), filepath.Join(c.dir, fmt.Sprint(host)), c.info.InfoHash().String()}
	return crowdRole + "=reader", append(args, peers...)
}

func (c *crowd) libtorrent(host int, peers []string) (env string, args []string) {
	torrent := filepath.Join(c.dir, "crowd.torrent")
	dir := filepath.Join(c.dir, fmt.Sprint(host))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.b.Fatal(err)
	}
	if host > 0 {
		return "", append([]string{crowdPython, "testdata/libtorrent_crowd.py", "get", torrent, dir, c.addr(host)}, peers...)
	}
	f, err := os.Create(filepath.Join(dir, c.info.Name()))
	if err != nil {
		c.b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(crowdPack{crowdSize}, 0, crowdSize)); err != nil {
		c.b.Fatal(err)
	}
	return "", []string{crowdPython, "testdata/libtorrent_crowd.py", "seed", torrent, dir, c.addr(0)}
}

type crowdCommand func(c *crowd, host int, peers []string) (env string, args []string)

// crowdResult is the time until the last reader and the median one were done, and what the origin
// sent by then, with all headers.
type crowdResult struct {
	last, median time.Duration
	sent         int64
}

// run makes one crowd. With dies the origin is cut off once it has sent that many bytes.
func (c *crowd) run(origin, reader crowdCommand, dies int64) (r crowdResult, err error) {
	links := []testnet.Link{{Up: originUp, Down: readerRate, Delay: crowdDelay}}
	for range c.readers {
		links = append(links, testnet.Link{Up: readerRate, Down: readerRate, Delay: crowdDelay})
	}
	if c.links, err = testnet.NewLinks(links); err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "crowd.torrent"), c.info.TorrentFile(), 0o644); err != nil {
		return r, errors.Join(err, c.links.Close())
	}
	var all []*crowdProcess
	defer func() {
		for _, p := range all {
			p.stop()
		}
		err = errors.Join(err, c.links.Close())
	}()
	for host := range links {
		command, peers := reader, []string{c.addr(0)}
		if host == 0 {
			command = origin
		}
		for other := 1; c.all && other < len(links); other++ {
			if other != host {
				peers = append(peers, c.addr(other))
			}
		}
		env, args := command(c, host, peers)
		p, err := c.start(host, env, args...)
		if err != nil {
			return r, err
		}
		all = append(all, p)
		if err := p.expect("ready"); err != nil {
			return r, err
		}
	}
	return c.race(all[1:], dies)
}

// race lets the readers begin and waits for all.
func (c *crowd) race(readers []*crowdProcess, dies int64) (r crowdResult, err error) {
	before, begin := c.links.Sent(0), time.Now()
	done := make(chan error, len(readers))
	for _, p := range readers {
		if _, err := io.WriteString(p.in, "go\n"); err != nil {
			return r, err
		}
		go func() { done <- p.expect("done") }()
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(crowdTime)
	for n := 0; n < len(readers); {
		select {
		case err := <-done:
			if err != nil {
				return r, err
			}
			n++
			r.last = time.Since(begin)
			if n == (len(readers)+1)/2 {
				r.median = r.last
			}
		case <-tick.C:
			if dies > 0 && c.links.Sent(0)-before > dies {
				c.links.Cut(0)
			}
		case <-timeout:
			return r, fmt.Errorf("%d of %d readers done in %s", n, len(readers), crowdTime)
		}
	}
	r.sent = c.links.Sent(0) - before
	return r, nil
}

// BenchmarkCrowd measures how soon the last of N readers has a pack of 50 MiB from an origin whose
// uplink needs 21 s for one copy, and how many copies the origin sends; of nodes of this package,
// and where Debian's python3-libtorrent is installed, of libtorrent's.
//
//	go test -run '^$' -bench Crowd -benchtime 1x ./testnet
//
// It needs root, for network namespaces, and about ten minutes.
func BenchmarkCrowd(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("skipped: the crowd needs root, for network namespaces")
	}
	if runtime.GOMAXPROCS(0) < runtime.NumCPU() {
		b.Skip("skipped: the crowd wants all processors")
	}
	info, err := crowdPack{crowdSize}.info()
	if err != nil {
		b.Fatal(err)
	}
	kinds := []struct {
		name           string
		origin, reader crowdCommand
		all            bool
		dies           int64
	}{
		{"gitpeer", (*crowd).ours, (*crowd).ours, false, 0},
		{"gitpeer-all-known", (*crowd).ours, (*crowd).ours, true, 0},
		{"gitpeer-origin-dies", (*crowd).ours, (*crowd).ours, false, crowdSize * 112 / 100},
		{"libtorrent", (*crowd).libtorrent, (*crowd).libtorrent, false, 0},
		{"libtorrent-all-known", (*crowd).libtorrent, (*crowd).libtorrent, true, 0},
		{"libtorrent-from-gitpeer", (*crowd).ours, (*crowd).libtorrent, false, 0},
	}
	for _, kind := range kinds {
		for _, readers := range []int{1, 5, 10, 20} {
			b.Run(fmt.Sprintf("%s/N=%d", kind.name, readers), func(b *testing.B) {
				if strings.HasPrefix(kind.name, "libtorrent") && exec.Command(crowdPython, "-c", "import libtorrent").Run() != nil {
					b.Skip("skipped: no libtorrent for " + crowdPython)
				}
				var sum crowdResult
				for range b.N {
					c := &crowd{b: b, info: info, readers: readers, all: kind.all, dir: b.TempDir()}
					r, err := c.run(kind.origin, kind.reader, kind.dies)
					if err != nil {
						b.Fatal(err)
					}
					sum.last, sum.median, sum.sent = sum.last+r.last, sum.median+r.median, sum.sent+r.sent
				}
				copyTime := crowdSize * 8 / originUp * float64(b.N)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(sum.last.Seconds()/float64(b.N), "s-last")
				b.ReportMetric(sum.median.Seconds()/float64(b.N), "s-median")
				b.ReportMetric(sum.last.Seconds()/copyTime, "x-one-copy")
				b.ReportMetric(float64(sum.sent)/crowdSize/float64(b.N), "copies-sent")
			})
		}
	}
}
