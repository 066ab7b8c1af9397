package refs

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/keys"
)

func TestSmoke(t *testing.T) {
	k := keys.FromSeed([32]byte{1})
	t.Log(k.ID(), k.ID().Short())
	if id, err := keys.ParseID(k.ID().String()); err != nil || id != k.ID() {
		t.Fatal(id, err)
	}
	a := Address{k.ID(), "tools"}
	for _, u := range []string{a.String(), "gitpeer::" + a.String(), strings.Replace(a.String(), "://", "::", 1)} {
		if b, err := ParseAddress(u); err != nil || b != a {
			t.Fatal(u, b, err)
		}
	}
	oid := OID(strings.Repeat("ab", 20))
	s := &Snapshot{Repository: a, Number: 2, Time: time.Unix(1e9, 0).UTC(), Previous: []Link{{1, Digest{3}}}, ObjectFormat: SHA1, Head: "refs/heads/main",
		Refs:  []Ref{{"refs/heads/main", oid, ""}, {"refs/tags/v1", oid, OID(strings.Repeat("cd", 20))}},
		Packs: []Pack{{InfoHash{1}, Digest{2}, 100, 3, 400, 0, 1}, {InfoHash{2}, Digest{2}, 100, 3, 400, 1, 2}}}
	n, err := Sign(s, k)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", n)
	got, err := Open(n, a)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Fatal(got, err)
	}
	if _, err := Open(append(n, n[len(n)-160:]...), a); err == nil {
		t.Fatal("twice")
	}
	r := &Record{time.Unix(2e9, 0).UTC(), time.Unix(1e9, 0).UTC(), oid, InfoHash{5}, 7, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7")}, DigestOf(n)}
	b, err := r.Format()
	if err != nil {
		t.Fatal(err)
	}
	r2, err := ParseRecord(b)
	if err != nil || !reflect.DeepEqual(r, r2) {
		t.Fatal(r2, err)
	}
	b2, _ := r2.Format()
	if !bytes.Equal(b, b2) {
		t.Fatal()
	}
	t.Logf("%q", b)
}

func TestSmokePlan(t *testing.T) {
	var packs []Pack
	most, bases := 0, 0
	for n := uint64(1); n <= 200; n++ {
		for _, r := range NextRanges(n, packs) {
			p := Pack{Bytes: 100 * int64(r.To-r.From), From: r.From, To: r.To}
			if r.From == 0 {
				p.Bytes += 100000
				bases++
			}
			packs = append(packs, p)
		}
		packs = Retire(n, packs)
		most = max(most, len(packs))
		for k := uint64(0); k < n; k++ {
			c, err := Cover(packs, k, n)
			if err != nil {
				t.Fatal(n, k, err)
			}
			b := int64(0)
			for _, p := range c {
				b += p.Bytes
			}
			if k > 0 && b > 200*int64(n-k) {
				t.Fatal(n, k, b, c)
			}
		}
	}
	t.Log(most, bases, len(packs))
	for _, p := range packs {
		t.Log(p.From, p.To, p.Bytes)
	}
}
