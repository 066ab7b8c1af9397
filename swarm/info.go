package swarm

import (
	"crypto/sha1"
	"fmt"
	"slices"

	"github.com/gitpeer/gitpeer/refs"
	"github.com/gitpeer/gitpeer/refs/bencode"
)

const (
	// MaxInfoBytes bounds an info dictionary: at 20 bytes a piece it is room for 52,000 pieces, an
	// 840 GB pack, and it is all that a peer can make us keep before a hash is checked.
	MaxInfoBytes = 1 << 20

	// MinPieceLength and MaxPieceLength are what stock clients cope with (BEP 3 leaves it open).
	// Below 16 KiB a piece would be smaller than the block that peers request.
	MinPieceLength = 16 << 10
	MaxPieceLength = 16 << 20

	// blockLength is the unit of transfer of the peer protocol (BEP 3).
	blockLength = 16 << 10

	// maxNameBytes is NAME_MAX of the usual file systems: stock clients store a torrent by name.
	maxNameBytes = 255
)

// Info is a validated info dictionary of a BitTorrent v1 torrent with one file (BEP 3). It is
// immutable, and its bytes are canonical: ParseInfo(i.Bytes()) gives an equal Info.
type Info struct {
	bytes       []byte
	hash        refs.InfoHash
	name        string
	length      int64
	pieceLength int64
	pieces      string // SHA-1 sums, 20 bytes a piece
}

// InfoError reports an info dictionary that is not exactly what gitpeer makes.
type InfoError struct{ Reason string }

func (e *InfoError) Error() string { return "torrent info refused: " + e.Reason }

func infoErrorf(format string, a ...any) error {
	return &InfoError{fmt.Sprintf(format, a...)}
}

// ParseInfo reads an info dictionary with exactly the keys length, name, piece length and pieces,
// in canonical bencoding, at most [MaxInfoBytes]. Everything else (files, private, meta version,
// trailing bytes, a second spelling of a number) is an *[InfoError].
//
// The strictness is not taste: crafted version 2 dictionaries crash anacrolix/torrent, and nothing
// that has passed here can say "version 2" to it.
func ParseInfo(b []byte) (*Info, error) {
	if len(b) > MaxInfoBytes {
		return nil, infoErrorf("%d bytes, more than %d", len(b), MaxInfoBytes)
	}
	v, err := bencode.Parse(b)
	if err != nil {
		return nil, infoErrorf("%v", err)
	}
	for key := range v.Fields() {
		switch string(key) {
		case "length", "name", "piece length", "pieces":
		default:
			return nil, infoErrorf("key %.24q", key)
		}
	}
	length, hasLength := v.Get("length").Int()
	name, hasName := v.Get("name").Str()
	pieceLength, hasPieceLength := v.Get("piece length").Int()
	pieces, hasPieces := v.Get("pieces").Str()
	if !hasLength || !hasName || !hasPieceLength || !hasPieces {
		return nil, infoErrorf("length, name, piece length or pieces is missing")
	}
	return newInfo(string(name), length, pieceLength, string(pieces))
}

// newInfo checks the values of an info dictionary and encodes it.
func newInfo(name string, length, pieceLength int64, pieces string) (*Info, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if pieceLength < MinPieceLength || pieceLength > MaxPieceLength || pieceLength&(pieceLength-1) != 0 {
		return nil, infoErrorf("piece length %d is not a power of two from %d to %d",
			pieceLength, MinPieceLength, MaxPieceLength)
	}
	if length <= 0 {
		return nil, infoErrorf("length %d", length)
	}
	if length > MaxInfoBytes/sha1.Size*pieceLength {
		return nil, infoErrorf("length %d", length)
	}
	if want := (length + pieceLength - 1) / pieceLength * sha1.Size; int64(len(pieces)) != want {
		return nil, infoErrorf("%d bytes of piece hashes, want %d", len(pieces), want)
	}
	i := &Info{name: name, length: length, pieceLength: pieceLength, pieces: pieces}
	b := bencode.AppendInt([]byte("d6:length"), length)
	b = bencode.AppendString(append(b, "4:name"...), name)
	b = bencode.AppendInt(append(b, "12:piece length"...), pieceLength)
	b = bencode.AppendString(append(b, "6:pieces"...), pieces)
	i.bytes = append(b, 'e')
	if len(i.bytes) > MaxInfoBytes {
		return nil, infoErrorf("%d bytes, more than %d", len(i.bytes), MaxInfoBytes)
	}
	i.hash = sha1.Sum(i.bytes)
	return i, nil
}

// checkName allows what gitpeer itself calls a torrent: 1 to 255 of [A-Za-z0-9._-], the first a
// letter or digit. gitpeer never makes a path of it, but the clients that share the swarm do.
func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes {
		return infoErrorf("name of %d bytes", len(name))
	}
	for i, c := range []byte(name) {
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return infoErrorf("name %q", name)
		}
	}
	return nil
}

// Bytes returns the canonical bencoding, whose SHA-1 is the infohash.
func (i *Info) Bytes() []byte { return slices.Clone(i.bytes) }

// InfoHash returns the SHA-1 of the info dictionary, the torrent's name in the network.
func (i *Info) InfoHash() refs.InfoHash { return i.hash }

// Name returns the name for stock clients. It never names a file here.
func (i *Info) Name() string { return i.name }

// Length returns the number of bytes of the file, at least 1.
func (i *Info) Length() int64 { return i.length }

// PieceLength returns the number of bytes of every piece but the last.
func (i *Info) PieceLength() int64 { return i.pieceLength }

// Pieces returns the number of pieces, at least 1.
func (i *Info) Pieces() int { return len(i.pieces) / sha1.Size }

// pieceBounds returns where piece n lies in the file.
func (i *Info) pieceBounds(n int) (offset, length int64) {
	offset = int64(n) * i.pieceLength
	return offset, min(i.pieceLength, i.length-offset)
}

func (i *Info) pieceSum(n int) [sha1.Size]byte {
	return [sha1.Size]byte([]byte(i.pieces[n*sha1.Size : (n+1)*sha1.Size]))
}
