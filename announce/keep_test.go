package announce

import (
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// No due time is believed that only a clock set back can explain.
func TestNextPass(t *testing.T) {
	now := time.UnixMilli(1_795_000_000_000)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	record := &refs.Record{Signed: now, Expires: in(7 * time.Hour)}
	own := Keep{Signer: testSigner(), Port: 1}
	for name, c := range map[string]struct {
		r    kept
		want time.Duration
	}{
		"announce first":       {kept{Keep: own, record: record, putDue: in(20), announceDue: in(10)}, 10},
		"put first":            {kept{Keep: own, record: record, putDue: in(20), announceDue: in(30)}, 20},
		"nothing to announce":  {kept{record: record, putDue: in(20), announceDue: in(10)}, 20},
		"renew first":          {kept{Keep: own, record: record, putDue: in(2 * time.Hour), announceDue: in(2 * time.Hour)}, time.Hour},
		"not ours to renew":    {kept{record: record, putDue: in(2 * time.Hour)}, 2 * time.Hour},
		"not to renew":         {kept{Keep: Keep{Signer: testSigner()}, record: record, putDue: in(2 * time.Hour), err: &NewerError{}}, 2 * time.Hour},
		"after a failure":      {kept{Keep: own, record: record, putDue: in(-20), failures: 1, retryAt: in(30)}, 30},
		"long overdue":         {kept{record: record, putDue: in(-1000 * time.Hour)}, -1000 * time.Hour},
		"the clock went back":  {kept{record: record, putDue: in(2*time.Hour + 1)}, 0},
		"so did that of retry": {kept{record: record, failures: 1, retryAt: in(3 * time.Hour)}, 0},
	} {
		if got := c.r.next(now).Sub(now); got != c.want {
			t.Errorf("%s: next pass in %v, want %v", name, got, c.want)
		}
	}
}
