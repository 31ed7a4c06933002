package host_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Guards that a host with bad files in the three families is read as a whole by the real scripts, and that what is said
// of one good line among them is what the reboot then does, or that nothing is promised.
func TestBadFilesAreReadHonestly(t *testing.T) {
	t.Parallel()
	const (
		key  = "net.netfilter.nf_conntrack_tcp_be_liberal"
		good = "modprobe nf_conntrack; sysctl -w " + key + "=1; echo " + key +
			"=1 >/etc/sysctl.d/50.conf; echo nf_conntrack >/etc/modules-load.d/50.conf; "
	)
	megabytes := strings.Repeat("# "+strings.Repeat("x", 1021)+"\n", 10<<10)
	for _, tt := range []struct {
		name   string
		files  map[string]string
		setUp  string
		reason boot.Reason // why the key does not come back; "" if it does
		fails  string      // a source of a line that makes a unit fail
	}{
		{"nothing bad", nil, "", "", ""},
		{"binary junk", map[string]string{
			"/etc/sysctl.d/60.conf":       "\x7fELF\x02\x01\x01\x00\x00\xff\xfe\x00=\x00\n",
			"/etc/modules-load.d/60.conf": "\x7fELF\x00\x01\xff\n", "/etc/modprobe.d/60.conf": "\x00\xff\\",
		}, "", "", "/etc/sysctl.d/60.conf:1"},
		{"text that is not UTF-8", map[string]string{
			"/etc/sysctl.d/60.conf": "vm.\xfc = \xe4\n# \xff\n", "/etc/modules-load.d/60.conf": "# \xe4\nm\xfc\n",
			"/etc/modprobe.d/60.conf": "blacklist m\xfc\n",
		}, "", "", ""},
		{"file names with blanks, line ends, quotes and bytes that are no text", map[string]string{
			"/etc/sysctl.d/60 a\n'b\xff.conf": key + " = 0\n", "/etc/modules-load.d/60 $(reboot)\n.conf": "tun\n",
			"/etc/modprobe.d/*.conf": "blacklist tun\n",
		}, "", boot.Shadowed, ""},
		{"10 MB in each family", map[string]string{
			"/etc/sysctl.d/60.conf": megabytes, "/etc/modules-load.d/60.conf": megabytes, "/etc/modprobe.d/60.conf": megabytes,
		}, "", "", ""},
		{
			"10 MB on one line", map[string]string{"/etc/sysctl.d/60.conf": strings.Repeat("x", 10<<20)}, "", "",
			"/etc/sysctl.d/60.conf:1",
		},
		{"links that lead to each other", nil, "ln -s b.conf /etc/sysctl.d/a.conf; ln -s a.conf /etc/sysctl.d/b.conf; ln " +
			"-s l.conf /etc/modules-load.d/l.conf; " +
			"ln -s l.conf /etc/modprobe.d/l.conf", "", "/etc/sysctl.d/a.conf"},
		{
			"directories", nil, "mkdir /etc/sysctl.d/a.conf /etc/modules-load.d/a.conf /etc/modprobe.d/a.conf", "",
			"/etc/sysctl.d/a.conf",
		},
		{
			"file that cannot be read, before the line", nil,
			"ln -s /proc/sys/net/ipv6/conf/all/stable_secret /etc/sysctl.d/40.conf", "", "",
		},
		{
			"file that cannot be read, after the line", nil,
			"ln -s /proc/sys/net/ipv6/conf/all/stable_secret /etc/sysctl.d/60.conf", boot.Unread, "",
		},
		{
			"file of modprobe.d that cannot be read", nil,
			"ln -s /proc/sys/net/ipv6/conf/all/stable_secret /etc/modprobe.d/60.conf", boot.Unread, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for path, text := range tt.files {
				b.WriteFile(path, text)
			}
			if out, status := b.Sh(good + tt.setUp); status != 0 {
				t.Fatal(out)
			}
			c, k := comesBack(t, b, key)
			if k.Reason != tt.reason || k.Holds != (tt.reason == "") {
				t.Errorf("holds %v for %q: %s", k.Holds, k.Reason, k.Detail)
			}
			var failing []string
			for _, f := range c.Failures {
				failing = append(failing, f.Source)
			}
			if tt.fails == "" && len(failing) > 0 || tt.fails != "" && !slices.Contains(failing, tt.fails) {
				t.Errorf("units fail by %q, not by %q", failing, tt.fails)
			}
			// What is planned and written beside them is what it is on any host.
			_, err := b.host.SetSysctl(t.Context(), keep(t, "vm.swappiness", "10"), nil, nil)
			must(t, err)
			if tt.reason == boot.Unread {
				return
			}
			b.Reboot()
			out, _ := b.Sh("sysctl -n " + key + " vm.swappiness")
			if held := strings.HasPrefix(out, "1\n"); held != k.Holds || !strings.HasSuffix(out, "\n10\n") {
				t.Errorf("after the reboot the values are %q", out)
			}
		})
	}
}

// Guards that a user who may not read a file is promised nothing that the file could change, and told which file it is.
func TestFilesOfRootAreUnread(t *testing.T) {
	sim, err := hosttest.Start(hosttest.Options{Users: []hosttest.User{{Name: "ops", Password: "pw"}}})
	must(t, err)
	pool := sshconn.NewPool(sshconn.Config{
		Defaults:       route.Settings{Login: route.Login{User: "ops", Password: "pw", HostKey: sim.HostKey()}},
		ConnectTimeout: 5 * time.Second, Timeout: 5 * time.Second,
	})
	t.Cleanup(func() {
		pool.Close()
		must(t, sim.Close())
	})
	h, err := host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) }).Host(sim.Addr())
	must(t, err)
	sim.Sh(
		"echo vm.swappiness=60 >/etc/sysctl.d/50.conf; echo vm.swappiness=1 >/etc/sysctl.d/60.conf; chmod 600 " +
			"/etc/sysctl.d/60.conf")
	_, k := comesBack(t, bench{sim, h}, "vm.swappiness")
	if k.Holds || k.Reason != boot.Unread || k.Boot != nil || !strings.Contains(k.Detail, "/etc/sysctl.d/60.conf") {
		t.Errorf("holds %v for %q: %s", k.Holds, k.Reason, k.Detail)
	}
}
