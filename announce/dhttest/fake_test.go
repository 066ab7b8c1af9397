package dhttest_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/gitpeer/gitpeer/announce/dhttest"
)

func TestFake(t *testing.T) {
	dhttest.TestDHT(t, func(t *testing.T, use func(*testing.T, dhttest.Network)) {
		synctest.Test(t, func(t *testing.T) {
			f := dhttest.New(60)
			addr := netip.MustParseAddr("192.0.2.1")
			use(t, dhttest.Network{
				Writer: f.Client(addr), Reader: f.Client(netip.MustParseAddr("192.0.2.2")), WriterAddr: addr,
			})
		})
	})
}
