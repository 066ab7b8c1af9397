package swarm

import (
	"crypto/sha1"
	"errors"
	"sync"
	"time"

	"github.com/anacrolix/torrent/bencode"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// The metadata exchange (BEP 9) is ours and not the library's, which parses what it gets before it
// compares hashes, takes metadata of any hash, and panics on a negative piece number. Here, each
// peer delivers the whole dictionary or nothing, so that whoever sends a wrong one is known; the
// hash is compared first, and [ParseInfo] comes after.

const (
	metadataBlock = 16 << 10
	// maxMetadataRequests bounds what we answer on one connection: four times the largest info.
	maxMetadataRequests = 4 * MaxInfoBytes / metadataBlock
)

// metadataMessage is a message of BEP 9. A block of data follows the dictionary of a message of
// type metadataData.
type metadataMessage struct {
	Type      int   `bencode:"msg_type"`
	Piece     int64 `bencode:"piece"`
	TotalSize int64 `bencode:"total_size,omitempty"`
}

const (
	metadataRequest = 0
	metadataData    = 1
	metadataReject  = 2
)

// metadataPeer is the state of the exchange on one connection.
type metadataPeer struct {
	mu     sync.Mutex
	offers bool      // it has the extension
	asked  bool      // requests are under way
	when   time.Time // of the last requests
	buf    []byte    // nil until the size is known
	got    []bool
	left   int
}

// offered is called with what the extended handshake says; size is 0 if the peer has no metadata.
func (m *metadataPeer) offered(p *peerConn, extension bool, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offers = extension
	if !extension || p.entry.store.currentInfo() != nil {
		return
	}
	if size > 0 && size <= MaxInfoBytes {
		m.expect(size)
		m.ask(p)
	}
}

func (m *metadataPeer) expect(size int64) {
	blocks := int((size + metadataBlock - 1) / metadataBlock)
	m.buf, m.got, m.left = make([]byte, size), make([]bool, blocks), blocks
}

// retry asks a peer that had no answer before, or has not given one for a second.
func (m *metadataPeer) retry(p *peerConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.when) < time.Second {
		return
	}
	m.asked = false
	m.ask(p)
}

// ask requests what is missing, with the lock held; a peer that did not know the size is asked for the first block,
// whose answer tells it.
func (m *metadataPeer) ask(p *peerConn) {
	if m.asked || !m.offers {
		return
	}
	m.asked, m.when = true, time.Now()
	var blocks []int64
	for i, ok := range m.got {
		if !ok {
			blocks = append(blocks, int64(i))
		}
	}
	if m.buf == nil {
		blocks = []int64{0}
	}
	// Not here: writing takes the library's lock, and peers are many.
	go func() {
		for _, i := range blocks {
			if p.requestMetadata(i) != nil {
				return // the connection has ended
			}
		}
	}()
}

func (p *peerConn) requestMetadata(piece int64) error {
	b, err := bencode.Marshal(metadataMessage{Type: metadataRequest, Piece: piece})
	if err != nil {
		return err
	}
	return p.conn.WriteExtendedMessage(pp.ExtensionNameMetadata, b)
}

// onMetadata handles a ut_metadata message. The library never sees one.
func (p *peerConn) onMetadata(payload []byte) messageVerdict {
	var msg metadataMessage
	var data []byte
	var trailing bencode.ErrUnusedTrailingBytes
	err := bencode.Unmarshal(payload, &msg)
	if errors.As(err, &trailing) {
		data = payload[len(payload)-trailing.NumUnusedBytes:]
	} else if err != nil {
		return hangUp
	}
	switch msg.Type {
	case metadataRequest:
		return p.answerMetadata(msg.Piece)
	case metadataData:
		return p.takeMetadata(msg, data)
	case metadataReject:
		p.metadata.rejected() // it may know later
	}
	return drop
}

func (m *metadataPeer) rejected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = false
}

func (p *peerConn) answerMetadata(piece int64) messageVerdict {
	if p.answered++; p.answered > maxMetadataRequests {
		return hangUp
	}
	p.entry.superseed.busy(p, time.Now())
	answer := metadataMessage{Type: metadataReject, Piece: piece}
	var data []byte
	if info := p.entry.store.currentInfo(); info != nil && piece >= 0 && piece < MaxInfoBytes/metadataBlock && piece*metadataBlock < int64(len(info.bytes)) {
		answer.Type, answer.TotalSize = metadataData, int64(len(info.bytes))
		data = info.bytes[piece*metadataBlock : min((piece+1)*metadataBlock, answer.TotalSize)]
	}
	b, err := bencode.Marshal(answer)
	if err != nil {
		return drop
	}
	go p.conn.WriteExtendedMessage(pp.ExtensionNameMetadata, append(b, data...))
	return drop
}

func (p *peerConn) takeMetadata(msg metadataMessage, data []byte) messageVerdict {
	m := &p.metadata
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.entry.store.currentInfo() != nil {
		return drop // another peer was faster
	}
	if m.when.IsZero() || msg.TotalSize <= 0 || msg.TotalSize > MaxInfoBytes {
		return hangUp
	}
	if m.buf == nil {
		m.expect(msg.TotalSize)
		m.asked = false
		defer m.ask(p)
	}
	if msg.TotalSize != int64(len(m.buf)) || msg.Piece < 0 || msg.Piece >= int64(len(m.got)) {
		return hangUp
	}
	off := msg.Piece * metadataBlock
	if int64(len(data)) != min(metadataBlock, msg.TotalSize-off) {
		return hangUp
	}
	if m.got[msg.Piece] {
		return drop
	}
	copy(m.buf[off:], data)
	m.got[msg.Piece] = true
	if m.left--; m.left > 0 {
		return drop
	}
	if sha1.Sum(m.buf) != p.entry.hash {
		p.node.ban(p)
		return hangUp
	}
	p.entry.foundMetadata(m.buf)
	return drop
}
