//go:build unix

package tornet

import (
	"os/exec"
	"syscall"
)

// detach keeps the signals of the terminal, such as that of Ctrl-C, from the
// process: the caller decides when the network ends.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
