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

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"[node]\n\tlisten = here\n":         "node.listen",
		"[node]\n\tcolour = red\n":          `unknown key "node.colour"`,
		"[node]\n\tseed = perhaps\n":        "node.seed",
		"[dht]\n\tbootstrap = router\n":     "dht.bootstrap",
		"[node \"x\"]\n\tseed = true\n":     "subsection",
		"[node\n":                           "config",
		"[include]\n\tpath = /etc/passwd\n": "unknown key",
	} {
		path := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var bad *ConfigError
		if _, err := loadConfig(path, func(string) string { return "" }); !errors.As(err, &bad) || bad.Where != path || !strings.Contains(err.Error(), want) {
			t.Errorf("config %q: %v, want an error in the file about %q", text, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "config")
	os.WriteFile(path, []byte("[node]\n\tlisten = 192.0.2.1:7\n\tseed = no\n[dht]\n\tbootstrap = a:1\n\tbootstrap = b:2\n"), 0o600)
	c, err := loadConfig(path, func(k string) string { return map[string]string{"GITPEER_LISTEN": "127.0.0.1:0"}[k] })
	if err != nil || c.Listen != "127.0.0.1:0" || c.Seed || strings.Join(c.Bootstrap, " ") != "a:1 b:2" {
		t.Errorf("loadConfig = %+v, %v, want the file's settings and the environment's address", c, err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("[node]\n\tlisten = 127.0.0.1:0\n")
	f.Add("[dht]\nbootstrap=a:1;c\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := loadConfig(path, func(string) string { return "" }); err == nil && (c.Listen == "" || len(c.Bootstrap) == 0) {
			t.Errorf("config %q leaves something empty: %+v", text, c)
		}
	})
}
