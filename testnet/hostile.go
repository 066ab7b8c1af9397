package testnet

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/refs/bencode"
	"github.com/gitpeer/gitpeer/swarm"
)

// Query is what a hostile node was asked.
type Query struct {
	Method string // ping, find_node, get_peers, get, put, announce_peer
	Tx     []byte // transaction id, to be echoed
	Self   swarm.NodeID
	Target [20]byte // target or info_hash, zero if the query has none
}

// Behaviour makes up the whole packet that answers a query; nil for silence.
type Behaviour func(q Query) []byte

type hostile struct {
	id   swarm.NodeID
	conn net.PacketConn
	done chan struct{}
}

func (h *hostile) close() {
	h.conn.Close()
	<-h.done
}

// AddHostile adds count nodes that behave so, at the ids nearest to target
// that there are, and introduces them to all honest nodes. Their own ids and
// their answers to ping are in order, so that they are believed to be nodes.
func (n *Network) AddHostile(target announce.Target, count int, behave Behaviour) error {
	for i := range count {
		h, err := n.addLiar(nearTo(target, i+1))
		if err != nil {
			return err
		}
		go h.serve(behave)
		n.introduce(h)
	}
	return nil
}

// AddFarm adds count hostile nodes, each nearer to target than the last, of
// which each names the eight next ones to whoever asks. The first is
// introduced to all honest nodes.
func (n *Network) AddFarm(target announce.Target, count int) error {
	var farm []*hostile
	for i := range count {
		h, err := n.addLiar(nearTo(target, count-i))
		if err != nil {
			return err
		}
		farm = append(farm, h)
	}
	for i, h := range farm {
		var nodes []byte
		for _, next := range farm[i+1 : min(i+9, count)] {
			nodes = append(nodes, next.id[:]...)
			nodes = append(nodes, compact(next.addr())...)
		}
		go h.serve(func(q Query) []byte {
			return Reply(q, token(bencode.AppendString([]byte("5:nodes"), nodes)))
		})
	}
	n.introduce(farm[0])
	return nil
}

// nearTo returns an id at the given small distance.
func nearTo(target announce.Target, distance int) swarm.NodeID {
	id := swarm.NodeID(target)
	id[18] ^= byte(distance >> 8)
	id[19] ^= byte(distance)
	return id
}

func compact(a netip.AddrPort) []byte {
	ip := a.Addr().As4()
	return append(ip[:], byte(a.Port()>>8), byte(a.Port()))
}

