//go:build !unix

package tornet

import "os/exec"

func detach(*exec.Cmd) {}
