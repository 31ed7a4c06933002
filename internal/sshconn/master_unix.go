//go:build unix

package sshconn

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// checkControlSocket fails unless path is a socket of this user or of root. Whoever owns it could pose as any host.
func checkControlSocket(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("it is no socket")
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to another user, with the id %d", s.Uid)
	}
	return nil
}

// sendFile passes an open file to the process at the other end of c.
func sendFile(c *net.UnixConn, f *os.File) error {
	raw, err := f.SyscallConn() // f.Fd would make it block
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		_, _, failed = c.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, failed)
}
