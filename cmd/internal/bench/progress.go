package main

import (
	"slices"
	"time"
)

// crowds are how many readers clone at once.
func crowds() []int { return []int{1, 5, 10, 20} }

// behinds are how many publications of one commit each a reader is behind.
func behinds() []int { return []int{1, 10, 100, 1000} }

// once is how long one copy takes at a rate of bits a second.
func once(bytes, rate int64) time.Duration {
	return time.Duration(float64(bytes) * 8 / float64(rate) * float64(time.Second))
}

// A progress is what a crowd had moved, moment by moment.
type progress []moment

// A moment has the payload, in bytes, that the origin had sent and each reader
// received.
type moment struct {
	At       time.Duration
	Sent     int64
	Received []int64
}

// nearlyAll is how much of what a reader receives is counted as its data: the
// talk of its peers goes on after the last byte.
const nearlyAll = 0.99

// delivered returns when each reader had nearly all of what it received.
func (p progress) delivered() []time.Duration {
	if len(p) == 0 {
		return nil
	}
	first, last := p[0], p[len(p)-1]
	out := make([]time.Duration, len(last.Received))
	for i := range out {
		want := first.Received[i] + int64(nearlyAll*float64(last.Received[i]-first.Received[i]))
		for _, m := range p {
			if m.Received[i] >= want {
				out[i] = m.At
				break
			}
		}
	}
	return out
}

// values are what a crowd's table says of the network: when the last reader and
// the median one had their bytes, and the copies that the origin sent.
func (p progress) values(pack, rate int64) map[string]float64 {
	v := map[string]float64{}
	times := p.delivered()
	if len(times) == 0 {
		return v
	}
	var seconds []float64
	for _, t := range times {
		seconds = append(seconds, t.Seconds())
	}
	v["net-s"] = slices.Max(seconds)
	v["net-median-s"] = median(seconds)
	v["net-×copy"] = slices.Max(seconds) / once(pack, rate).Seconds()
	v["copies"] = float64(p[len(p)-1].Sent-p[0].Sent) / float64(pack)
	return v
}
