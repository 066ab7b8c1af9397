package swarm

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/huin/goupnp/soap"
	natpmp "github.com/jackpal/go-nat-pmp"
)

const (
	natpmpTime = 2 * time.Second
	// mapDescription is what the router's owner reads in its list.
	mapDescription = "gitpeer"
	// upnpPermanent is the error of routers that know no lease (UPnP IGD, OnlyPermanentLeasesSupported).
	upnpPermanent = 725
)

// discoverGateways looks for routers, those first that are to be tried first.
func discoverGateways(ctx context.Context, listen netip.Addr) []gateway {
	var found []gateway
	if a, ok := defaultGateway(); ok {
		found = append(found, newNATPMP(a))
	}
	return append(found, discoverUPnP(ctx, listen)...)
}

// defaultGateway is the router of the default route, where the system tells.
func defaultGateway() (netip.Addr, bool) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}, false
	}
	defer f.Close()
	return parseRoutes(io.LimitReader(f, 1<<20))
}

// parseRoutes finds the default route in the format of /proc/net/route (proc(5)).
func parseRoutes(r io.Reader) (netip.Addr, bool) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		b, err := hex.DecodeString(f[2])
		if err != nil || len(b) != 4 {
			continue
		}
		var a [4]byte
		binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(b))
		if addr := netip.AddrFrom4(a); !addr.IsUnspecified() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// natpmpGateway speaks NAT-PMP. Its calls end after natpmpTime, whatever the context.
type natpmpGateway struct {
	addr   netip.Addr
	client *natpmp.Client
}

func newNATPMP(a netip.Addr) *natpmpGateway {
	return &natpmpGateway{a, natpmp.NewClientWithTimeout(net.IP(a.AsSlice()), natpmpTime)}
}

func (g *natpmpGateway) String() string { return "NAT-PMP " + g.addr.String() }

func (g *natpmpGateway) external(context.Context) (netip.Addr, error) {
	r, err := g.client.GetExternalAddress()
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.AddrFrom4(r.ExternalIPAddress), nil
}

func (g *natpmpGateway) forward(_ context.Context, protocol string, port, wanted uint16, life time.Duration) (uint16, error) {
	r, err := g.client.AddPortMapping(protocol, int(port), int(wanted), int(life.Seconds()))
	if err != nil {
		return 0, err
	}
	if r.MappedExternalPort == 0 {
		return 0, errors.New("no port is mapped")
	}
	return r.MappedExternalPort, nil
}

func (g *natpmpGateway) remove(_ context.Context, protocol string, port, _ uint16) error {
	_, err := g.client.AddPortMapping(protocol, int(port), 0, 0)
	return err
}

// upnpClient is what the generated clients for the services of routers have in common.
type upnpClient interface {
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
	AddPortMappingCtx(ctx context.Context, remote string, external uint16, protocol string, internal uint16, client string, enabled bool, description string, lease uint32) error
	DeletePortMappingCtx(ctx context.Context, remote string, external uint16, protocol string) error
}

// upnpGateway speaks UPnP IGD.
type upnpGateway struct {
	client upnpClient
	host   string     // HOST:PORT of the router
	local  netip.Addr // where it is to forward to
}

func (g *upnpGateway) String() string { return "UPnP " + g.host }

func (g *upnpGateway) external(ctx context.Context) (netip.Addr, error) {
	s, err := g.client.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(s)
}

func (g *upnpGateway) forward(ctx context.Context, protocol string, port, wanted uint16, life time.Duration) (uint16, error) {
	add := func(lease uint32) error {
		return g.client.AddPortMappingCtx(ctx, "", wanted, strings.ToUpper(protocol), port, g.local.String(), true, mapDescription, lease)
	}
	err := add(uint32(life.Seconds()))
	var fault *soap.SOAPFaultError
	if errors.As(err, &fault) && fault.Detail.UPnPError.Errorcode == upnpPermanent {
		err = add(0) // taken back when the node stops
	}
	return wanted, err
}

func (g *upnpGateway) remove(ctx context.Context, protocol string, _, forwarded uint16) error {
	return g.client.DeletePortMappingCtx(ctx, "", forwarded, strings.ToUpper(protocol))
}

// newUPnP makes a gateway of a client, for a node that listens on an address.
func newUPnP(c upnpClient, host string, listen netip.Addr) (*upnpGateway, error) {
	if !strings.Contains(host, ":") {
		host += ":80"
	}
	if !listen.IsUnspecified() {
		return &upnpGateway{c, host, listen}, nil
	}
	local, err := localToward(host)
	if err != nil {
		return nil, fmt.Errorf("router at %s: %w", host, err)
	}
	return &upnpGateway{c, host, local}, nil
}
