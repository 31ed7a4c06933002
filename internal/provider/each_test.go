//go:build !vm

package provider_test

// The machines that the acceptance suite runs on: the simulated host, and in network namespaces of their own a real OpenSSH sshd, a dropbear with BusyBox's shell and
// commands, and a Debian that systemd-nspawn boots.

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// onEach runs a test on each kind of machine, beside the others.
func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	t.Helper()
	checkName(t)
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) machine{
		"simulated":            func(t *testing.T) machine { return simulated(t) },
		"sshd":                 func(t *testing.T) machine { return realHost(t, sshdtest.Options{}) },
		"container":            func(t *testing.T) machine { return container(t) },
		"dropbear and BusyBox": func(t *testing.T) machine { return realHost(t, sshdtest.Options{Server: "dropbear", Shell: "busybox"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}
