package component

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// acknowledge has the kernel acknowledge (in the sense of TCP) what was read.
func acknowledge(fd uintptr) {
	on := int32(1)
	unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, uintptr(unsafe.Pointer(&on)), unsafe.Sizeof(on), 0)
}
