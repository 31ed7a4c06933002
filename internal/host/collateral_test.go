package host_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

const redirects = "net.ipv4.conf.all.accept_redirects"

// Guards that a change of forwarding which fails restores what follows it too, and that its destroy leaves what a file
// of the host sets.
func TestForwardingTakesNoRedirectsAlong(t *testing.T) {
	forward := keep(t, "net.ipv4.ip_forward", "1")
	t.Run("a change that fails", func(t *testing.T) {
		b := newBench(t)
		b.Sh("echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects")
		undo := b.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/sysctl.d"})
		_, err := b.host.SetSysctl(t.Context(), forward, nil, nil)
		undo()
		if err == nil || host.MayHaveChanged(err) {
			t.Errorf("it ends with %v", err)
		}
		if fwd, red := rshValue(b, "net.ipv4.ip_forward"), rshValue(b, redirects); fwd != "0" || red != "0" {
			t.Errorf("ip_forward is %s and accept_redirects %s, and both were 0", fwd, red)
		}
	})
	t.Run("destroy", func(t *testing.T) {
		b := newBench(t)
		b.WriteFile("/etc/sysctl.d/10-hardening.conf", redirects+" = 0\n")
		b.Sh("echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects")
		st, err := b.host.SetSysctl(t.Context(), forward, nil, nil)
		must(t, err)
		must(t, b.host.UnsetSysctl(t.Context(), forward, st.Original, true))
		if got := rshValue(b, redirects); got != "0" {
			t.Errorf("accept_redirects is %s", got)
		}
	})
}

// Guards that a destroy gives a key that followed its value from before back though the leader has the value that
// another file leaves it, by its own name or another one.
func TestFollowerIsRestoredThoughItsLeaderIsNot(t *testing.T) {
	for _, line := range []string{"", "net.ipv4.ip_forward = 0\n", "net.ipv4.conf.all.forwarding = 0\n"} {
		t.Run(line, func(t *testing.T) {
			b := newBench(t)
			b.WriteFile("/etc/sysctl.d/10-site.conf", line)
			b.Sh("echo 1 >/proc/sys/net/ipv4/conf/lo/forwarding")
			on, off := keepAll(t, "net.ipv4.conf.all.forwarding = 1"), keepAll(t, "net.ipv4.conf.all.forwarding = 0")
			states, err := b.host.SetSysctls(t.Context(), on, nil, nil)
			must(t, err)
			known := originals(states)
			states, err = b.host.SetSysctls(t.Context(), off, &on, known)
			must(t, err)
			must(t, b.host.UnsetSysctls(t.Context(), off, originals(states)))
			if got := rshValue(b, "net.ipv4.conf.lo.forwarding"); got != "1" {
				t.Errorf("conf.lo.forwarding is %s, and was 1", got)
			}
		})
	}
}

// Guards that a resource whose drop-in went to another one, and that then agrees with it, remembers what followed: the
// last of them to be destroyed gives the follower its value back.
func TestFollowerIsRememberedByTheLastOfItsLeaders(t *testing.T) {
	b := newBench(t)
	b.Sh("echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects")
	named := func(name string, setting string) host.Sysctls {
		s := keepAll(t, setting)
		s.Name, s.FileName, s.Instance = name, "85-"+name+".conf", name
		return s
	}
	off, on := named("a", "net.ipv4.conf.all.forwarding = 0"), named("a", "net.ipv4.conf.all.forwarding = 1")
	states, err := b.host.SetSysctls(t.Context(), off, nil, nil)
	must(t, err)
	known := originals(states)
	other := named("b", "net.ipv4.ip_forward = 1")
	others, err := b.host.SetSysctls(t.Context(), other, nil, nil)
	must(t, err)
	_, err = b.host.SetSysctls(t.Context(), on, &off, known)
	must(t, err)
	must(t, b.host.UnsetSysctls(t.Context(), other, originals(others)))
	must(t, b.host.UnsetSysctls(t.Context(), on, known))
	if fwd, red := rshValue(b, "net.ipv4.ip_forward"), rshValue(b, redirects); fwd != "0" || red != "0" {
		t.Errorf("ip_forward is %s and accept_redirects %s, and both were 0", fwd, red)
	}
}

// Guards that undoing a load, and unloading a module, leave modules that were loaded before or by another resource.
func TestUnloadTakesOneModule(t *testing.T) {
	loaded := func(b bench) bool {
		out, _ := b.Sh("grep '^nf_conntrack ' /proc/modules")
		return strings.HasPrefix(out, "nf_conntrack ")
	}
	nat := host.Module{Name: "nf_nat", Persist: true}
	t.Run("undo", func(t *testing.T) {
		b := newBench(t)
		b.Sh("modprobe nf_conntrack")
		undo := b.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/modules-load.d"})
		_, err := b.host.SetModule(t.Context(), nat, nil)
		undo()
		if err == nil || !loaded(b) {
			t.Errorf("it ends with %v; nf_conntrack is loaded: %v", err, loaded(b))
		}
	})
	t.Run("destroy", func(t *testing.T) {
		b := newBench(t)
		_, err := b.host.SetModule(t.Context(), host.Module{Name: "nf_conntrack", Persist: true}, nil)
		must(t, err)
		_, err = b.host.SetModule(t.Context(), nat, nil)
		must(t, err)
		must(t, b.host.UnsetModule(t.Context(), nat, true))
		if !loaded(b) {
			t.Error("nf_conntrack, a resource of its own, was unloaded")
		}
	})
}

// Guards that a report of the next boot reads the host each time it is asked for.
func TestBootReportSeesWhatHappenedSince(t *testing.T) {
	b := newBench(t)
	_, err := b.host.BootReport(t.Context(), nil)
	must(t, err)
	b.WriteFile("/etc/sysctl.d/99-provisioner.conf", "vm.swappiness = 1\n")
	report, err := b.host.BootReport(t.Context(), nil)
	must(t, err)
	for _, k := range report.Keys {
		if k.Key.String() == "vm.swappiness" && text(k.Boot) == "1" {
			return
		}
	}
	t.Error("the second report does not see 99-provisioner.conf")
}

// Guards that a key which goes away between the look and the write is said to be gone, and not to have been refused.
func TestKeyThatGoesAwayIsNotRefused(t *testing.T) {
	var b bench
	b = over(t, func(c host.Conn) host.Conn {
		return runner{c, func(ctx context.Context, s shell.Script) (shell.Result, error) {
			if s.Name == "set" && strings.Contains(strings.Join(s.Args, " "), "nf_conntrack") {
				b.Sh("rmmod nf_conntrack")
			}
			return c.Run(ctx, s)
		}}
	})
	b.Sh("modprobe nf_conntrack; echo nf_conntrack >/etc/modules-load.d/x.conf")
	_, err := b.host.SetSysctl(t.Context(), keep(t, "net.netfilter.nf_conntrack_tcp_be_liberal", "1"), nil, nil)
	if !errors.Is(err, &host.Error{Kind: host.KeyMissing}) {
		t.Errorf("it ends with %v", err)
	}
}
