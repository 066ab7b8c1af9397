package swarm

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// The limits on rates hold for all torrents together, and are used up.
func TestRates(t *testing.T) {
	const rate, size = 1 << 20, 4 << 20
	for name, limit := range map[string]struct{ here, there func(*Config) }{
		"upload":   {func(*Config) {}, func(c *Config) { c.UploadRate = rate }},
		"download": {func(c *Config) { c.DownloadRate = rate }, func(*Config) {}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				outlive(t)
				net := newShapedNet(10 * time.Millisecond)
				here, there := net.host(1e12, 1e12).node(t, limit.here), net.host(1e12, 1e12).node(t, limit.there)
				one, other := seed(t, there, pseudo{1, size}), seed(t, there, pseudo{2, size})
				took := fetchFar(t, here, there, one, other)
				// What a burst lets through is a second's worth.
				if least, most := 2*size/rate*time.Second-time.Second, 2*size/rate*time.Second+2*time.Second; took < least || took > most {
					t.Errorf("%d bytes at %d a second took %v, want %v to %v", 2*size, rate, took, least, most)
				}
			})
		})
	}
}

// A web mirror is not slow because its reader wants to be.
func TestRateOfMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, size = 4 << 10, 256 << 10
		f := &mirrorFetch{d: &Download{}, web: newWeb(newLimiter(rate))}
		b := &mirrorBody{
			ctx: t.Context(), r: bytes.NewReader(make([]byte, size)), f: f, until: time.Now().Add(mirrorStall),
			stall: time.AfterFunc(mirrorStall, func() { t.Error("the mirror is said to have stalled") }),
		}
		defer b.stall.Stop()
		const others = 5 * minBurst // are to come first, longer than a mirror may stall
		for range others / minBurst {
			f.web.limiter.ReserveN(time.Now(), minBurst)
		}
		began := time.Now()
		if n, err := io.Copy(io.Discard, b); n != size || err != nil {
			t.Fatalf("%d bytes came, then %v", n, err)
		}
		if took, want := time.Since(began), time.Duration((others+size-minBurst)/rate)*time.Second; took != want {
			t.Errorf("%d bytes at %d a second took %v, want %v", size, rate, took, want)
		}
	})
}
