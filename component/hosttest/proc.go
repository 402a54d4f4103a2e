package hosttest

import (
	"os"
	"os/exec"
	"runtime"
)

// process is a started server.
type process struct {
	pid   int
	done  chan struct{}    // closed when the process has ended
	state *os.ProcessState // set before done is closed
}

// spawn starts cmd in a process group of its own.
func spawn(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = sysProcAttr()
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel kills the server when the thread that started it ends
		// (see sysProcAttr), so the thread has to live as long as the server.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is in the state
		p.state = cmd.ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// ended reports whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
