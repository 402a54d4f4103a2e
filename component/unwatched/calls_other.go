//go:build !linux || !(amd64 || arm64 || riscv64)

package unwatched

import "syscall"

// Read reads what is there.
func Read(fd uintptr, p []byte) (n int, err error) {
	return again(func() (int, error) { return syscall.Read(int(fd), p) })
}

// Write writes what there is room for.
func Write(fd uintptr, p []byte) (n int, err error) {
	return again(func() (int, error) { return syscall.Write(int(fd), p) })
}

// WriteAt writes to a place in a file, in octets from its beginning.
func WriteAt(fd uintptr, p []byte, at int64) (n int, err error) {
	return again(func() (int, error) { return syscall.Pwrite(int(fd), p, at) })
}

func again(f func() (int, error)) (n int, err error) {
	for {
		if n, err = f(); err != syscall.EINTR {
			return max(0, n), err
		}
	}
}
