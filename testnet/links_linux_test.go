package testnet

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A Link is how one host of [Links] is connected. Each direction has a queue of 100 ms; what does
// not fit is dropped, as routers do.
type Link struct {
	Up, Down float64       // bits a second
	Delay    time.Duration // from the host to the middle of the net; a way crosses two of them
}

// Links is a network of Linux network namespaces whose links have rates and delays, for programs
// that need real sockets. The links are emulated in this process behind TUN devices: unlike tc, that
// needs no kernel modules, and a lost packet is lost for a reason. It needs root.
type Links struct {
	hosts []*linkHost
	wait  sync.WaitGroup
}

const (
	linkQueue  = 100 * time.Millisecond
	linkMTU    = 1500
	linkSlack  = 500 * time.Microsecond // packets are delivered up to so much early, for fewer wake-ups
	linkPrefix = 16

	// The kernel hands over what belongs together as one large packet, which spares most of the
	// work (linux/if_tun.h, linux/virtio_net.h). It is as large as a millisecond or so of the rate
	// that TCP found.
	vnetHeader = 10
	maxPacket  = vnetHeader + 1<<16
	tunVnet    = 0x4000     // IFF_VNET_HDR
	tunOffload = 0x400454d0 // TUNSETOFFLOAD
	tunTCP4    = 1 | 2      // TUN_F_CSUM | TUN_F_TSO4
)

// NewLinks makes a namespace for each link. The error says what is missing: root, ip(8) or
// /dev/net/tun. Close removes everything.
func NewLinks(links []Link) (*Links, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, err
	}
	l := new(Links)
	for i, link := range links {
		h := &linkHost{link: link, name: fmt.Sprintf("gp%dn%d", os.Getpid(), i), wake: make(chan struct{}, 1)}
		h.addr = netip.AddrFrom4([4]byte{10, 88, byte(i >> 8), byte(i&0xff) + 1})
		if err := h.open(); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.hosts = append(l.hosts, h)
	}
	byAddr := make(map[[4]byte]*linkHost)
	for _, h := range l.hosts {
		byAddr[h.addr.As4()] = h
	}
	for _, h := range l.hosts {
		l.wait.Go(func() { h.send(byAddr) })
		l.wait.Go(h.receive)
	}
	return l, nil
}

// Addr returns the address of a host.
func (l *Links) Addr(host int) netip.Addr { return l.hosts[host].addr }

// Space is the name of a host's namespace, for ip-netns(8).
func (l *Links) Space(host int) string { return l.hosts[host].name }

// Command returns the command line that runs a program on a host.
func (l *Links) Command(host int, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.Space(host)}, args...)...)
}

// Sent returns the bytes that a host has sent, with all headers from IP on.
func (l *Links) Sent(host int) int64 { return l.hosts[host].sent.Load() }

// Dropped returns the packets that did not fit into a host's queues.
func (l *Links) Dropped(host int) int64 { return l.hosts[host].dropped.Load() }

// Cut ends all traffic from and to a host, without telling anybody.
func (l *Links) Cut(host int) { l.hosts[host].cut.Store(true) }

// Close removes the namespaces. The programs in them must have ended.
func (l *Links) Close() error {
	var errs []error
	for _, h := range l.hosts {
		h.closed.Store(true)
		errs = append(errs, h.tun.Close(), ip("netns", "del", h.name))
		h.wakeUp()
	}
	l.wait.Wait()
	return errors.Join(errs...)
}

type linkHost struct {
	link          Link
	name          string
	addr          netip.Addr
	tun           *os.File
	wake          chan struct{}
	closed, cut   atomic.Bool
	sent, dropped atomic.Int64

	mu    sync.Mutex
	queue packetHeap
}

