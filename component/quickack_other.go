//go:build !linux

package component

import "net"

// ackAtOnce does nothing where the kernel cannot be told.
func ackAtOnce(c net.Conn) net.Conn { return c }
