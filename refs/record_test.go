package refs

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gitpeer/gitpeer/refs/bencode"
)

// recordReasons maps the failure classes of testdata/records.txt to what the
// error says.
var recordReasons = map[string]string{
	"bencode":     "bencode:",
	"version":     "unknown format version",
	"unknown":     ": unknown",
	"integer":     "want an integer",
	"length":      "want a string of",
	"expires":     "expires before it is signed",
	"years":       "years 1970 to 9999",
	"number":      "outside 1 to",
	"zeros":       "of HEAD",
	"peers":       "want addresses that can be dialled",
	"peers-count": "want a list of 1 to 16",
	"limit":       "exceeds the limit of 700",
}

func TestParseRecordVectors(t *testing.T) {
	vectors := readVectors(t, "records.txt")
	for _, v := range vectors {
		r, err := ParseRecord([]byte(v.text))
		if v.class != "ok" {
			if r != nil || err == nil || recordReasons[v.class] == "" || !strings.Contains(err.Error(), recordReasons[v.class]) {
				t.Errorf("ParseRecord(%q) = %v, %v, want an error with %q", v.text, r, err, recordReasons[v.class])
			}
			if errors.Is(err, ErrVersion) != (v.class == "version") {
				t.Errorf("ParseRecord(%q) = %v, is ErrVersion: want %v", v.text, err, v.class == "version")
			}
			continue
		}
		if err != nil {
			t.Errorf("ParseRecord(%q) = %v, want no error", v.text, err)
			continue
		}
		if b, err := r.Format(); err != nil || string(b) != v.text {
			t.Errorf("Format(ParseRecord(%q)) = %q, %v", v.text, b, err)
		}
	}
	if len(vectors) < 50 {
		t.Errorf("%d vectors only", len(vectors))
	}
}

func sampleRecord() *Record {
	return &Record{
		Expires:  time.Unix(2_000_000_000, 0).UTC(),
		Signed:   time.Unix(1_900_000_000, 0).UTC(),
		Head:     OID(strings.Repeat("68", 20)),
		InfoHash: InfoHash(bytes.Repeat([]byte("i"), 20)),
		Number:   42,
		Peers:    []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:6881"), netip.MustParseAddrPort("[2001:db8::1]:6881")},
		Snapshot: Digest(bytes.Repeat([]byte("s"), 32)),
	}
}

func TestRecordFields(t *testing.T) {
	want := "d1:ei2000000000e" +
		"1:h20:hhhhhhhhhhhhhhhhhhhh" +
		"2:ih20:iiiiiiiiiiiiiiiiiiii" +
		"1:ni42e" +
		"1:pl6:\x7f\x00\x00\x01\x1a\xe118:\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x1a\xe1e" +
		"1:s32:ssssssssssssssssssssssssssssssss" +
		"1:ti1900000000e" +
		"1:vi1ee"
	r := sampleRecord()
	b, err := r.Format()
	if err != nil || string(b) != want {
		t.Fatalf("Format = %q, %v, want %q", b, err, want)
	}
	got, err := ParseRecord(b)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("ParseRecord = %+v, %v, want %+v", got, err, r)
	}
	r.Head = ""
	if b, err = r.Format(); err != nil || strings.Contains(string(b), "1:h") {
		t.Errorf("unborn HEAD: Format = %q, %v, want no h", b, err)
	}
	if got, err := ParseRecord(b); err != nil || got.Head != "" {
		t.Errorf("unborn HEAD: ParseRecord = %v, %v, want no head", got, err)
	}
}

// Times are cut, peers that nobody could dial are left out.
func TestRecordFormatNormalises(t *testing.T) {
	r := sampleRecord()
	want, err := r.Format()
	if err != nil {
		t.Fatal(err)
	}
	r.Signed = r.Signed.Add(999 * time.Millisecond).In(time.FixedZone("", -3600))
	r.Expires = r.Expires.Add(time.Nanosecond)
	r.Peers = nil
	for _, s := range []string{
		"127.0.0.1:0", "0.0.0.0:1", "[::]:1", "224.0.0.1:1", "255.255.255.255:1", "[ff02::1]:1", "[fe80::1%eth0]:1",
		"[::ffff:127.0.0.1]:6881", "127.0.0.1:6881", "[2001:db8::1]:6881", "[2001:db8::1]:6881",
	} {
		r.Peers = append(r.Peers, netip.MustParseAddrPort(s))
	}
	r.Peers = append(r.Peers, netip.AddrPort{})
	if got, err := r.Format(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("Format = %q, %v, want %q", got, err, want)
	}
}

