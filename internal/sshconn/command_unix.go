//go:build !windows

package sshconn

import (
	"os/exec"
	"syscall"
)

// inGroup starts the command as the first process of a group.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// hangUp tells the command and what it started to end, and kill ends them.
func hangUp(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP) }

func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
