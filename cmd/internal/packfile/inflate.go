package packfile

import (
	"encoding/binary"
	"errors"
	"hash/adler32"
	"math/bits"
)

// An inflater decodes whole zlib streams (RFC 1950, RFC 1951) from memory to
// memory. A pack is a million streams of half a kilobyte: a reader that is fed
// byte by byte and keeps a window, as compress/zlib and its relatives do,
// spends most of its time on setting up (three times as long, measured on
// git.git). It is as strict as zlib itself, so that git reads whatever this
// accepts. The zero value is ready; not for concurrent use.
type inflater struct {
	in   []byte
	pos  int    // of the next byte of in that is not in hold
	hold uint64 // bits that are taken from in but not decoded
	n    uint   // how many
	over int    // zero bytes that were made up after the end of in

	out []byte
	at  int

	lens   [maxLitCodes + maxDistCodes]uint8
	sorted [maxLitCodes + 2]uint16
	lit    [1<<litBits + 600]uint32
	dist   [1<<distBits + 600]uint32
	pre    [1 << preBits]uint32
}

const (
	litBits      = 10 // of codes that one look at a table decodes
	distBits     = 8
	preBits      = 7
	maxBits      = 15
	maxLitCodes  = 288
	maxDistCodes = 32
)

// An entry of a table is value<<16 | extra bits<<8 | kind | bits of the code.
const (
	isLiteral  = 1 << 7
	isEnd      = 1 << 6
	isSubtable = 1 << 5
	isInvalid  = isEnd | isSubtable
	codeBits   = 0x1f
)

var (
	errInflate   = errors.New("invalid zlib stream")
	errTruncated = errors.New("zlib stream is cut off")
	errSize      = errors.New("zlib stream has another length than declared")
)

// inflate decodes the stream that src begins with into dst, which it must fill
// exactly, and returns how many bytes of src it has.
func (z *inflater) inflate(dst, src []byte) (int, error) {
	if len(src) < 2 {
		return 0, errTruncated
	}
	head := uint(src[0])<<8 | uint(src[1])
	if src[0]&15 != 8 || src[0]>>4 > 7 || head%31 != 0 || src[1]&0x20 != 0 {
		return 0, errInflate
	}
	z.in, z.pos, z.hold, z.n, z.over = src, 2, 0, 0, 0
	z.out, z.at = dst, 0
	for last := false; !last; {
		z.refill()
		last = z.hold&1 != 0
		kind := z.hold >> 1 & 3
		z.drop(3)
		var err error
		switch kind {
		case 0:
			err = z.stored()
		case 1:
			if err = z.fixed(); err == nil {
				err = z.codes()
			}
		case 2:
			if err = z.dynamic(); err == nil {
				err = z.codes()
			}
		default:
			err = errInflate
		}
		if z.short() {
			return 0, errTruncated
		}
		if err != nil {
			return 0, err
		}
	}
	z.unread()
	if z.at != len(dst) {
		return 0, errSize
	}
	if len(src)-z.pos < 4 {
		return 0, errTruncated
	}
	if binary.BigEndian.Uint32(src[z.pos:]) != adler32.Checksum(dst) {
		return 0, errInflate
	}
	z.in, z.out = nil, nil
	return z.pos + 4, nil
}

// refill makes at least 48 bits available; after the end of the input they are
// zeros, which short tells.
func (z *inflater) refill() {
	if z.pos+8 <= len(z.in) {
		z.hold |= binary.LittleEndian.Uint64(z.in[z.pos:]) << z.n
		z.pos += int((63 - z.n) >> 3)
		z.n |= 56
		return
	}
	for z.n < 48 {
		if z.pos < len(z.in) {
			z.hold |= uint64(z.in[z.pos]) << z.n
			z.pos++
		} else {
			z.over++
		}
		z.n += 8
	}
}

func (z *inflater) drop(n uint) {
	z.hold >>= n
	z.n -= n
}

func (z *inflater) take(n uint) uint {
	v := uint(z.hold & (1<<n - 1))
	z.drop(n)
	return v
}

// short reports whether bits were decoded that the input does not have.
func (z *inflater) short() bool { return z.over*8 > int(z.n) }

// unread gives back whole bytes that were taken but not decoded.
func (z *inflater) unread() {
	z.drop(z.n & 7)
	z.pos -= int(z.n/8) - z.over
	z.hold, z.n, z.over = 0, 0, 0
}

func (z *inflater) stored() error {
	z.unread()
	if z.pos < 0 || len(z.in)-z.pos < 4 {
		return errTruncated
	}
	n := binary.LittleEndian.Uint16(z.in[z.pos:])
	if n != ^binary.LittleEndian.Uint16(z.in[z.pos+2:]) {
		return errInflate
	}
	z.pos += 4
	switch {
	case len(z.in)-z.pos < int(n):
		return errTruncated
	case len(z.out)-z.at < int(n):
		return errSize
	}
	copy(z.out[z.at:], z.in[z.pos:z.pos+int(n)])
	z.pos, z.at = z.pos+int(n), z.at+int(n)
	return nil
}

