package provider_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

// home makes a home directory with the key and the known hosts that the examples expect, and returns it with that key.
func home(t *testing.T) (dir string, key ssh.PublicKey) {
	t.Helper()
	dir = t.TempDir()
	private, key := newKey(t, "")
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".ssh", "id_ed25519"), []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, key
}

// exampleHost starts a simulated host that lets in root, and ops with sudo, and is known in the home directory.
func exampleHost(t *testing.T, dir string, key ssh.PublicKey) *hosttest.Host {
	t.Helper()
	h, err := hosttest.Start(hosttest.Options{Interfaces: []string{"eth0", "eth0.100"}, Users: []hosttest.User{
		{Name: "root", Keys: []ssh.PublicKey{key}}, {Name: "ops", Keys: []ssh.PublicKey{key}, Sudo: hosttest.SudoNoPassword},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if unknown := h.Unknown(); len(unknown) > 0 {
			t.Errorf("the simulated host was asked for what it does not have: %q", unknown)
		}
		closeAll(t, h)
	})
	f, err := os.OpenFile(filepath.Join(dir, ".ssh", "known_hosts"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "[127.0.0.1]:%s %s\n", portOf(h), h.HostKey())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

func example(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Guards that each whole configuration under examples applies, is kept over a reboot with an empty plan, and goes without a trace.
func TestAccExampleConfigurations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, vars string
		want       map[string]string
	}{
		{"nat-box", "log_invalid = true\n", map[string]string{
			"net/ipv4/ip_forward": "1", "net/netfilter/nf_conntrack_tcp_be_liberal": "1", "net/netfilter/nf_conntrack_log_invalid": "255",
		}},
		{"kubernetes-node", "", map[string]string{
			"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1", "net/bridge/bridge-nf-call-ip6tables": "1",
		}},
		{"fleet", "", map[string]string{"net/netfilter/nf_conntrack_tcp_be_liberal": "1"}},
		{"connecting", "", map[string]string{"vm/swappiness": "10"}},
		{"ci", "", map[string]string{"vm/swappiness": "10"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, key := home(t)
			hosts := []*hosttest.Host{exampleHost(t, dir, key)}
			vars := test.vars
			switch test.name {
			case "connecting":
				bastion := exampleHost(t, dir, key)
				vars += fmt.Sprintf("bastion = { host = \"root@%s\", host_key = %q }\n", bastion.Addr(), bastion.HostKey())
				vars += fmt.Sprintf("fleet = {\n  web1 = { address = \"127.0.0.1\", port = %s, host_key = %q }\n}\n", portOf(hosts[0]), hosts[0].HostKey())
			case "fleet":
				hosts = append(hosts, exampleHost(t, dir, key))
				vars += fmt.Sprintf("fleet = {\n  web1 = { address = \"127.0.0.1\", port = %s }\n  db1 = { address = \"127.0.0.1\", port = %s }\n}\n", portOf(hosts[0]), portOf(hosts[1]))
			default:
				vars += fmt.Sprintf("address = \"127.0.0.1\"\nport = %s\n", portOf(hosts[0]))
			}
			w := newWorkspace(t, example(t, test.name+"/main.tf"))
			w.cli = w.cli.With("HOME=" + dir)
			if test.name == "ci" {
				w.takeFromHome(dir)
			}
			w.write("terraform.tfvars", vars)
			had := files(t, hosts[0])
			w.run("apply", "-auto-approve")
			for _, h := range hosts {
				h.Reboot()
			}
			if out, status := w.try("plan", "-detailed-exitcode"); status != 0 {
				t.Errorf("the plan after a reboot is not empty:\n%s", out)
			}
			for _, h := range hosts {
				for path, want := range test.want {
					if got := reading(t, h, path); got != want {
						t.Errorf("%s is %s after the reboot, not %s", path, got, want)
					}
				}
			}
			w.run("destroy", "-auto-approve")
			for _, h := range hosts {
				unchanged(t, had, files(t, h))
			}
		})
	}
}

// takeFromHome gives the configuration the key and the known hosts of a home directory, and an empty one in its place.
func (w *workspace) takeFromHome(dir string) {
	w.t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, ".ssh", name))
		if err != nil {
			w.t.Fatal(err)
		}
		return string(text)
	}
	w.write("known_hosts", read("known_hosts"))
	w.cli = w.cli.With("HOME="+w.t.TempDir(), "HOST_PRIVATE_KEY="+read("id_ed25519"))
}

// Guards the examples of the provider block and of each resource: they apply together, as a reader would use them.
func TestAccExampleSnippets(t *testing.T) {
	t.Parallel()
	for _, resource := range []string{"host_sysctl", "host_sysctls", "host_kernel_module"} {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			dir, key := home(t)
			web1, db1 := exampleHost(t, dir, key), exampleHost(t, dir, key)
			provider := strings.NewReplacer(`"192.0.2.10"`, `"127.0.0.1", port = `+portOf(web1), `"192.0.2.20", port = 2222`, `"127.0.0.1", port = `+portOf(db1)).
				Replace(example(t, "provider/provider.tf"))
			w := newWorkspace(t, provider+example(t, "resources/"+resource+"/resource.tf"))
			w.cli = w.cli.With("HOME=" + dir)
			w.run("apply", "-auto-approve")
			if out, status := w.try("plan", "-detailed-exitcode"); status != 0 {
				t.Errorf("the plan after apply is not empty:\n%s", out)
			}
			w.importByCommand(resource)
			w.importByBlock(resource, "import-by-string-id.tf")
			if w.knowsIdentity() {
				w.importByBlock(resource, "import-by-identity.tf")
			}
			w.run("destroy", "-auto-approve")
		})
	}
}

// importByCommand forgets what the example imports, runs its command, and wants an empty plan.
func (w *workspace) importByCommand(resource string) {
	w.t.Helper()
	_, command, _ := strings.Cut(example(w.t, "resources/"+resource+"/import.sh"), "\n")
	args := strings.Fields(command)[1:]
	w.run("state", "rm", args[1])
	w.run(args...)
	if out, status := w.try("plan", "-detailed-exitcode"); status != 0 {
		w.t.Errorf("the plan after import is not empty:\n%s", out)
	}
}

// importByBlock does the same by an import block, which must import and change nothing.
func (w *workspace) importByBlock(resource, name string) {
	w.t.Helper()
	block := example(w.t, "resources/"+resource+"/"+name)
	_, address, _ := strings.Cut(strings.SplitN(block, "\n", 3)[1], "= ")
	w.run("state", "rm", address)
	w.write("import.tf", block)
	if out := w.run("apply", "-auto-approve"); !strings.Contains(out, "1 imported, 0 added, 0 changed, 0 destroyed") {
		w.t.Errorf("%s: the import changes something:\n%s", name, out)
	}
	w.write("import.tf", "")
}

// knowsIdentity reports whether the CLI takes an identity in an import block, as Terraform does from 1.12 on.
func (w *workspace) knowsIdentity() bool {
	w.t.Helper()
	probe := &workspace{t: w.t, cli: w.cli, dir: w.t.TempDir()}
	probe.write("main.tf", "resource \"terraform_data\" \"a\" {}\nimport {\n  to = terraform_data.a\n  identity = { id = \"a\" }\n}\n")
	_, status := probe.try("init")
	return status == 0
}
