package swarm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
)

// Routers are looked for as UPnP Device Architecture 1.1 §1.3 says: a question by multicast, and
// each router answers with the URL of its description. Whoever is in the local network can answer,
// so an answer may only speak of the host that it comes from, and everything has a bound; goupnp's
// own search has none. Its types read the description and speak SOAP.
const (
	ssdpAddr = "239.255.255.250:1900"
	// ssdpTime is how long answers are waited for; routers spread them over a second.
	ssdpTime = 2 * time.Second
	// ssdpPackets is how many answers are read: a network has few routers, which answer each
	// question once or twice.
	ssdpPackets = 64
	ssdpBytes   = 2048 // of one answer
	// upnpRouters is how many of those that answer are asked for their description.
	upnpRouters = 4
	// upnpInterfaces is how many networks are searched.
	upnpInterfaces = 8
	// upnpTime bounds search and descriptions together.
	upnpTime = 4 * time.Second
	// upnpBytes bounds a description or an answer; those of real routers have less than 20 KB.
	upnpBytes = 128 << 10
)

// upnpServices are the services that forward ports, in the order in which they are tried.
var upnpServices = [...]string{internetgateway2.URN_WANIPConnection_2, internetgateway2.URN_WANIPConnection_1, internetgateway2.URN_WANPPPConnection_1}

// discoverUPnP asks the local networks for routers.
func discoverUPnP(ctx context.Context, listen netip.Addr) []gateway {
	ctx, cancel := context.WithTimeout(ctx, upnpTime)
	defer cancel()
	var mu sync.Mutex
	var found []*url.URL
	var all sync.WaitGroup
	for _, from := range searchFrom(listen) {
		all.Go(func() {
			locations, err := searchUPnP(ctx, from, ssdpAddr)
			if err != nil {
				return // where the search fails there is no router
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, locations...)
		})
	}
	all.Wait()
	return describeAll(ctx, found, listen)
}

// searchFrom are the addresses from which routers are looked for.
func searchFrom(listen netip.Addr) (from []netip.Addr) {
	if !listen.IsUnspecified() {
		return []netip.Addr{listen}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsPrivate() && len(from) < upnpInterfaces {
			from = append(from, p.Addr())
		}
	}
	return from
}

// searchUPnP sends the question from an address to another, which is ssdpAddr, and returns the
// locations that come back.
func searchUPnP(ctx context.Context, from netip.Addr, to string) ([]*url.URL, error) {
	dest, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return nil, err
	}
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, ssdpTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for range 2 { // one may be lost
		for _, service := range upnpServices {
			question := fmt.Sprintf("M-SEARCH * HTTP/1.1\r\nHOST: %s\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s\r\n\r\n", ssdpAddr, service)
			if _, err := c.WriteTo([]byte(question), dest); err != nil {
				return nil, err
			}
		}
	}
	var found []*url.URL
	b := make([]byte, ssdpBytes)
	for range ssdpPackets {
		n, sender, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			break // the time is over
		}
		l, ok := parseSSDP(b[:n], sender.Addr().Unmap())
		if ok && !slices.ContainsFunc(found, func(u *url.URL) bool { return *u == *l }) {
			found = append(found, l)
		}
		if len(found) == upnpRouters {
			break
		}
	}
	return found, nil
}

// parseSSDP reads an answer: the location of a description, which has to be on the sender.
func parseSSDP(b []byte, sender netip.Addr) (*url.URL, bool) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil || r.StatusCode != http.StatusOK {
		return nil, false
	}
	l, err := url.Parse(r.Header.Get("LOCATION"))
	if err != nil || !atRouter(l, sender) {
		return nil, false
	}
	return l, true
}

// atRouter reports whether a URL is plain HTTP on a host.
func atRouter(u *url.URL, router netip.Addr) bool {
	host, err := netip.ParseAddr(u.Hostname())
	return err == nil && host == router && u.Scheme == "http" && u.User == nil
}

// describeAll asks routers for their descriptions, all at once, and returns those that can forward
// ports.
func describeAll(ctx context.Context, locations []*url.URL, listen netip.Addr) (gateways []gateway) {
	locations = locations[:min(len(locations), upnpRouters)]
	answers := make([][]gateway, len(locations))
	var all sync.WaitGroup
	for i, l := range locations {
		all.Go(func() { answers[i], _ = describe(ctx, l, listen) })
	}
	all.Wait()
	return slices.Concat(answers...)
}

// describe makes gateways of what a router says of itself.
func describe(ctx context.Context, location *url.URL, listen netip.Addr) ([]gateway, error) {
	router, err := netip.ParseAddr(location.Hostname())
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: routerTransport{router}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", location, resp.Status)
	}
	root := new(goupnp.RootDevice)
	d := xml.NewDecoder(resp.Body)
	d.DefaultSpace = goupnp.DeviceXMLNamespace
	if err := d.Decode(root); err != nil {
		return nil, fmt.Errorf("%s: %w", location, err)
	}
	base := location
	if root.URLBaseStr != "" {
		if base, err = url.Parse(root.URLBaseStr); err != nil {
			return nil, err
		}
	}
	root.SetURLBase(base)
	return gatewaysOf(root, location, client, listen)
}

// gatewaysOf makes a gateway of each kind of service that a router has.
func gatewaysOf(root *goupnp.RootDevice, location *url.URL, client http.Client, listen netip.Addr) (gateways []gateway, err error) {
	for _, service := range upnpServices {
		clients, err := goupnp.NewServiceClientsFromRootDevice(root, location, service)
		if err != nil || !strings.HasPrefix(clients[0].SOAPClient.EndpointURL.Scheme, "http") {
			continue // it has no such service
		}
		c := clients[0]
		c.SOAPClient.HTTPClient = client
		var speaks upnpClient
		switch service {
		case internetgateway2.URN_WANIPConnection_2:
			speaks = &internetgateway2.WANIPConnection2{ServiceClient: c}
		case internetgateway2.URN_WANIPConnection_1:
			speaks = &internetgateway2.WANIPConnection1{ServiceClient: c}
		default:
			speaks = &internetgateway2.WANPPPConnection1{ServiceClient: c}
		}
		g, err := newUPnP(speaks, location.Host, listen)
		if err != nil {
			return nil, err
		}
		gateways = append(gateways, g)
	}
	return gateways, nil
}

// A routerTransport talks to one router and nobody else, through no proxy, and gives no more than
// upnpBytes of an answer.
type routerTransport struct{ router netip.Addr }

// RoundTrip makes a connection of its own, which ends with the body.
func (t routerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !atRouter(req.URL, t.router) {
		return nil, fmt.Errorf("%s is not on the router %v", req.URL.Redacted(), t.router)
	}
	transport := http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &shortBody{io.LimitReader(resp.Body, upnpBytes), resp.Body}
	return resp, nil
}

// A shortBody is the beginning of a body.
type shortBody struct {
	io.Reader
	io.Closer
}
