package packfile

import (
	"bytes"
	"testing"

	"github.com/gitpeer/gitpeer/refs"
)

func FuzzScanPack(f *testing.F) {
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00"))
	f.Add(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x30x\x9c\x03\x00\x00\x00\x00\x01"), make([]byte, 20)...))
	f.Add(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x62\x01x\x9cc\x60\x60\x00\x00\x00\x03\x00\x01"), make([]byte, 20)...))
	limits := Limits{Bytes: 1 << 16, Objects: 1 << 10, Inflated: 1 << 20, Object: 1 << 18}
	f.Fuzz(func(t *testing.T, pack []byte) {
		got, err := Scan(bytes.NewReader(pack), refs.SHA1, limits, nil)
		if err != nil {
			return
		}
		if got.Bytes != int64(len(pack)) || got.Objects > limits.Objects || got.Inflated > limits.Inflated {
			t.Errorf("scan of %d bytes = %+v, beyond the limits %+v", len(pack), got, limits)
		}
	})
}
