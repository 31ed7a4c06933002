// Package vmtest runs a Debian machine in QEMU for tests: systemd, OpenSSH, a Debian kernel with its modules, and reboots
// that are real. Linux only; a plain user can run it. Where KVM works it is used.
//
// The machine of each release is built once, from Debian's packages, into the user's cache directory, under a hash of its
// recipe and of QEMU's version. What is kept there is a disk and the memory of the machine when it had just booted. Each
// VM starts from both in about a second, and writes to a temporary file that has no name, so that every VM is as fresh as
// the first. Nothing outlives Close, nor the process that called Start.
package vmtest

import "time"

// Options say what a VM is like. The zero value is the fresh machine.
type Options struct {
	// Suite is the release of Debian.
	Suite Suite
	// Cmdline holds further words of the kernel command line. The VM then boots instead of going on from the memory that was kept.
	Cmdline string
	// Record has the kernel record writes to /proc/sys and loads of modules from its start, for VM.Recording. Only Trixie
	// has a kernel that can, and the VM then boots too.
	Record bool
	// Init is what starts the machine's services; with one that is not Systemd the VM boots too.
	Init Init
}

// Suite is a release of Debian.
type Suite string

// The releases that there is a machine of.
const (
	Bookworm Suite = ""
	Trixie   Suite = "trixie"
)

// Init is a program that starts a machine's services.
type Init string

// The inits of a VM.
const (
	Systemd Init = ""
	OpenRC  Init = "/sbin/init"                          // on Bookworm: sysvinit starts it, and its services are Debian's kmod and procps
	BusyBox Init = "/usr/local/sbin/vmtest-busybox-init" // reads no file of sysctl.d or modules-load.d
)

// The users of a VM, who all log in with PrivateKey.
const (
	Root   = "root"
	Sudoer = "ops" // may do all by sudo, without a password
	NoSudo = "dev" // is not in sudoers
)

const (
	// bootTimeout is for a machine so busy that something must be wrong.
	bootTimeout = 10 * time.Minute
	// bootEffort is the CPU time by which a machine is up or hangs: emulated, a boot takes some 10 to 25 seconds of it, and with OpenRC's many
	// shells more than a minute, however busy the host is.
	bootEffort = 3 * time.Minute
	// bootPause is how long a boot may take next to no CPU time: even a busy host gives it some.
	bootPause = time.Minute
)

// Error says what could not be done, why, and what to do next.
type Error struct {
	What string
	Err  error
	Next string
}

func (e *Error) Error() string {
	s := e.What
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Next != "" {
		s += "\n" + e.Next
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
