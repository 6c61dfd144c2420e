//go:build !linux

package relay

import "syscall"

// sendNow writes what a socket takes without waiting: Go's sockets do not
// block.
func sendNow(fd uintptr, b []byte) (int, error) {
	n, err := syscall.Write(int(fd), b)
	return max(n, 0), err
}
