package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A link is how a host is connected. Zero rates are no limit.
type link struct {
	Up, Down int64 // bits a second
}

// A lab is a set of hosts, each in a network namespace, on one switch.
type lab struct {
	hosts  []*host
	spaces []string
	sw     *exec.Cmd

	mu     sync.Mutex // one question at a time
	ask    io.WriteCloser
	answer *bufio.Reader
}

const mbit = 1_000_000

// oneWay is how long each frame takes from host to host: a round trip is 20 ms.
const oneWay = 10 * time.Millisecond

// newLab makes namespaces, one for each link, and connects them by a switch that
// takes delay for each frame.
func newLab(ctx context.Context, delay time.Duration, links []link) (_ *lab, err error) {
	if os.Getuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	l := &lab{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	hub := fmt.Sprintf("gitpeer-bench-%d-hub", os.Getpid())
	if err := l.addSpace(ctx, hub); err != nil {
		return nil, err
	}
	for i, link := range links {
		if err := l.addHost(ctx, hub, i, link); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l.sw = exec.Command("ip", "netns", "exec", hub, self, "-switch", delay.String())
	l.sw.Stderr = os.Stderr
	if l.ask, err = l.sw.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := l.sw.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l.answer = bufio.NewReader(out)
	if err := l.sw.Start(); err != nil {
		return nil, err
	}
	_, err = l.counts()
	return l, err
}

func (l *lab) addSpace(ctx context.Context, name string) error {
	if err := ip(ctx, "netns", "add", name); err != nil {
		return err
	}
	l.spaces = append(l.spaces, name)
	return ip(ctx, "-n", name, "link", "set", "lo", "up")
}

// addHost makes host i: its namespace, its cable, its rates.
func (l *lab) addHost(ctx context.Context, hub string, i int, k link) error {
	name := fmt.Sprintf("h%d", i)
	space := fmt.Sprintf("gitpeer-bench-%d-%s", os.Getpid(), name)
	if err := l.addSpace(ctx, space); err != nil {
		return err
	}
	addr := fmt.Sprintf("10.88.%d.%d", i/200, i%200+1)
	for _, args := range []string{
		"link add eth0 netns " + space + " type veth peer name " + name + " netns " + hub,
		"-n " + space + " addr add " + addr + "/16 dev eth0",
		"-n " + space + " link set eth0 up",
		// What a kernel prefers differs (bbr keeps a link at 91 % of its rate);
		// cubic is what most have.
		"-n " + space + " route replace 10.88.0.0/16 dev eth0 src " + addr + " congctl cubic",
		"-n " + hub + " link set " + name + " up",
	} {
		if err := ip(ctx, strings.Fields(args)...); err != nil {
			return err
		}
	}
	// On the wire frames have their checksums and are no larger than the MTU. The
	// host may cut them late and join them early, as it does for any network card.
	for _, end := range []struct{ space, dev, join string }{{space, "eth0", "on"}, {hub, name, "off"}} {
		if err := command(ctx, "ip", "netns", "exec", end.space, "ethtool", "-K", end.dev,
			"tx", "off", "tso", "off", "gso", end.join, "gro", end.join); err != nil {
			return err
		}
	}
	l.hosts = append(l.hosts, &host{Name: name, netns: space, Addr: addr})
	return errors.Join(limit(ctx, space, "eth0", k.Up), limit(ctx, hub, name, k.Down))
}

// limit bounds what an interface sends; a tenth of a second of it may wait.
func limit(ctx context.Context, space, dev string, rate int64) error {
	if rate == 0 {
		return nil
	}
	queue := max(rate/8/10, 64<<10)
	return command(ctx, "tc", "-n", space, "qdisc", "add", "dev", dev, "root", "tbf",
		"rate", fmt.Sprint(rate), "burst", "32kb", "limit", fmt.Sprint(queue))
}

// counts asks the switch for the bytes of all hosts, in their order.
func (l *lab) counts() ([]portCounts, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.ask, "\n"); err != nil {
		return nil, err
	}
	line, err := l.answer.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	var byName map[string]portCounts
	if err := json.Unmarshal(line, &byName); err != nil {
		return nil, err
	}
	out := make([]portCounts, len(l.hosts))
	for i, h := range l.hosts {
		out[i] = byName[h.Name]
	}
	return out, nil
}

// cpu returns what the switch has used.
func (l *lab) cpu() (time.Duration, error) { return process{l.sw.Process.Pid}.cpu() }

// close takes everything down.
func (l *lab) close() error {
	var errs []error
	if l.sw != nil && l.sw.Process != nil {
		l.ask.Close()
		errs = append(errs, l.sw.Wait())
	}
	for _, space := range l.spaces {
		errs = append(errs, ip(context.Background(), "netns", "del", space))
	}
	return errors.Join(errs...)
}

func ip(ctx context.Context, args ...string) error {
	return command(ctx, append([]string{"ip"}, args...)...)
}

func command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
