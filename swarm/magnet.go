package swarm

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/refs/bencode"
)

// A MagnetLink names a torrent for clients of others (BEP 9). What is not known is left zero.
type MagnetLink struct {
	InfoHash refs.InfoHash
	Name     string
	Length   int64            // in bytes
	WebSeeds []string         // addresses at which the file lies (ws)
	Peers    []netip.AddrPort // to begin with (x.pe)
}

// String is the link.
func (l MagnetLink) String() string {
	var b strings.Builder
	b.WriteString("magnet:?xt=urn:btih:" + l.InfoHash.String())
	if l.Name != "" {
		b.WriteString("&dn=" + url.QueryEscape(l.Name))
	}
	if l.Length > 0 {
		b.WriteString("&xl=" + strconv.FormatInt(l.Length, 10))
	}
	for _, seed := range l.WebSeeds {
		b.WriteString("&ws=" + url.QueryEscape(seed))
	}
	for _, p := range l.Peers {
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
