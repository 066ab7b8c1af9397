package node

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// A seedPolicy says when to stop serving what others published. What the user
// publishes is never stopped by it. Zero values stop nothing.
type seedPolicy struct {
	Ratio float64       // bytes sent over bytes of the packs
	Size  int64         // bytes of all that is served
	Age   time.Duration // since something new was accepted
}

// seedChoice is what a [repo] section says of seeding; "" leaves it to the policy.
type seedChoice string

const (
	seedAlways seedChoice = "always"
	seedNever  seedChoice = "never"
)

// Bounds of the policy's values.
const (
	maxRatio = 1e6
	maxAge   = 100 * 365 * 24 * time.Hour
)

func (p *seedPolicy) set(key, value string) (err error) {
	switch key {
	case "ratio":
		p.Ratio, err = strconv.ParseFloat(value, 64)
		// ParseFloat takes more than people write: nan, inf, 0x1p3, 1_0.
		if err != nil || strings.Trim(value, "0123456789.") != "" || p.Ratio > maxRatio {
			return fmt.Errorf("%q is not a ratio, such as 2 or 1.5", value)
		}
		return nil
	case "size":
		p.Size, err = parseBytes(value)
	case "age":
		p.Age, err = parseAge(value)
	default:
		return errUnknownKey
	}
	return err
}

// parseAge reads a number of hours, days or weeks: 12h, 30d, 8w. 0 is for ever.
func parseAge(value string) (time.Duration, error) {
	if value == "0" {
		return 0, nil
	}
	units := map[byte]time.Duration{'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	if value != "" {
		unit, ok := units[value[len(value)-1]]
		n, err := strconv.ParseUint(value[:len(value)-1], 10, 31)
		if ok && err == nil && n > 0 && n <= uint64(maxAge/unit) {
			return time.Duration(n) * unit, nil
		}
	}
	return 0, fmt.Errorf("%q is not a time, such as 12h, 30d or 8w", value)
}

// A candidate is a repository that could be served.
type candidate struct {
	Address  refs.Address
	Own      bool
	Choice   seedChoice
	Bytes    int64     // of its packs
	Sent     int64     // of them, ever
	Accepted time.Time // when something new was accepted last
}

// decide says of each repository that is not to be served why not. The newest
// repositories fill the size first.
func (p seedPolicy) decide(serve bool, list []candidate, now time.Time) map[refs.Address]string {
	list = slices.SortedFunc(slices.Values(list), func(a, b candidate) int {
		return cmp.Or(b.Accepted.Compare(a.Accepted), cmp.Compare(a.Address.String(), b.Address.String()))
	})
	stopped := map[refs.Address]string{}
	room := p.Size
	for _, c := range list {
		if c.Own {
			continue
		}
		if why := p.refuses(c, serve, now); why != "" {
			stopped[c.Address] = why
			continue
		}
		if p.Size != 0 && c.Choice != seedAlways && c.Bytes > room {
			stopped[c.Address] = "seed.size: newer repositories fill it"
			continue
		}
		room -= c.Bytes
	}
	return stopped
}

// refuses is decide for what concerns one repository alone.
func (p seedPolicy) refuses(c candidate, serve bool, now time.Time) string {
	switch {
	case c.Choice == seedAlways:
		return ""
	case c.Choice == seedNever:
		return "its section says seed = never"
	case !serve:
		return "node.seed is false"
	case p.Ratio != 0 && c.Bytes > 0 && float64(c.Sent) >= p.Ratio*float64(c.Bytes):
		return fmt.Sprintf("seed.ratio: sent %.2f times its packs", float64(c.Sent)/float64(c.Bytes))
	case p.Age != 0 && now.Sub(c.Accepted) >= p.Age:
		return fmt.Sprintf("seed.age: nothing new for %d days", int(now.Sub(c.Accepted).Hours())/24)
	}
	return ""
}
