package swarm

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Hole punching (BEP 55): two peers behind NATs ask a third one, to which both are connected for the
// same torrent, to have them dial each other at the same moment, over uTP. The library does it, but
// for what it does not survive: it looks up the number of the extension for whoever asks, and
// panics where the asker has never said one. So only those may ask who have. See doc.go for what
// happens where there is no third peer.

const extensionHolepunch = "ut_holepunch"

type punchType byte

const (
	punchRendezvous punchType = iota // have me and this peer dial each other
	punchConnect                     // dial this peer now
	punchError                       // that cannot be done
)

// A punch is a message of ut_holepunch.
type punch struct {
	kind punchType
	addr netip.AddrPort
	code uint32 // of an error
}

var errPunch = errors.New("swarm: malformed ut_holepunch message")

// parsePunch reads a message: type, address family, address, port, error code.
func parsePunch(b []byte) (m punch, err error) {
	if len(b) < 2 || b[0] > byte(punchError) || b[1] > 1 {
		return m, errPunch
	}
	size := 4
	if b[1] == 1 {
		size = 16
	}
	if len(b) != 2+size+2+4 {
		return m, errPunch
	}
	a, _ := netip.AddrFromSlice(b[2 : 2+size])
	m = punch{punchType(b[0]), netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[2+size:])), binary.BigEndian.Uint32(b[4+size:])}
	return m, nil
}

// format is the inverse of parsePunch.
func (m punch) format() []byte {
	a := m.addr.Addr().AsSlice()
	b := append([]byte{byte(m.kind), byte(len(a) / 16)}, a...)
	b = binary.BigEndian.AppendUint16(b, m.addr.Port())
	return binary.BigEndian.AppendUint32(b, m.code)
}

// judgePunch lets the library see who wants to be introduced to whom, and whom to dial, from a peer
// that has the extension, and only addresses that this peer may send us to.
func (p *peerConn) judgePunch(payload []byte) messageVerdict {
	m, err := parsePunch(payload)
	if err != nil {
		return hangUp
	}
	if p.holepunches++; p.holepunches > maxHolepunches || !p.punches {
		return drop
	}
	if m.kind == punchError || !usablePeer(p.addr, m.addr) || p.node.isSelf(m.addr) {
		return drop
	}
	return pass
}
