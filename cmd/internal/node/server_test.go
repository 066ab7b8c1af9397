package node

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/trust"
)

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestSocketWhereEverybodyCanWrite has a folder in which another user could put
// a socket of theirs in the place of ours.
func TestSocketWhereEverybodyCanWrite(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "socket")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := dialSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err = dialSocket(t.Context(), path)
	wantCode(t, err, trust.Usage)
	_, err = listenSocket(filepath.Join(dir, "other"))
	wantCode(t, err, trust.Usage)
}

// TestHangingAgent asks an ssh-agent that never answers, as a forwarded one
// whose connection is dead. The node goes on with other things.
func TestHangingAgent(t *testing.T) {
	home := newHome(shortDir(t), shortDir(t), os.Getenv)
	key := keyInAgent(t, home)
	socket := filepath.Join(shortDir(t), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan net.Conn)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			asked <- conn
		}
	}()
	n := &Node{home: home, signers: map[keys.ID]keys.Signer{}}
	done := make(chan error)
	go func() {
		_, err := n.signer(Credentials{AgentSocket: socket})
		done <- err
	}()
	conn := <-asked
	if !n.mu.TryLock() {
		t.Error("the node is locked while an agent is asked")
	} else {
		n.mu.Unlock()
	}
	conn.Close()
	l.Close()
	if err := <-done; err == nil {
		t.Errorf("signer of %s, which nobody has, succeeded", key)
	}
}

// keyInAgent gives a home a publisher of which only the public key is there.
func keyInAgent(t *testing.T, home Home) keys.ID {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(home.KeyFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	id, err := keys.Generate(home.KeyFile(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(home.KeyFile()); err != nil {
		t.Fatal(err)
	}
	return id
}

// A stoppedCaller is a connection whose other end reads no more.
type stoppedCaller struct {
	http.ResponseWriter
	deadline time.Time
}

func (s *stoppedCaller) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *stoppedCaller) Flush()                             {}
func (s *stoppedCaller) Write(b []byte) (int, error) {
	if s.deadline.IsZero() {
		return 0, errors.New("would wait for ever")
	}
	return 0, os.ErrDeadlineExceeded
}

// TestStoppedCaller: who reads no more is waited for once, and given up.
func TestStoppedCaller(t *testing.T) {
	gone := 0
	w := &stoppedCaller{}
	e := &eventWriter{w: w, control: http.NewResponseController(w), gone: func() { gone++ }}
	for range 3 {
		e.progress(Progress{Stage: "x"})
	}
	e.end(Event{Result: Empty{}})
	if gone != 1 || time.Until(w.deadline) > writeWithin {
		t.Errorf("given up %d times, deadline in %v, want once", gone, time.Until(w.deadline))
	}
}
