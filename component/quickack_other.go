//go:build !linux

package component

// acknowledge does nothing where the kernel cannot be told.
func acknowledge(fd uintptr) {}
