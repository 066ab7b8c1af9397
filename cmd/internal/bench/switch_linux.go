package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A traffic counts what crossed a port: bytes of frames, headers included, and
// bytes of payload.
type traffic struct {
	TCP, UDP, Other, Payload atomic.Int64
}

// large is the payload of a datagram that is uTP, whose headers are 20 bytes: the
// DHT sends none so large.
const large = 1024

// count adds an Ethernet frame.
func (t *traffic) count(frame []byte) {
	const ethernet, ipv4, tcp, udp = 14, 0x0800, 6, 17
	if len(frame) < ethernet+20 || binary.BigEndian.Uint16(frame[12:]) != ipv4 {
		t.Other.Add(int64(len(frame)))
		return
	}
	packet := frame[ethernet:]
	header := int(packet[0]&0xf) * 4
	payload := int(binary.BigEndian.Uint16(packet[2:])) - header
	switch packet[9] {
	case tcp:
		t.TCP.Add(int64(len(frame)))
		if len(packet) > header+12 {
			t.Payload.Add(int64(max(0, payload-int(packet[header+12]>>4)*4)))
		}
	case udp:
		t.UDP.Add(int64(len(frame)))
		if payload -= 8; payload >= large {
			t.Payload.Add(int64(payload - 20))
		}
	default:
		t.Other.Add(int64(len(frame)))
	}
}

// counts is a traffic at one moment.
type counts struct{ TCP, UDP, Other, Payload int64 }

func (t *traffic) now() counts {
	return counts{t.TCP.Load(), t.UDP.Load(), t.Other.Load(), t.Payload.Load()}
}

// portCounts are the counts of a port: what came from the host, what went to it,
// and how many frames for it found no room in a queue.
type portCounts struct {
	Sent, Received counts
	Lost           int64
}

// A port is one end of a veth pair, whose other end is in a host's namespace.
type port struct {
	name           string
	fd             int
	out            fifo
	sent, received traffic // by the host
	lost           atomic.Int64
}

func (p *port) counts() portCounts {
	return portCounts{p.sent.now(), p.received.now(), p.lost.Load()}
}

// maxDelayed is how many frames a port holds back; those beyond are lost, as in
// any switch. At 100 Mbit/s a delay of 10 ms holds 84.
const maxDelayed = 1 << 12

// batch is how many frames one call moves, and quantum how long the switch
// sleeps between calls while frames wait: it costs a wake-up for each quantum,
// not for each frame, and delays are exact to about half of it.
const (
	batch   = 64
	quantum = time.Millisecond
)

// An etherSwitch passes frames between the interfaces of its namespace. One
// thread does all: at 100 Mbit/s the readers that are measured need the others.
type etherSwitch struct {
	delay   time.Duration
	ports   []*port
	where   map[[6]byte]*port
	spare   []*frame
	waiting int // frames in all queues
}

// newSwitch makes a switch without ports.
func newSwitch(delay time.Duration) *etherSwitch {
	return &etherSwitch{delay: delay, where: map[[6]byte]*port{}}
}

// runSwitch connects all interfaces of this namespace until in ends. For each
// line that it reads it writes one with the counts of all ports, as JSON.
func runSwitch(delay time.Duration, in io.Reader, out io.Writer) error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	s := newSwitch(delay)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		p, err := openPort(i)
		if err != nil {
			return fmt.Errorf("interface %s: %w", i.Name, err)
		}
		s.ports = append(s.ports, p)
	}
	failed := make(chan error, 1)
	go func() { failed <- s.run() }()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		select {
		case err := <-failed:
			return err
		default:
		}
		all := map[string]portCounts{}
		for _, p := range s.ports {
			all[p.name] = p.counts()
		}
		if err := json.NewEncoder(out).Encode(all); err != nil {
			return err
		}
	}
	return lines.Err()
}

// openPort opens an interface for whole frames.
func openPort(i net.Interface) (*port, error) {
	every := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8) // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(every))
	if err != nil {
		return nil, err
	}
	p := &port{name: i.Name, fd: fd}
	const buffer = 8 << 20
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1}, // what we send is not what the host sent
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffer},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			return nil, err
		}
	}
	return p, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: i.Index})
}

// run moves frames, for ever: it takes what has come, lets go what is due, and
// sleeps a quantum, or until a frame comes if none waits.
func (s *etherSwitch) run() error {
	runtime.LockOSThread()
	// A network does not wait for the programs on it.
	first := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	if err := unix.SchedSetAttr(0, &first, 0); err != nil && err != unix.EPERM {
		return fmt.Errorf("priority of the switch: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("timer slack: %w", err)
	}
	in, out := newVector(), newVector()
	polled := make([]unix.PollFd, len(s.ports))
	for i, p := range s.ports {
		polled[i] = unix.PollFd{Fd: int32(p.fd), Events: unix.POLLIN}
	}
	pause := unix.NsecToTimespec(int64(quantum))
	for {
		if s.waiting == 0 {
			if _, err := unix.Poll(polled, -1); err != nil && err != unix.EINTR {
				return fmt.Errorf("poll: %w", err)
			}
		} else if err := sleepRaw(&pause); err != nil && err != unix.EINTR {
			return fmt.Errorf("sleep: %w", err)
		}
		now := time.Now()
		for _, p := range s.ports {
			if err := s.take(p, in, now); err != nil {
				return fmt.Errorf("interface %s: %w", p.name, err)
			}
		}
		for _, p := range s.ports {
			s.release(p, out, now)
		}
	}
}

// take reads what has come from a host and queues it. A frame came half a
// quantum ago, on average, if the switch was asleep.
func (s *etherSwitch) take(p *port, v *vector, now time.Time) error {
	due := now.Add(s.delay - quantum/2)
	for {
		frames, err := v.receive(p.fd, s.fresh)
		for _, f := range frames {
			if f.n < 14 {
				s.spare = append(s.spare, f)
				continue
			}
			p.sent.count(f.bytes())
			f.due = due
			s.pass(p, f)
		}
		if err != nil || len(frames) < batch {
			return err
		}
	}
}

// fresh returns a frame to read into.
func (s *etherSwitch) fresh() *frame {
	if n := len(s.spare); n > 0 {
		f := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return f
	}
	return new(frame)
}

// pass queues a frame at the port of its destination, or at all others if that
// is not known.
func (s *etherSwitch) pass(from *port, f *frame) {
	s.where[[6]byte(f.buf[6:12])] = from
	if to := s.where[[6]byte(f.buf[:6])]; to != nil {
		if to != from {
			s.queue(to, f)
		}
		return
	}
	for _, p := range s.ports {
		if p != from {
			c := s.fresh()
			*c = *f
			s.queue(p, c)
		}
	}
	s.spare = append(s.spare, f)
}

func (s *etherSwitch) queue(p *port, f *frame) {
	if p.out.len() >= maxDelayed {
		p.lost.Add(1)
		s.spare = append(s.spare, f)
		return
	}
	p.out.push(f)
	s.waiting++
}

// release sends a host what is due. What the queue of its interface has no room
// for is lost, as on any link.
func (s *etherSwitch) release(p *port, v *vector, now time.Time) {
	for {
		frames := p.out.due(now, batch)
		if len(frames) == 0 {
			return
		}
		for _, f := range frames {
			p.received.count(f.bytes())
		}
		p.lost.Add(int64(v.send(p.fd, frames)))
		s.spare = append(s.spare, frames...)
		s.waiting -= len(frames)
		p.out.drop(len(frames))
	}
}
