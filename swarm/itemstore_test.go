package swarm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/dht/v2/bep44"
	"github.com/anacrolix/torrent/bencode"
)

func storeItem(n int) *bep44.Item {
	return &bep44.Item{K: [32]byte{1}, Salt: fmt.Append(nil, n), Seq: int64(n), V: "value"}
}

func TestItemStoreForgetsTheLeastUsed(t *testing.T) {
	s := newItemStore(3)
	for n := range 3 {
		if err := s.Put(storeItem(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(storeItem(0).Target()); err != nil { // used: 1 is the oldest now
		t.Fatal(err)
	}
	s.Put(storeItem(3))
	s.Put(storeItem(2)) // again
	s.Put(storeItem(4))
	for n, want := range []bool{false, false, true, true, true} {
		_, err := s.Get(storeItem(n).Target())
		if (err == nil) != want || err != nil && !errors.Is(err, bep44.ErrItemNotFound) {
			t.Errorf("Get(item %d) = %v, want found = %v", n, err, want)
		}
	}
	if s.len() != 3 {
		t.Errorf("len = %d, want 3", s.len())
	}
	if err := s.Del(storeItem(4).Target()); err != nil || s.len() != 2 {
		t.Errorf("Del = %v, len = %d; want 2 left", err, s.len())
	}
	if err := s.Del(storeItem(4).Target()); err != nil {
		t.Errorf("Del of nothing = %v", err)
	}
}

func TestItemStoreExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newItemStore(100)
		s.Put(storeItem(1))
		time.Sleep(itemLife - time.Second)
		if seq, value, ok := s.holds(storeItem(1).Target(), time.Now()); !ok || seq != 1 || string(value) != "5:value" {
			t.Errorf("holds = %d, %q, %v; want the item", seq, value, ok)
		}
		time.Sleep(time.Second)
		if _, _, ok := s.holds(storeItem(1).Target(), time.Now()); ok {
			t.Error("an expired item is held")
		}
		s.Put(storeItem(2)) // sweeps
		if s.len() != 1 {
			t.Errorf("len = %d after the sweep, want 1", s.len())
		}
	})
}

// What is stored must not be larger in memory than on the wire, and must come
// out as it went in.
func TestItemStoreKeepsTheEncodedValue(t *testing.T) {
	s := newItemStore(1)
	text := "l" + strings.Repeat("le", 400) + "e"
	var decoded any
	if err := bencode.Unmarshal([]byte(text), &decoded); err != nil {
		t.Fatal(err)
	}
	item := &bep44.Item{K: [32]byte{1}, V: decoded}
	s.Put(item)
	got, err := s.Get(item.Target())
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := got.V.(bencode.Bytes); !ok || string(v) != text {
		t.Errorf("stored value is a %T %q, want the bytes", got.V, got.V)
	}
	if out := bencode.MustMarshal(got.V); string(out) != text {
		t.Errorf("it is given out as %q", out)
	}
	immutable := &bep44.Item{V: decoded}
	want := immutable.Target()
	s.Put(immutable)
	if got := immutable.Target(); got != want {
		t.Errorf("Put changed the target of an immutable item from %x to %x", want, got)
	}
}
