package writer

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Guards which lines are found to write which keys. In a case the file "enabled" has the enabled units, "want" the
// writes, and a file that a unit applies the name "PATH by UNIT".
func TestFind(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("there are no cases: %v", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var s Scan
			want := ""
			for _, f := range archive.Files {
				switch f.Name {
				case "enabled":
					s.Enabled = strings.Fields(string(f.Data))
				case "want":
					want = string(f.Data)
				default:
					p, applier, _ := strings.Cut(f.Name, " by ")
					s.Files = append(s.Files, File{Path: p, Applier: applier, Text: string(f.Data)})
				}
			}
			var got strings.Builder
			for _, w := range Find(s) {
				order := [...]string{"later", "unordered", "earlier"}[w.Order]
				fmt.Fprintf(&got, "%s:%d %s %s %s", w.At.File, w.At.Line, w.By, order, w.Pattern)
				if w.HasValue {
					fmt.Fprintf(&got, " = %s", w.Value)
				}
				got.WriteByte('\n')
			}
			if got.String() != want {
				t.Errorf("got\n%swant\n%s", got.String(), want)
			}
		})
	}
}

// Guards that a program that writes keys by its own code is named for its keys only, and only if it is enabled.
func TestPrograms(t *testing.T) {
	for _, tc := range []struct{ enabled, key, want string }{
		{"docker.service ssh.service", "net.ipv4.ip_forward", "docker.service"},
		{"docker.service", "vm.swappiness", ""},
		{"ssh.service", "net.ipv4.ip_forward", ""},
		{"wg-quick@wg0.service", "net.ipv4.conf.all.src_valid_mark", "wg-quick@wg0.service"},
		{"kubelet.service k3s.service", "kernel.panic", "kubelet.service k3s.service"},
		{"keepalived.service", "net.ipv4.conf.all.rp_filter", "keepalived.service"},
	} {
		k, err := sysctl.ParseKey(tc.key)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range Programs(strings.Fields(tc.enabled), k) {
			got = append(got, p.Unit)
			if p.Why == "" {
				t.Errorf("%s: nothing says why", p.Unit)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s of %s: got %q, want %q", tc.key, tc.enabled, got, tc.want)
		}
	}
}

// Guards that a line for whichever interface there is matches none of the keys that stand for all or for the default.
func TestEachInterfaceIsNotAll(t *testing.T) {
	w := Find(Scan{Enabled: []string{"systemd-networkd.service"}, Files: []File{{Path: "/etc/systemd/network/a.network",
		Text: "[Match]\nMACAddress=00:11:22:33:44:55\n[Network]\nIPv4ReversePathFilter=no\n"}}})
	if len(w) != 1 {
		t.Fatalf("%+v", w)
	}
	for name, want := range map[string]bool{"eth0": true, "all": false, "default": false} {
		k, err := sysctl.ParseKey("net.ipv4.conf." + name + ".rp_filter")
		if err != nil {
			t.Fatal(err)
		}
		if got := w[0].Matches(k); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Guards that no text makes Find fail or run on.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{
		"sh -c \"echo 1 > /proc/sys/a/b\"", "ExecStart=sysctl -w a.b=1 \\\n c.d=2", "w /proc/sys/a - - - - 1\\",
		"RUN+=\"sysctl a.b=\\\"1\\\"\", SYSCTL{a}=\"1\"", "[Network]\nIPv4Forwarding=yes", "@reboot root sysctl -p x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ends := 1
		for _, end := range []string{"\n", "\r", "\x00"} {
			ends += strings.Count(text, end)
		}
		for _, p := range []string{"/etc/systemd/system/x.service", "/etc/tmpfiles.d/a.conf", "/etc/udev/rules.d/a.rules",
			"/etc/systemd/network/a.network", "/etc/rc.local", "/etc/crontab", "/etc/network/interfaces",
			"/etc/wireguard/wg0.conf"} {
			s := Scan{Files: []File{{Path: p, Text: text}},
				Enabled: []string{"ufw.service", "systemd-networkd.service", "wg-quick@wg0.service"}}
			for _, w := range Find(s) {
				if w.At.File != p || w.At.Line < 1 || w.At.Line > ends || w.By == "" {
					t.Errorf("%+v", w)
				}
			}
		}
	})
}
