package provider_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Guards that two runs of two configurations change one host at the same time without a mix: every key has its value
// and its file, and when both have taken back theirs at the same time, all is as at the start.
func TestAccTwoRunsOnOneHost(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	parts := []map[string]string{
		{
			"vm.swappiness": "10", "net.core.somaxconn": "128", "net.ipv4.tcp_fin_timeout": "41", "kernel.panic": "7",
			"net.ipv4.ip_forward": "1",
		},
		{
			"net.ipv4.tcp_keepalive_probes": "5", "net.ipv4.tcp_retries2": "9", "vm.dirty_ratio": "30",
			"net.ipv4.conf.all.log_martians": "1",
		},
	}
	var workspaces []*workspace
	var paths []string
	want := map[string]string{}
	for _, part := range parts {
		text := required + config(m, "")
		for key, value := range part {
			text += fmt.Sprintf("resource \"host_sysctl\" %q {\n  host = \"web1\"\n  key = %q\n  value = %q\n}\n",
				strings.ReplaceAll(key, ".", "_"), key, value)
			paths = append(paths, procPath(key))
			want[procPath(key)] = value
		}
		workspaces = append(workspaces, newWorkspace(t, text))
	}
	start := state(t, m, paths...)
	both := func(args ...string) {
		t.Helper()
		var all sync.WaitGroup
		for _, w := range workspaces {
			all.Go(func() {
				if out, status := w.try(args...); status != 0 {
					t.Errorf("%s ended with %d:\n%s", args[0], status, out)
				}
			})
		}
		all.Wait()
	}
	both("apply", "-auto-approve")
	holding(t, map[string]machine{"web1": m}, want)
	for _, w := range workspaces {
		w.settled()
	}
	both("destroy", "-auto-approve")
	unchanged(t, start, state(t, m, paths...))
}
