//go:build race

package testnet

import "runtime"

// calmRace works around golang/go#78156: timers of one synctest bubble that
// fire on two processors at once corrupt the race detector, which then kills
// the test. With one processor they cannot.
func calmRace(t TB) {
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}
