package node

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/trust"
)

// shortHome is a home whose socket has a path that every system takes.
func shortHome(t *testing.T) Home {
	t.Helper()
	dir, err := os.MkdirTemp("", "gp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return newHome(dir, dir, func(string) string { return "" })
}

func TestConnectWithoutNode(t *testing.T) {
	home := shortHome(t)
	if _, err := Connect(t.Context(), home); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Connect without a socket: %v, want ErrNotRunning", err)
	}
	// A socket that a killed node left behind.
	l, err := net.Listen("unix", home.Socket())
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := Connect(t.Context(), home); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Connect to a socket that was left behind: %v, want ErrNotRunning", err)
	}
}

func TestForeignSocket(t *testing.T) {
	home := shortHome(t)
	l, err := net.Listen("unix", home.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Lchown(home.Socket(), 65534, 65534); err != nil {
		t.Skipf("cannot give a file away: %v", err)
	}
	_, err = Connect(t.Context(), home)
	if e := wantCode(t, err, trust.Usage); !strings.Contains(e.Message, home.Socket()) || e.Hint == "" {
		t.Errorf("%+v, want it to name the socket and say what to do", e)
	}
	if _, err := listenSocket(filepath.Join(filepath.Dir(home.Socket()), "sub", "s")); err != nil {
		t.Errorf("listenSocket in a folder of our own: %v", err)
	}
}

func TestSecondNode(t *testing.T) {
	net := loopback(t)
	bob := newPerson(t, net).start()
	err := Run(t.Context(), Options{Home: bob.home, Getenv: func(k string) string { return bob.env[k] }})
	if e := wantCode(t, err, trust.TryLater); !strings.Contains(e.Message, "already runs") {
		t.Errorf("a second node: %+v, want it to say that one runs", e)
	}
}

// TestNodeGoesAway: the connection ends in the middle of an operation.
func TestNodeGoesAway(t *testing.T) {
	home := shortHome(t)
	l, err := net.Listen("unix", home.Socket())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"progress":{"stage":"x"}}` + "\n"))
		panic(http.ErrAbortHandler)
	})}
	go srv.Serve(l)
	defer srv.Close()
	_, err = newClient(home).Publish(t.Context(), PublishRequest{}, nil)
	if e := wantCode(t, err, trust.TryLater); !strings.Contains(e.Message, "not known whether") {
		t.Errorf("%+v, want it to say that the outcome is not known", e)
	}
}
