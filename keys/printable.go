package keys

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable makes text that came from outside safe to show on a terminal and
// on one line. Control characters, line ends, escape sequences, bytes that are
// not UTF-8 and characters that reorder or hide their neighbours (categories
// Cc, Cf, Co, Cs, Zl, Zp) become \xNN or \u{N}; a backslash becomes two. What
// is longer than max bytes is cut at a character and ends in "…".
// Everything a stranger can choose (user ids, ref names, commit summaries,
// signature comments) passes through it before it is printed.
func Printable(text string, max int) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if b.Len() >= max {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && size == 1:
			writeEscape(&b, `\x`, uint32(text[0]), 2)
		case r == '\\':
			b.WriteString(`\\`)
		case r < 0x20 || r == 0x7f:
			writeEscape(&b, `\x`, uint32(r), 2)
		case r == ' ' || unicode.IsGraphic(r) && !unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
			b.WriteRune(r)
		default:
			writeEscape(&b, `\u{`, uint32(r), 4)
			b.WriteByte('}')
		}
		text = text[size:]
	}
	return b.String()
}

func writeEscape(b *strings.Builder, prefix string, value uint32, digits int) {
	const hexDigits = "0123456789abcdef"
	b.WriteString(prefix)
	for shift := 28; shift >= 0; shift -= 4 {
		if digit := value >> shift & 15; digit != 0 || shift < 4*digits {
			digits = max(digits, shift/4+1)
			b.WriteByte(hexDigits[digit])
		}
	}
}