func TestRecordPeersAreBounded(t *testing.T) {
	r := sampleRecord()
	r.Head = OID(strings.Repeat("68", 32))
	r.Expires, r.Number = time.Unix(maxTime, 0), MaxNumber
	r.Peers = nil
	for i := range 40 {
		r.Peers = append(r.Peers, netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::%x]:65535", i+1)))
	}
	b, err := r.Format()
	if err != nil || len(b) > MaxRecordBytes {
		t.Fatalf("Format: %d bytes, %v, want at most %d", len(b), err, MaxRecordBytes)
	}
	got, err := ParseRecord(b)
	if err != nil || len(got.Peers) != MaxPeers || !reflect.DeepEqual(got.Peers, r.Peers[:MaxPeers]) {
		t.Errorf("ParseRecord: %v, %v, want the first %d peers", got.Peers, err, MaxPeers)
	}
	// The longest record fits with all its peers, so that the limit drops
	// none today; were it lower, the last ones would go.
	peers := compactPeers(r.Peers)
	for most, want := range map[int]int{MaxRecordBytes: MaxPeers, len(b) - 1: MaxPeers - 1, len(b) - 22: MaxPeers - 2, 170: 0} {
		if got := r.within(peers, most); len(got) > most || bytes.Count(got, []byte("18:\x20\x01")) != want {
			t.Errorf("within %d: %d peers in %d bytes, want %d", most, bytes.Count(got, []byte("18:\x20\x01")), len(got), want)
		}
	}
}

func TestRecordFormatRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Record){
		"no expiry":      func(r *Record) { r.Expires = time.Time{} },
		"no time":        func(r *Record) { r.Signed = time.Time{} },
		"expired":        func(r *Record) { r.Expires = r.Signed },
		"within seconds": func(r *Record) { r.Expires = r.Signed.Add(time.Millisecond) },
		"number 0":       func(r *Record) { r.Number = 0 },
		"large number":   func(r *Record) { r.Number = MaxNumber + 1 },
		"head":           func(r *Record) { r.Head = "main" },
		"upper case":     func(r *Record) { r.Head = OID(strings.Repeat("AB", 20)) },
		"null head":      func(r *Record) { r.Head = OID(strings.Repeat("0", 40)) },
		"year 10000":     func(r *Record) { r.Expires = time.Unix(maxTime+1, 0) },
	} {
		r := sampleRecord()
		spoil(r)
		if b, err := r.Format(); err == nil {
			t.Errorf("%s: Format = %q, want an error", name, b)
		}
	}
}

// Without its peers, any record fits.
func TestRecordFits(t *testing.T) {
	r := sampleRecord()
	r.Head = OID(strings.Repeat("68", 32))
	r.Expires, r.Signed, r.Number, r.Peers = time.Unix(maxTime, 0), time.Unix(maxTime-1, 0), MaxNumber, nil
	if b, err := r.Format(); err != nil || len(b) > 200 {
		t.Errorf("Format: %d bytes, %v, want at most 200", len(b), err)
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, v := range readVectors(f, "records.txt") {
		f.Add([]byte(v.text))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := ParseRecord(value)
		if err != nil {
			if r != nil {
				t.Errorf("ParseRecord(%q) = %v and %v", value, r, err)
			}
			return
		}
		if b, err := r.Format(); err != nil || !bytes.Equal(b, value) {
			t.Errorf("Format(ParseRecord(%q)) = %q, %v", value, b, err)
		}
		if v, err := bencode.Parse(value); err != nil || v.Kind() != bencode.Dict {
			t.Errorf("ParseRecord accepts %q, bencode does not: %v", value, err)
		}
	})
}
