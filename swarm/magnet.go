package swarm

import (
	"fmt"

	"github.com/gitpeer/gitpeer/refs"
)

func Magnet(ih refs.InfoHash, name string, length int64) string {
	return fmt.Sprintf("magnet:?xt=urn:btih:%s&dn=%s&xl=%d", ih, name, length)
}
