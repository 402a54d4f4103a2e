package hosttest

import (
	"errors"
	"syscall"
)

// sysProcAttr puts the server in a process group of its own, so that a ^C in
// the terminal does not reach it before its user is done with it, and has the
// kernel kill it when this process dies without stopping it.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// signal sends sig to the process group of the server.
func (p *process) signal(sig syscall.Signal) error {
	if err := syscall.Kill(-p.pid, sig); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil // it has just ended
}
