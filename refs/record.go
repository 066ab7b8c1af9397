package refs

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gitpeer/gitpeer/refs/bencode"
)

// A Record is the value of a repository's DHT item: which snapshot is the
// current one, and until when that may be believed. The package comment has
// its form.
type Record struct {
	Expires  time.Time // whole seconds
	Signed   time.Time // whole seconds, before Expires
	Head     OID       // what HEAD leads to, "" while it is unborn
	InfoHash InfoHash  // of the torrent that carries the snapshot's note
	Number   uint64    // of the snapshot
	Peers    []netip.AddrPort
	Snapshot Digest // of the snapshot's note
}

// recordVersion is the v of the record.
const recordVersion = 1

// Format returns the canonical bencoding of r, at most MaxRecordBytes. Times
// are cut to whole seconds. Peers are hints: those that no other host could
// dial, or are there already, are left out, as are those at the end of the list
// when there are more than MaxPeers or the record would grow too long.
func (r *Record) Format() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("cannot format record: %w", err)
	}
	return r.within(compactPeers(r.Peers), MaxRecordBytes), nil
}

// within encodes r with as many of the peers as fit into most bytes; without
// any, every record is far below MaxRecordBytes.
func (r *Record) within(peers [][]byte, most int) []byte {
	b := r.encode(peers)
	for len(b) > most && len(peers) > 0 {
		peers = peers[:len(peers)-1]
		b = r.encode(peers)
	}
	return b
}

// encode writes the keys in their sorted order.
func (r *Record) encode(peers [][]byte) []byte {
	b := bencode.AppendInt([]byte("d1:e"), r.Expires.Unix())
	if r.Head != "" {
		b = bencode.AppendString(append(b, "1:h"...), r.Head.raw())
	}
	b = bencode.AppendString(append(b, "2:ih"...), r.InfoHash[:])
	b = bencode.AppendInt(append(b, "1:n"...), int64(r.Number))
	if len(peers) > 0 {
		b = append(b, "1:pl"...)
		for _, p := range peers {
			b = bencode.AppendString(b, p)
		}
		b = append(b, 'e')
	}
	b = bencode.AppendString(append(b, "1:s"...), r.Snapshot[:])
	b = bencode.AppendInt(append(b, "1:t"...), r.Signed.Unix())
	b = bencode.AppendInt(append(b, "1:v"...), recordVersion)
	return append(b, 'e')
}

// check returns what makes r a record without a form; Format and ParseRecord
// share it.
func (r *Record) check() error {
	if err := checkTime(r.Signed); err != nil {
		return fmt.Errorf("signed: %w", err)
	}
	if err := checkTime(r.Expires); err != nil {
		return fmt.Errorf("expires: %w", err)
	}
	if r.Expires.Unix() <= r.Signed.Unix() {
		return errors.New("expires before it is signed")
	}
	if r.Number < 1 || r.Number > MaxNumber {
		return fmt.Errorf("number %d outside 1 to %d", r.Number, uint64(MaxNumber))
	}
	if r.Head != "" && (r.Head.raw() == nil || r.Head.IsZero()) {
		return fmt.Errorf("invalid object id %q of HEAD", shown(string(r.Head)))
	}
	return nil
}

// ParseRecord parses a record and refuses any that Format does not write,
// ErrVersion if it is of another version.
func ParseRecord(value []byte) (*Record, error) {
	r, err := parseRecord(value)
	if err != nil {
		return nil, fmt.Errorf("invalid record: %w", err)
	}
	return r, nil
}

func parseRecord(value []byte) (*Record, error) {
	if err := limit("record bytes", int64(len(value)), MaxRecordBytes); err != nil {
		return nil, err
	}
	v, err := bencode.Parse(value)
	if err != nil {
		return nil, err
	}
	d := dict{value: v}
	// First the version: of another one, nothing else is known.
	if version := d.int("v"); d.err == nil && version != recordVersion {
		return nil, fmt.Errorf("%w: record v%d", ErrVersion, version)
	}
	r := &Record{
		Expires: time.Unix(d.int("e"), 0).UTC(),
		Signed:  time.Unix(d.int("t"), 0).UTC(),
		Number:  uint64(d.int("n")),
	}
	copy(r.InfoHash[:], d.bytes("ih", len(r.InfoHash)))
	copy(r.Snapshot[:], d.bytes("s", len(r.Snapshot)))
	if d.has("h") {
		r.Head = OID(hex.EncodeToString(d.bytes("h", SHA1.Len(), SHA256.Len())))
	}
	if d.has("p") {
		r.Peers = d.peers("p")
	}
	for key := range v.Fields() {
		if !slices.Contains(d.taken, string(key)) {
			d.fail(string(key), "unknown")
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	return r, r.check()
}

// A dict takes typed values out of a dictionary and keeps the first error.
type dict struct {
	value bencode.Value
	taken []string
	err   error
}

func (d *dict) fail(key, reason string) {
	if d.err == nil {
		d.err = fmt.Errorf("key %q: %s", key, reason)
	}
}

func (d *dict) has(key string) bool { return d.value.Get(key).Kind() != bencode.None }

func (d *dict) take(key string) bencode.Value {
	d.taken = append(d.taken, key)
	return d.value.Get(key)
}

func (d *dict) int(key string) int64 {
	n, ok := d.take(key).Int()
	if !ok {
		d.fail(key, "want an integer")
	}
	return n
}

func (d *dict) bytes(key string, lengths ...int) []byte {
	b, ok := d.take(key).Str()
	if !ok || !slices.Contains(lengths, len(b)) {
		d.fail(key, fmt.Sprintf("want a string of %v bytes", lengths))
		return nil
	}
	return b
}

func (d *dict) peers(key string) (peers []netip.AddrPort) {
	for item := range d.take(key).Items() {
		b, _ := item.Str()
		peer, ok := parsePeer(b)
		if !ok || slices.Contains(peers, peer) {
			d.fail(key, "want addresses that can be dialled, each once")
			return nil
		}
		peers = append(peers, peer)
	}
	if len(peers) < 1 || len(peers) > MaxPeers {
		d.fail(key, fmt.Sprintf("want a list of 1 to %d addresses", MaxPeers))
	}
	return peers
}

// compactPeers returns the compact form (BEP 5, BEP 32) of the first MaxPeers
// that have one.
func compactPeers(peers []netip.AddrPort) [][]byte {
	var out [][]byte
	var seen []netip.AddrPort
	for _, p := range peers {
		p = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		if len(out) == MaxPeers || !isDialable(p) || slices.Contains(seen, p) {
			continue
		}
		seen = append(seen, p)
		out = append(out, binary.BigEndian.AppendUint16(p.Addr().AsSlice(), p.Port()))
	}
	return out
}

func parsePeer(b []byte) (netip.AddrPort, bool) {
	if len(b) != 6 && len(b) != 18 {
		return netip.AddrPort{}, false
	}
	addr, _ := netip.AddrFromSlice(b[:len(b)-2])
	p := netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[len(b)-2:]))
	return p, isDialable(p)
}

// isDialable reports whether p can be an address of a peer, in its one
// spelling. Private and loopback addresses can: networks are closed at times.
func isDialable(p netip.AddrPort) bool {
	a := p.Addr()
	return p.Port() != 0 && a.IsValid() && a.Zone() == "" && !a.Is4In6() &&
		!a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
