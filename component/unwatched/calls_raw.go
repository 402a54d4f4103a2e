//go:build linux && (amd64 || arm64 || riscv64)

package unwatched

import (
	"syscall"
	"unsafe"
)

// Read reads what is there. The error is a syscall.Errno, EAGAIN if there is nothing yet; no
// octets are the end. It is safe for concurrent use, as the others are.
func Read(fd uintptr, p []byte) (n int, err error) { return call(syscall.SYS_READ, fd, p, 0) }

// Write writes what there is room for, as Read reads.
func Write(fd uintptr, p []byte) (n int, err error) { return call(syscall.SYS_WRITE, fd, p, 0) }

// WriteAt writes to a place in a file, in octets from its beginning. It can write less, as
// Write does.
func WriteAt(fd uintptr, p []byte, at int64) (n int, err error) {
	return call(syscall.SYS_PWRITE64, fd, p, at)
}

func call(number, fd uintptr, p []byte, at int64) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		r, _, errno := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(at), 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
