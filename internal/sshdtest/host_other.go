//go:build !linux

package sshdtest

import (
	"context"
	"errors"
)

var errNotLinux = &Error{What: "real hosts cannot be started here", Err: errors.New("they need Linux namespaces"), Next: "Run this on Linux as root.",
	Lacking: true}

// SudoRS fails on this system.
func SudoRS(context.Context) ([]byte, error) { return nil, errNotLinux }

// Host is never made on this system.
type Host struct{}

// Available says that there are no real hosts on this system.
func Available() error { return errNotLinux }

// Start fails on this system.
func Start(Options) (*Host, error) { return nil, errNotLinux }

// Addr is empty, as there is no host.
func (*Host) Addr() string { return "" }

// HostKey is empty, as there is no host.
func (*Host) HostKey() string { return "" }

// PrivateKey is empty, as there is no host.
func (*Host) PrivateKey() string { return "" }

// Log is empty, as there is no host.
func (*Host) Log() string { return "" }

// Sh fails, as there is no host.
func (*Host) Sh(string) (out string, status int) { return errNotLinux.Error(), 127 }

// ReadFile finds no file.
func (*Host) ReadFile(string) (string, bool) { return "", false }

// WriteFile panics, as there is no host.
func (*Host) WriteFile(string, string) { panic(errNotLinux) }

// RemoveFile panics, as there is no host.
func (*Host) RemoveFile(string) { panic(errNotLinux) }

// List finds no directory.
func (*Host) List(string) []string { return nil }

// Processes finds none.
func (*Host) Processes() []string { return nil }

// Connections finds none.
func (*Host) Connections() (open int) { return 0 }

// Close does nothing.
func (*Host) Close() error { return nil }

// Container is never made on this system.
type Container struct{ Host }

// StartContainer fails on this system.
func StartContainer(context.Context) (*Container, error) { return nil, errNotLinux }

// Reboot fails, as there is no container.
func (*Container) Reboot(context.Context) error { return errNotLinux }
