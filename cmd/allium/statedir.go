package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stateDir makes the state folder, or refuses one that others can look into, or that is
// another user's: what is made there as that one, Allium's user could not read later.
func (c *config) stateDir() error {
	st, err := os.Stat(c.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(c.StateDir, 0o700); err != nil {
			return fmt.Errorf("state_dir %s cannot be made: %w; make it for Allium's user: install -d -o allium -m 700 %s", c.StateDir, bare(err), c.StateDir)
		}
		st, err = os.Stat(c.StateDir)
	}
	if err != nil {
		return explainOwner(c.StateDir, err)
	}
	if !st.IsDir() {
		return fmt.Errorf("state_dir %s is not a folder", c.StateDir)
	}
	if uid := owner(st); uid != os.Geteuid() {
		return fmt.Errorf("state_dir %s belongs to %s: %s", c.StateDir, userName(uid), asOwner(uid, "chown -R", c.StateDir))
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("state_dir %s is open to others (mode %04o), and has keys in it: chmod 700 %s", c.StateDir, st.Mode().Perm(), c.StateDir)
	}
	if err := unix.Access(c.StateDir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("state_dir %s cannot be written to: %w; if it is not the file system: chmod 700 %s", c.StateDir, err, c.StateDir)
	}
	tor := filepath.Join(c.StateDir, "tor")
	if err := os.MkdirAll(tor, 0o700); err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	if st, err = os.Stat(tor); err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	if owner(st) != os.Geteuid() || c.Tor.Control == "" && st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has to be of the same user, and closed to others, or tor does not start: chown %s %s; chmod 700 %s", tor, userName(os.Geteuid()), tor, tor)
	}
	return nil
}

// lock keeps a second Allium out of the state folder: two would take turns in being
// the one that the network finds.
func (c *config) lock() (unlock func(), err error) {
	if _, err := os.Stat(c.StateDir); errors.Is(err, os.ErrNotExist) && c.Federation != nil {
		if _, err := c.identity(); err != nil { // the folder's name is wrong, or the key was lost
			return nil, err
		}
	}
	if err := c.stateDir(); err != nil {
		return nil, err
	}
	file := filepath.Join(c.StateDir, "lock")
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explainOwner(file, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		return nil, fmt.Errorf("%w of state_dir %s; its process is %s: stop it first", errRunning, c.StateDir, strings.TrimSpace(string(pid[:n])))
	}
	// For whoever is kept out.
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		f.Close()
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	return func() { f.Close() }, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

var errRunning = errors.New("another Allium has the lock")

// private refuses a file that others than its owner can read.
func private(file, why string) error {
	st, err := os.Stat(file)
	if err != nil {
		return explainOwner(file, err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others (mode %04o), and %s: chmod 600 %s", file, st.Mode().Perm(), why, file)
	}
	return nil
}

// explainOwner says whose a file is that may not be read, and how to mend that.
func explainOwner(file string, err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	st, serr := os.Stat(file)
	if serr != nil {
		return fmt.Errorf("%w: %s may not look there", err, userName(os.Geteuid()))
	}
	switch uid := owner(st); uid {
	case os.Geteuid():
		return fmt.Errorf("%w: chmod u+rw %s", err, file)
	default:
		return fmt.Errorf("%w: it belongs to %s: %s", err, userName(uid), asOwner(uid, "chown", file))
	}
}

// asOwner is how this user comes to what belongs to another: it was made as root by mistake, or
// this is the wrong user.
func asOwner(uid int, chown, file string) string {
	if uid == 0 {
		return fmt.Sprintf("%s %s %s", chown, userName(os.Geteuid()), file)
	}
	return fmt.Sprintf("run it as that user: sudo -u %s allium ...", userName(uid))
}

func owner(st os.FileInfo) int { return int(st.Sys().(*syscall.Stat_t).Uid) }

// userName is how people call a user, or else the number.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// bare is an error without the operation and the path, which the sentence has already.
func bare(err error) error {
	if pe := new(os.PathError); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
