package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests run twice removed: as a program in a network namespace of its own, where
// nothing but loopback is, so that nothing can leave and ports cannot collide, and with
// mounts of its own, since one test fills a disk; and as the real program, or the limit
// of room services, where a test starts it.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(limitEnv) != "":
		runLimit(os.Getenv(limitEnv))
		os.Exit(0)
	case os.Getenv("ALLIUM_TEST_MAIN") != "":
		os.Unsetenv("ALLIUM_TEST_MAIN")
		os.Setenv("ALLIUM_TEST_MAIN", "1") // for those that it starts itself
		main()
		os.Exit(0)
	case os.Getenv("ALLIUM_TEST_NETNS") == "":
		os.Exit(inNamespace())
	}
	if err := loopbackUp(); err != nil {
		fmt.Fprintln(os.Stderr, "bring up loopback:", err)
		os.Exit(1)
	}
	// What is mounted here is mounted nowhere else.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Fprintln(os.Stderr, "make mounts private:", err)
		os.Exit(1)
	}
	os.Setenv("ALLIUM_TEST_MAIN", "1") // for the children
	code := m.Run()
	stopShared()
	os.Exit(code)
}

// inNamespace runs this program again, in a network namespace.
func inNamespace() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), "ALLIUM_TEST_NETNS=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			return exit.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "run in a network namespace (as root, or where users may make namespaces):", err)
		return 1
	}
	return 0
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}

// runAllium runs a command line in this process.
func runAllium(ctx context.Context, args ...string) (string, error) {
	out := &lockedBuffer{}
	err := allium(ctx, args, out, out)
	return out.String(), err
}
