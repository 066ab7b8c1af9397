package announce_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/gitpeer/gitpeer/announce"
	"github.com/gitpeer/gitpeer/announce/dhttest"
	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A publisher makes a record known, and a reader finds it.
func Example() {
	ctx := context.Background()
	dht := dhttest.New(50).Client(netip.MustParseAddr("192.0.2.1")) // in earnest: swarm's
	publisher := keys.FromSeed([32]byte{1})
	tools := refs.Address{Publisher: publisher.ID(), Name: "tools"}

	published, err := announce.Publish(ctx, dht, publisher, announce.Publication{
		Name:   "tools",
		Record: refs.Record{Number: 1, Peers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7000")}},
		Now:    time.Now(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(published)

	found, err := announce.Resolve(ctx, dht, tools, announce.Floor{}, time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("snapshot %d, at %v; %d of %d nodes agree\n", found.Record.Number, found.Peers, found.Agreed, found.Answered)
	// Output:
	// stored on 20 of 20 nodes
	// snapshot 1, at [192.0.2.1:7000]; 20 of 20 nodes agree
}

// Anybody who holds a signed item may keep it from being forgotten.
func ExampleRepublish() {
	ctx := context.Background()
	dht := dhttest.New(50).Client(netip.MustParseAddr("192.0.2.1"))
	published, err := announce.Publish(ctx, dht, keys.FromSeed([32]byte{1}), announce.Publication{
		Name: "tools", Record: refs.Record{Number: 1}, Now: time.Now(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := published.Item.Format() // what a mirror saves
	if err != nil {
		fmt.Println(err)
		return
	}

	item, err := announce.ParseItem(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	again, err := announce.Republish(ctx, dht, item)
	fmt.Println(again, err)
	// Output: stored on 20 of 20 nodes <nil>
}
