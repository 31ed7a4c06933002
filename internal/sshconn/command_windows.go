package sshconn

import "os/exec"

// inGroup does nothing on Windows, which has no groups of processes.
func inGroup(*exec.Cmd) {}

// hangUp and kill end the command.
func hangUp(cmd *exec.Cmd) { kill(cmd) }

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
