package refs_test

import (
	"fmt"
	"time"

	"github.com/gitpeer/gitpeer/keys"
	"github.com/gitpeer/gitpeer/refs"
)

// A publisher signs the first snapshot of a repository, and a reader opens it
// and finds out what to download.
func Example() {
	publisher := keys.FromSeed([32]byte{'e', 'x'}) // a real one comes from keys.Load
	address := refs.Address{Publisher: publisher.ID(), Name: "tools"}
	note, err := refs.Sign(&refs.Snapshot{
		Repository:   address,
		Number:       1,
		Time:         time.Date(2026, 11, 22, 5, 6, 7, 0, time.UTC),
		ObjectFormat: refs.SHA1,
		Head:         "refs/heads/main",
		Refs: []refs.Ref{
			{Name: "refs/heads/main", OID: "0d1d7fc32e5a947fbd92ee598033d85bfc445a50"},
			{Name: "refs/tags/v1.0", OID: "9daeafb9864cf43055ae93beb0afd6c7d144bfa4", Peeled: "0d1d7fc32e5a947fbd92ee598033d85bfc445a50"},
		},
		Packs: []refs.Pack{{
			InfoHash: refs.InfoHash{0xab, 0xcd}, SHA256: refs.Digest{0xef},
			Bytes: 4096, Objects: 12, Inflated: 31_337, From: 0, To: 1,
		}},
	}, publisher)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(note))

	snapshot, err := refs.Open(note, address)
	if err != nil {
		fmt.Println(err)
		return
	}
	packs, err := refs.Cover(snapshot.Packs, 0, snapshot.Number)
	if err != nil {
		fmt.Println(err)
		return
	}
	head, _ := snapshot.HeadOID()
	fmt.Printf("\n%s needs %d pack of %d bytes\n", head, len(packs), packs[0].Bytes)

	// Output:
	// gitpeer-snapshot v1
	// repository gitpeer://gp1jvz6qd2q2zq43dp922rpnwh93unhx2rcl8cphq20utnuv4nc383qlnz8e9/tools
	// number 1
	// time 2026-11-22T05:06:07Z
	// object-format sha1
	// head refs/heads/main
	// ref 0d1d7fc32e5a947fbd92ee598033d85bfc445a50 refs/heads/main
	// ref 9daeafb9864cf43055ae93beb0afd6c7d144bfa4 refs/tags/v1.0 0d1d7fc32e5a947fbd92ee598033d85bfc445a50
	// pack abcd000000000000000000000000000000000000 ef00000000000000000000000000000000000000000000000000000000000000 4096 12 31337 0 1
	//
	// — gp1jvz6qd2q2zq43dp922rpnwh93unhx2rcl8cphq20utnuv4nc383qlnz8e9 tQ1nBQ6fF2abou++N7Duhjm2FiBF6e3h4xW/NBd38875jW7rOFZSHiZosQmiMk8wIH7bCONeCW+31weVpxZxCKWN3w8=
	//
	// 0d1d7fc32e5a947fbd92ee598033d85bfc445a50 needs 1 pack of 4096 bytes
}

// A pull of three snapshots takes the cheapest way through the packs.
func ExampleCover() {
	packs := []refs.Pack{
		{From: 0, To: 1, Bytes: 90_000},
		{From: 1, To: 2, Bytes: 700},
		{From: 2, To: 3, Bytes: 900},
		{From: 1, To: 3, Bytes: 1_200},
		{From: 3, To: 4, Bytes: 300},
	}
	way, err := refs.Cover(packs, 1, 4)
	for _, p := range way {
		fmt.Printf("(%d, %d] %d bytes\n", p.From, p.To, p.Bytes)
	}
	fmt.Println(err)
	// Output:
	// (1, 3] 1200 bytes
	// (3, 4] 300 bytes
	// <nil>
}
