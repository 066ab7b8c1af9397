package swarm

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// A pack comes in nearly in its order, from one peer that has everything or from two, and keeps the link
// busy. Left to itself the library is 10 MB ahead.
func TestPipelineOrder(t *testing.T) {
	const rate = 40e6 // bits a second
	p := pseudo{61, 48 << 20}
	for _, seeders := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			outlive(t)
			net := newShapedNet(10 * time.Millisecond)
			var nodes []*Node
			for range seeders {
				n := net.host(rate/float64(seeders), rate).node(t)
				seed(t, n, p)
				nodes = append(nodes, n)
			}
			reader := net.host(rate, rate).node(t)
			began := time.Now()
			d := fetch(t, reader, FetchRequest{InfoHash: p.info(t).InfoHash(), File: filepath.Join(t.TempDir(), "pack"), Peers: addrs(nodes...)})
			came := make([]bool, d.info.Pieces())
			first, ahead, sum := 0, 0, 0
			err := d.Follow(t.Context(), func(off, n int64) {
				for i := off / d.info.pieceLength; i*d.info.pieceLength < off+n; i++ {
					came[i] = true
					for ahead++; first < len(came) && came[first]; first++ {
						ahead--
					}
					sum += ahead
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if n := int64(sum/len(came)) * d.info.pieceLength; n > int64(seeders)*5<<20 {
				t.Errorf("%d seeders: %d bytes lay behind the first that was missing, on average, want 5 MiB at most for each", seeders, n)
			}
			if ratio := time.Since(began).Seconds() / (float64(p.size) * 8 / rate); ratio > 1.2 {
				t.Errorf("%d seeders: it took %.3f × the time of the bytes, want 1.2", seeders, ratio)
			}
		})
	}
}

// A link is full soon: beside the four round trips that one block takes, little is lost. Left to itself the
// library loses six more until it asks for as much as fits into 100 Mbit/s, 20 ms away.
func TestPipelineRamp(t *testing.T) {
	const rate = 100e6 // bits a second
	synctest.Test(t, func(t *testing.T) {
		outlive(t)
		net := newShapedNet(10 * time.Millisecond)
		net.buffer = 1 << 20
		here, there := net.host(rate, rate).node(t), net.host(rate, rate).node(t)
		info := seed(t, there, pseudo{62, 4 << 20})
		lost := fetchFar(t, here, there, info).Seconds() - float64(info.Length())*8/rate
		if trips := lost / 0.02; trips > 8 {
			t.Errorf("%.1f round trips were lost, want 8 at most", trips)
		}
	})
}

// asks makes n requests.
func (q *pipeline) asks(n int, now time.Time) {
	for range n {
		q.asked(torrent.Request{Index: pp.Integer(q.under)}, now)
	}
}

// The library is told to ask for more once when there is room for much.
func TestPipelineNudges(t *testing.T) {
	for _, c := range []struct {
		name             string
		limit, asked     int
		held, filled     bool
		ends, wantNudges []int // after so many more ends, so many nudges in all
	}{
		{"at its limit, at half", 64, 64, false, false, []int{31, 1, 31}, []int{0, 1, 1}},
		{"below its limit, at a quarter", 128, 64, false, false, []int{47, 1, 15}, []int{0, 1, 1}},
		{"below its limit, at half if it asks for all", 128, 64, false, true, []int{31, 1, 31}, []int{0, 1, 1}},
		{"before the rate is known", 0, 8, false, false, []int{3, 1, 3}, []int{0, 1, 1}},
		{"one block, after which it asks by itself", 0, 1, false, false, []int{1}, []int{0}},
		{"one block, after which it must hear what was held", 0, 1, true, false, []int{1}, []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &pipeline{limit: c.limit, held: c.held, filled: c.filled}
			q.asks(c.asked, time.Unix(1, 0))
			nudges := 0
			for i, n := range c.ends {
				for range n {
					if q.ended() {
						nudges++
					}
				}
				if nudges != c.wantNudges[i] {
					t.Errorf("with %d under way: %d nudges, want %d", q.under, nudges, c.wantNudges[i])
				}
			}
			q.asks(c.asked-q.under, time.Unix(1, 0))
			for range c.asked {
				if q.ended() {
					return
				}
			}
			if c.asked > 1 {
				t.Error("no nudge after it has asked for more")
			}
		})
	}
}

// What is held back after a look that found nothing to ask for is told all the same.
func TestPipelineTellsWhatItHeld(t *testing.T) {
	q := &pipeline{limit: 8}
	q.asks(8, time.Unix(1, 0))
	nudges := 0
	for range 4 {
		if q.ended() {
			nudges++
		}
	}
	q.limit = 64 // now four are enough for a while
	q.hold()
	for q.under > 0 {
		if q.ended() {
			nudges++
		}
	}
	if nudges != 2 {
		t.Errorf("%d nudges, want one at half and one for what was held", nudges)
	}
}

// As much is under way as comes in a tenth of a second and two round trips.
func TestPipelineLimit(t *testing.T) {
	for _, c := range []struct {
		rate int // blocks a second
		rtt  time.Duration
		reqq int
		want int
	}{
		{2000, 20 * time.Millisecond, 1000, 280},
		{2000, 200 * time.Millisecond, 1000, 1000},
		{2000, 20 * time.Millisecond, 0, defaultReqq},
		{300, 20 * time.Millisecond, 1000, firstPipeline},
		{40, 20 * time.Millisecond, 1000, 40},
		{5, 20 * time.Millisecond, 1000, minPipeline},
	} {
		var q pipeline
		if first := q.accepts(c.reqq); first != firstPipeline {
			t.Errorf("%+v: %d blocks are asked for at first, want %d", c, first, firstPipeline)
		}
		now := time.Unix(1_800_000_000, 0)
		probe := torrent.Request{Index: 7}
		q.asked(probe, now)
		now = now.Add(c.rtt)
		if n := q.came(probe, now); n != 0 {
			t.Errorf("%+v: limit %d before anything is known", c, n)
		}
		limit := 0
		for limit == 0 {
			now = now.Add(time.Second / time.Duration(c.rate))
			limit = q.came(torrent.Request{}, now)
		}
		if limit != c.want || q.limit != c.want {
			t.Errorf("%+v: limit %d, want %d", c, limit, c.want)
		}
	}
}
