package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs"
)

// mirrorServer serves a torrent as a static file host does, at /m/.
func mirrorServer(t testing.TB, p pseudo, info *Info) http.Handler {
	t.Helper()
	data, _ := io.ReadAll(p.reader())
	mux := http.NewServeMux()
	mux.HandleFunc("/m/"+info.InfoHash().String(), func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
	mux.HandleFunc("/m/"+info.InfoHash().String()+".torrent", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(info.TorrentFile())
	})
	return mux
}

// serve runs a web server and gives the mirror that it is, as if the user had named it.
func serve(t testing.TB, h http.Handler) Mirror {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	m, err := refs.ParseMirror(s.URL + "/m/")
	if err != nil {
		t.Fatal(err)
	}
	return Mirror{m, true}
}

// changed serves something else for the data of a torrent.
func changed(h http.Handler, data http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".torrent") {
			h.ServeHTTP(w, r)
		} else {
			data(w, r)
		}
	})
}

func TestMirror(t *testing.T) {
	p := pseudo{21, 5<<20 + 1234}
	info := p.info(t)
	h := mirrorServer(t, p, info)
	whole := changed(h, func(w http.ResponseWriter, r *http.Request) { // knows no ranges
		r.Header.Del("Range")
		h.ServeHTTP(w, r)
	})
	flaky := func() http.Handler {
		var n atomic.Int32
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%2 == 1 {
				http.Error(w, "busy", http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	for name, h := range map[string]http.Handler{"ranges": h, "no ranges": whole, "fails at times": flaky()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := fetch(t, newNode(t), FetchRequest{InfoHash: info.InfoHash(), Length: p.size, Mirrors: []Mirror{serve(t, h)}})
			readAll(t, d, p)
			if err := d.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("and peers", func(t *testing.T) {
		t.Parallel()
		// A peer that holds all, but gives nothing for now; then two mirrors; then seeding to others.
		a, b := newNode(t), newNode(t)
		g := newGate(t, p)
		if _, err := a.Seed(info, g); err != nil {
			t.Fatal(err)
		}
		d := fetch(t, b, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a), Mirrors: []Mirror{serve(t, h), serve(t, h)}})
		readAll(t, d, p)
		readAll(t, fetch(t, newNode(t), FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(b)}), p)
	})
}

// Servers that do what they should not: the fetch ends with what was wrong, and with a peer it
// succeeds all the same.
func TestHostileMirrors(t *testing.T) {
	p := pseudo{22, 300_000}
	info := p.info(t)
	good := mirrorServer(t, p, info)
	elsewhere := serve(t, good)
	redirect := func(to string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+strings.TrimPrefix(r.URL.Path, "/m/"), http.StatusFound)
		})
	}
	wrong := func(status int, header string) http.Handler {
		return changed(good, func(w http.ResponseWriter, r *http.Request) {
			if header != "" {
				w.Header().Set("Content-Range", header)
			}
			w.WriteHeader(status)
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil { // zeros without end
					return
				}
			}
		})
	}
	torrent := func(b []byte) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(b) })
	}
	for name, test := range map[string]struct {
		h    http.Handler
		want error  // or
		text string // of the mirror's error
	}{
		"wrong bytes":            {wrong(206, fmt.Sprintf("bytes 0-%d/%d", p.size-1, p.size)), errMirrorPiece, ""},
		"wrong bytes, endless":   {wrong(200, ""), errMirrorPiece, ""},
		"another range":          {wrong(206, fmt.Sprintf("bytes 1-%d/%d", p.size, p.size)), nil, "Content-Range"},
		"another length":         {wrong(206, fmt.Sprintf("bytes 0-%d/%d", p.size-1, p.size+1)), nil, "Content-Range"},
		"no range said":          {wrong(206, ""), nil, "Content-Range"},
		"teapot":                 {wrong(418, ""), nil, "418"},
		"nothing":                {http.NotFoundHandler(), errMirrorAbsent, ""},
		"redirects for ever":     {redirect("/m/"), errMirrorRedirect, ""},
		"redirects to loopback":  {redirect(string(elsewhere.URL)), errMirrorAddress, ""},
		"redirects to a file":    {redirect("file:///etc/passwd#"), errMirrorRedirect, ""},
		"no torrent file":        {torrent([]byte("hello")), nil, "torrent file"},
		"another torrent":        {torrent(pseudo{1, 1000}.info(t).TorrentFile()), errMirrorOther, ""},
		"torrent file too long":  {torrent(make([]byte, maxTorrentFile+1)), errMirrorLonger, ""},
		"gzip":                   {changed(good, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Encoding", "gzip") }), nil, "Content-Encoding"},
		"a file that is shorter": {changed(good, func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 10)) }), nil, "not 300000"},
		"huge header":            {changed(good, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<17)) }), nil, "header"},
		"cut off": {changed(good, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "300000")
			w.Write(make([]byte, 10))
		}), nil, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, m := newNode(t), serve(t, test.h)
			err := (&mirrorFetch{d: blankDownload(n, info), mirror: m, web: n.web}).try(t.Context())
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v %s", err, test.want, test.text)
			}
			a := newNode(t)
			seed(t, a, p)
			readAll(t, fetch(t, n, FetchRequest{InfoHash: info.InfoHash(), Peers: addrs(a), Mirrors: []Mirror{m}}), p)
		})
	}
}

// blankDownload is a download that nothing has come to yet.
func blankDownload(n *Node, info *Info) *Download {
	d := &Download{node: n, info: info, req: FetchRequest{InfoHash: info.hash}}
	st := &store{blame: newBlame(n), have: make([]bool, info.Pieces()), left: info.Pieces()}
	d.entry = newEntry(info.hash, st, &schedule{hash: info.hash})
	d.entry.dropped = true
	return d
}

