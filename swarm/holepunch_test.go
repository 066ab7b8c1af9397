package swarm

import (
	"bytes"
	"testing"
)

// A peer that asks for a rendezvous without having said that it knows the extension would end the
// process: the library looks up the number under which to answer, and panics.
func TestRendezvousWithoutExtension(t *testing.T) {
	n := newNode(t)
	info := seed(t, n, pseudo{1, 100_000})
	for name, handshake := range map[string]string{"none": "", "without": "\x00d1:mdee"} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, n, info.InfoHash())
			if handshake != "" {
				r.send(20, handshake)
			}
			r.send(20, "\x02\x00\x00\x7f\x00\x00\x01\x00\x09\x00\x00\x00\x00")
			r.send(6, 0xffffffff, 0, 16384) // it hangs up, having read what came before
			for _, _, ok := r.next(); ok; _, _, ok = r.next() {
			}
			second := dialRaw(t, n, info.InfoHash())
			second.send(20, "\x00d1:md11:ut_metadatai1eee")
			if !second.alive() {
				t.Error("the node is gone")
			}
		})
	}
}

// FuzzPunch: what is understood is written the same way again.
func FuzzPunch(f *testing.F) {
	f.Add([]byte("\x00\x00\x7f\x00\x00\x01\x00\x09\x00\x00\x00\x00"))
	f.Add([]byte("\x02\x01" + "0123456789abcdef" + "\x1a\xe1\x00\x00\x00\x02"))
	f.Add([]byte("\x01\x00\x7f\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parsePunch(b); err == nil && !bytes.Equal(m.format(), b) {
			t.Errorf("%x became %+v and then %x", b, m, m.format())
		}
	})
}
