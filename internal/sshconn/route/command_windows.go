package route

import "os/exec"

// InGroup does nothing on Windows, which has no groups of processes.
func InGroup(*exec.Cmd) {}

// HangUp and Kill end the command.
func HangUp(cmd *exec.Cmd) { Kill(cmd) }

// Kill ends the command, and where there are groups what it started.
func Kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
