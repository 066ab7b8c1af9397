package swarm

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// writesConn notes each write, as many bytes of it as fit.
type writesConn struct {
	net.Conn

	mu     sync.Mutex
	room   int
	writes []string
}

func (c *writesConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(b), c.room)
	c.room -= n
	c.writes = append(c.writes, string(b[:n]))
	if n < len(b) {
		return n, errors.New("no room")
	}
	return n, nil
}

// taken returns what was written since the last time.
func (c *writesConn) taken() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	writes := c.writes
	c.writes = nil
	return writes
}

func have(piece byte) string { return havePrefix + "\x00\x00\x00" + string(piece) }

// request is what has a have message's length, and more.
const request = "\x00\x00\x00\x0d\x06\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x40\x00"

// rawWire is a wire whose messages pass unchanged.
func rawWire(room int) (*wire, *writesConn) {
	c := &writesConn{room: room}
	w := (&Node{}).newWire(c)
	w.mode = wireRaw
	w.in.plain.Store(true)
	return w, c
}

// Have messages go with what is written next, or together after a while.
func TestHavesAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := rawWire(1 << 20)
		for _, step := range []struct {
			wait  time.Duration
			write string
			want  []string // all that has been written a moment later
		}{
			{0, have(1), []string{have(1)}},
			{time.Millisecond, have(2), nil},
			{time.Millisecond, have(3) + have(4), nil},
			{haveInterval + 1, have(5), []string{have(2) + have(3) + have(4)}},
			{0, request, []string{have(5) + request}},
			{0, have(6) + request, []string{have(6) + request}},
			{haveInterval + 1, have(7), []string{have(7)}},
			{0, have(8), nil},
			{haveInterval + 1, request, []string{have(8), request}},
		} {
			time.Sleep(step.wait)
			if n, err := w.Write([]byte(step.write)); n != len(step.write) || err != nil {
				t.Fatalf("Write(%q) = %d, %v", step.write, n, err)
			}
			synctest.Wait()
			if got := c.taken(); !slices.Equal(got, step.want) {
				t.Fatalf("after %q: %q was written, want %q", step.write, got, step.want)
			}
		}
	})
}

// What is obfuscated looks like nothing.
func TestHavesObfuscated(t *testing.T) {
	w, c := rawWire(1 << 20)
	w.in.plain.Store(false)
	w.Write([]byte(have(1)))
	w.Write([]byte(have(2)))
	if got, want := c.taken(), []string{have(1), have(2)}; !slices.Equal(got, want) {
		t.Errorf("%q was written, want %q", got, want)
	}
}

// A write that fails counts only the caller's bytes.
func TestHavesShortWrite(t *testing.T) {
	for _, c := range []struct{ room, want int }{{0, 0}, {5, 0}, {haveLength + 3, 3}} {
		synctest.Test(t, func(t *testing.T) {
			w, conn := rawWire(haveLength + c.room)
			w.Write([]byte(have(1)))
			w.Write([]byte(have(2)))
			if n, err := w.Write([]byte(request)); n != c.want || err == nil {
				t.Errorf("room for %d: Write = %d, %v, want %d and an error", c.room, n, err, c.want)
			}
			if n := len(conn.taken()); n != 2 {
				t.Errorf("%d writes, want 2", n)
			}
		})
	}
}

// What is held back when a connection ends does not wait for it.
func TestHavesClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := rawWire(1 << 20)
		w.Write([]byte(have(1)))
		w.Write([]byte(have(2)))
		w.turn <- struct{}{} // a write that does not end
		time.Sleep(haveInterval)
		close(w.closed)
		synctest.Wait()
		if got, want := c.taken(), []string{have(1)}; !slices.Equal(got, want) {
			t.Errorf("%q was written, want %q", got, want)
		}
	})
}
