package trust

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// The lines that open a signature, as git recognises them.
const (
	pgpBegin   = "-----BEGIN PGP SIGNATURE-----"
	pgpEnd     = "-----END PGP SIGNATURE-----"
	sshBegin   = "-----BEGIN SSH SIGNATURE-----"
	sshEnd     = "-----END SSH SIGNATURE-----"
	pgpMessage = "-----BEGIN PGP MESSAGE-----"
	x509Begin  = "-----BEGIN SIGNED MESSAGE-----"
)

// maxArmor bounds an armored signature. RSA with 16 384 bits needs 3 KB.
const maxArmor = 16 << 10

// armorHeaders are the armor headers that occur in real histories. What they
// say is not signed and not used.
var armorHeaders = []string{"Version", "Comment", "Hash", "Charset"}

// A signatureError says why a signature is not acceptable, apart from who made
// it.
type signatureError struct {
	code Code
	why  string
}

func (e *signatureError) Error() string { return e.why }

func badSignature(why string) error { return &signatureError{BadSignature, why} }

// dearmorPGP decodes exactly one armored OpenPGP signature (RFC 9580 §6) and
// nothing else: no text before or after, no carriage returns, no unknown
// headers, no foreign characters in the base64. Only line ends may follow.
func dearmorPGP(text []byte) ([]byte, error) {
	body, err := armorBody(text, pgpBegin, pgpEnd)
	if err != nil {
		return nil, err
	}
	body, err = skipArmorHeaders(body)
	if err != nil {
		return nil, err
	}
	data, sum := body, ""
	if i := strings.LastIndexByte(strings.TrimSuffix(body, "\n"), '\n'); i >= 0 && body[i+1] == '=' {
		data, sum = body[:i+1], body[i+2:]
	}
	raw, err := decodeBase64(data)
	if err != nil {
		return nil, err
	}
	if sum != "" {
		want, err := decodeBase64(sum)
		if err != nil || len(want) != 3 {
			return nil, badSignature("a damaged armor checksum")
		}
		if got := crc24(raw); got != uint32(want[0])<<16|uint32(want[1])<<8|uint32(want[2]) {
			return nil, badSignature("the armor checksum does not match")
		}
	}
	return raw, nil
}

// dearmorSSH decodes exactly one armored SSH signature (PROTOCOL.sshsig §2).
func dearmorSSH(text []byte) ([]byte, error) {
	body, err := armorBody(text, sshBegin, sshEnd)
	if err != nil {
		return nil, err
	}
	return decodeBase64(body)
}

// armorBody returns what stands between the lines begin and end, which must be
// the first and the last.
func armorBody(text []byte, begin, end string) (string, error) {
	if len(text) > maxArmor {
		return "", badSignature("the signature is larger than 16 KiB")
	}
	if i := bytes.IndexFunc(text, func(r rune) bool { return r == '\r' || r == 0 }); i >= 0 {
		return "", badSignature("carriage returns in the armor")
	}
	rest, ok := strings.CutPrefix(string(text), begin+"\n")
	if !ok {
		return "", badSignature("the signature does not begin with " + begin)
	}
	body, after, ok := strings.Cut(rest, "\n"+end)
	if !ok {
		return "", badSignature("the armor has no end")
	}
	if strings.Trim(after, "\n") != "" {
		return "", badSignature("text after the end of the armor")
	}
	return body + "\n", nil
}

func skipArmorHeaders(body string) (string, error) {
	for {
		line, rest, ok := strings.Cut(body, "\n")
		if !ok {
			return "", badSignature("the armor has no blank line")
		}
		body = rest
		if line == "" {
			return body, nil
		}
		name, _, ok := strings.Cut(line, ":")
		known := false
		for _, h := range armorHeaders {
			known = known || h == name
		}
		if !ok || !known {
			return "", badSignature("an unknown armor header")
		}
	}
}

// decodeBase64 decodes full lines of base64, of which only the last may be
// shorter than the first, and the last may be padded.
func decodeBase64(text string) ([]byte, error) {
	text = strings.TrimSuffix(text, "\n")
	width := strings.IndexByte(text, '\n')
	if width < 0 {
		width = len(text)
	}
	if width == 0 || width > 76 {
		return nil, badSignature("armor lines of a wrong length")
	}
	compact := make([]byte, 0, len(text))
	for len(text) > width {
		if text[width] != '\n' {
			return nil, badSignature("armor lines of different lengths")
		}
		compact = append(compact, text[:width]...)
		text = text[width+1:]
	}
	compact = append(compact, text...)
	if bytes.IndexByte(compact, '\n') >= 0 || len(text) == 0 {
		return nil, badSignature("armor lines of different lengths")
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(compact)))
	n, err := base64.StdEncoding.Strict().Decode(raw, compact)
	if err != nil {
		return nil, badSignature("damaged base64 in the armor")
	}
	return raw[:n], nil
}

// crc24 is the armor checksum of RFC 9580 §6.1.1. It protects from nothing; a
// wrong one is only a sign of damage.
func crc24(data []byte) uint32 {
	crc := uint32(0xb704ce)
	for _, b := range data {
		crc ^= uint32(b) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return crc & 0xffffff
}
