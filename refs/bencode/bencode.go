package bencode

import (
	"bytes"
	"iter"
	"strconv"
)

// MaxDepth is how many lists and dictionaries may be open at once. KRPC
// messages need 4, our own formats 3; the bound keeps the stack small.
const MaxDepth = 16

// SyntaxError says where and why an input is not canonical bencode.
type SyntaxError struct {
	Offset int
	Reason string
}

func (e *SyntaxError) Error() string {
	return "bencode: " + e.Reason + " at byte " + strconv.Itoa(e.Offset)
}

// Kind is what a value is.
type Kind byte

const (
	None   Kind = iota // absent: the zero Value
	String             // a byte string
	Int
	List
	Dict
)

// Value is one checked value. The zero Value stands for an absent one.
type Value struct{ raw []byte }

// Parse returns the single value that text is. Errors are *SyntaxError.
func Parse(text []byte) (Value, error) {
	s := scanner{text: text}
	s.value(0)
	if s.err == nil && s.pos < len(text) {
		s.fail("trailing bytes")
	}
	if s.err != nil {
		return Value{}, s.err
	}
	return Value{raw: text}, nil
}

// Raw returns the encoded value, a part of the input.
func (v Value) Raw() []byte { return v.raw }

// Kind returns what v is.
func (v Value) Kind() Kind {
	switch {
	case len(v.raw) == 0:
		return None
	case v.raw[0] == 'i':
		return Int
	case v.raw[0] == 'l':
		return List
	case v.raw[0] == 'd':
		return Dict
	}
	return String
}

// Str returns the bytes of a string, a part of the input.
func (v Value) Str() (s []byte, ok bool) {
	if v.Kind() != String {
		return nil, false
	}
	_, s, _ = bytes.Cut(v.raw, []byte{':'})
	return s, true
}

// Int returns an integer.
func (v Value) Int() (n int64, ok bool) {
	if v.Kind() != Int {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v.raw[1:len(v.raw)-1]), 10, 64)
	return n, err == nil
}

// Items yields the values of a list, nothing for any other kind.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != List {
			return
		}
		s := scanner{text: v.raw, pos: 1}
		for !s.skip('e') {
			if !yield(Value{raw: s.value(1)}) {
				return
			}
		}
	}
}

// Fields yields keys and values of a dictionary in order, nothing for any
// other kind. Keys are parts of the input.
func (v Value) Fields() iter.Seq2[[]byte, Value] {
	return func(yield func([]byte, Value) bool) {
		if v.Kind() != Dict {
			return
		}
		s := scanner{text: v.raw, pos: 1}
		for !s.skip('e') {
			key := s.str()
			if !yield(key, Value{raw: s.value(1)}) {
				return
			}
		}
	}
}

// Get returns the value of a dictionary's key, the zero Value if there is none.
func (v Value) Get(key string) Value {
	for k, field := range v.Fields() {
		if string(k) == key {
			return field
		}
	}
	return Value{}
}

// Depth returns how many lists and dictionaries are open at the deepest place.
func (v Value) Depth() int {
	deepest := 0
	for item := range v.Items() {
		deepest = max(deepest, item.Depth())
	}
	for _, field := range v.Fields() {
		deepest = max(deepest, field.Depth())
	}
	if v.Kind() == List || v.Kind() == Dict {
		deepest++
	}
	return deepest
}

// AppendString appends s as a byte string.
func AppendString[S ~string | ~[]byte](b []byte, s S) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	return append(append(b, ':'), s...)
}

// AppendInt appends n as an integer.
func AppendInt(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, 'i'), n, 10), 'e')
}

// scanner walks over text. After the first failure err is set, pos is at the
// end, and every method returns a zero value.
type scanner struct {
	text []byte
	pos  int
	err  error // nil or *SyntaxError
}

func (s *scanner) fail(reason string) {
	if s.err == nil {
		s.err = &SyntaxError{Offset: s.pos, Reason: reason}
	}
	s.pos = len(s.text)
}

func (s *scanner) skip(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// value moves past one value, inside depth open ones, and returns its bytes.
func (s *scanner) value(depth int) []byte {
	start := s.pos
	switch {
	case start == len(s.text):
		s.fail("truncated")
	case s.skip('i'):
		s.int()
	case depth == MaxDepth && (s.text[start] == 'l' || s.text[start] == 'd'):
		s.fail("nested too deep")
	case s.skip('l'):
		for s.err == nil && !s.skip('e') {
			s.value(depth + 1)
		}
	case s.skip('d'):
		s.dict(depth)
	default:
		s.str()
	}
	if s.err != nil {
		return nil
	}
	return s.text[start:s.pos:s.pos]
}

func (s *scanner) dict(depth int) {
	var last []byte
	for n := 0; s.err == nil && !s.skip('e'); n++ {
		key := s.str()
		if n > 0 && bytes.Compare(key, last) <= 0 {
			s.fail("dictionary key out of order")
		}
		last = key
		s.value(depth + 1)
	}
}

func (s *scanner) int() {
	const longest = len("-9223372036854775808")
	rest := s.text[s.pos:]
	end := bytes.IndexByte(rest[:min(len(rest), longest+1)], 'e')
	if end < 0 {
		s.fail("bad integer")
		return
	}
	digits := string(rest[:end])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != digits {
		s.fail("bad integer")
		return
	}
	s.pos += end + 1
}

func (s *scanner) str() []byte {
	const longest = len("4294967295")
	rest := s.text[s.pos:]
	colon := bytes.IndexByte(rest[:min(len(rest), longest+1)], ':')
	if colon < 0 {
		s.fail("bad string length")
		return nil
	}
	digits := string(rest[:colon])
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != digits || n > uint64(len(rest)-colon-1) {
		s.fail("bad string length")
		return nil
	}
	start := s.pos + colon + 1
	s.pos = start + int(n)
	return s.text[start:s.pos:s.pos]
}
