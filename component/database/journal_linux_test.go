package database

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What is noted for a transaction that fails is taken back even where a file cannot be cut.
func TestJournalCannotBeCut(t *testing.T) {
	fd, err := unix.MemfdCreate("journal", unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "journal")
	defer f.Close()
	_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	require.NoError(t, err)
	j := &Journal{number: 4, files: [2]*os.File{f, f}}
	_, err = j.append([]byte("a"), false)
	require.NoError(t, err)
	back, err := j.append([]byte("b"), false)
	require.NoError(t, err)
	back()
	data, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", fd))
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("a")}, readFrames(data[journalHeader:], 4))
	_, err = j.append([]byte("c"), false)
	require.NoError(t, err)
	data, err = os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", fd))
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("a"), []byte("c")}, readFrames(data[journalHeader:], 4))
}
