//go:build interop

package testnet_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The NAT lab: hosts on an Internet of their own, and homes behind routers with a NAT, each in a
// network namespace; the programs are gitpeer's and git.
const (
	natPort = "6881"
	natTime = 2 * time.Minute // for one program
	// homeNAT is what most routers of homes are: the port stays the same, whoever is talked to, and
	// what comes in must be an answer to the very address and port.
	homeNAT = "masquerade"
	// symmetricNAT takes another port for each address that is talked to.
	symmetricNAT = "masquerade fully-random"
)

const natRules = `table ip nat {
	chain outgoing { type nat hook postrouting priority 100; oifname "eth0" %s; }
	chain forwarded { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname "lan0" accept; }
	chain incoming { type filter hook input priority 0; policy accept; iifname "eth0" ct state new,invalid drop; }
}`

type natLab struct {
	t         *testing.T
	dir, wan  string
	bootstrap string
}

// newNATLab makes the Internet, with a DHT of twelve hosts.
func newNATLab(t *testing.T) *natLab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: network namespaces need root")
	}
	for _, program := range []string{"ip", "nft", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("skipped: ", err)
		}
	}
	l := &natLab{t: t, dir: t.TempDir()}
	l.wan = l.space("wan")
	l.must(nil, "", "ip", "netns", "exec", l.wan, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	l.build()
	l.startDHT(12)
	return l
}

// build makes the programs.
func (l *natLab) build() {
	l.t.Helper()
	build := exec.Command("go", "build", "-o", l.dir, "github.com/gitpeer/gitpeer/cmd/gitpeer", "github.com/gitpeer/gitpeer/cmd/git-remote-gitpeer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		l.t.Fatalf("building gitpeer: %v\n%s", err, out)
	}
}

// startDHT makes one host with many addresses: no address is trusted with more than one copy.
func (l *natLab) startDHT(nodes int) {
	l.t.Helper()
	space := l.host("dht", "198.51.100.1")
	var addrs []string
	for i := range nodes {
		a := fmt.Sprintf("198.51.100.%d", i+1)
		if i > 0 {
			l.ip("-n", space, "addr", "add", a+"/32", "dev", "eth0")
			l.ip("-n", l.wan, "route", "add", a+"/32", "dev", "dht")
		}
		addrs = append(addrs, a+":"+natPort)
	}
	exe, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", space, exe}, addrs...)...)
	cmd.Env = append(os.Environ(), crowdRole+"=dht")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { in.Close(); cmd.Wait() })
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		l.t.Fatal("the DHT did not start: ", err)
	}
	l.bootstrap = strings.Join(addrs[:3], ",")
}

