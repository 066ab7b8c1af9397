package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/refs/bencode"
)

// A web server may hold what peers hold (BEP 19, with files named by infohash: refs.Mirror). The
// library has web seeds; it panics on more than one sort of answer, follows redirects anywhere, and
// asks proxies and addresses that a stranger chose. So this is ours: ranges of whole pieces are
// requested, each is hashed in memory and only then written, and a server is as little trusted as a
// peer. In particular, who reads a snapshot lets its publisher say where to connect to:
//
//   - only public addresses are dialled, whatever the name resolves to and wherever a redirect
//     leads; only what the user's own configuration names may be elsewhere;
//   - ports below 1024 other than 80 and 443 are not dialled either;
//   - at most 3 redirects, none from https to http; no proxy, cookies, authentication, compression;
//   - headers of 16 KiB, a body no longer than asked for, a time limit for each block and piece;
//   - a server that sends a wrong piece is not asked again for an hour.
const (
	mirrorDialTime   = 10 * time.Second
	mirrorHeaderTime = 20 * time.Second
	mirrorStall      = 20 * time.Second // for the next block
	mirrorMinRate    = 8 << 10          // bytes a second, on average over a piece
	mirrorHeaders    = 16 << 10
	mirrorRedirects  = 3
	mirrorRange      = 4 << 20  // bytes in one request, or one piece if that is longer
	mirrorMemory     = 32 << 20 // of pieces that are not hashed yet, of all mirrors
	mirrorFailures   = 4        // in a row, after which a download does without a mirror
	mirrorBackoff    = time.Second
	maxMirrors       = 8  // of one download
	maxMirrorClients = 16 // that keep connections open
	// maxTorrentFile leaves room for what others write beside the info dictionary.
	maxTorrentFile = MaxInfoBytes + 64<<10
)

// A Mirror is a web server to fetch from.
type Mirror struct {
	URL refs.Mirror
	// Named says that the user's own configuration names it: then it may have any address.
	Named bool
}

// A MirrorError is what went wrong with a mirror; the download goes on without it.
type MirrorError struct {
	URL refs.Mirror
	Err error
}

func (e *MirrorError) Error() string { return fmt.Sprintf("mirror %s: %v", e.URL, e.Err) }
func (e *MirrorError) Unwrap() error { return e.Err }

var (
	errMirrorAddress  = errors.New("it leads to an address that is not public; name it in your own config to allow that")
	errMirrorRedirect = errors.New("it redirects too often, or from https to http")
	errMirrorPiece    = errors.New("it sent a piece that does not match its hash")
	errMirrorBanned   = errors.New("it sent wrong data within the last hour")
	errMirrorLonger   = errors.New("its torrent file is too long")
	errMirrorSlow     = errors.New("it is too slow")
	errMirrorAbsent   = errors.New("it does not have the torrent")
	errMirrorOther    = errors.New("its torrent file is of another torrent")
)

// web is what a node knows of mirrors.
type web struct {
	memory  *semaphore.Weighted
	limiter *rate.Limiter // of downloads; nil for no limit

	mu      sync.Mutex
	clients map[Mirror]*http.Client
	banned  map[refs.Mirror]time.Time
}

func newWeb(limiter *rate.Limiter) *web {
	return &web{
		memory: semaphore.NewWeighted(mirrorMemory), limiter: limiter,
		clients: make(map[Mirror]*http.Client), banned: make(map[refs.Mirror]time.Time),
	}
}

// client gives the HTTP client for a mirror.
func (w *web) client(m Mirror) *http.Client {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clients[m]; c != nil {
		return c
	}
	for old, c := range w.clients {
		if len(w.clients) < maxMirrorClients {
			break
		}
		c.CloseIdleConnections()
		delete(w.clients, old)
	}
	c := newMirrorClient(m)
	w.clients[m] = c
	return c
}

// close ends the idle connections.
func (w *web) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		c.CloseIdleConnections()
	}
}

func (w *web) ban(m refs.Mirror, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.banned[m] = now.Add(banTime)
}

