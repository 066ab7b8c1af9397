package swarm

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// trickler answers requests as slowly as it likes: a byte of a block a second, or a whole block now
// and then. It says that it has everything.
func trickler(p pseudo, info *Info, perByte, perBlock time.Duration) func(*rawPeer) {
	return func(r *rawPeer) {
		requests := make(chan []byte, 10_000)
		gone := make(chan struct{})
		go func() {
			for {
				select {
				case msg := <-requests:
					index, begin := int(binary.BigEndian.Uint32(msg)), int(binary.BigEndian.Uint32(msg[4:]))
					data := make([]byte, binary.BigEndian.Uint32(msg[8:]))
					p.ReadAt(data, int64(index)*info.PieceLength()+int64(begin))
					if !r.trickle(index, begin, data, perByte, gone) {
						return
					}
				case <-gone:
					return
				}
				select {
				case <-time.After(perBlock):
				case <-gone:
					return
				}
			}
		}()
		defer close(gone)
		for trickling := false; ; {
			kind, msg, ok := r.next()
			if !ok {
				return
			}
			if kind == 6 {
				trickling = perByte > 0
				requests <- append([]byte(nil), msg...)
			} else if !trickling { // nothing can be said in the middle of a block
				r.giveMetadata(kind, msg, info.Bytes())
			}
		}
	}
}

// trickle sends a block, with a pause after each byte, and reports whether it got to its end.
func (p *rawPeer) trickle(index, begin int, data []byte, pause time.Duration, gone chan struct{}) bool {
	if pause == 0 {
		p.send(7, index, begin, data)
		return true
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(9+len(data)))
	head = binary.BigEndian.AppendUint32(append(head, 7), uint32(index))
	for _, b := range append(binary.BigEndian.AppendUint32(head, uint32(begin)), data...) {
		if _, err := p.conn.Write([]byte{b}); err != nil {
			return false
		}
		select {
		case <-time.After(pause):
		case <-gone:
			return false
		}
	}
	return true
}

// Peers that send all the time, and next to nothing, do not hold up a download that has others: it
// takes about as long as without them.
func TestTricklers(t *testing.T) {
	for name, c := range map[string]struct{ perByte, perBlock time.Duration }{
		"a byte a second":        {time.Second, 0},
		"a block in two seconds": {0, 2 * time.Second},
		"a block in ten seconds": {0, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pseudo{61, 4 << 20}
				info := p.info(t)
				net := newShapedNet(10 * time.Millisecond)
				outlive(t)
				honest, reader := net.host(20e6, 20e6).node(t), net.host(20e6, 20e6).node(t)
				seed(t, honest, p)
				slow := trickler(p, info, c.perByte, c.perBlock)
				var slows []netip.AddrPort
				for range 2 {
					slows = append(slows, rawSeederOn(t, net.host(20e6, 20e6), info.InfoHash(), info.Bytes(), slow))
				}
				begun := time.Now()
				d := fetch(t, reader, FetchRequest{InfoHash: info.InfoHash(), Peers: slows, StallTimeout: time.Minute})
				time.Sleep(3 * time.Second) // they hold requests before there is anybody else
				reader.AddPeers(info.InfoHash(), addrs(honest))
				readAll(t, d, p)
				// 3 s and 1.7 s for the data on the link; 5.0 s were measured.
				if took := time.Since(begun); took > 8*time.Second {
					t.Errorf("it took %v, want some 5s", took)
				}
			})
		})
	}
}

// A block that comes a byte at a time is nothing as long as it is not whole, and a download to which
// nothing else comes says so in time.
func TestTricklerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pseudo{62, 1 << 20}
		info := p.info(t)
		net := newShapedNet(10 * time.Millisecond)
		outlive(t)
		reader := net.host(20e6, 20e6).node(t)
		slow := rawSeederOn(t, net.host(20e6, 20e6), info.InfoHash(), info.Bytes(), trickler(p, info, time.Second, 0))
		begun := time.Now()
		d := fetch(t, reader, FetchRequest{InfoHash: info.InfoHash(), Peers: []netip.AddrPort{slow}})
		err := d.Wait()
		if e := new(StalledError); !errors.As(err, &e) || e.Progress.Peers != 1 || e.Progress.Received != 0 {
			t.Errorf("Wait = %v, want a StalledError with one peer and nothing received", err)
		}
		if took := time.Since(begun); took > DefaultStallTimeout+2*time.Second {
			t.Errorf("it took %v, want %v", took, DefaultStallTimeout)
		}
	})
}
