package provider_test

// What the acceptance suite needs of a machine, and the simulated host; onEach has the other kinds.

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	tfprovider "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"go.uber.org/goleak"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/provider"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// machine is what the suite needs of a host beside its SSH.
type machine interface {
	Addr() string
	HostKey() string
	PrivateKey() string
	Sh(script string) (out string, status int)
	ReadFile(path string) (string, bool)
	WriteFile(path, content string)
	RemoveFile(path string)
	Close() error
}

// checkName wants the name by which `make test-vm` finds a test that goes through onEach.
func checkName(t *testing.T) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestAccOnEach") {
		t.Fatal("the name of a test that calls onEach begins with TestAccOnEach")
	}
}

// simulated starts a simulated host.
func simulated(t *testing.T) *hosttest.Host {
	t.Helper()
	return simulatedWith(t, hosttest.Options{})
}

func simulatedWith(t *testing.T, o hosttest.Options) *hosttest.Host {
	t.Helper()
	h, err := hosttest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if unknown := h.Unknown(); len(unknown) > 0 {
			t.Errorf("the simulated host was asked for what it does not have: %q", unknown)
		}
		eventually(t, "no connection is open", func() bool { open, _ := h.Connections(); return open == 0 })
		closeAll(t, h)
	})
	return h
}

// realHost starts a real sshd in namespaces of its own.
func realHost(t *testing.T, o sshdtest.Options) *sshdtest.Host {
	t.Helper()
	if err := sshdtest.Available(); err != nil {
		t.Skipf("NOT PROVED ON A REAL SSHD: %v", err)
	}
	h, err := sshdtest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "no process of a session is left on the host", func() bool { return len(h.Processes()) == 0 })
		closeAll(t, h)
	})
	return h
}

// container starts a Debian that systemd-nspawn boots.
func container(t *testing.T) *sshdtest.Container {
	t.Helper()
	c, err := sshdtest.StartContainer(t.Context())
	if sshdtest.Lacking(err) {
		t.Skipf("NOT PROVED IN A CONTAINER: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, c) })
	return c
}

func closeAll(t *testing.T, m machine) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// run runs the steps with providers of its own, which are closed when they are done, so that what is left afterwards is a leak.
func run(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Fatal("acceptance tests need TF_ACC=1: run them with `make testacc`")
	}
	var started []*provider.Provider
	defer func() {
		for _, p := range started {
			p.Close()
		}
	}()
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){
			"host": func() (tfprotov6.ProviderServer, error) {
				p := provider.New("test")
				started = append(started, p)
				return providerserver.NewProtocol6WithError(tfprovider.Provider(p))()
			},
		},
		Steps: steps,
	})
}

// config is a provider block for one host, named web1, followed by resources.
func config(m machine, resources string) string {
	return configWith(m, "", resources)
}

// configWith is config with further lines in the provider block. Its connect_timeout is for a busy machine.
func configWith(m machine, settings, resources string) string {
	if m, ok := m.(interface{ User() string }); ok {
		settings += fmt.Sprintf("\n  user = %q\n  sudo = true", m.User())
	}
	addr := m.Addr()
	i := strings.LastIndexByte(addr, ':')
	return fmt.Sprintf(`
provider "host" {
  host            = "web1"
  private_key     = %q
  connect_timeout = "2m"
  hosts           = { web1 = { address = %q, port = %s, host_key = %q } }
  %s
}
%s`, m.PrivateKey(), addr[:i], addr[i+1:], m.HostKey(), settings, resources)
}

// reading is the value of a sysctl on the machine, read past the provider.
func reading(t *testing.T, m machine, path string) string {
	t.Helper()
	return readings(t, m, path)[path]
}

// readings are the values of sysctls, by their paths below /proc/sys.
func readings(t *testing.T, m machine, paths ...string) map[string]string {
	t.Helper()
	const dir = "/proc/sys/"
	all := map[string]string{}
	if len(paths) == 0 {
		return all
	}
	for name, text := range contents(t, m, dir+strings.Join(paths, " "+dir)) {
		all[strings.TrimPrefix(name, dir)] = strings.TrimSuffix(text, "\n")
	}
	for _, path := range paths {
		if _, there := all[path]; !there {
			t.Fatalf("%s%s is not there", dir, path)
		}
	}
	return all
}

// setting writes a sysctl on the machine past the provider.
func setting(t *testing.T, m machine, path, value string) {
	t.Helper()
	if out, status := m.Sh("echo '" + value + "' > /proc/sys/" + path); status != 0 {
		t.Fatalf("echo %s > %s: %s", value, path, out)
	}
}

// files are all files of the three families in /etc, by path: what a failed change must not touch.
func files(t *testing.T, m machine) map[string]string {
	t.Helper()
	var patterns []string
	for _, family := range []string{"sysctl.d", "modules-load.d", "modprobe.d"} {
		for _, names := range []string{"*", ".[!.]*", "..?*"} {
			patterns = append(patterns, "/etc/"+family+"/"+names)
		}
	}
	return contents(t, m, strings.Join(patterns, " "))
}

// noLeftover wants no file that a write has left unfinished.
func noLeftover(t *testing.T, m machine) {
	t.Helper()
	for path := range files(t, m) {
		if strings.HasSuffix(path, ".terraform-tmp") {
			t.Errorf("left: %s", path)
		}
	}
}

// contents are the files that match the shell's patterns, by path. One script reads them: a session a file would be slow on some machines.
func contents(t *testing.T, m machine, patterns string) map[string]string {
	t.Helper()
	out, status := m.Sh("for f in " + patterns + `; do
	[ -e "$f" ] || [ -L "$f" ] || continue
	printf '%s\000' "$f"
	cat "$f" || exit
	printf '\000'
done`)
	words := strings.Split(out, "\x00")
	if status != 0 || len(words)%2 == 0 || words[len(words)-1] != "" {
		t.Fatalf("reading %s ended with %d: %q", patterns, status, out)
	}
	all := map[string]string{}
	for ; len(words) > 1; words = words[2:] {
		all[words[0]] = words[1]
	}
	return all
}

// unchanged wants the files or values of a machine to be as they were.
func unchanged(t *testing.T, before, after map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now, there := after[name]; !there {
			t.Errorf("%s is gone", name)
		} else if now != before[name] {
			t.Errorf("%s was %q and is %q", name, before[name], now)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, had := before[name]; !had {
			t.Errorf("%s is new: %q", name, after[name])
		}
	}
}

func TestMain(m *testing.M) {
	os.Setenv("HOST_SSH_CONFIG_FILES", "none") // what whoever runs the tests has in ~/.ssh/config is no part of them
	status := m.Run()
	if status == 0 {
		// A provider that a test serves reads from pipes of go-plugin's, whose other ends only the garbage collector closes.
		if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/hashicorp/go-plugin.copyChan")); err != nil {
			fmt.Fprintln(os.Stderr, "left after all tests:", err)
			status = 1
		}
	}
	os.Exit(status)
}

// eventually waits for a condition that another process or goroutine brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("it never came about that %s", what)
			return
		}
	}
}
