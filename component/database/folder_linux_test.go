package database

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// anybody lets the calling goroutine open files as somebody does who is not root, until
// what it gives is called.
func anybody() func() {
	if os.Getuid() != 0 {
		return func() {}
	}
	runtime.LockOSThread()
	setUser := func(id uintptr) { syscall.RawSyscall(syscall.SYS_SETFSUID, id, 0, 0) }
	setUser(65534)
	return func() { setUser(0); runtime.UnlockOSThread() }
}

// In a folder that cannot be written there can be no database, although the file itself is
// there and can be written.
func TestReadOnlyFolder(t *testing.T) {
	dir, err := os.MkdirTemp("", "database")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "letters.sqlite")
	open(t, letters(3), file).Close()
	require.NoError(t, os.Chmod(file, 0o666))
	closed := filepath.Join(dir, "closed.sqlite")
	require.NoError(t, os.WriteFile(closed, nil, 0))
	require.NoError(t, os.Chmod(dir, 0o555))
	defer os.Chmod(dir, 0o755)
	defer anybody()()
	_, err = letters(3).Open(file, nil)
	require.ErrorContains(t, err, "its folder must be Allium's")
	_, err = letters(3).Open(filepath.Join(dir, "more.sqlite"), nil)
	require.ErrorIs(t, err, os.ErrPermission)
	_, err = letters(3).Open(closed, nil)
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "its folder must be Allium's")
	require.ErrorContains(t, letters(3).Check(file, nil), "its folder must be Allium's")
	require.ErrorContains(t, letters(3).Check(closed, nil), "its folder must be Allium's")
}
