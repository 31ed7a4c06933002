//go:build !vm

package provider_test

// The machines that the acceptance suite runs on: the simulated host, and in network namespaces of their own a real OpenSSH sshd, and a dropbear with BusyBox's
// shell and commands.

import (
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// onEach runs a test on each kind of machine.
func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	t.Helper()
	checkName(t)
	t.Run("simulated", func(t *testing.T) { test(t, simulated(t)) })
	t.Run("sshd", func(t *testing.T) { test(t, realHost(t, sshdtest.Options{})) })
	t.Run("dropbear and BusyBox", func(t *testing.T) { test(t, realHost(t, sshdtest.Options{Server: "dropbear", Shell: "busybox"})) })
}
