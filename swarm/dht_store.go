package swarm

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"

	"github.com/gitpeer/gitpeer/announce"
)

// maxMessage bounds the words of another node that are kept.
const maxMessage = 128

// writeTries: a lost write costs a copy, so it is sent again once.
const writeTries = 2

// Store implements [announce.DHT] with one put per node; if nobody answers, with
// a second one to each. It goes past the library's Put, which would store the
// item here first, and sends no cas: many nodes compare it wrongly and then
// refuse every later put.
func (d *DHT) Store(ctx context.Context, nodes []announce.Node, item *announce.Item) ([]announce.Outcome, error) {
	if err := item.Verify(); err != nil {
		return nil, err
	}
	outcomes := d.putAll(ctx, nodes, item)
	answered := func(o announce.Outcome) bool { return o.Status != announce.Silent && o.Node.ItemToken != "" }
	if len(nodes) > 0 && ctx.Err() == nil && !slices.ContainsFunc(outcomes, answered) {
		// Those who have just answered a walk do not all fall silent: their answers come late.
		d.patience.walked(found{asked: len(nodes)}, time.Now())
		outcomes = d.putAll(ctx, nodes, item)
	}
	return outcomes, ctx.Err()
}

func (d *DHT) putAll(ctx context.Context, nodes []announce.Node, item *announce.Item) []announce.Outcome {
	outcomes := make([]announce.Outcome, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { outcomes[i] = d.put(ctx, n, item) })
	}
	all.Wait()
	return outcomes
}

func (d *DHT) put(ctx context.Context, n announce.Node, item *announce.Item) announce.Outcome {
	out := announce.Outcome{Node: n, Status: announce.Silent}
	if n.ItemToken == "" {
		out.Status, out.Message = announce.Refused, "gave no token"
		return out
	}
	seq := item.Seq
	res := d.write(ctx, n.Addr, "put", krpc.MsgArgs{
		V: bencode.Bytes(item.Value), K: item.Key, Salt: item.Salt, Seq: &seq, Sig: item.Sig, Token: n.ItemToken,
	})
	switch e := res.Reply.Error(); {
	case res.Err != nil:
	case e == nil:
		out.Status = announce.Stored
	case e.Code == krpc.ErrorCodeSequenceNumberLessThanCurrent:
		out.Code, out.Message = e.Code, clip(e.Msg)
		out.Status = d.whatItHolds(ctx, n.Addr, item)
	default:
		out.Status, out.Code, out.Message = announce.Refused, e.Code, clip(e.Msg)
	}
	return out
}

// whatItHolds asks a node that answered 302 what it has: some say 302 to a
// plain republish too. If it does not show an item, Refused says no more than
// that.
func (d *DHT) whatItHolds(ctx context.Context, to netip.AddrPort, item *announce.Item) announce.Status {
	res := d.write(ctx, to, "get", krpc.MsgArgs{Target: krpc.ID(item.Target()), Want: wantIPv4()})
	if res.Reply.R == nil {
		return announce.Refused
	}
	held, _ := itemIn(res.Reply.R, item.Key, item.Salt)
	switch {
	case held == nil:
		return announce.Refused
	case held.Seq == item.Seq && slices.Equal(held.Value, item.Value):
		return announce.Same
	case held.Seq >= item.Seq:
		return announce.Newer
	}
	return announce.Refused
}

// Announce implements [announce.DHT] with an explicit port: the DHT's own
// port, which implied_port would tell, need not be the peer's.
func (d *DHT) Announce(ctx context.Context, nodes []announce.Node, target announce.Target, port uint16) (int, error) {
	if port == 0 {
		return 0, errors.New("announce: port 0")
	}
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		accepted int
	)
	for _, n := range nodes {
		if n.PeersToken == "" {
			continue
		}
		all.Go(func() {
			number := int(port)
			res := d.write(ctx, n.Addr, "announce_peer", krpc.MsgArgs{
				InfoHash: krpc.ID(target), Port: &number, Token: n.PeersToken,
			})
			if res.Err == nil && res.Reply.R != nil {
				mu.Lock()
				accepted++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return accepted, ctx.Err()
}

func (d *DHT) write(ctx context.Context, to netip.AddrPort, method string, args krpc.MsgArgs) dht.QueryResult {
	return d.server.Query(ctx, addrOf(to), method, dht.QueryInput{MsgArgs: args, NumTries: writeTries})
}

func clip(s string) string { return s[:min(len(s), maxMessage)] }
