package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ethernet makes an IPv4 frame between two stations.
func ethernet(from, to byte, protocol byte, segment []byte) []byte {
	f := make([]byte, 34, 34+len(segment))
	f[5], f[11], f[12], f[14], f[23] = to, from, 8, 0x45, protocol
	binary.BigEndian.PutUint16(f[16:], uint16(20+len(segment)))
	return append(f, segment...)
}

func TestTrafficCounts(t *testing.T) {
	segment := make([]byte, 20+1000)
	segment[12] = 5 << 4                                    // words of TCP's header
	padded := append(ethernet(1, 2, 6, segment[:20]), 0, 0) // an acknowledgement, as short frames are padded
	for _, test := range []struct {
		name  string
		frame []byte
		want  counts
	}{
		{"TCP", ethernet(1, 2, 6, segment), counts{TCP: 1054, Payload: 1000}},
		{"an acknowledgement", padded, counts{TCP: 56}},
		{"uTP", ethernet(1, 2, 17, make([]byte, 8+20+1100)), counts{UDP: 1162, Payload: 1100}},
		{"a query of the DHT", ethernet(1, 2, 17, make([]byte, 8+300)), counts{UDP: 342}},
		{"ICMP", ethernet(1, 2, 1, make([]byte, 8)), counts{Other: 42}},
		{"ARP", make([]byte, 42), counts{Other: 42}},
		{"a cut frame", ethernet(1, 2, 6, nil)[:20], counts{Other: 20}},
		{"TCP without its header", ethernet(1, 2, 6, nil), counts{TCP: 34}},
	} {
		var c traffic
		c.count(test.frame)
		if got := c.now(); got != test.want {
			t.Errorf("%s: counts are %+v, want %+v", test.name, got, test.want)
		}
	}
}

// wire is a port whose other end is a socket of the test.
func wire(t *testing.T) (*port, int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	return &port{fd: pair[0]}, pair[1]
}

func send(t *testing.T, fd int, frame []byte) {
	t.Helper()
	if _, err := unix.Write(fd, frame); err != nil {
		t.Fatal(err)
	}
}

// received are the sources of the frames that have come.
func received(fd int) []byte {
	var from []byte
	buf := make([]byte, maxFrame)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			return from
		}
		from = append(from, buf[11])
	}
}

// TestSwitch: a frame to somebody unknown goes to all others, one to somebody
// known to nobody else, and none before its time.
func TestSwitch(t *testing.T) {
	s := newSwitch(10 * time.Millisecond)
	var hosts [3]int
	for i := range hosts {
		var p *port
		p, hosts[i] = wire(t)
		s.ports = append(s.ports, p)
	}
	in, out := newVector(), newVector()
	now := time.Unix(1000, 0)
	step := func(later time.Duration) (got [3][]byte) {
		t.Helper()
		now = now.Add(later)
		for i, p := range s.ports {
			if err := s.take(p, in, now); err != nil {
				t.Fatalf("port %d: %v", i, err)
			}
		}
		for i, p := range s.ports {
			s.release(p, out, now)
			got[i] = received(hosts[i])
		}
		return got
	}
	expect := func(what string, got, want [3][]byte) {
		t.Helper()
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s: host %d has frames of %v, want %v", what, i, got[i], want[i])
			}
		}
	}
	send(t, hosts[0], ethernet(10, 11, 6, nil))
	expect("at once", step(0), [3][]byte{})
	expect("before its time", step(9*time.Millisecond), [3][]byte{})
	expect("a frame to a stranger", step(time.Millisecond), [3][]byte{nil, {10}, {10}})
	send(t, hosts[1], ethernet(11, 10, 6, nil))
	step(0)
	expect("a frame to somebody known", step(10*time.Millisecond), [3][]byte{{11}, nil, nil})
	send(t, hosts[1], ethernet(11, 11, 6, nil))
	step(0)
	expect("a frame to its own port", step(10*time.Millisecond), [3][]byte{})
	if s.waiting != 0 {
		t.Errorf("%d frames wait, want none", s.waiting)
	}
	if got := s.ports[0].counts(); got.Sent.TCP != 34 || got.Received.TCP != 34 || got.Lost != 0 {
		t.Errorf("port 0 counts %+v", got)
	}
}

// TestSwitchLosesWhatIsTooMuch: a queue has an end, and what is beyond is counted.
func TestSwitchLosesWhatIsTooMuch(t *testing.T) {
	s := newSwitch(time.Second)
	from, _ := wire(t)
	to, _ := wire(t)
	s.ports = []*port{from, to}
	for range maxDelayed + 3 {
		f := s.fresh()
		f.n = copy(f.buf[:], ethernet(1, 2, 17, nil))
		s.pass(from, f)
	}
	if s.waiting != maxDelayed || to.lost.Load() != 3 {
		t.Errorf("%d frames wait and %d are lost, want %d and 3", s.waiting, to.lost.Load(), maxDelayed)
	}
}

// TestSwitchMovesMoreThanABatch: order and number stay the same.
func TestSwitchMovesMoreThanABatch(t *testing.T) {
	s := newSwitch(0)
	a, host := wire(t)
	b, other := wire(t)
	s.ports = []*port{a, b}
	const frames = batch + batch/2
	var want []byte
	for i := range byte(frames) {
		send(t, host, ethernet(i, 200, 6, nil))
		want = append(want, i)
	}
	in, out := newVector(), newVector()
	now := time.Unix(1000, 0)
	if err := s.take(a, in, now); err != nil {
		t.Fatal(err)
	}
	s.release(b, out, now)
	if got := received(other); !bytes.Equal(got, want) {
		t.Errorf("frames of %v arrive, want %v", got, want)
	}
}

// TestVectorSkipsWhatIsRefused: what cannot be sent is counted, and sent no more.
func TestVectorSkipsWhatIsRefused(t *testing.T) {
	a, b := wire(t)
	frames := make([]*frame, batch) // many times what the least buffer holds
	for i := range frames {
		frames[i] = &frame{n: maxFrame}
	}
	if err := unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the least there is
		t.Fatal(err)
	}
	v := newVector()
	lost := v.send(a.fd, frames)
	if arrived := len(received(b)); lost == 0 || lost+arrived != len(frames) {
		t.Errorf("%d of %d frames arrive and %d are lost", arrived, len(frames), lost)
	}
}

// TestFifo: frames come out in order, when they are due, and the queue does not
// grow for ever.
func TestFifo(t *testing.T) {
	var q fifo
	begin := time.Unix(1000, 0)
	var got []int
	for i := range 3 * maxDelayed {
		q.push(&frame{n: i, due: begin.Add(time.Duration(i))})
		if i%2 == 0 {
			continue
		}
		for _, f := range q.due(begin.Add(time.Duration(i-1)), 8) { // all but the newest
			got = append(got, f.n)
		}
		q.drop(len(q.due(begin.Add(time.Duration(i-1)), 8)))
	}
	if !slices.IsSorted(got) || len(got) != 3*maxDelayed-1 || q.len() != 1 {
		t.Errorf("%d frames came out, %d are left; want %d and 1, in order", len(got), q.len(), 3*maxDelayed-1)
	}
	if cap(q.frames) > 4*maxDelayed {
		t.Errorf("the queue has grown to %d", cap(q.frames))
	}
}