// must runs a program and returns what it said.
func (l *natLab) must(env []string, stdin, name string, args ...string) string {
	l.t.Helper()
	out, err := runNAT(env, stdin, name, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func runNAT(env []string, stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdin, cmd.WaitDelay = append(os.Environ(), env...), strings.NewReader(stdin), time.Second
	kill := time.AfterFunc(natTime, func() { cmd.Process.Kill() })
	defer kill.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (l *natLab) ip(args ...string) { l.t.Helper(); l.must(nil, "", "ip", args...) }

// space makes a namespace.
func (l *natLab) space(name string) string {
	l.t.Helper()
	space := fmt.Sprintf("gp%d%s", os.Getpid(), name)
	l.ip("netns", "add", space)
	l.t.Cleanup(func() { exec.Command("ip", "netns", "del", space).Run() })
	l.ip("-n", space, "link", "set", "lo", "up")
	return space
}

// host makes a host on the Internet.
func (l *natLab) host(name, addr string) string {
	l.t.Helper()
	space := l.space(name)
	for _, args := range []string{
		"link add eth0 netns " + space + " type veth peer name " + name + " netns " + l.wan,
		"-n " + l.wan + " addr add 203.0.113.1/32 dev " + name,
		"-n " + l.wan + " link set " + name + " up",
		"-n " + l.wan + " route add " + addr + "/32 dev " + name,
		"-n " + space + " addr add " + addr + "/32 dev eth0",
		"-n " + space + " link set eth0 up",
		"-n " + space + " route add 203.0.113.1/32 dev eth0",
		"-n " + space + " route add default via 203.0.113.1 src " + addr,
	} {
		l.ip(strings.Fields(args)...)
	}
	return space
}

// home makes a host behind a router with a NAT.
func (l *natLab) home(name, addr, nat string) string {
	l.t.Helper()
	router, space := l.host(name+"r", addr), l.space(name)
	l.must(nil, "", "ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	for _, args := range []string{
		"link add eth0 netns " + space + " type veth peer name lan0 netns " + router,
		"-n " + router + " addr add 192.168.1.1/24 dev lan0",
		"-n " + router + " link set lan0 up",
		"-n " + space + " addr add 192.168.1.2/24 dev eth0",
		"-n " + space + " link set eth0 up",
		"-n " + space + " route add default via 192.168.1.1",
	} {
		l.ip(strings.Fields(args)...)
	}
	l.must(nil, fmt.Sprintf(natRules, nat), "ip", "netns", "exec", router, "nft", "-f", "-")
	return space
}

// A natPerson uses gitpeer on a host.
type natPerson struct {
	lab         *natLab
	space, home string
}

func (l *natLab) person(space string) *natPerson {
	l.t.Helper()
	p := &natPerson{l, space, filepath.Join(l.dir, space)}
	if err := os.Mkdir(p.home, 0o700); err != nil {
		l.t.Fatal(err)
	}
	p.git("config", "--global", "user.name", "nat")
	p.git("config", "--global", "user.email", "nat@example.org")
	l.t.Cleanup(func() { p.run("gitpeer", "stop") })
	return p
}

func (p *natPerson) run(program string, args ...string) (string, error) {
	return runNAT(nil, "", "ip", p.line(program, args...)...)
}

// line is what ip runs a program with.
func (p *natPerson) line(program string, args ...string) []string {
	env := []string{
		"HOME=" + p.home, "GITPEER_HOME=" + filepath.Join(p.home, "gitpeer"), "GITPEER_BOOTSTRAP=" + p.lab.bootstrap,
		"GITPEER_LISTEN=0.0.0.0:" + natPort, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"PATH=" + p.lab.dir + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
	line := append([]string{"netns", "exec", p.space, "env"}, env...)
	return append(append(line, program), args...)
}

func (p *natPerson) must(program string, args ...string) string {
	p.lab.t.Helper()
	out, err := p.run(program, args...)
	if err != nil {
		p.lab.t.Fatal(err)
	}
	return out
}

func (p *natPerson) git(args ...string) { p.lab.t.Helper(); p.must("git", args...) }

// large is the size of a file that does not fit beside the snapshot.
const large = 300_000

// publish commits a file of so many bytes, and publishes.
func (p *natPerson) publish(size int) (url string) {
	p.lab.t.Helper()
	work := filepath.Join(p.home, "work")
	if _, err := os.Stat(work); err != nil {
		p.git("init", "-q", "-b", "main", work)
		p.must("gitpeer", "init")
	}
	b := make([]byte, size)
	f, err := os.Open("/dev/urandom")
	if err != nil {
		p.lab.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(b); err != nil {
		p.lab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "file"), b, 0o600); err != nil {
		p.lab.t.Fatal(err)
	}
	p.git("-C", work, "add", "file")
	p.git("-C", work, "commit", "-q", "-m", "change")
	out := p.must("gitpeer", "publish", "--name", "tools", work)
	for _, word := range strings.Fields(out) {
		if strings.HasPrefix(word, "gitpeer://") {
			return word
		}
	}
	p.lab.t.Fatalf("gitpeer publish says no address: %s", out)
	return ""
}

func (p *natPerson) trust(url string) {
	p.lab.t.Helper()
	p.must("gitpeer", "trust", "add", "--publisher-only", url)
}

// TestNAT: who gets a repository from whom, when there is nobody else who has it, and no more than a
// DHT to meet. A publisher that cannot be called looks there for readers.
func TestNAT(t *testing.T) {
	l := newNATLab(t)
	for i, c := range []struct {
		name, publisher, reader string // what each is behind
		refused                 bool
	}{
		{name: "publisher behind a NAT", publisher: homeNAT},
		{name: "reader behind a NAT", reader: homeNAT},
		{name: "reader behind a symmetric NAT", reader: symmetricNAT},
		{name: "publisher behind a symmetric NAT", publisher: symmetricNAT},
		{name: "both behind NATs", publisher: homeNAT, reader: homeNAT},
		{name: "both behind NATs, one symmetric", publisher: homeNAT, reader: symmetricNAT, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			publisher := l.person(l.place(fmt.Sprintf("p%d", i), fmt.Sprintf("203.0.113.%d", 10+i), c.publisher))
			reader := l.person(l.place(fmt.Sprintf("r%d", i), fmt.Sprintf("203.0.113.%d", 110+i), c.reader))
			defer reader.run("gitpeer", "stop")
			defer publisher.run("gitpeer", "stop")
			url, clone, began := publisher.publish(large), filepath.Join(reader.home, "clone"), time.Now()
			reader.trust(url)
			out, err := reader.run("git", "clone", url, clone)
			t.Logf("clone took %v", time.Since(began).Round(time.Millisecond))
			if c.refused {
				checkRefused(t, out, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			publisher.publish(large)
			began = time.Now()
			if _, err := reader.run("git", "-C", clone, "pull", "-q"); err != nil {
				t.Fatal(err)
			}
			t.Logf("pull took %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// checkRefused: the reader is told what was found, whom it tried and what to type.
func checkRefused(t *testing.T, out string, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("a way was found where there is none")
	}
	for _, want := range []string{"nobody who has it can be reached", "203.0.113.15:" + natPort, "hint:"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s\ndoes not say %q", out, want)
		}
	}
}

// place makes a host, behind a NAT if one is named.
func (l *natLab) place(name, addr, nat string) string {
	if nat == "" {
		return l.host(name, addr)
	}
	return l.home(name, addr, nat)
}
