// Package dhttest is test support for package announce: [Fake], a DHT in
// memory whose nodes can be told to fail or to lie, and [TestDHT], the
// contract that every announce.DHT must keep, the fake and real nodes alike.
//
// It keeps time with package time, so it belongs into a testing/synctest
// bubble wherever hours must pass.
package dhttest
