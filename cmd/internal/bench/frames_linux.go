package main

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxFrame is more than the 1514 bytes that an Ethernet frame has at an MTU of
// 1500; what is longer is cut, and then no host takes it.
const maxFrame = 2048

// A frame is an Ethernet frame on its way.
type frame struct {
	due time.Time
	n   int
	buf [maxFrame]byte
}

func (f *frame) bytes() []byte { return f.buf[:f.n] }

// A fifo is a queue of frames in the order of their times.
type fifo struct {
	frames []*frame
	first  int
}

func (q *fifo) len() int { return len(q.frames) - q.first }

func (q *fifo) push(f *frame) {
	if q.first == len(q.frames) {
		q.frames, q.first = q.frames[:0], 0
	} else if q.first >= maxDelayed {
		q.frames, q.first = q.frames[:copy(q.frames, q.frames[q.first:])], 0
	}
	q.frames = append(q.frames, f)
}

// due returns the frames, most of them, whose time has come; drop takes them off.
func (q *fifo) due(now time.Time, most int) []*frame {
	n := q.first
	for n < len(q.frames) && n-q.first < most && !q.frames[n].due.After(now) {
		n++
	}
	return q.frames[q.first:n]
}

func (q *fifo) drop(n int) { q.first += n }

// A vector moves many frames in one call: recvmmsg(2), sendmmsg(2), for which
// golang.org/x/sys has no functions. Its arrays point at each other, so it stays
// where it is, and each direction has its own.
type vector struct {
	headers [batch]header
	parts   [batch]unix.Iovec
	frames  [batch]*frame // to receive into
	got     [batch]*frame
}

// header is struct mmsghdr.
type header struct {
	unix.Msghdr
	moved uint32
}

func newVector() *vector {
	v := &vector{}
	for i := range v.headers {
		v.headers[i].Iov = &v.parts[i]
		v.headers[i].SetIovlen(1)
	}
	return v
}

// receive reads up to batch frames from a socket, without waiting. The answer
// holds until the next call.
func (v *vector) receive(fd int, fresh func() *frame) ([]*frame, error) {
	for i := range v.frames {
		if v.frames[i] == nil {
			v.set(i, fresh(), maxFrame)
		}
	}
	n, err := v.call(unix.SYS_RECVMMSG, fd, batch)
	if err == unix.EAGAIN || err == unix.EINTR || err == unix.ENETDOWN { // nothing there
		n, err = 0, nil
	}
	for i := range n {
		v.got[i] = v.frames[i]
		v.got[i].n = int(v.headers[i].moved)
		v.frames[i] = nil
	}
	return v.got[:n], err
}

// send writes up to batch frames, and returns how many were refused: a queue
// that is full says ENOBUFS.
func (v *vector) send(fd int, frames []*frame) (lost int) {
	for len(frames) > 0 {
		for i, f := range frames {
			v.set(i, f, f.n)
		}
		n, err := v.call(unix.SYS_SENDMMSG, fd, len(frames))
		if err != nil {
			n = 0
		}
		if n < len(frames) { // it stops at the first that is refused
			lost++
			n++
		}
		frames = frames[n:]
	}
	return lost
}

func (v *vector) set(i int, f *frame, n int) {
	v.frames[i] = f
	v.parts[i].Base = &f.buf[0]
	v.parts[i].SetLen(n)
}

func (v *vector) call(number uintptr, fd, n int) (int, error) {
	moved, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&v.headers)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(moved), nil
}

// sleepRaw sleeps without a word to the scheduler of Go, which would look for
// other work for its processor each time.
func sleepRaw(pause *unix.Timespec) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(pause)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
