package swarm

import (
	"container/list"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/bep44"
	"github.com/anacrolix/torrent/bencode"
)

// What we keep for others (BEP 44 asks for at least two hours since the last
// put).
const (
	itemLife = 2 * time.Hour
	maxItems = 8192 // about 2 KiB each
)

// itemStore is a bounded [bep44.Store]. When full it forgets the item that
// was neither put nor asked for the longest. The library checks size, signature and
// seq before Put, and expires by itself what Get returns; the sweep here is
// for what nobody asks for any more.
//
// Our own records are not kept here: the publisher's node holds them signed
// on disk and puts them again, because the library treats an item that comes
// from elsewhere than a put as expired.
type itemStore struct {
	max int

	mu    sync.Mutex
	items map[bep44.Target]*list.Element // of storedItem
	order list.List                      // most recently used first
}

type storedItem struct {
	target bep44.Target
	item   *bep44.Item
	put    time.Time
}

func newItemStore(limit int) *itemStore {
	return &itemStore{max: limit, items: map[bep44.Target]*list.Element{}}
}

// Put stores an item under its target.
func (s *itemStore) Put(item *bep44.Item) error {
	// Keep the encoded value: decoded, a kilobyte of "le" is fifty times as much.
	value, err := bencode.Marshal(item.V)
	if err != nil {
		return err
	}
	target := item.Target()
	item.V = bencode.Bytes(value)
	now := time.Now()

	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.items[target]; ok {
		s.remove(old)
	}
	s.items[target] = s.order.PushFront(storedItem{target: target, item: item, put: now})
	for back := s.order.Back(); back != nil; back = s.order.Back() {
		if len(s.items) <= s.max && now.Sub(back.Value.(storedItem).put) < itemLife {
			break
		}
		s.remove(back)
	}
	return nil
}

// Get returns an item, else bep44.ErrItemNotFound.
func (s *itemStore) Get(target bep44.Target) (*bep44.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.items[target]
	if !ok {
		return nil, bep44.ErrItemNotFound
	}
	s.order.MoveToFront(e)
	return e.Value.(storedItem).item, nil
}

// Del forgets an item.
func (s *itemStore) Del(target bep44.Target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.items[target]; ok {
		s.remove(e)
	}
	return nil
}

// holds returns the seq and encoded value stored for target, if it has not expired; it
// does not count as use.
func (s *itemStore) holds(target bep44.Target, now time.Time) (seq int64, value []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.items[target]
	if !ok || now.Sub(e.Value.(storedItem).put) >= itemLife {
		return 0, nil, false
	}
	item := e.Value.(storedItem).item
	return item.Seq, item.V.(bencode.Bytes), true
}

func (s *itemStore) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}

func (s *itemStore) remove(e *list.Element) {
	delete(s.items, e.Value.(storedItem).target)
	s.order.Remove(e)
}
