package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A traffic counts the bytes of frames, headers included, that crossed a port.
type traffic struct {
	TCP, UDP, Other atomic.Int64
}

// count adds an Ethernet frame.
func (t *traffic) count(frame []byte) {
	const ipv4, tcp, udp = 0x0800, 6, 17
	counter := &t.Other
	if len(frame) > 23 && binary.BigEndian.Uint16(frame[12:]) == ipv4 {
		switch frame[23] {
		case tcp:
			counter = &t.TCP
		case udp:
			counter = &t.UDP
		}
	}
	counter.Add(int64(len(frame)))
}

// counts is a traffic at one moment.
type counts struct{ TCP, UDP, Other int64 }

func (t *traffic) now() counts { return counts{t.TCP.Load(), t.UDP.Load(), t.Other.Load()} }

// portCounts are the counts of a port: what came from the host and what went to it.
type portCounts struct{ Sent, Received counts }

// A port is one end of a veth pair, whose other end is in a host's namespace.
type port struct {
	name           string
	fd             int
	out            chan delayed
	sent, received traffic // by the host
}

// A delayed frame leaves at a set time.
type delayed struct {
	due   time.Time
	frame []byte
}

// maxDelayed is how many frames a port holds back; those beyond are lost, as in
// any switch.
const maxDelayed = 1 << 14

// An etherSwitch passes frames between the interfaces of its namespace.
type etherSwitch struct {
	delay time.Duration
	ports []*port
	mu    sync.Mutex
	where map[[6]byte]*port
}

// runSwitch connects all interfaces of this namespace until in ends. For each
// line that it reads it writes one with the counts of all ports, as JSON.
func runSwitch(delay time.Duration, in io.Reader, out io.Writer) error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	s := &etherSwitch{delay: delay, where: map[[6]byte]*port{}}
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
	for _, p := range s.ports {
		go s.receive(p)
		go p.send()
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		all := map[string]portCounts{}
		for _, p := range s.ports {
			all[p.name] = portCounts{p.sent.now(), p.received.now()}
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
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(every))
	if err != nil {
		return nil, err
	}
	p := &port{name: i.Name, fd: fd, out: make(chan delayed, maxDelayed)}
	const receiveBuffer = 8 << 20
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1}, // what we send is not what the host sent
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			return nil, err
		}
	}
	return p, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: i.Index})
}

// receive takes frames from a port, for ever.
func (s *etherSwitch) receive(p *port) {
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(p.fd, buf)
		if err != nil || n < 14 {
			continue // an interrupted call, or an interface that is going away
		}
		p.sent.count(buf[:n])
		s.pass(p, delayed{time.Now().Add(s.delay), append([]byte(nil), buf[:n]...)})
	}
}

// pass hands a frame to the port of its destination, or to all others if that
// is not known.
func (s *etherSwitch) pass(from *port, d delayed) {
	s.mu.Lock()
	s.where[[6]byte(d.frame[6:12])] = from
	to := s.where[[6]byte(d.frame[:6])]
	s.mu.Unlock()
	for _, p := range s.ports {
		if p == from || to != nil && p != to {
			continue
		}
		select {
		case p.out <- d:
		default: // lost
		}
	}
}

// send lets frames go when their time has come.
func (p *port) send() {
	for d := range p.out {
		time.Sleep(time.Until(d.due))
		p.received.count(d.frame)
		unix.Write(p.fd, d.frame) // what the queue behind it has no room for is lost
	}
}
