package host_test

// Faults of a whole Debian, which a container and a virtual machine have: what is killed, refused or full there.

import (
	"errors"
	"maps"
	"strings"
	"testing"

	sshfault "github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// do runs a script on the machine; any goroutine may.
func (p *plant) do(t *testing.T, script string) {
	t.Helper()
	if out, status := p.machine.Sh(script); status != 0 {
		t.Errorf("%s: %d, %s", script, status, out)
	}
}

// each prepares operations one after the other, from what the machine holds now.
func (p *plant) each(t *testing.T, ops []operation, as route.Settings, test func(t *testing.T, o *prepared)) {
	t.Helper()
	fresh := p.holds(t, "")
	for _, op := range ops {
		t.Run(op.name, func(t *testing.T) { test(t, p.prepare(t, fresh, op, as)) })
	}
	p.restore(t, fresh)
}

func failed(err error) bool { return err != nil }

// kill kills sshd with all of its sessions, and revive starts it again. Systemd must have been told by mortal that this
// may happen often.
func (p *plant) kill(t *testing.T) {
	p.do(t, "systemctl kill --kill-who=all -s KILL ssh.service; while systemctl -q is-active ssh.service; do :; done")
	p.wire.hangUp()
}

func (p *plant) revive(t *testing.T) {
	t.Helper()
	p.do(t, "systemctl start ssh.service")
	p.wire.listen(t)
}

func (p *plant) mortal(t *testing.T) {
	t.Helper()
	p.do(t, `set -e
mkdir -p /etc/systemd/system/ssh.service.d
printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=no\n' >/etc/systemd/system/ssh.service.d/mortal.conf
systemctl daemon-reload
`)
}

// serverKilled kills sshd with all of its sessions at every exchange in turn.
func (p *plant) serverKilled(t *testing.T, ops []operation) {
	p.mortal(t)
	p.each(t, ops, route.Settings{}, func(t *testing.T, o *prepared) {
		for at, came := 1, true; came; at++ {
			f := o.onTheWire(at, answered, func() { p.kill(t) })
			f.mend = func() { p.revive(t) }
			f.name, f.ends = "sshd killed, "+f.name, failed
			came = o.tries(t, f)
		}
	})
}

// fileSystemRefuses makes the directories of all drop-ins full, read-only or not root's, and then that of modprobe.d
// alone, which a module writes last.
func (p *plant) fileSystemRefuses(t *testing.T, ops []operation) {
	p.do(t, `set -e
mkdir /run/small
mount -t tmpfs -o size=64k small /run/small
for d in sysctl.d modules-load.d modprobe.d; do
	cp -a /etc/$d /run/small
	mount --bind /run/small/$d /etc/$d
done
mkdir -p /etc/systemd/system/ssh.service.d
printf '[Service]\nCapabilityBoundingSet=~CAP_DAC_OVERRIDE\n' >/etc/systemd/system/ssh.service.d/hardened.conf
systemctl daemon-reload
systemctl restart ssh.service
`)
	const all = "sysctl.d modules-load.d modprobe.d"
	p.each(t, ops, route.Settings{}, func(t *testing.T, o *prepared) {
		for _, r := range []struct{ words, strike, mend string }{
			{
				"No space left on device", "cat /dev/zero >/run/small/filler 2>/dev/null; [ -s /run/small/filler ]",
				"rm /run/small/filler",
			},
			{
				"Read-only file system", "for d in DIRS; do mount -o remount,bind,ro /etc/$d; done",
				"for d in DIRS; do mount -o remount,bind,rw /etc/$d; done",
			},
			{"Permission denied", "cd /etc && chown ops DIRS", "cd /etc && chown root DIRS"},
		} {
			for _, dirs := range []string{all, "modprobe.d"} {
				if dirs != all && (!strings.Contains(o.name, "module") || !strings.Contains(r.strike, "DIRS")) {
					continue
				}
				o.tries(t, fault{
					name:   r.words + ", " + dirs,
					strike: func() { p.do(t, strings.ReplaceAll(r.strike, "DIRS", dirs)) },
					mend:   func() { p.do(t, strings.ReplaceAll(r.mend, "DIRS", dirs)) },
					ends: func(err error) bool {
						if strings.HasPrefix(o.name, "delete") && !strings.Contains(r.strike, "DIRS") {
							return err == nil // which takes no space
						}
						return err != nil && strings.Contains(err.Error(), r.words)
					},
				})
			}
		}
	})
	p.do(t,
		"rm -r /etc/systemd/system/ssh.service.d; systemctl daemon-reload; systemctl restart ssh.service; umount "+
			"/etc/sysctl.d /etc/modules-load.d /etc/modprobe.d /run/small")
}

// shellDies kills the host's shell when a file is all written and not yet renamed, which is when a temporary file is
// left.
func (p *plant) shellDies(t *testing.T, ops []operation) {
	p.each(t, ops, route.Settings{}, func(t *testing.T, o *prepared) {
		o.tries(t, fault{
			name: "the shell dies before the rename",
			strike: func() {
				p.do(t,
					"mv /usr/bin/mv /usr/bin/mv.real && printf '#!/bin/sh\nkill -9 $PPID\n' >/usr/bin/mv && chmod 755 /usr/bin/mv")
			},
			mend: func() { p.do(t, "mv.real /usr/bin/mv.real /usr/bin/mv") },
			ends: func(err error) bool { return (err == nil) == strings.HasPrefix(o.name, "delete") }, // which renames nothing
		})
	})
}

// rootRefused makes the change as who may not: a user without sudo, one whom sudo refuses, and one whom it refuses in
// mid-apply.
func (p *plant) rootRefused(t *testing.T, ops []operation) {
	on := true
	as := route.Settings{Login: route.Login{User: sshdtest.Sudoer}, Root: route.Root{Sudo: &on}}
	p.each(t, ops, as, func(t *testing.T, o *prepared) {
		root := o.host
		for _, who := range []struct {
			name string
			as   route.Settings
			ends func(err error) bool
		}{
			{"no sudo", route.Settings{Login: route.Login{User: sshdtest.NoSudo}}, failed},
			{"sudo refuses", route.Settings{Login: route.Login{User: sshdtest.NoSudo}, Root: route.Root{Sudo: &on}},
				func(err error) bool {
					var e *sshfault.Error
					return errors.As(err, &e) && e.Kind == sshfault.SudoRefused
				}},
		} {
			o.tries(t, fault{
				name:   who.name,
				strike: func() { o.host = p.unreached(t, false, who.as) },
				mend:   func() { o.host = root },
				ends:   who.ends,
			})
		}
		for at := 2; at <= o.exchanges; at++ {
			f := o.onTheWire(at, answered, func() { p.do(t, "mv /etc/sudoers.d/ops /root") })
			f.mend = func() {
				p.do(t, "mv /root/ops /etc/sudoers.d")
				o.host = p.reach(t, false, as)
			}
			f.name, f.ends = "sudo refuses from now on, "+f.name, failed
			o.tries(t, f)
		}
	})
}

// Guards that a value which the kernel refuses never stands in a file, whenever the host goes away.
func TestContainerKeepsABadValueOutOfFiles(t *testing.T) {
	_, p := newContainer(t)
	p.mortal(t)
	fresh := p.holds(t, "")
	bad := oneKey(t, "net.ipv4.tcp_fin_timeout", "99999999999", true)
	h := p.reach(t, false, route.Settings{})
	for at, came := 1, true; came; at++ {
		p.wire.count(at, answered, func() { p.kill(t) })
		_, err := h.SetSysctl(t.Context(), bad, nil, nil)
		if _, came = p.wire.counted(); came {
			p.revive(t)
		}
		if left := p.holds(t, ""); err == nil || !maps.Equal(left, fresh) {
			t.Errorf("exchange %d: left %v, not %v: %v", at, left, fresh, err)
		}
		p.restore(t, fresh)
	}
}

// Guards, in a container, that of keys nothing is left that no error names, and that the next apply goes through,
// whatever is killed, full, read-only or refused.
func TestContainerFaults(t *testing.T) {
	t.Parallel()
	_, p := newContainer(t)
	var ops []operation
	for _, op := range operations(t) {
		if !strings.Contains(op.name, "module") && !op.sftp {
			ops = append(ops, op)
		}
	}
	p.serverKilled(t, ops)
	p.fileSystemRefuses(t, ops)
	p.shellDies(t, ops)
	p.rootRefused(t, ops)
	p.figures(t)
}