// try is run without second attempts.
func (f *mirrorFetch) try(ctx context.Context) error {
	if err := f.metadata(ctx); err != nil {
		return err
	}
	return f.pieces(ctx, 0, f.d.info.Pieces()-1)
}

// A mirror out of a snapshot is not asked where it leads to a private address; and what is wrong with
// a mirror is said.
func TestMirrorNotNamed(t *testing.T) {
	p := pseudo{23, 1000}
	info := p.info(t)
	var asked atomic.Bool
	h := mirrorServer(t, p, info)
	m := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Store(true); h.ServeHTTP(w, r) }))
	m.Named = false
	n := newNode(t)
	ended := make(chan error, 1)
	go func() {
		_, err := n.Fetch(t.Context(), FetchRequest{InfoHash: info.InfoHash(), File: t.TempDir() + "/pack", Mirrors: []Mirror{m}})
		ended <- err
	}()
	var d *Download
	waitFor(t, "what is wrong with the mirror", func() bool {
		n.mu.Lock()
		if e := n.entries[info.InfoHash()]; e != nil {
			d = e.loading
		}
		n.mu.Unlock()
		return d != nil && len(d.failedMirrors()) > 0
	})
	d.fail(d.stalled(Progress{}, DefaultAloneTimeout)) // as when it is over
	err := <-ended
	var none *NoPeersError
	if !errors.As(err, &none) || len(none.Mirrors) != 1 || !errors.Is(none.Mirrors[0], errMirrorAddress) || !strings.Contains(err.Error(), string(m.URL)) {
		t.Errorf("Fetch = %v, want it to say that the mirror's address is not public", err)
	}
	if asked.Load() {
		t.Error("a server on loopback was asked")
	}
}

func TestMirrorBanned(t *testing.T) {
	p := pseudo{24, 1000}
	info := p.info(t)
	var asked atomic.Int32
	h := mirrorServer(t, p, info)
	m := serve(t, changed(h, func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.Write(make([]byte, 1000)) }))
	n := newNode(t)
	req := FetchRequest{InfoHash: info.InfoHash(), File: t.TempDir() + "/pack", Mirrors: []Mirror{m}}
	d, err := n.Fetch(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the ban", func() bool { return n.web.isBanned(m.URL, time.Now()) })
	d.Close()
	req.StallTimeout = 300 * time.Millisecond
	if d, err := n.Fetch(t.Context(), req); err == nil {
		d.Close()
		t.Error("a fetch from nobody else: no error")
	}
	if asked.Load() != 1 {
		t.Errorf("a server that lies was asked %d times", asked.Load())
	}
	if n.web.isBanned(m.URL, time.Now().Add(banTime+time.Second)) {
		t.Error("banned for ever")
	}
}

func TestPublicAddr(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "2606:4700::1111": true,
		"127.0.0.1": false, "127.8.8.8": false, "0.0.0.0": false, "10.1.2.3": false, "172.16.0.1": false, "172.32.0.1": true,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "198.18.0.1": false, "224.0.0.1": false,
		"255.255.255.255": false, "240.0.0.1": false, "192.0.0.1": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "fd00::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001:db8::1": false, "2001::1": false,
	} {
		if got := publicAddr(netip.MustParseAddr(text)); got != want {
			t.Errorf("publicAddr(%s) = %v, want %v", text, got, want)
		}
	}
	for address, want := range map[string]bool{"8.8.8.8:443": true, "8.8.8.8:8080": true, "8.8.8.8:22": false, "10.0.0.1:443": false, "nonsense": false} {
		if err := refuseNonPublic("tcp", address, nil); (err == nil) != want {
			t.Errorf("refuseNonPublic(%s) = %v, want allowed: %v", address, err, want)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	request := func(s string) *http.Request {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Request{URL: u, Header: http.Header{}}
	}
	from := func(s string, n int) (via []*http.Request) {
		for range n {
			via = append(via, request(s))
		}
		return via
	}
	for _, test := range []struct {
		to  string
		via []*http.Request
		ok  bool
	}{
		{"https://b.example/", from("https://a.example/", 1), true},
		{"https://b.example/", from("http://a.example/", mirrorRedirects), true},
		{"https://b.example/", from("http://a.example/", mirrorRedirects+1), false},
		{"http://b.example/", from("https://a.example/", 1), false},
		{"ftp://b.example/", from("http://a.example/", 1), false},
		{"https://u:p@b.example/", from("https://a.example/", 1), false},
	} {
		if err := checkRedirect(request(test.to), test.via); (err == nil) != test.ok {
			t.Errorf("redirect %d to %s = %v, want allowed: %v", len(test.via), test.to, err, test.ok)
		}
	}
}

func TestMirrorBodySlow(t *testing.T) {
	b := &mirrorBody{ctx: t.Context(), r: strings.NewReader("x"), until: time.Now().Add(-time.Second)}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, errMirrorSlow) {
		t.Errorf("Read after the piece's time = %v", err)
	}
}

func FuzzTorrentFile(f *testing.F) {
	info := pseudo{1, 1000}.info(f)
	f.Add(info.TorrentFile())
	f.Add([]byte("d8:announce0:4:infode3:url0:e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseTorrentFile(b, info.InfoHash())
		if err == nil && !bytes.Equal(got, info.Bytes()) {
			t.Errorf("parseTorrentFile(%q) = %q", b, got)
		}
	})
}
