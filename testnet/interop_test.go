//go:build interop

package testnet_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/testnet"
)

// python is the system's, for which Debian packages libtorrent.
const python = "/usr/bin/python3"

// libtorrent is a libtorrent session that joined a network.
type libtorrent struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func startLibtorrent(t *testing.T, net *testnet.Network) *libtorrent {
	t.Helper()
	if err := exec.Command(python, "-c", "import libtorrent").Run(); err != nil {
		t.Skipf("%s cannot import libtorrent (Debian: apt install python3-libtorrent): %v", python, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, python, append([]string{"-W", "ignore", "testdata/libtorrent_dht.py"}, net.Bootstrap()...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cancel()
		cmd.Wait()
	})
	l := &libtorrent{t: t, in: in, out: bufio.NewScanner(out)}
	var hello struct{ Ready bool }
	l.read(&hello)
	if !hello.Ready {
		t.Fatal("libtorrent's DHT does not run")
	}
	return l
}

func (l *libtorrent) read(answer any) {
	l.t.Helper()
	if !l.out.Scan() {
		l.t.Fatalf("libtorrent ended: %v", l.out.Err())
	}
	if err := json.Unmarshal(l.out.Bytes(), answer); err != nil {
		l.t.Fatalf("libtorrent said %q: %v", l.out.Bytes(), err)
	}
}

func (l *libtorrent) do(command map[string]string, answer any) {
	l.t.Helper()
	text, err := json.Marshal(command)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.in.Write(append(text, '\n')); err != nil {
		l.t.Fatal(err)
	}
	l.read(answer)
}

// libtorrent reads what we put, by key and salt, sees our peers, and puts
// what we read.
func TestLibtorrent(t *testing.T) {
	net, err := testnet.Loopback(t.Context(), 30)
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	d := net.Join()
	lt := startLibtorrent(t, net)

	value := []byte("d1:ei1800000000e1:h20:aaaaaaaaaaaaaaaaaaaa2:ih20:bbbbbbbbbbbbbbbbbbbb1:ni42e1:vi1ee")
	ours, err := announce.SignItem(signer(), salt, 1_700_000_000_123, value)
	if err != nil {
		t.Fatal(err)
	}
	look, err := d.Lookup(t.Context(), ours.Key, ours.Salt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Store(t.Context(), look.Closest, ours); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Announce(t.Context(), look.Closest, ours.Target(), 7003); err != nil {
		t.Fatal(err)
	}

	id := signer().ID()
	var got struct {
		Seq    int64
		Value  string
		Copies int
	}
	lt.do(map[string]string{"do": "get", "key": hex.EncodeToString(id[:]), "salt": hex.EncodeToString(salt)}, &got)
	if raw, _ := hex.DecodeString(got.Value); got.Seq != ours.Seq || !bytes.Equal(raw, value) || got.Copies < 8 {
		t.Errorf("libtorrent reads seq %d, %q from %d nodes; want %d, %q", got.Seq, raw, got.Copies, ours.Seq, value)
	}
	var found struct{ Peers []string }
	target := ours.Target()
	lt.do(map[string]string{"do": "peers", "target": hex.EncodeToString(target[:])}, &found)
	if !slices.Contains(found.Peers, "127.0.0.1:7003") {
		t.Errorf("libtorrent finds the peers %v, want 127.0.0.1:7003", found.Peers)
	}

	seed := [32]byte{77}
	theirs := keys.FromSeed(seed).ID()
	var put struct{ Stored int }
	lt.do(map[string]string{
		"do": "put", "secret": hex.EncodeToString(expand(seed)), "key": hex.EncodeToString(theirs[:]),
		"salt": hex.EncodeToString(salt), "text": "hello from libtorrent",
	}, &put)
	if put.Stored < 8 {
		t.Errorf("libtorrent stores on %d of our nodes, want 8 at least", put.Stored)
	}
	look, err = d.Lookup(t.Context(), theirs, salt)
	if err != nil {
		t.Fatal(err)
	}
	copies := 0
	for _, a := range look.Answers {
		if a.Item != nil && string(a.Item.Value) == "21:hello from libtorrent" {
			copies++
		}
		if a.Invalid {
			t.Errorf("%v holds an item that does not verify", a.Addr)
		}
	}
	if copies < 8 {
		t.Errorf("we read libtorrent's item from %d nodes, want 8 at least", copies)
	}
	for i := range net.Size() {
		if n := net.Node(i).Stats().Malformed; n > 0 {
			t.Errorf("node %d dropped %d of libtorrent's packets as malformed", i, n)
		}
	}
}

// expand makes of a seed what libtorrent takes for a secret key (RFC 8032
// §5.1.5).
func expand(seed [32]byte) []byte {
	h := sha512.Sum512(seed[:])
	h[0] &= 248
	h[31] = h[31]&127 | 64
	if len(h) != ed25519.PrivateKeySize {
		panic("size")
	}
	return h[:]
}
