package trust

import (
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/gitpeer/gitpeer/refs"
)

// benchmarkDecide verifies a linear history of n commits, all signed.
func benchmarkDecide(b *testing.B, n int, config func(*packet.Config)) {
	w := newWorld(b)
	alice := newPerson(b, "alice", config)
	w.signer(alice)
	root := w.commit(alice, day(1))
	w.repo("introduction = " + string(root))
	p := w.policy()
	tip := root
	for range n {
		tip = w.commit(alice, day(1), tip)
	}
	s := w.publish(branch("main", tip))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decide(p, nil, s, w.objects, now).Accept(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "commits/s")
}

func BenchmarkDecideEd25519(b *testing.B) { benchmarkDecide(b, 2000, func(*packet.Config) {}) }

func BenchmarkDecideRSA4096(b *testing.B) {
	benchmarkDecide(b, 200, func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 4096 })
}

// BenchmarkDecideWarm is ten new commits on a history that was verified before.
func BenchmarkDecideWarm(b *testing.B) {
	w := newWorld(b)
	alice := newPerson(b, "alice")
	w.signer(alice)
	root := w.commit(alice, day(1))
	w.repo("introduction = " + string(root))
	p := w.policy()
	tip := root
	for range 1000 {
		tip = w.commit(alice, day(1), tip)
	}
	d := Decide(p, nil, w.publish(branch("main", tip)), w.objects, now)
	accepted, err := d.Accept()
	if err != nil {
		b.Fatal(err)
	}
	before := accepted.Pins(&Received{Address: w.address, Record: &refs.Record{}})
	for range 10 {
		tip = w.commit(alice, day(1), tip)
	}
	s := w.publish(branch("main", tip))
	for b.Loop() {
		if _, err := Decide(p, before, s, w.objects, now).Accept(); err != nil {
			b.Fatal(err)
		}
	}
}
