package keys

import (
	"errors"
	"strings"
)

// bech32Charset maps a 5-bit group to its character (BIP-173).
const bech32Charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// bech32MaxLen is BIP-173's limit: beyond it the checksum no longer promises
// to find every error of up to four characters.
const bech32MaxLen = 90

// Reasons why text is not bech32.
var (
	errBech32Length    = errors.New("wrong length")
	errBech32Case      = errors.New("mixed upper and lower case")
	errBech32Charset   = errors.New("invalid character")
	errBech32Separator = errors.New("no separator 1")
	errBech32Checksum  = errors.New("wrong checksum")
	errBech32Padding   = errors.New("wrong padding")
)

// bech32Encode returns the bech32 text of data under the lower-case
// human-readable part hrp.
func bech32Encode(hrp string, data []byte) string {
	groups := bech32Split(data)
	sum := bech32Polymod(append(append(bech32Expand(hrp), groups...), 0, 0, 0, 0, 0, 0)) ^ 1
	var b strings.Builder
	b.WriteString(hrp)
	b.WriteByte('1')
	for _, g := range groups {
		b.WriteByte(bech32Charset[g])
	}
	for i := range 6 {
		b.WriteByte(bech32Charset[sum>>(5*(5-i))&31])
	}
	return b.String()
}

// bech32Groups checks s and returns its human-readable part in lower case and
// its 5-bit groups without the checksum.
func bech32Groups(s string) (hrp string, groups []byte, err error) {
	if len(s) > bech32MaxLen {
		return "", nil, errBech32Length
	}
	for i := range len(s) {
		if s[i] < 33 || s[i] > 126 {
			return "", nil, errBech32Charset
		}
	}
	lower := strings.ToLower(s)
	if s != lower && s != strings.ToUpper(s) {
		return "", nil, errBech32Case
	}
	sep := strings.LastIndexByte(lower, '1')
	if sep < 1 {
		return "", nil, errBech32Separator
	}
	if len(lower)-sep-1 < 6 {
		return "", nil, errBech32Length
	}
	hrp = lower[:sep]
	for _, c := range lower[sep+1:] {
		g := strings.IndexRune(bech32Charset, c)
		if g < 0 {
			return "", nil, errBech32Charset
		}
		groups = append(groups, byte(g))
	}
	if bech32Polymod(append(bech32Expand(hrp), groups...)) != 1 {
		return "", nil, errBech32Checksum
	}
	return hrp, groups[:len(groups)-6], nil
}

// bech32Split cuts data into 5-bit groups, the last one padded with zeros.
func bech32Split(data []byte) []byte {
	var out []byte
	acc, bits := uint(0), 0
	for _, b := range data {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			out = append(out, byte(acc>>bits&31))
		}
	}
	if bits > 0 {
		out = append(out, byte(acc<<(5-bits)&31))
	}
	return out
}

// bech32Join is the inverse of bech32Split.
func bech32Join(groups []byte) ([]byte, error) {
	var out []byte
	acc, bits := uint(0), 0
	for _, g := range groups {
		acc, bits = acc<<5|uint(g), bits+5
		if bits >= 8 {
			bits -= 8
			out = append(out, byte(acc>>bits))
		}
	}
	if bits >= 5 || acc&(1<<bits-1) != 0 {
		return nil, errBech32Padding
	}
	return out, nil
}

func bech32Expand(hrp string) []byte {
	out := make([]byte, 0, 2*len(hrp)+1+bech32MaxLen)
	for i := range len(hrp) {
		out = append(out, hrp[i]>>5)
	}
	out = append(out, 0)
	for i := range len(hrp) {
		out = append(out, hrp[i]&31)
	}
	return out
}

func bech32Polymod(groups []byte) uint32 {
	generator := [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	sum := uint32(1)
	for _, g := range groups {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(g)
		for i, gen := range generator {
			if top>>i&1 == 1 {
				sum ^= gen
			}
		}
	}
	return sum
}