// open makes the namespace and its device.
func (h *linkHost) open() error {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	var request [40]byte
	copy(request[:15], h.name)
	binary.NativeEndian.PutUint16(request[16:], syscall.IFF_TUN|syscall.IFF_NO_PI|tunVnet)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&request)))
	if errno == 0 {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunOffload, tunTCP4)
	}
	if errno != 0 {
		syscall.Close(fd)
		return fmt.Errorf("making a TUN device: %w", errno)
	}
	h.tun = os.NewFile(uintptr(fd), h.name)
	for _, args := range []string{
		"netns add " + h.name,
		"link set " + h.name + " netns " + h.name,
		"-n " + h.name + " link set " + h.name + " name tun0 mtu " + fmt.Sprint(linkMTU) + " txqueuelen 1000",
		"-n " + h.name + " addr add " + netip.PrefixFrom(h.addr, linkPrefix).String() + " dev tun0",
		"-n " + h.name + " link set tun0 up",
		"-n " + h.name + " link set lo up",
	} {
		if err := ip(strings.Fields(args)...); err != nil {
			return errors.Join(err, h.tun.Close(), ip("netns", "del", h.name))
		}
	}
	return nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// send takes what the host sends and puts it into the queue of whom it is for.
func (h *linkHost) send(hosts map[[4]byte]*linkHost) {
	var free time.Time // when the link up is free again
	for {
		b := packets.Get().(*[maxPacket]byte)
		n, err := h.tun.Read(b[:])
		if err != nil {
			return
		}
		var to *linkHost
		if ip := b[vnetHeader:]; n >= vnetHeader+20 && ip[0]>>4 == 4 {
			to = hosts[[4]byte(ip[16:20])]
		}
		if to == nil || h.cut.Load() {
			packets.Put(b)
			continue
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if free.Sub(now) > linkQueue {
			h.dropped.Add(1)
			packets.Put(b)
			continue
		}
		size := wireSize(b[:n])
		h.sent.Add(int64(size))
		free = free.Add(transmission(size, h.link.Up))
		to.put(linkPacket{free.Add(h.link.Delay + to.link.Delay), b, n})
	}
}

// wireSize is what a packet takes on a link, where a large one is several with a header each.
func wireSize(b []byte) int {
	size := len(b) - vnetHeader
	headers, segment := int(binary.NativeEndian.Uint16(b[2:])), int(binary.NativeEndian.Uint16(b[4:]))
	if b[1] == 0 || segment == 0 || headers == 0 {
		return size
	}
	return size + (size-headers-1)/segment*headers
}

func transmission(bytes int, rate float64) time.Duration {
	return time.Duration(float64(bytes) * 8 / rate * float64(time.Second))
}

func (h *linkHost) put(p linkPacket) {
	h.mu.Lock()
	heap.Push(&h.queue, p)
	first := h.queue[0].data == p.data
	h.mu.Unlock()
	if first {
		h.wakeUp()
	}
}

func (h *linkHost) wakeUp() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// receive gives the host what has arrived, at the rate of the link down.
func (h *linkHost) receive() {
	var free time.Time
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !h.closed.Load() {
		h.mu.Lock()
		wait := time.Hour
		if len(h.queue) > 0 {
			wait = time.Until(later(h.queue[0].at, free))
		}
		if wait > linkSlack {
			h.mu.Unlock()
			timer.Reset(wait)
			select {
			case <-h.wake:
			case <-timer.C:
			}
			continue
		}
		p := heap.Pop(&h.queue).(linkPacket)
		h.mu.Unlock()
		free = later(free, p.at)
		if free.Sub(p.at) > linkQueue || h.cut.Load() {
			h.dropped.Add(1)
		} else {
			free = free.Add(transmission(wireSize(p.data[:p.size]), h.link.Down))
			h.tun.Write(p.data[:p.size])
		}
		packets.Put(p.data)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

type linkPacket struct {
	at   time.Time // when it has crossed the net
	data *[maxPacket]byte
	size int
}

var packets = sync.Pool{New: func() any { return new([maxPacket]byte) }}

// packetHeap is a container/heap of packets, the first to arrive on top.
type packetHeap []linkPacket

func (q packetHeap) Len() int           { return len(q) }
func (q packetHeap) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q packetHeap) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *packetHeap) Push(x any)        { *q = append(*q, x.(linkPacket)) }
func (q *packetHeap) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