func (z *inflater) fixed() error {
	lens := z.lens[:maxLitCodes+maxDistCodes]
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		case i < maxLitCodes:
			lens[i] = 8
		default:
			lens[i] = 5
		}
	}
	return z.tables(maxLitCodes)
}

var preOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (z *inflater) dynamic() error {
	lits, dists, pres := 257+z.take(5), 1+z.take(5), 4+z.take(4)
	if lits > 286 || dists > 30 {
		return errInflate
	}
	var lens [19]uint8
	for i := range pres {
		if z.n < 3 {
			z.refill()
		}
		lens[preOrder[i]] = uint8(z.take(3))
	}
	if !z.table(z.pre[:], lens[:], &preKind) {
		return errInflate
	}
	for i := uint(0); i < lits+dists; {
		z.refill()
		e := z.pre[z.hold&(1<<preBits-1)]
		if e&isInvalid == isInvalid {
			return errInflate
		}
		z.drop(uint(e & codeBits))
		v := uint8(e >> 16)
		repeat := uint(1)
		switch v {
		case 16:
			if i == 0 {
				return errInflate
			}
			repeat, v = 3+z.take(2), z.lens[i-1]
		case 17:
			repeat, v = 3+z.take(3), 0
		case 18:
			repeat, v = 11+z.take(7), 0
		}
		if i+repeat > lits+dists {
			return errInflate
		}
		for ; repeat > 0; repeat-- {
			z.lens[i] = v
			i++
		}
		if z.short() {
			return errTruncated
		}
	}
	if z.lens[256] == 0 {
		return errInflate
	}
	clear(z.lens[lits+dists:])
	return z.tables(int(lits))
}

// tables builds the tables of a block, whose distance codes begin at lits.
func (z *inflater) tables(lits int) error {
	if !z.table(z.lit[:], z.lens[:lits], &litKind) || !z.table(z.dist[:], z.lens[lits:min(lits+maxDistCodes, len(z.lens))], &distKind) {
		return errInflate
	}
	return nil
}

// codes decodes the codes of one block.
func (z *inflater) codes() error {
	for {
		e := z.literals()
		switch e & isInvalid {
		case isEnd:
			return nil
		case isInvalid:
			return errInflate
		case isSubtable:
			return errSize
		}
		length := int(e>>16) + int(z.take(uint(e>>8&0xff)))
		if z.n < maxBits+13 {
			z.refill()
		}
		e = z.dist[z.hold&(1<<distBits-1)]
		if e&isInvalid == isSubtable {
			z.drop(distBits)
			e = z.dist[uint(e>>16)+uint(z.hold&(1<<(e>>8&0xff)-1))]
		}
		if e&isInvalid == isInvalid {
			return errInflate
		}
		z.drop(uint(e & codeBits))
		distance := int(e>>16) + int(z.take(uint(e>>8&0xff)))
		if distance > z.at || length > len(z.out)-z.at || z.short() {
			return errInflate
		}
		repeat(z.out, z.at, distance, length)
		z.at += length
	}
}

// literals decodes up to the next code that is no literal, and returns its
// entry; isSubtable means that there is no room for a literal. The bits for
// what comes with a length are in hold then.
func (z *inflater) literals() uint32 {
	out, at := z.out, z.at
	in, pos, hold, n := z.in, z.pos, z.hold, z.n
	for {
		if n < 48 { // a length and a distance, each with what comes with it
			if pos+8 <= len(in) {
				hold |= binary.LittleEndian.Uint64(in[pos:]) << n
				pos += int((63 - n) >> 3)
				n |= 56
			} else {
				z.pos, z.hold, z.n = pos, hold, n
				z.refill()
				pos, hold, n = z.pos, z.hold, z.n
			}
		}
		e := z.lit[hold&(1<<litBits-1)]
		if e&isInvalid == isSubtable {
			hold >>= litBits
			n -= litBits
			e = z.lit[(uint(e>>16)+uint(hold&(1<<(e>>8&0xff)-1)))%uint(len(z.lit))]
		}
		hold >>= e & codeBits
		n -= uint(e & codeBits)
		if e&isLiteral == 0 {
			z.pos, z.hold, z.n, z.at = pos, hold, n, at
			return e
		}
		if at >= len(out) {
			return isSubtable
		}
		out[at] = byte(e >> 16)
		at++
	}
}

// repeat copies length bytes from distance before at to at; they may overlap.
func repeat(out []byte, at, distance, length int) {
	from := at - distance
	switch {
	case distance >= 8 && at+length+8 <= len(out):
		for i := 0; i < length; i += 8 { // the excess is overwritten by what follows
			binary.LittleEndian.PutUint64(out[at+i:], binary.LittleEndian.Uint64(out[from+i:]))
		}
	case distance >= length:
		copy(out[at:at+length], out[from:])
	default:
		for i := range length {
			out[at+i] = out[from+i]
		}
	}
}

// A codeKind is an alphabet: what each symbol decodes to, and the bits of the
// first table.
type codeKind struct {
	bits    uint
	results []uint32
	single  bool // one code of one bit may stand alone, and none at all
}

