package swarm

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"

	"github.com/gitpeer/gitpeer/refs"
)

func TestMagnet(t *testing.T) {
	ih := refs.InfoHash{0xab, 19: 1}
	const hash = "ab00000000000000000000000000000000000001"
	for _, test := range []struct {
		name   string
		length int64
		seeds  []string
		peers  []netip.AddrPort
		want   string
	}{
		{"", 0, nil, nil, "magnet:?xt=urn:btih:" + hash},
		{"tools-1234", 5, nil, nil, "magnet:?xt=urn:btih:" + hash + "&dn=tools-1234&xl=5"},
		{"a&b c", 0, []string{"https://a.example/x/" + hash, "http://b.example:81/" + hash}, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("[::1]:7")},
			"magnet:?xt=urn:btih:" + hash + "&dn=a%26b+c&ws=https%3A%2F%2Fa.example%2Fx%2F" + hash + "&ws=http%3A%2F%2Fb.example%3A81%2F" + hash + "&x.pe=127.0.0.1:9&x.pe=[::1]:7"},
	} {
		got := MagnetLink{InfoHash: ih, Name: test.name, Length: test.length, WebSeeds: test.seeds, Peers: test.peers}.String()
		if got != test.want {
			t.Errorf("Magnet = %s, want %s", got, test.want)
		}
		m, err := metainfo.ParseMagnetUri(got)
		if err != nil || refs.InfoHash(m.InfoHash) != ih || m.DisplayName != test.name || !slices.Equal(m.Params["ws"], test.seeds) {
			t.Errorf("the library reads %s as %+v, %v", got, m, err)
		}
	}
}

func TestTorrentFile(t *testing.T) {
	info := pseudo{1, 100_000}.info(t)
	var mi metainfo.MetaInfo
	if err := bencode.Unmarshal(info.TorrentFile(), &mi); err != nil {
		t.Fatal(err)
	}
	if refs.InfoHash(mi.HashInfoBytes()) != info.InfoHash() {
		t.Errorf("infohash %v, want %v", mi.HashInfoBytes(), info.InfoHash())
	}
}
