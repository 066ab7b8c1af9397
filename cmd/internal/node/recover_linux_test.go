package node

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gitpeer/gitpeer/trust"
)

func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	net := loopback(t)
	alice, work := publisher(t, net, 1)
	blob := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(blob)
	os.WriteFile(filepath.Join(work.dir, "big"), blob, 0o600)
	work.git("add", "-A")
	work.git("config", "core.compression", "0")
	work.git("commit", "-q", "-m", "big")
	url := alice.publish(work).URL
	bob := newPerson(t, net)
	mount := bob.home.Data
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", mount).Run() })
	bob.trustPublisher(url)
	bob.start()
	_, err := bob.client.Fetch(t.Context(), FetchRequest{URL: url}, nil)
	if e := wantCode(t, err, trust.TryLater); !strings.Contains(strings.ToLower(e.Message), "no space left") {
		t.Errorf("message %q, want it to say that the disk is full", e.Message)
	}
	if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if got := bob.fetch(url); len(got.Refs) != 1 {
		t.Errorf("with room again: %+v, want the ref", got)
	}
}
