package swarm

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
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

// TorrentFile returns a torrent file (BEP 3) for clients of others: the info dictionary and nothing
// else, since gitpeer has no trackers.
func (i *Info) TorrentFile() []byte {
	return append(append([]byte("d4:info"), i.bytes...), 'e')
}
