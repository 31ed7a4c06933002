package host_test

// Operations under faults on real machines: what they hold, and how they are put back between faults.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// plant is a real machine and the way to it.
type plant struct {
	machine interface {
		Addr() string
		HostKey() string
		PrivateKey() string
		Sh(script string) (out string, status int)
	}
	wire          *wire
	modules       bool // it can load them
	tried, losses int
}

// sshdPlant is a plant whose machine is a real sshd in network namespaces of its own.
func sshdPlant(t *testing.T) *plant {
	t.Helper()
	if err := sshdtest.Available(); err != nil {
		t.Skipf("NOT PROVED ON A REAL SSHD: %v", err)
	}
	m, err := sshdtest.Start(sshdtest.Options{})
	must(t, err)
	p := &plant{machine: m, wire: newWire(t, m.Addr())}
	t.Cleanup(func() {
		p.wire.close()
		must(t, m.Close())
	})
	return p
}

// reach is the machine as a provider sees it that has just started. The provider ends with t.
func (p *plant) reach(t *testing.T, sftp bool, as route.Settings) *host.Host {
	t.Helper()
	h := p.unreached(t, sftp, as)
	must(t, h.Wait(t.Context()))
	return h
}

// unreached is reach before the first connection, which may be refused.
func (p *plant) unreached(t *testing.T, sftp bool, as route.Settings) *host.Host {
	t.Helper()
	as.PrivateKey, as.HostKey = p.machine.PrivateKey(), p.machine.HostKey()
	pool := sshconn.NewPool(sshconn.Config{Defaults: as, ConnectTimeout: time.Minute, Timeout: time.Minute, SFTP: sftp})
	t.Cleanup(pool.Close)
	h, err := host.NewFleet(func(name string) (host.Conn,
		error) {
		return pool.Conn(name)
	}).Host(p.wire.listener.Addr().String())
	must(t, err)
	return h
}

const (
	faultFiles = "/etc/sysctl.d/* /etc/sysctl.d/.[!.]* /etc/modules-load.d/* /etc/modules-load.d/.[!.]* " +
		"/etc/modprobe.d/* /etc/modprobe.d/.[!.]*"

	// holdsScript starts one program only: on a machine that is emulated each takes its time.
	holdsScript = `
set --
for f in ` + faultFiles + `; do
	[ ! -f "$f" ] || { echo "$f:"; set -- "$@" "$f"; }
done
[ ! -d /sys/module/nf_conntrack ] || echo '` + faultModule + `:loaded'
grep -sH '' "$@" `
)

// holds is all of the machine that a change may touch, after a script.
func (p *plant) holds(t *testing.T, script string) map[string]string {
	t.Helper()
	out, status := p.machine.Sh(script + holdsScript + strings.Join(faultValues, " ") + "; [ $? != 127 ]")
	if status != 0 {
		t.Fatalf("%s: %d, %s", script, status, out)
	}
	all := map[string]string{}
	for line := range strings.Lines(out) {
		name, text, _ := strings.Cut(line, ":")
		all[name] += text
	}
	return all
}

// restore makes the machine hold this again.
func (p *plant) restore(t *testing.T, was map[string]string) {
	t.Helper()
	script := "set -e; rm -f /etc/*.d/*terraform* /etc/*.d/.*terraform* /etc/sysctl.d/50-*\n"
	switch {
	case !p.modules:
	case was[faultModule] == "":
		script += "[ ! -d /sys/module/nf_conntrack ] || modprobe -r nf_conntrack\n"
	default:
		script += "[ -d /sys/module/nf_conntrack ] || modprobe nf_conntrack\n"
	}
	for _, path := range slices.Sorted(maps.Keys(was)) {
		value := slices.Contains(faultValues, path) && (p.modules || strings.HasPrefix(path, "/proc/"))
		if ours := strings.Contains(path, "terraform") || strings.Contains(path, "/50-"); (ours || value) && was[path] != "" {
			script += fmt.Sprintf("printf '%%s' '%s' >%s\n", strings.TrimPrefix(was[path], "\n"), path)
		}
	}
	if p.modules { // a machine with a kernel of its own, which a fault may reset: what is put back must outlive that
		script += "sync\n"
	}
	if now := p.holds(t, script+"set +e\n"); !maps.Equal(now, was) {
		t.Fatalf("the machine holds %v, not %v", now, was)
	}
}

