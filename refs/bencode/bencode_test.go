package bencode

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("l", n) + strings.Repeat("e", n) }
	for _, c := range []struct {
		text string
		kind Kind // None: refused
	}{
		{"0:", String}, {"3:abc", String}, {"10:0123456789", String},
		{"i0e", Int}, {"i-1e", Int}, {"i9223372036854775807e", Int}, {"i-9223372036854775808e", Int},
		{"le", List}, {"li1e0:lee", List}, {"de", Dict}, {"d0:i1e1:ade1:blee", Dict},
		{deep(MaxDepth), List},

		{"", None}, {"x", None}, {"e", None}, {"i", None}, {"ie", None}, {"i-e", None}, {"i01e", None},
		{"i-0e", None}, {"i+1e", None}, {"i1", None}, {"i 1e", None}, {"i9223372036854775808e", None},
		{"i-9223372036854775809e", None}, {"i00000000000000000000000001e", None},
		{":", None}, {"1", None}, {"1:", None}, {"01:a", None}, {"-1:a", None}, {"+1:a", None}, {"2:a", None},
		{"99999999999999999999:a", None}, {"4294967295:a", None},
		{"l", None}, {"li1e", None}, {"d", None}, {"d1:a", None}, {"d1:ae", None}, {"d1:ai1e", None},
		{"di1ei1ee", None}, {"d1:bi1e1:ai1ee", None}, {"d1:ai1e1:ai1ee", None}, {"d2:aai1e1:bi1e1:ci1e2:aai1ee", None},
		{"i1ei2e", None}, {"3:abcd", None}, {deep(MaxDepth + 1), None}, {"leX", None},
	} {
		v, err := Parse([]byte(c.text))
		if v.Kind() != c.kind || (err == nil) != (c.kind != None) {
			t.Errorf("Parse(%q) = kind %d, %v, want kind %d", c.text, v.Kind(), err, c.kind)
		}
		if err != nil && !errors.As(err, new(*SyntaxError)) {
			t.Errorf("Parse(%q) = %T, want *SyntaxError", c.text, err)
		}
	}
}

func TestValue(t *testing.T) {
	v, err := Parse([]byte("d1:ai-7e1:bl2:xyi3ee1:cd1:z0:ee"))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := v.Get("a").Int(); n != -7 || !ok {
		t.Errorf("a = %d, %v, want -7", n, ok)
	}
	var items []string
	for item := range v.Get("b").Items() {
		items = append(items, string(item.Raw()))
	}
	if got := strings.Join(items, " "); got != "2:xy i3e" {
		t.Errorf("b = %q, want its two items", got)
	}
	if s, ok := v.Get("c").Get("z").Str(); len(s) != 0 || !ok {
		t.Errorf("c.z = %q, %v, want an empty string", s, ok)
	}
	for _, absent := range []Value{v.Get("d"), v.Get("a").Get("b"), {}} {
		if _, ok := absent.Str(); ok || absent.Kind() != None {
			t.Errorf("an absent value has kind %d", absent.Kind())
		}
		if _, ok := absent.Int(); ok {
			t.Error("an absent value is an integer")
		}
		for range absent.Items() {
			t.Error("an absent value has items")
		}
	}
	for text, want := range map[string]int{"i1e": 0, "0:": 0, "le": 1, "d1:ai1e1:blleee": 3} {
		if v, err := Parse([]byte(text)); err != nil || v.Depth() != want {
			t.Errorf("Parse(%q).Depth() = %d, %v, want %d", text, v.Depth(), err, want)
		}
	}
	for range v.Fields() { // leaving early must not panic
		break
	}
}

func TestNothingIsAllocated(t *testing.T) {
	text := []byte("d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:aa1:y1:qe")
	if n := testing.AllocsPerRun(100, func() { Parse(text) }); n > 0 {
		t.Errorf("Parse allocates %v times, want 0", n)
	}
}

// format writes a value from its decoded parts: the inverse of Parse.
func format(b []byte, v Value) []byte {
	switch v.Kind() {
	case String:
		s, _ := v.Str()
		return AppendString(b, s)
	case Int:
		n, _ := v.Int()
		return AppendInt(b, n)
	case List:
		b = append(b, 'l')
		for item := range v.Items() {
			b = format(b, item)
		}
	case Dict:
		b = append(b, 'd')
		for key, field := range v.Fields() {
			b = format(AppendString(b, key), field)
		}
	}
	return append(b, 'e')
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"de", "li1e0:lee", "d1:ai-7e1:bl2:xyi3ee1:cd1:z0:ee", "i01e", "d1:bi1e1:ai1ee"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Parse(text)
		if err != nil {
			return
		}
		if got := format(nil, v); !bytes.Equal(got, text) {
			t.Errorf("format(Parse(%q)) = %q", text, got)
		}
	})
}
