// Package testnet runs DHT networks of real nodes for tests and for people.
//
// [New] makes one in memory. Inside a [testing/synctest] bubble its time is
// the bubble's, so that hours of expiry, renewal and republishing pass in
// moments and the outcome does not depend on the machine:
//
//	synctest.Test(t, func(t *testing.T) {
//		net := testnet.New(t, testnet.Options{Nodes: 30, Latency: 20 * time.Millisecond})
//		publisher, reader := net.Join(), net.Join()
//		...                              // announce.Publish(ctx, publisher, …)
//		time.Sleep(3 * time.Hour)        // returns at once
//		...
//	})
//
// Each node is a [swarm.DHT] and so runs the library, the guard and the stores
// of production; only the sockets differ. Packets can be delayed and lost;
// nodes can be killed, revived and partitioned ([Network.Kill],
// [Network.Partition]), and joined by liars that answer what a [Behaviour]
// makes up ([Network.AddHostile]).
//
// [Loopback] makes a network on 127.0.0.1 for other programs to join: what
// "gitpeer testnet" runs.
//
// Both fill the routing tables at once, by having each node ping the ones that
// its table would hold in the end: left alone, a network of 30 needs two
// minutes, because a node hands out only nodes that have answered it.
//
// What it cannot do: show behaviour that depends on more nodes than fit one
// process (some hundreds), on NAT, or on other implementations; for the last,
// see swarm's interop tests.
package testnet
