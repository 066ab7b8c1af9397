package node

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID is the user of the process at the other end of a unix socket; known
// says that this system can tell. Where it cannot for once, the user is nobody.
func peerUID(c net.Conn) (uid int, known bool) {
	u, is := c.(*net.UnixConn)
	if !is {
		return -1, true
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return -1, true
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return -1, true
	}
	return int(cred.Uid), true
}
