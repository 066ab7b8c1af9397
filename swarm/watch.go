package swarm

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/anacrolix/torrent"
)

const (
	// nudgeAfter is when a download that receives nothing wakes up its connections, see nudge.
	nudgeAfter    = 400 * time.Millisecond
	nudgeInterval = time.Second
)

// watch reports the progress of a download, redials its peers, and ends it when nothing comes.
func (d *Download) watch(ctx context.Context) {
	defer close(d.watched)
	tick := time.NewTicker(min(progressInterval, d.req.StallTimeout/4))
	defer tick.Stop()
	var (
		last   = time.Now() // when something last came
		redial = last.Add(redialInterval)
		nudge  = last
		before Progress
		rate   rateMeter
	)
	report := func(p Progress) {
		if d.req.Progress != nil {
			d.req.Progress(p)
		}
	}
	for {
		select {
		case <-d.ended:
			if d.failure() != nil { // whoever closes it may have other things to wait for
				d.entry.with((*torrent.Torrent).DisallowDataDownload)
			}
			report(d.progress(&rate, time.Now()))
			return
		case <-ctx.Done():
			d.fail(context.Cause(ctx))
			continue
		case <-tick.C:
		}
		now := time.Now()
		p := d.progress(&rate, now)
		if p.Received != before.Received || p.Verified != before.Verified || p.Stage != before.Stage {
			last, nudge = now, now.Add(nudgeAfter)
		}
		before = p
		report(p)
		// Those that wait for their first turn come before those that did not answer.
		if now.After(redial) && d.entry.pending() == 0 {
			redial = now.Add(redialInterval)
			d.node.redial(d.entry)
		}
		if p.Stage == StageMetadata {
			d.node.retryMetadata(d.entry)
		}
		if p.Stage == StageDownload && now.After(nudge) {
			nudge = now.Add(nudgeInterval)
			d.node.nudge(d.entry)
		}
		patience := d.req.StallTimeout
		if p.Peers == 0 {
			patience = min(patience, cmp.Or(d.req.AloneTimeout, DefaultAloneTimeout))
		}
		if waited := now.Sub(last); waited >= patience {
			d.fail(d.stalled(p, waited))
		}
	}
}

func (d *Download) stalled(p Progress, waited time.Duration) error {
	if p.Peers == 0 {
		return &NoPeersError{
			InfoHash: d.req.InfoHash, Stage: p.Stage, Waited: waited,
			Tried: d.node.knownPeers(d.entry), Nodes: d.node.searched(d.entry), Mirrors: d.failedMirrors(),
		}
	}
	return &StalledError{InfoHash: d.req.InfoHash, Progress: p, Waited: waited}
}

func (d *Download) failedMirrors() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.mirrorErrs)
}

// progress takes the state of a download.
func (d *Download) progress(rate *rateMeter, now time.Time) Progress {
	var stats torrent.TorrentStats
	d.entry.with(func(t *torrent.Torrent) { stats = t.Stats() })
	d.mu.Lock()
	p := Progress{Stage: d.stage, Verified: d.verified}
	if d.stage != StageMetadata {
		p.Length = d.info.length
	}
	d.mu.Unlock()
	p.Received = stats.BytesReadData.Int64() + d.mirrored.Load()
	p.Peers = stats.ActivePeers
	p.Known = len(d.node.knownPeers(d.entry))
	p.Rate = rate.add(now, p.Received)
	return p
}

// rateMeter averages over the last few seconds.
type rateMeter struct {
	samples [16]struct {
		at    time.Time
		bytes int64
	}
	n int
}

func (r *rateMeter) add(now time.Time, bytes int64) float64 {
	oldest := r.samples[(r.n+1)%len(r.samples)]
	if r.n+1 < len(r.samples) {
		oldest = r.samples[0]
	}
	r.samples[r.n%len(r.samples)] = struct {
		at    time.Time
		bytes int64
	}{now, bytes}
	r.n++
	if oldest.at.IsZero() || !now.After(oldest.at) {
		return 0
	}
	return float64(bytes-oldest.bytes) / now.Sub(oldest.at).Seconds()
}
