package node

import (
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/swarm"
)

// However many ways there are, who reaches nobody is told within half a minute;
// and each has its time.
func TestPatience(t *testing.T) {
	for ways := 1; ways <= 100; ways++ {
		var waited time.Duration
		for i := range ways {
			stall, alone := patience(i+1 < ways, waited)
			if want := swarm.DefaultStallTimeout; i+1 == ways && stall != want || alone < aloneLeast || alone > swarm.DefaultAloneTimeout {
				t.Errorf("way %d of %d: %v without data, %v without peers", i+1, ways, stall, alone)
			}
			if i == 0 && alone < patienceWithAlternative {
				t.Errorf("the first of %d ways has %v", ways, alone)
			}
			if waited += alone; waited >= aloneInAll {
				break
			}
		}
		if waited > aloneInAll+aloneLeast {
			t.Errorf("%d ways take %v", ways, waited)
		}
	}
}