func (n *Network) addLiar(id swarm.NodeID) (*hostile, error) {
	conn, err := n.Listen()
	if err != nil {
		return nil, err
	}
	h := &hostile{id: id, conn: conn, done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hostile = append(n.hostile, h)
	return h, nil
}

func (n *Network) introduce(h *hostile) {
	var all sync.WaitGroup
	for _, d := range n.all() {
		all.Go(func() { d.Meet(context.Background(), h.addr()) })
	}
	all.Wait()
}

func (h *hostile) addr() netip.AddrPort { return addrPortOf(h.conn.LocalAddr()) }

func (h *hostile) serve(behave Behaviour) {
	defer close(h.done)
	buf := make([]byte, 4096)
	for {
		size, from, err := h.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		q, ok := parseQuery(buf[:size], h.id)
		if !ok {
			continue
		}
		answer := Reply(q, nil)
		if q.Method != "ping" {
			answer = behave(q)
		}
		if answer != nil {
			h.conn.WriteTo(answer, from)
		}
	}
}

func parseQuery(packet []byte, self swarm.NodeID) (Query, bool) {
	m, err := bencode.Parse(packet)
	if err != nil {
		return Query{}, false
	}
	method, ok := m.Get("q").Str()
	if !ok {
		return Query{}, false
	}
	q := Query{Method: string(method), Self: self}
	tx, _ := m.Get("t").Str()
	q.Tx = append([]byte(nil), tx...)
	for _, key := range []string{"info_hash", "target"} {
		if target, ok := m.Get("a").Get(key).Str(); ok {
			copy(q.Target[:], target)
		}
	}
	return q, true
}

// Reply returns a well-formed answer to q. Its "r" has, after the id, the
// encoded fields given: keys above "id" with their values, in order.
func Reply(q Query, fields []byte) []byte {
	b := bencode.AppendString([]byte("d1:rd2:id"), q.Self[:])
	b = append(append(b, fields...), "e1:t"...)
	b = bencode.AppendString(b, q.Tx)
	return append(b, "1:y1:re"...)
}

// ReplyError returns an error as the answer to q.
func ReplyError(q Query, code int, message string) []byte {
	b := bencode.AppendString(bencode.AppendInt([]byte("d1:el"), int64(code)), message)
	b = bencode.AppendString(append(b, "e1:t"...), q.Tx)
	return append(b, "1:y1:ee"...)
}

// RefusesPuts gives tokens and answers each put with an error. Before is what
// it answers to a get, nil for no item.
func RefusesPuts(code int, message string, before *announce.Item) Behaviour {
	return func(q Query) []byte {
		switch {
		case q.Method == "put":
			return ReplyError(q, code, message)
		case before != nil:
			return Holds(before)(q)
		}
		return Reply(q, token(nil))
	}
}

// holding answers get with the item fields that mangle makes of item, and
// everything else as a node would that knows nobody; it says yes to each put.
func holding(item *announce.Item, fields func(b []byte) []byte) Behaviour {
	return func(q Query) []byte {
		if q.Method == "get" && q.Target == item.Target() {
			return Reply(q, fields(nil))
		}
		return Reply(q, token(nil))
	}
}

// The fields of an answer to get, in the order in which they must come:
// k, seq, sig, token, v.
func token(b []byte) []byte { return bencode.AppendString(append(b, "5:token"...), "hostile") }

func keyField(b []byte, item *announce.Item) []byte {
	return bencode.AppendString(append(b, "1:k"...), item.Key[:])
}

func sigField(b []byte, item *announce.Item) []byte {
	return bencode.AppendString(append(b, "3:sig"...), item.Sig[:])
}

func seqField(b []byte, seq int64) []byte { return bencode.AppendInt(append(b, "3:seq"...), seq) }

func valueField(b []byte, item *announce.Item) []byte {
	return append(append(b, "1:v"...), item.Value...)
}

// Holds answers with item for ever, whatever is put: a node that keeps an old
// record. It verifies.
func Holds(item *announce.Item) Behaviour {
	return holding(item, func(b []byte) []byte {
		b = sigField(seqField(keyField(b, item), item.Seq), item)
		return valueField(token(b), item)
	})
}

// ForgesSeq answers with item under a higher seq, which its signature does
// not cover.
func ForgesSeq(item *announce.Item) Behaviour {
	return holding(item, func(b []byte) []byte {
		b = sigField(seqField(keyField(b, item), item.Seq+1), item)
		return valueField(token(b), item)
	})
}

// OmitsSeq answers with item but without its seq, which kills readers that do
// not look.
func OmitsSeq(item *announce.Item) Behaviour {
	return holding(item, func(b []byte) []byte {
		return valueField(token(sigField(keyField(b, item), item)), item)
	})
}

// Substitutes answers a get for item's target with other, an item of another
// key.
func Substitutes(item, other *announce.Item) Behaviour {
	return holding(item, func(b []byte) []byte {
		b = sigField(seqField(keyField(b, other), other.Seq), other)
		return valueField(token(b), other)
	})
}

// Garbage answers everything but ping with bytes that are no bencode.
func Garbage() Behaviour {
	return func(Query) []byte { return []byte("d1:rd2:id20:!!!! this is not it") }
}

// Mute answers nothing but ping.
func Mute() Behaviour { return func(Query) []byte { return nil } }

// Invents answers each question with eight nodes that nobody has ever seen,
// each nearer to the target than the last.
func Invents() Behaviour {
	var (
		mu    sync.Mutex
		count uint32
	)
	return func(q Query) []byte {
		var nodes []byte
		mu.Lock()
		defer mu.Unlock()
		for range 8 {
			count++
			id := q.Target
			for i := range 4 {
				id[10+i] ^= byte(^count >> (24 - 8*i)) // smaller with each one
			}
			nodes = append(nodes, id[:]...)
			nodes = append(nodes, 10, 200, byte(count>>8), byte(count), 1, 1)
		}
		return Reply(q, token(bencode.AppendString([]byte("5:nodes"), nodes)))
	}
}
