package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// router is what a fake router forwards: external port by protocol and internal port.
type router struct {
	mu    sync.Mutex
	ports map[string]uint16
}

func newRouter() *router { return &router{ports: map[string]uint16{}} }

func (r *router) set(protocol string, internal, external uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := fmt.Sprintf("%s %d", strings.ToLower(protocol), internal)
	if external == 0 {
		delete(r.ports, key)
	} else {
		r.ports[key] = external
	}
}

func (r *router) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ports)
}

// serveNATPMP is a router that speaks NAT-PMP and forwards another port than it is asked for. The
// protocol has one port; the address is the test's own.
func serveNATPMP(t *testing.T, r *router, addr string) {
	t.Helper()
	c, err := net.ListenPacket("udp4", addr+":5351")
	if err != nil {
		t.Skip(err) // not all systems have all of 127/8
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			answer := make([]byte, 12, 16)
			answer[1] = b[1] | 0x80
			switch {
			case n == 2:
				copy(answer[8:], []byte{8, 8, 4, 4})
			case n == 12:
				internal, life := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint32(b[8:])
				external := internal ^ 1
				protocol := map[byte]string{1: "udp", 2: "tcp"}[b[1]]
				if life == 0 {
					r.set(protocol, internal, 0)
					external = 0
				} else {
					r.set(protocol, internal, external)
				}
				binary.BigEndian.PutUint16(answer[8:], internal)
				binary.BigEndian.PutUint16(answer[10:], external)
				answer = binary.BigEndian.AppendUint32(answer, life)
			}
			c.WriteTo(answer, from)
		}
	}()
}

const igdDescription = `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><friendlyName>f</friendlyName><UDN>uuid:1</UDN>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>/control</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s.xml</SCPDURL></service></serviceList></device></root>`

// serveIGD is a router that speaks UPnP and knows only permanent leases.
func serveIGD(t *testing.T, r *router) gateway {
	t.Helper()
	field := func(body, name string) string {
		_, after, _ := strings.Cut(body, "<"+name+">")
		value, _, _ := strings.Cut(after, "<")
		return value
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/d.xml", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, igdDescription) })
	mux.HandleFunc("/control", func(w http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		body := string(raw)
		_, action, _ := strings.Cut(strings.Trim(req.Header.Get("SOAPAction"), `"`), "#")
		var external, internal uint16
		fmt.Sscan(field(body, "NewExternalPort"), &external)
		fmt.Sscan(field(body, "NewInternalPort"), &internal)
		inner := fmt.Sprintf(`<u:%sResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">`, action)
		switch action {
		case "AddPortMapping":
			if field(body, "NewLeaseDuration") != "0" {
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>725</errorCode><errorDescription>OnlyPermanentLeasesSupported</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`)
				return
			}
			if field(body, "NewInternalClient") != "127.0.0.1" {
				t.Errorf("asked to forward to %q", field(body, "NewInternalClient"))
			}
			r.set(field(body, "NewProtocol"), external, internal) // they are the same
		case "DeletePortMapping":
			r.set(field(body, "NewProtocol"), external, 0)
		case "GetExternalIPAddress":
			inner += "<NewExternalIPAddress>8.8.4.4</NewExternalIPAddress>"
		}
		fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>%s</u:%sResponse></s:Body></s:Envelope>`, inner, action)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL + "/d.xml")
	if err != nil {
		t.Fatal(err)
	}
	found, err := describe(t.Context(), u, netip.MustParseAddr("0.0.0.0"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d gateways, %v", len(found), err)
	}
	return found[0]
}

// brokenGateway forwards nothing.
type brokenGateway struct{ gateway }

func (brokenGateway) String() string { return "broken" }
func (brokenGateway) forward(context.Context, string, uint16, uint16, time.Duration) (uint16, error) {
	return 0, errors.New("no")
}

func TestPortMapping(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *router) gateway{
		"NAT-PMP": func(t *testing.T, r *router) gateway {
			serveNATPMP(t, r, "127.53.51.7")
			return newNATPMP(netip.MustParseAddr("127.53.51.7"))
		},
		"UPnP": serveIGD,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouter()
			g := start(t, r)
			n := newNode(t)
			m := &portMapper{node: n, discover: func(context.Context, netip.Addr) []gateway { return []gateway{brokenGateway{}, g} }}
			for range 2 { // made and renewed
				if pause := m.renew(t.Context()); pause != mapLife/2 {
					t.Fatalf("renew says to come back after %v, want %v", pause, mapLife/2)
				}
			}
			want := n.Addr().Port()
			if name == "NAT-PMP" {
				want ^= 1
			}
			if got, ok := n.PublicAddr(); !ok || got != netip.AddrPortFrom(netip.MustParseAddr("8.8.4.4"), want) || n.AnnouncePort() != want {
				t.Errorf("PublicAddr = %v, %v, announced port %d, want 8.8.4.4 with port %d", got, ok, n.AnnouncePort(), want)
			}
			if r.count() != 2 {
				t.Errorf("the router forwards %v, want TCP and UDP", r.ports)
			}
			m.stop()
			if r.count() != 0 {
				t.Errorf("after the end the router forwards %v", r.ports)
			}
		})
	}
}

func TestPortMappingFails(t *testing.T) {
	n := newNode(t)
	n.setMapped(netip.MustParseAddrPort("8.8.4.4:1"))
	m := &portMapper{node: n, gateway: brokenGateway{}}
	if pause := m.renew(t.Context()); pause != mapRetry || m.gateway != nil || n.AnnouncePort() != n.Addr().Port() {
		t.Errorf("a router that no longer forwards: come back after %v, announced port %d", pause, n.AnnouncePort())
	}
	m.stop() // nothing to do
	// It runs until the node ends, and takes back what it made.
	r := newRouter()
	g := serveIGD(t, r)
	n.runMapper(&portMapper{node: n, discover: func(context.Context, netip.Addr) []gateway { return []gateway{g} }})
	waitFor(t, "the mapping", func() bool { return n.mappedAddr().IsValid() })
	n.Close()
	if r.count() != 0 {
		t.Errorf("after Close the router forwards %v", r.ports)
	}
}

func TestParseRoutes(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	gateway := make([]byte, 4)
	binary.NativeEndian.PutUint32(gateway, binary.BigEndian.Uint32([]byte{192, 0, 2, 1}))
	line := func(dest, mask string) string {
		return fmt.Sprintf("eth0\t%s\t%X\t0003\t0\t0\t0\t%s\t0\t0\t0\n", dest, gateway, mask)
	}
	if a, ok := parseRoutes(strings.NewReader(head + line("0002000A", "00FFFFFF") + line("00000000", "00000000"))); !ok || a != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("parseRoutes = %v, %v, want 192.0.2.1", a, ok)
	}
	for _, text := range []string{"", head, head + line("0002000A", "00FFFFFF"), head + "eth0 00000000 zz 0 0 0 0 00000000\n", head + "eth0 00000000 00000000 0 0 0 0 00000000\n"} {
		if a, ok := parseRoutes(strings.NewReader(text)); ok {
			t.Errorf("parseRoutes(%q) = %v", text, a)
		}
	}
}

func FuzzRoutes(f *testing.F) {
	f.Add("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
	f.Fuzz(func(t *testing.T, text string) {
		if a, ok := parseRoutes(strings.NewReader(text)); ok && (!a.Is4() || a.IsUnspecified()) {
			t.Errorf("parseRoutes(%q) = %v", text, a)
		}
	})
}