// prepared is an operation on a machine, tried once without a fault: what the machine holds before it and after it.
type prepared struct {
	*plant
	operation
	host      *host.Host
	was, want map[string]string
	exchanges int
}

func (p *plant) prepare(t *testing.T, fresh map[string]string, op operation, as route.Settings) *prepared {
	t.Helper()
	p.restore(t, fresh)
	o := &prepared{plant: p, operation: op, host: p.reach(t, op.sftp, as)}
	must(t, op.prepare(t.Context(), o.host))
	o.was = p.holds(t, "")
	p.wire.count(0, unsent, nil)
	must(t, op.change(t.Context(), o.host))
	o.exchanges, _ = p.wire.counted()
	o.want = p.holds(t, "")
	if o.exchanges < 1 || maps.Equal(o.was, o.want) {
		t.Fatalf("%d exchanges from %v to %v: the count or the operation is broken", o.exchanges, o.was, o.want)
	}
	return o
}

// fault is what happens to a change.
type fault struct {
	name string
	// strike readies it, and came says afterwards whether it happened; nil is yes.
	strike func()
	came   func() bool
	// mend takes it away; nil is nothing.
	mend func()
	// ends judges how the change ends, beside what it leaves.
	ends func(err error) bool
	// resets says that the kernel starts anew, so that of what it held nothing is judged.
	resets bool
}

func whole(err error) bool { return err == nil }

// tries makes the change under a fault, and judges what it left; then it makes the change again without. It says
// whether the fault came.
func (o *prepared) tries(t *testing.T, f fault) (came bool) {
	t.Helper()
	o.restore(t, o.was)
	f.strike()
	err := o.change(t.Context(), o.host)
	if f.came != nil && !f.came() {
		return false
	}
	if f.mend != nil {
		f.mend()
	}
	o.tried++
	if !t.Run(f.name, func(t *testing.T) {
		all := func(held map[string]string) map[string]string {
			if f.resets {
				held = maps.Clone(held)
				maps.DeleteFunc(held, func(path, _ string) bool { return !strings.HasPrefix(path, "/etc/") })
			}
			return held
		}
		judge(t, err, all(o.was), all(o.holds(t, "")), all(o.want))
		if !f.ends(err) {
			t.Errorf("the fault ends with %v", err)
		}
		must(t, o.host.Wait(t.Context())) // as the next run does, which has not heard of the host's end
		must(t, o.change(t.Context(), o.host))
		if left := o.holds(t, ""); !maps.Equal(all(left), all(o.want)) {
			t.Errorf("the next apply leaves %v, not %v", left, o.want)
		}
	}) {
		o.losses++
	}
	return true
}

// onTheWire is a fault at an exchange, which cuts the connection and does harm, if any.
func (o *prepared) onTheWire(at int, when moment, harm func()) fault {
	return fault{
		name:   fmt.Sprintf("exchange %d of %d %s", at, o.exchanges, when),
		strike: func() { o.wire.count(at, when, harm) },
		came:   func() bool { _, came := o.wire.counted(); return came },
		ends:   whole,
	}
}

// cutEverywhere cuts the connection at every exchange in turn, at each of these moments, and wants the change to go on
// over a new one.
func (o *prepared) cutEverywhere(t *testing.T, moments ...moment) {
	t.Helper()
	for _, when := range moments {
		at := 1
		for o.tries(t, o.onTheWire(at, when, nil)) {
			at++
		}
		if at <= 1 {
			t.Errorf("%d exchanges were cut %s: the count is broken", at-1, when)
		}
	}
}

// figures end a test with what was tried, in the name of a test so that every form of its output shows it.
func (p *plant) figures(t *testing.T) {
	t.Run(fmt.Sprintf("faults tried: %d, losses: %d", p.tried, p.losses), func(t *testing.T) {
		if p.tried == 0 {
			t.Error("nothing was tried")
		}
	})
}

// Guards that a connection to a real sshd that is cut on the wire at any exchange of any change, before the request
// leaves, with it there, or when its reply comes, is made anew and the change goes on; and that the same change made
// again converges.
func TestConnectionCutOnTheWire(t *testing.T) {
	t.Parallel()
	p := sshdPlant(t)
	fresh := p.holds(t, "")
	for _, op := range operations(t) {
		if !strings.Contains(op.name, "module") { // that a namespace cannot load
			t.Run(op.name, func(t *testing.T) {
				p.prepare(t, fresh, op, route.Settings{}).cutEverywhere(t, unsent, sent, answered)
			})
		}
	}
	p.figures(t)
}