var (
	litKind  = codeKind{bits: litBits, results: litResults(), single: true}
	distKind = codeKind{bits: distBits, results: distResults(), single: true}
	preKind  = codeKind{bits: preBits, results: preResults()}
)

func litResults() []uint32 {
	r := make([]uint32, maxLitCodes)
	for i := range 256 {
		r[i] = uint32(i)<<16 | isLiteral
	}
	r[256] = isEnd
	base := uint32(3)
	for i := 257; i < 285; i++ {
		extra := uint32(max(0, (i-257)/4-1))
		r[i] = base<<16 | extra<<8
		base += 1 << extra
	}
	r[285] = 258 << 16
	r[286], r[287] = isInvalid, isInvalid
	return r
}

func distResults() []uint32 {
	r := make([]uint32, maxDistCodes)
	base := uint32(1)
	for i := range 30 {
		extra := uint32(max(0, i/2-1))
		r[i] = base<<16 | extra<<8
		base += 1 << extra
	}
	r[30], r[31] = isInvalid, isInvalid
	return r
}

func preResults() []uint32 {
	r := make([]uint32, 19)
	for i := range r {
		r[i] = uint32(i) << 16
	}
	return r
}

// sortCodes counts the codes of each length and lists the symbols by length.
// ok is whether they are a set that zlib accepts; used is how much of the code
// space they fill, in units of codes of maxBits.
func (z *inflater) sortCodes(lens []uint8, k *codeKind) (counts [maxBits + 1]int, used int, ok bool) {
	for _, l := range lens {
		counts[l]++
	}
	counts[0] = 0
	var offsets [maxBits + 1]int
	longest, n := 0, 0
	for l := 1; l <= maxBits; l++ {
		offsets[l] = n
		n += counts[l]
		used += counts[l] << (maxBits - l)
		if counts[l] > 0 {
			longest = l
		}
	}
	for sym, l := range lens {
		if l != 0 {
			z.sorted[offsets[l]] = uint16(sym)
			offsets[l]++
		}
	}
	full := 1 << maxBits
	return counts, used, used == full || used < full && k.single && longest <= 1
}

// table builds the table of a canonical Huffman code whose lengths are lens,
// and reports whether there is one. Codes are kept with their bits reversed, as
// they come; the first table doubles whenever the codes get a bit longer.
func (z *inflater) table(t []uint32, lens []uint8, k *codeKind) bool {
	counts, used, ok := z.sortCodes(lens, k)
	if !ok {
		return false
	}
	first := 1 << k.bits
	if used < 1<<maxBits { // one code of one bit, or none
		for i := range t[:first] {
			t[i] = isInvalid
			if i&1 == 0 && used > 0 {
				t[i] = k.results[z.sorted[0]] | 1
			}
		}
		return true
	}
	length := uint(1)
	for counts[length] == 0 {
		length++
	}
	count, code, end, next := counts[length], uint(0), 1<<min(length, k.bits), 0
	for length <= k.bits {
		for ; count > 0; count-- {
			t[code] = k.results[z.sorted[next]] | uint32(length)
			next++
			if code == uint(end)-1 { // all ones: the last
				for ; end < first; end *= 2 {
					copy(t[end:2*end], t[:end])
				}
				return true
			}
			code = following(code, length)
		}
		for count == 0 {
			if length++; length <= k.bits {
				copy(t[end:2*end], t[:end])
				end *= 2
			}
			count = counts[length]
		}
	}
	z.subtables(t, k, counts[:], unfinished{length, count, code, next})
	return true
}

// following is the code after code, both of length bits, reversed.
func following(code, length uint) uint {
	bit := uint(1) << (bits.Len(code^(1<<length-1)) - 1)
	return code&(bit-1) | bit
}

// unfinished is where the first table ends.
type unfinished struct {
	length uint
	count  int
	code   uint
	next   int
}

// subtables adds tables for codes that are longer than a first table decodes.
func (z *inflater) subtables(t []uint32, k *codeKind, counts []int, u unfinished) {
	mask := uint(1)<<k.bits - 1
	prefix, start, end := ^uint(0), 0, 1<<k.bits
	for {
		if u.code&mask != prefix {
			prefix, start = u.code&mask, end
			sub, space := u.length-k.bits, u.count
			for space < 1<<sub {
				sub++
				space = space*2 + counts[k.bits+sub]
			}
			end = start + 1<<sub
			t[prefix] = uint32(start)<<16 | uint32(sub)<<8 | isSubtable
		}
		e := k.results[z.sorted[u.next]] | uint32(u.length-k.bits)
		u.next++
		for i := start + int(u.code>>k.bits); i < end; i += 1 << (u.length - k.bits) {
			t[i] = e
		}
		if u.code == 1<<u.length-1 {
			return
		}
		u.code = following(u.code, u.length)
		for u.count--; u.count == 0; u.count = counts[u.length] {
			u.length++
			if counts[u.length] > 0 {
				u.count = counts[u.length]
				break
			}
		}
	}
}
