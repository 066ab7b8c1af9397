package refs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/keys"
)

// snapshotReasons maps the failure classes of testdata/snapshots.txt to what
// the error says.
var snapshotReasons = map[string]string{
	"version":       "unknown format version",
	"first":         `want "gitpeer-snapshot v1"`,
	"repository":    "repository",
	"address":       "invalid address",
	"canonical":     "canonical",
	"number":        "number",
	"zero":          "number 0",
	"time":          "invalid time",
	"years":         "years 1970 to 9999",
	"chain":         "previous snapshot",
	"previous":      "want a number and a digest",
	"digest":        "invalid digest",
	"object-format": `want "object-format"`,
	"format":        "unknown object format",
	"oid":           "invalid object id",
	"branch":        "is not a branch",
	"prefix":        "not under refs/heads/ or refs/tags/",
	"value":         "want one value",
	"misplaced":     "unknown, misplaced or unfinished line",
	"conflict":      "cannot be a ref and a directory",
	"case":          "in case only",
	"zeros":         "all zeros",
	"ref":           "ref: want",
	"peeled":        "peeled object",
	"dots":          `contains ".."`,
	"sorted":        "not sorted, or",
	"backward":      "leads from",
	"past":          "past the snapshot",
	"contents":      "different contents",
	"less":          "is less than 32",
	"limit":         "exceeds the limit",
	"pack":          "pack: want",
	"infohash":      "invalid infohash",
	"long":          "longer than 255 bytes",
	"base64":        "invalid base64",
	"one-signer":    "want one certificate",
	"empty-signer":  "empty signer",
	"empty-hint":    "hint of no bytes",
	"no-hint":       "hint that is none",
}

