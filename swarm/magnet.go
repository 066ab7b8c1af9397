package swarm

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/refs/bencode"
)

// Magnet returns the magnet link of a torrent (BEP 9) for clients of others: its infohash, and if
// they are given, its name, its length in bytes, and peers to begin with (x.pe).
func Magnet(ih refs.InfoHash, name string, length int64, peers ...netip.AddrPort) string {
	var b strings.Builder
	b.WriteString("magnet:?xt=urn:btih:" + ih.String())
	if name != "" {
		b.WriteString("&dn=" + url.QueryEscape(name))
	}
	if length > 0 {
		b.WriteString("&xl=" + strconv.FormatInt(length, 10))
	}
	for _, p := range peers {
		b.WriteString("&x.pe=" + p.String())
	}
	return b.String()
}

// TorrentFile returns a torrent file (BEP 3) for clients of others: the info dictionary and, as web
// seeds (BEP 19, url-list), addresses at which the file lies; gitpeer has no trackers.
func (i *Info) TorrentFile(urls ...string) []byte {
	b := append([]byte("d4:info"), i.bytes...)
	if len(urls) > 0 {
		b = append(b, "8:url-listl"...)
		for _, u := range urls {
			b = bencode.AppendString(b, u)
		}
		b = append(b, 'e')
	}
	return append(b, 'e')
}