func (w *web) isBanned(m refs.Mirror, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for url, until := range w.banned {
		if now.After(until) {
			delete(w.banned, url)
		}
	}
	_, banned := w.banned[m]
	return banned
}

// newMirrorClient makes a client that goes only where it may.
func newMirrorClient(m Mirror) *http.Client {
	guarded := &net.Dialer{Timeout: mirrorDialTime, Control: refuseNonPublic}
	free := &net.Dialer{Timeout: mirrorDialTime}
	own := hostPort(string(m.URL))
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if m.Named && addr == own {
				return free.DialContext(ctx, network, addr)
			}
			return guarded.DialContext(ctx, network, addr)
		},
		TLSHandshakeTimeout:    mirrorDialTime,
		ResponseHeaderTimeout:  mirrorHeaderTime,
		IdleConnTimeout:        mirrorStall,
		MaxResponseHeaderBytes: mirrorHeaders,
		MaxIdleConnsPerHost:    1,
		DisableCompression:     true,
	}
	return &http.Client{Transport: transport, CheckRedirect: checkRedirect}
}

// checkRedirect decides about following; where a redirect leads, the dialer checks.
func checkRedirect(to *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	if len(via) > mirrorRedirects || to.URL.User != nil ||
		to.URL.Scheme != "https" && (to.URL.Scheme != "http" || from.Scheme == "https") {
		return errMirrorRedirect
	}
	to.Header.Del("Referer")
	return nil
}

// hostPort is the address that the transport dials for a URL.
func hostPort(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	if scheme == "https" {
		return host + ":443"
	}
	return host + ":80"
}

// refuseNonPublic is called with the address that a name resolved to, before it is dialled.
func refuseNonPublic(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !publicAddr(a.Addr()) {
		return errMirrorAddress
	}
	if p := a.Port(); p < 1024 && p != 80 && p != 443 {
		return fmt.Errorf("port %d: %w", p, errMirrorAddress)
	}
	return nil
}

// notPublic are the networks in which a name of the Internet has no business (RFC 6890 and the
// IANA registries of special-purpose addresses), with those that wrap an IPv4 address.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}

// publicUnicast is all of IPv6 that is given out for the Internet.
var publicUnicast = netip.MustParsePrefix("2000::/3")

// publicAddr reports whether an address is one of the Internet's.
func publicAddr(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !publicUnicast.Contains(a) {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// get asks a mirror for a URL. The answer is open; its status is one of those expected.
func (w *web) get(ctx context.Context, m Mirror, url, bytesRange string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "gitpeer")
	req.Header.Set("Accept-Encoding", "identity")
	if bytesRange != "" {
		req.Header.Set("Range", bytesRange)
	}
	resp, err := w.client(m).Do(req)
	if err != nil {
		return nil, err
	}
	coding := resp.Header.Get("Content-Encoding")
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		err = errMirrorAbsent
	case coding != "" && coding != "identity":
		err = fmt.Errorf("it answers in Content-Encoding %.32q", coding)
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPartialContent && bytesRange != "":
		return resp, nil
	default:
		err = fmt.Errorf("it answers %.64q", resp.Status)
	}
	resp.Body.Close()
	return nil, err
}

// metadata gets the info dictionary of a torrent from its torrent file.
func (w *web) metadata(ctx context.Context, m Mirror, hash refs.InfoHash) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mirrorStall+maxTorrentFile/mirrorMinRate*time.Second, errMirrorSlow)
	defer cancel()
	resp, err := w.get(ctx, m, m.URL.TorrentFile(hash), "")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxTorrentFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxTorrentFile {
		return nil, errMirrorLonger
	}
	return parseTorrentFile(b, hash)
}

// parseTorrentFile takes the info dictionary out of a torrent file and compares its hash.
func parseTorrentFile(b []byte, hash refs.InfoHash) ([]byte, error) {
	v, err := bencode.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("its torrent file: %w", err)
	}
	info := v.Get("info").Raw()
	if sha1.Sum(info) != hash {
		return nil, errMirrorOther
	}
	return bytes.Clone(info), nil
}