// readSnapshots returns the class and text of each vector, by description.
func readSnapshots(t testing.TB) map[string]vector {
	t.Helper()
	data, err := os.ReadFile("testdata/snapshots.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]vector{}
	var name string
	for line := range strings.Lines(string(data)) {
		if header, ok := strings.CutPrefix(line, "-- "); ok {
			name = strings.TrimSuffix(header, " --\n")
			class, _, _ := strings.Cut(name, " ")
			out[name] = vector{class: class}
		} else if name != "" {
			v := out[name]
			v.text += line
			out[name] = v
		}
	}
	return out
}

func TestParseVectors(t *testing.T) {
	vectors := readSnapshots(t)
	for name, v := range vectors {
		s, err := Parse([]byte(v.text))
		if v.class != "ok" {
			if s != nil || err == nil || snapshotReasons[v.class] == "" || !strings.Contains(err.Error(), snapshotReasons[v.class]) {
				t.Errorf("%s: Parse = %v, %v, want an error with %q", name, s, err, snapshotReasons[v.class])
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: Parse = %v, want no error", name, err)
			continue
		}
		if text, err := s.Format(); err != nil || string(text) != v.text {
			t.Errorf("%s: Format(Parse(x)) = %q, %v, want x", name, text, err)
		}
	}
	if len(vectors) < 100 {
		t.Errorf("%d vectors only", len(vectors))
	}
}

// Cut anywhere, or with any one byte changed or added, a text is refused or
// still canonical.
func TestParseDamage(t *testing.T) {
	text := readSnapshots(t)["ok signers"].text
	canonical := func(damaged string) {
		s, err := Parse([]byte(damaged))
		if err != nil {
			return
		}
		if again, err := s.Format(); err != nil || string(again) != damaged {
			t.Errorf("Format(Parse(%q)) = %q, %v", damaged, again, err)
		}
	}
	for i := range text {
		if _, err := Parse([]byte(text[:i])); err == nil && text[i-1] != '\n' {
			t.Errorf("Parse accepts the first %d bytes", i)
		}
		for _, c := range []string{"", "0", "1", "a", " ", "\n", "\r", "\x00", "/", "é"} {
			canonical(text[:i] + c + text[i+1:])
			canonical(text[:i] + c + text[i:])
		}
	}
}

// A line without an end is not searched for one for ever.
func TestParseLongLine(t *testing.T) {
	text := readSnapshots(t)["ok three publications"].text
	for _, line := range []string{"ref ", "signer ", "pack ", "head ", ""} {
		long := text + line + strings.Repeat("a", 1<<20) + "\n"
		if _, err := Parse([]byte(long)); err == nil || !strings.Contains(err.Error(), "line 16") || len(err.Error()) > 1000 {
			t.Errorf("Parse with a line of 1 MiB of %q: %.1000v, want a short error in line 16", line, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	vectors := readSnapshots(t)
	if _, err := Parse([]byte(vectors["version future"].text)); !errors.Is(err, ErrVersion) {
		t.Errorf("another version: %v, want ErrVersion", err)
	}
	var syntax *SyntaxError
	if _, err := Parse([]byte(vectors["dots path traversal"].text)); !errors.As(err, &syntax) || syntax.Line != 10 || !errors.As(err, new(*NameError)) {
		t.Errorf("a wrong name: %v, want a NameError in line 10", err)
	}
	if _, err := Parse([]byte(vectors["address petname"].text)); !errors.As(err, &syntax) || syntax.Line != 2 || !errors.As(err, new(*AddressError)) {
		t.Errorf("a wrong address: %v, want an AddressError in line 2", err)
	}
	if _, err := Parse(nil); !errors.As(err, &syntax) || syntax.Line != 1 {
		t.Errorf("no text: %v, want an error in line 1", err)
	}
	if _, err := Parse([]byte(vectors["misplaced unknown line"].text)); !errors.As(err, &syntax) || syntax.Line != 16 {
		t.Errorf("an unknown line: %v, want an error in line 16", err)
	}
}

// sample returns a snapshot with every kind of line.
func sample(t testing.TB) *Snapshot {
	t.Helper()
	s, err := Parse([]byte(readSnapshots(t)["ok three publications"].text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnapshotFields(t *testing.T) {
	oid := func(c string) OID { return OID(strings.Repeat(c, 40)) }
	fill := func(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }
	want := &Snapshot{
		Repository: rfcAddress(t),
		Number:     3,
		Time:       time.Date(2026, 11, 22, 5, 6, 7, 0, time.UTC),
		Previous:   []Link{{2, Digest(fill(32, 0x22))}, {1, Digest(fill(32, 0x11))}},

		ObjectFormat: SHA1,
		Head:         "refs/heads/main",
		Refs: []Ref{
			{"refs/heads/main", oid("a"), ""}, {"refs/heads/side", oid("b"), ""},
			{"refs/tags/v1.0", oid("c"), oid("a")}, {"refs/tags/v1.1", oid("d"), ""},
		},
		Packs: []Pack{
			{InfoHash(fill(20, 0x11)), Digest(fill(32, 0xee)), 1000, 10, 5000, 0, 1, InfoHash{}, 0},
			{InfoHash(fill(20, 0x22)), Digest(fill(32, 0xff)), 100, 2, 500, 1, 2, InfoHash{}, 0},
			{InfoHash(fill(20, 0x33)), Digest{}, 32, 0, 0, 2, 3, InfoHash{}, 0},
		},
	}
	s := sample(t)
	if !reflect.DeepEqual(s, want) {
		t.Fatalf("Parse = %+v, want %+v", s, want)
	}
	if o, ok := s.HeadOID(); o != oid("a") || !ok {
		t.Errorf("HeadOID() = %q, %v, want %q", o, ok, oid("a"))
	}
	if r, ok := s.Lookup("refs/tags/v1.0"); r != want.Refs[2] || !ok {
		t.Errorf("Lookup = %v, %v, want %v", r, ok, want.Refs[2])
	}
	if r, ok := s.Lookup("refs/tags/v1"); r != (Ref{}) || ok {
		t.Errorf("Lookup of nothing = %v, %v", r, ok)
	}
	for _, head := range []Name{"", "refs/heads/unborn"} {
		s.Head = head
		if o, ok := s.HeadOID(); o != "" || ok {
			t.Errorf("HEAD %q: HeadOID() = %q, %v, want none", head, o, ok)
		}
	}
}

// Format takes what a publisher has at hand, and leaves it as it was.
func TestFormatSorts(t *testing.T) {
	want, err := sample(t).Format()
	if err != nil {
		t.Fatal(err)
	}
	s := sample(t)
	slices.Reverse(s.Refs)
	slices.Reverse(s.Packs)
	s.Time = s.Time.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))
	before := fmt.Sprint(s)
	if got, err := s.Format(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("Format = %q, %v, want %q", got, err, want)
	}
	if after := fmt.Sprint(s); after != before {
		t.Errorf("Format changed the snapshot to %s, from %s", after, before)
	}
}

func TestFormatRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Snapshot){
		"no publisher":      func(s *Snapshot) { s.Repository.Publisher = keys.ID{} },
		"no name":           func(s *Snapshot) { s.Repository.Name = "" },
		"name":              func(s *Snapshot) { s.Repository.Name = "../x" },
		"number 0":          func(s *Snapshot) { s.Number, s.Previous = 0, nil },
		"large number":      func(s *Snapshot) { s.Number = MaxNumber + 1 },
		"largest number":    func(s *Snapshot) { s.Number = math.MaxUint64 },
		"no time":           func(s *Snapshot) { s.Time = time.Time{} },
		"year 10000":        func(s *Snapshot) { s.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no chain":          func(s *Snapshot) { s.Previous = nil },
		"no object format":  func(s *Snapshot) { s.ObjectFormat = "" },
		"no object id":      func(s *Snapshot) { s.Refs[0].OID = "" },
		"line in name":      func(s *Snapshot) { s.Refs[0].Name = "refs/heads/a\nref" },
		"line in head":      func(s *Snapshot) { s.Head = "refs/heads/a\nref" },
		"twice":             func(s *Snapshot) { s.Refs = append(s.Refs, s.Refs[0]) },
		"one range twice":   func(s *Snapshot) { s.Packs = append(s.Packs, s.Packs[0]) },
		"negative bytes":    func(s *Snapshot) { s.Packs[0].Bytes = -1 },
		"negative objects":  func(s *Snapshot) { s.Packs[0].Objects = -1 },
		"negative inflated": func(s *Snapshot) { s.Packs[0].Inflated = math.MinInt64 },
		"past":              func(s *Snapshot) { s.Packs[0].To = 4 },
	} {
		s := sample(t)
		spoil(s)
		if text, err := s.Format(); err == nil {
			t.Errorf("%s: Format = %q, want an error", name, text)
		}
	}
}

// huge returns a snapshot with so many refs of so many bytes.
func huge(t testing.TB, refs, nameBytes int) *Snapshot {
	s := sample(t)
	s.Refs = nil
	for i := range refs {
		name := fmt.Sprintf("refs/tags/%07d", i)
		name += strings.Repeat("x", nameBytes-len(name))
		s.Refs = append(s.Refs, Ref{Name: Name(name), OID: OID(strings.Repeat("a", 40))})
	}
	return s
}

func TestSnapshotLimits(t *testing.T) {
	packs := func(n int) *Snapshot {
		s := sample(t)
		s.Number, s.Previous[0].Number, s.Previous[1].Number = 1000, 999, 998
		for i := range n - len(s.Packs) {
			s.Packs = append(s.Packs, Pack{InfoHash: InfoHash{byte(i), byte(i >> 8), 1}, Bytes: 32, From: 3, To: uint64(4 + i)})
		}
		return s
	}
	chain := func(n int) *Snapshot {
		s := sample(t)
		s.Number, s.Previous = 1000, nil
		for i := range n {
			s.Previous = append(s.Previous, Link{Number: 999 - uint64(i)})
		}
		return s
	}
	signers := func(n, size int) *Snapshot {
		s := sample(t)
		for i := range n {
			s.Signers = append(s.Signers, append([]byte{byte(i)}, make([]byte, size-1)...))
		}
		return s
	}
	for _, c := range []struct {
		what string
		s    *Snapshot
		ok   bool
	}{
		{"refs", huge(t, MaxRefs, 30), true},
		{"refs", huge(t, MaxRefs+1, 30), false},
		{"snapshot bytes", huge(t, 70_000, 250), false},
		{"packs", packs(MaxPacks), true},
		{"packs", packs(MaxPacks + 1), false},
		{"signers", signers(MaxSigners, 2), true},
		{"signers", signers(MaxSigners+1, 2), false},
		{"signer bytes", signers(1, MaxSignerBytes), true},
		{"signer bytes", signers(1, MaxSignerBytes+1), false},
		{"previous snapshots", chain(MaxPrevious), true},
		{"previous snapshots", chain(MaxPrevious + 1), false},
	} {
		// The same text, whether Format makes it or somebody else.
		for by, try := range map[string]func() error{
			"Format": func() error { _, err := c.s.Format(); return err },
			"Parse":  func() error { _, err := Parse(c.s.appendText(nil)); return err },
		} {
			err := try()
			var limit *LimitError
			if c.ok && err != nil || !c.ok && (!errors.As(err, &limit) || limit.What != c.what) {
				t.Errorf("%d refs, %d packs, %d previous: %s = %v, want a limit of %s: %v",
					len(c.s.Refs), len(c.s.Packs), len(c.s.Previous), by, err, c.what, !c.ok)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range readSnapshots(f) {
		f.Add([]byte(v.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			if s != nil {
				t.Errorf("Parse(%q) = %v and %v", text, s, err)
			}
			return
		}
		if again, err := s.Format(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("Format(Parse(%q)) = %q, %v", text, again, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text, err := huge(b, MaxRefs, 30).Format()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
