package keys

import (
	"bufio"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func decodePEM(t *testing.T, file []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(file)
	if block == nil {
		t.Fatal("not PEM")
	}
	return block.Bytes
}

func encodePEM(b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: b})
}

// socketPath returns a path short enough for a unix socket, which t.TempDir
// does not promise.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// serve runs an agent until the test ends.
func serve(t *testing.T, a agent.Agent) (socket string) {
	t.Helper()
	socket = socketPath(t)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			agent.ServeAgent(a, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return socket
}

func keyring(t *testing.T, seeds ...byte) agent.Agent {
	t.Helper()
	ring := agent.NewKeyring()
	for _, seed := range seeds {
		key := ed25519.NewKeyFromSeed(append([]byte{seed}, make([]byte, 31)...))
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	return ring
}

func TestAgentSigner(t *testing.T) {
	want := FromSeed([32]byte{2}).ID()
	s, err := AgentSigner(serve(t, keyring(t, 1, 2, 3)), want)
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s, want.String())
	signs(t, s, want.String()) // over a connection of its own
}

// lyingAgent lists keys that it signs for with another one.
type lyingAgent struct {
	agent.Agent
	other agent.Agent
}

func (a lyingAgent) Sign(_ ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	list, err := a.other.List()
	if err != nil {
		return nil, err
	}
	return a.other.Sign(list[0], data)
}

func TestAgentSignerRefuses(t *testing.T) {
	id := FromSeed([32]byte{2}).ID()
	ring := keyring(t, 1, 2)
	socket := serve(t, ring)
	if s, err := AgentSigner(socket, FromSeed([32]byte{4}).ID()); !errors.Is(err, ErrNotInAgent) {
		t.Errorf("AgentSigner for a key not held = %v, %v, want ErrNotInAgent", s, err)
	}
	s, err := AgentSigner(socket, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	if sig, err := s.Sign(nil); !errors.Is(err, ErrNotInAgent) {
		t.Errorf("Sign with a key that was removed = %x, %v, want ErrNotInAgent", sig, err)
	}
	if s, err := AgentSigner(socketPath(t), id); err == nil {
		t.Errorf("AgentSigner without an agent = %v, want an error", s)
	}
	s, err = AgentSigner(serve(t, lyingAgent{keyring(t, 2), keyring(t, 1)}), id)
	if err != nil {
		t.Fatal(err)
	}
	if sig, err := s.Sign([]byte("m")); err == nil {
		t.Errorf("Sign with a lying agent = %x, want an error", sig)
	}
}

func TestRealAgent(t *testing.T) {
	program, err := exec.LookPath("ssh-agent")
	adder, err2 := exec.LookPath("ssh-add")
	if err != nil || err2 != nil {
		t.Skip("no ssh-agent or ssh-add on PATH")
	}
	socket := socketPath(t)
	cmd := exec.CommandContext(t.Context(), program, "-D", "-a", socket) // killed when the test ends
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Wait() })
	// It prints the line once it listens.
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, socket) {
		t.Fatalf("ssh-agent said %q, %v", line, err)
	}
	path := filepath.Join(t.TempDir(), "key")
	id, err := Generate(path, "")
	if err != nil {
		t.Fatal(err)
	}
	add := exec.CommandContext(t.Context(), adder, "-q", path)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	s, err := AgentSigner(socket, id)
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s, id.String())
}
