//go:build !windows

package route

import (
	"os/exec"
	"syscall"
)

// InGroup starts the command as the first process of a group.
func InGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// HangUp tells the command and what it started to end, and Kill ends them.
func HangUp(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP) }

// Kill ends the command, and where there are groups what it started.
func Kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
