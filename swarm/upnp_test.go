package swarm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// serveSSDP answers each question at an address of its own, as answers says: packets, with FROM
// for the location of an HTTP server on the same host.
func serveSSDP(t *testing.T, answers func(send func(packet string))) (addr string) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if !bytes.HasPrefix(b[:n], []byte("M-SEARCH * HTTP/1.1\r\n")) {
				t.Errorf("asked %q", b[:n])
			}
			answers(func(packet string) { c.WriteTo([]byte(packet), from) })
		}
	}()
	return c.LocalAddr().String()
}

func ssdpAnswer(location string) string {
	return "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nLOCATION: " + location + "\r\nST: x\r\n\r\n"
}

var loopbackAddr = netip.MustParseAddr("127.0.0.1")

func TestSearchUPnP(t *testing.T) {
	to := serveSSDP(t, func(send func(string)) {
		for _, packet := range []string{
			"", "HTTP/1.1", "HTTP/1.1 404 Not Found\r\nLOCATION: http://127.0.0.1:1/x\r\n\r\n", strings.Repeat("x", 3000),
			"HTTP/1.1 200 OK\r\n\r\n", ssdpAnswer("http://192.0.2.1/"), ssdpAnswer("https://127.0.0.1:1/"), ssdpAnswer("file:///etc/passwd"),
			ssdpAnswer("http://me@127.0.0.1/"), ssdpAnswer("http://localhost/"), ssdpAnswer("%"), ssdpAnswer("http://127.0.0.1:1/d.xml"),
		} {
			send(packet)
		}
	})
	found, err := searchUPnP(t.Context(), loopbackAddr, to)
	if err != nil || len(found) != 1 || found[0].String() != "http://127.0.0.1:1/d.xml" {
		t.Errorf("found %v, %v, want the one location that is on the sender", found, err)
	}
}

// TestSearchFlooded: whoever answers without end is read up to a bound.
func TestSearchFlooded(t *testing.T) {
	var sent atomic.Int64
	to := serveSSDP(t, func(send func(string)) {
		for range 1000 {
			send(ssdpAnswer(fmt.Sprintf("http://127.0.0.1:1/%d", sent.Add(1))))
		}
	})
	found, err := searchUPnP(t.Context(), loopbackAddr, to)
	if err != nil || len(found) != upnpRouters {
		t.Errorf("found %d, %v, want %d", len(found), err, upnpRouters)
	}
	bad := serveSSDP(t, func(send func(string)) {
		for range 1000 {
			send("rubbish")
		}
	})
	if found, err := searchUPnP(t.Context(), loopbackAddr, bad); err != nil || len(found) != 0 {
		t.Errorf("found %d, %v, want none", len(found), err)
	}
}

// hostileRouter serves a description, and what its handler says at /control.
func hostileRouter(t *testing.T, description, control http.HandlerFunc) *url.URL {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/d.xml", description)
	if control != nil {
		mux.HandleFunc("/control", control)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	u, err := url.Parse(s.URL + "/d.xml")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// endless writes until nobody reads any more, and counts.
func endless(w http.ResponseWriter, written *atomic.Int64, chunk string) {
	for {
		n, err := io.WriteString(w, chunk)
		if written.Add(int64(n)); err != nil {
			return
		}
	}
}

// enough is how much of an endless answer can be sent before it shows that nobody reads it: what is
// read, and the buffers of both sides of a connection.
const enough = 32 << 20

func TestHostileDescriptions(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("asked for %s elsewhere", req.URL)
	}))
	defer elsewhere.Close()
	elsewhereURL := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	var written atomic.Int64
	chunk := strings.Repeat("<friendlyName>", 1000)
	for name, description := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>")
			endless(w, &written, strings.Repeat("x", 1<<16))
		},
		"endless nesting": func(w http.ResponseWriter, _ *http.Request) { endless(w, &written, chunk) },
		"endless header": func(w http.ResponseWriter, _ *http.Request) {
			c, b, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			b.WriteString("HTTP/1.1 200 OK\r\n")
			for {
				n, err := b.WriteString("X-Header: " + strings.Repeat("x", 1000) + "\r\n")
				if written.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"redirect": func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, elsewhereURL, http.StatusFound) },
		"redirect to itself": func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "/d.xml", http.StatusFound)
		},
		"no XML": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		"bad base": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Replace(igdDescription, "<device>", "<URLBase>%</URLBase><device>", 1))
		},
		"no control": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Replace(igdDescription, "/control", "%", 1))
		},
		"no services": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.ReplaceAll(igdDescription, "WANIPConnection", "Other"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			written.Store(0)
			got, err := describe(t.Context(), hostileRouter(t, description, nil), netip.IPv4Unspecified())
			if len(got) > 0 {
				t.Errorf("describe = %v, %v, want no gateway", got, err)
			}
			if n := written.Load(); n > enough {
				t.Errorf("%d bytes were sent until the reader had enough", n)
			}
		})
	}
}

// TestHostileControl: what is said to a router goes to that router alone, and its answers have bounds.
func TestHostileControl(t *testing.T) {
	plain := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, igdDescription) }
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked elsewhere") }))
	defer elsewhere.Close()
	elsewhereURL := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	var written atomic.Int64
	for name, c := range map[string]struct{ description, control http.HandlerFunc }{
		"endless": {plain, func(w http.ResponseWriter, _ *http.Request) { endless(w, &written, strings.Repeat("<x>", 1<<14)) }},
		"text":    {plain, func(w http.ResponseWriter, _ *http.Request) { endless(w, &written, strings.Repeat("x", 1<<16)) }},
		"redirect": {plain, func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, elsewhereURL, http.StatusTemporaryRedirect)
		}},
		"other host": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Replace(igdDescription, "<device>", "<URLBase>"+elsewhereURL+"</URLBase><device>", 1))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			written.Store(0)
			got, err := describe(t.Context(), hostileRouter(t, c.description, c.control), netip.IPv4Unspecified())
			if err != nil || len(got) != 1 {
				t.Fatalf("describe = %v, %v, want one gateway", got, err)
			}
			if a, err := got[0].external(t.Context()); err == nil {
				t.Errorf("external = %v, want an error", a)
			}
			if port, err := got[0].forward(t.Context(), "tcp", 1, 1, mapLife); err == nil {
				t.Errorf("forward = %v, want an error", port)
			}
			if n := written.Load(); n > 2*enough {
				t.Errorf("%d bytes were sent until the reader had enough", n)
			}
		})
	}
}

// TestSlowRouter: a router that says nothing more holds up nothing once the time is over.
func TestSlowRouter(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{}, upnpRouters)
	u := hostileRouter(t, func(w http.ResponseWriter, req *http.Request) {
		io.WriteString(w, "<root>")
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		<-req.Context().Done()
	}, nil)
	go func() {
		for range upnpRouters {
			<-asked
		}
		cancel()
	}()
	many := make([]*url.URL, 100)
	for i := range many {
		many[i] = u
	}
	if got := describeAll(ctx, many, netip.IPv4Unspecified()); len(got) > 0 {
		t.Errorf("describeAll = %v", got)
	}
	if n := len(asked); n > 0 {
		t.Errorf("%d routers more than %d were asked", n, upnpRouters)
	}
}

func FuzzSSDP(f *testing.F) {
	f.Add([]byte(ssdpAnswer("http://127.0.0.1:1/d.xml")))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLocation: http://127.0.0.1/\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, ok := parseSSDP(b, loopbackAddr); ok && (u.Scheme != "http" || u.Hostname() != "127.0.0.1") {
			t.Errorf("parseSSDP(%q) = %v", b, u)
		}
	})
}
