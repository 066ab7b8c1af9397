package refs

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A Mirror is the address of a folder on a web server that holds torrents'
// files: https://host/path/ or http://host:port/path/. The package comment has
// what lies in it.
type Mirror string

// ParseMirror reads the address of a mirror: http or https; a host name in
// lower case, an IPv4 address or an IPv6 address in brackets; perhaps a port
// other than the scheme's own; a path of segments of [A-Za-z0-9._~-], none
// empty or beginning with a dot, that ends in a slash. At most MaxMirrorBytes.
func ParseMirror(s string) (Mirror, error) {
	if err := limit("mirror bytes", int64(len(s)), MaxMirrorBytes); err != nil {
		return "", err
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return "", mirrorError(s, "want http:// or https://")
	}
	host, path, ok := strings.Cut(rest, "/")
	if !ok || path != "" && !strings.HasSuffix(path, "/") {
		return "", mirrorError(s, "want a slash at the end")
	}
	if err := checkMirrorHost(scheme, host); err != nil {
		return "", mirrorError(s, err.Error())
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		if path != "" && !isMirrorSegment(segment) {
			return "", mirrorError(s, fmt.Sprintf("path segment %q", shown(segment)))
		}
	}
	return Mirror(s), nil
}

func mirrorError(s, reason string) error {
	return fmt.Errorf("invalid mirror %q: %s", shown(s), reason)
}

func isMirrorSegment(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._~-", rune(c)) {
			return false
		}
	}
	return s != "" && s[0] != '.'
}

func checkMirrorHost(scheme, text string) error {
	host, port := text, ""
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		host, port = text[:i], text[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		own := scheme == "http" && n == 80 || scheme == "https" && n == 443
		if err != nil || n == 0 || own || strconv.FormatUint(n, 10) != port {
			return fmt.Errorf("port %q", shown(port))
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !a.Is6() || a.Is4In6() || "["+a.String()+"]" != host || a.Zone() != "" {
			return errors.New("invalid IPv6 address")
		}
		return nil
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isHostLabel(label) {
			return fmt.Errorf("host %q", shown(host))
		}
	}
	// What ends in a number is an IPv4 address to resolvers, in many spellings.
	last := labels[len(labels)-1]
	if last[0] < '0' || last[0] > '9' {
		return nil
	}
	if a, err := netip.ParseAddr(host); err != nil || a.String() != host {
		return fmt.Errorf("IPv4 address %q", shown(host))
	}
	return nil
}

func isHostLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}

// Host returns the host name or address of a mirror, without brackets or port.
func (m Mirror) Host() string {
	_, rest, _ := strings.Cut(string(m), "://")
	host, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

// File returns the address of a torrent's file, and TorrentFile that of its
// torrent file (BEP 3).
func (m Mirror) File(ih InfoHash) string        { return string(m) + ih.String() }
func (m Mirror) TorrentFile(ih InfoHash) string { return m.File(ih) + ".torrent" }
