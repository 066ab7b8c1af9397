package swarm

import (
	"errors"
	"slices"

	"github.com/gitpeer/gitpeer/refs/bencode"
)

// Reasons for which a packet is dropped, for the log and for tests.
var (
	errLength  = errors.New("too short or too long")
	errEnvelop = errors.New("not a KRPC message")
	errQuery   = errors.New("malformed query")
	errMethod  = errors.New("unknown method")
	errReply   = errors.New("malformed reply")
	errError   = errors.New("malformed error")
)

// checkPacket decides whether the library may see a packet and returns its
// kind: 'q', 'r' or 'e', for query, reply and error. It wants canonical
// bencode (the library prints anything else), the types and lengths that BEP
// 5, 32, 33, 42, 43, 44 and 51 give each field that the library decodes, and
// all that it dereferences without looking.
func checkPacket(packet []byte) (kind byte, err error) {
	if len(packet) < len("d1:rd2:id20:e1:t0:1:y1:re") || len(packet) > maxPacket {
		return 0, errLength
	}
	if packet[0] != 'd' {
		return 0, errEnvelop // uTP, DTLS, STUN: not worth parsing
	}
	dict, err := bencode.Parse(packet)
	if err != nil {
		return 0, err
	}
	m := fieldsOf(dict)
	y, _ := m["y"].Str()
	if len(y) != 1 || !m.str("t", between(1, 64)) || m.absent("t") || !m.str("q", between(1, 32)) ||
		!m.str("v", between(0, 64)) || !m.ints("ro") || !m.str("ip", oneOf(6, 18)) {
		return 0, errEnvelop
	}
	switch y[0] {
	case 'q':
		err = checkQuery(m)
	case 'r':
		err = checkReply(m)
	case 'e':
		err = checkError(m)
	default:
		err = errEnvelop
	}
	if err != nil {
		return 0, err
	}
	return y[0], nil
}

// checkQuery refuses a query without "a" (put and announce_peer dereference
// it) and methods that nobody needs: the library counts each method name it
// ever saw in a map that never shrinks.
func checkQuery(m fields) error {
	if m["a"].Kind() != bencode.Dict || !m.absent("r") || !m.absent("e") {
		return errQuery
	}
	a := fieldsOf(m["a"])
	if !a.str("id", oneOf(20)) || a.absent("id") ||
		!a.str("info_hash", oneOf(20)) || !a.str("target", oneOf(20)) || !a.str("token", between(0, 256)) ||
		!a.str("k", oneOf(32)) || !a.str("sig", oneOf(64)) || !a.str("salt", between(0, 64)) ||
		!a.ints("port", "implied_port", "noseed", "scrape", "seq", "cas") || !a.strs("want", between(0, 8)) {
		return errQuery
	}
	if port, ok := a["port"].Int(); ok && (port < 0 || port > 65535) {
		return errQuery
	}
	need := ""
	switch method, _ := m["q"].Str(); string(method) {
	case "ping":
		return nil
	case "find_node", "get", "sample_infohashes":
		need = "target"
	case "get_peers", "announce_peer":
		need = "info_hash"
	case "put":
		need = "v"
	default:
		return errMethod
	}
	if a.absent(need) {
		return errQuery
	}
	return nil
}

// checkReply refuses short entries in "values" (they panic in the decoder) and
// a mutable item without seq or signature, which exts/getput dereferences.
func checkReply(m fields) error {
	if m["r"].Kind() != bencode.Dict || !m.absent("a") || !m.absent("e") {
		return errReply
	}
	r := fieldsOf(m["r"])
	if !r.str("id", oneOf(20)) || r.absent("id") ||
		!r.str("nodes", multiple(26)) || !r.str("nodes6", multiple(38)) || !r.str("samples", multiple(20)) ||
		!r.str("token", between(0, 256)) || !r.strs("values", oneOf(6, 18)) ||
		!r.str("BFsd", oneOf(256)) || !r.str("BFpe", oneOf(256)) ||
		!r.ints("interval", "num", "seq") || !r.str("k", oneOf(32)) || !r.str("sig", oneOf(64)) {
		return errReply
	}
	if !r.absent("k") && (r.absent("seq") || r.absent("sig")) {
		return errReply
	}
	return nil
}

func checkError(m fields) error {
	if !m.absent("a") || !m.absent("r") {
		return errError
	}
	switch m["e"].Kind() {
	case bencode.String:
		return nil
	case bencode.List:
		items := slices.Collect(m["e"].Items())
		if len(items) >= 2 && items[0].Kind() == bencode.Int && items[1].Kind() == bencode.String {
			return nil
		}
	}
	return errError
}

// fields is a dictionary opened for several questions. Each test holds for
// an absent field. No field is left out, however many there are: the library
// would find the one that was not looked at.
type fields map[string]bencode.Value

func fieldsOf(dict bencode.Value) fields {
	f := make(fields, 16)
	for key, value := range dict.Fields() {
		f[string(key)] = value
	}
	return f
}

func (f fields) absent(key string) bool { return f[key].Kind() == bencode.None }

func (f fields) str(key string, length func(int) bool) bool {
	if f.absent(key) {
		return true
	}
	s, ok := f[key].Str()
	return ok && length(len(s))
}

func (f fields) ints(keys ...string) bool {
	for _, key := range keys {
		if _, ok := f[key].Int(); !ok && !f.absent(key) {
			return false
		}
	}
	return true
}

func (f fields) strs(key string, length func(int) bool) bool {
	if !f.absent(key) && f[key].Kind() != bencode.List {
		return false
	}
	for item := range f[key].Items() {
		if s, ok := item.Str(); !ok || !length(len(s)) {
			return false
		}
	}
	return true
}

func oneOf(lengths ...int) func(int) bool {
	return func(n int) bool { return slices.Contains(lengths, n) }
}

func between(low, high int) func(int) bool {
	return func(n int) bool { return low <= n && n <= high }
}

func multiple(of int) func(int) bool {
	return func(n int) bool { return n%of == 0 }
}
