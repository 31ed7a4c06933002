package provider_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

const (
	noSpace      = syscall.ENOSPC
	readOnlyFS   = syscall.EROFS
	noPermission = syscall.EACCES
)

// newKey makes a key pair; a passphrase encrypts the private half.
func newKey(t *testing.T, passphrase string) (private string, public ssh.PublicKey) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(priv, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	public, err = ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), public
}

// address is the machine's address as the host attribute takes it.
func provideAt(addr, settings string) string {
	return fmt.Sprintf("provider \"host\" {\n  host = %q\n%s\n}\n", addr, settings)
}

const swappiness = "resource \"host_sysctl\" \"a\" {\n  key = \"vm.swappiness\"\n  value = \"10\"\n}\n"

// Guards that each way a connection fails is told apart, says what to do, and leaves the host alone.
func TestAccConnectionFailuresAreToldApart(t *testing.T) {
	t.Parallel()
	private, _ := newKey(t, "")
	encrypted, public := newKey(t, "open sesame")
	h, err := hosttest.Start(hosttest.Options{Users: []hosttest.User{
		{Name: "root", Keys: []ssh.PublicKey{public}},
		{Name: "ops", Password: "hunter2hunter2", Sudo: hosttest.SudoNone},
		{Name: "dev", Password: "hunter2hunter2", Sudo: hosttest.SudoPassword},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, h) })
	const nobody = "127.0.0.1:1"
	known := filepath.Join(t.TempDir(), "known_hosts")
	host, port, _ := net.SplitHostPort(h.Addr())
	_, other := newKey(t, "")
	if err := os.WriteFile(known, fmt.Appendf(nil, "[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(other)), 0o600); err != nil {
		t.Fatal(err)
	}
	key := func(pem, more string) string { return fmt.Sprintf("private_key = %q\nagent = false\n%s", pem, more) }
	pinned := fmt.Sprintf("host_key = %q\n", h.HostKey())
	for _, test := range []struct{ name, provider, want string }{
		{"nobody listens", provideAt(nobody, key(private, pinned+"timeout = \"1s\"\n")), "connection refused"},
		{"wrong key", provideAt(h.Addr(), key(private, pinned)), "login refused"},
		{"encrypted key without its passphrase", provideAt(h.Addr(), key(encrypted, pinned)), "passphrase"},
		{"encrypted key with a wrong passphrase", provideAt(h.Addr(), key(encrypted, pinned+"private_key_passphrase = \"x\"\n")), "passphrase"},
		{"not a key", provideAt(h.Addr(), key("hello", pinned)), "SSH key cannot be used"},
		{"unknown host key", provideAt(h.Addr(), key(encrypted, "private_key_passphrase = \"open sesame\"\nknown_hosts_files = [\"/nonexistent/known_hosts\"]\n")),
			"host key is not known"},
		{"changed host key", provideAt(h.Addr(), key(encrypted, fmt.Sprintf("private_key_passphrase = \"open sesame\"\nknown_hosts_files = [%q]\n", known))),
			"host key has changed"},
		{"another host key than the pinned one", provideAt(h.Addr(), key(encrypted, fmt.Sprintf("private_key_passphrase = \"open sesame\"\nhost_key = %q\n",
			strings.TrimSpace(string(ssh.MarshalAuthorizedKey(other)))))), "host key has changed"},
		{"user who may not use sudo", provideAt("ops@"+h.Addr(), pinned+"password = \"hunter2hunter2\"\nsudo = true\n"), "sudo refused"},
		{"sudo that wants a password", provideAt("dev@"+h.Addr(), pinned+"password = \"hunter2hunter2\"\nsudo = true\n"), "sudo refused"},
		{"sudo with a wrong password", provideAt("dev@"+h.Addr(), pinned+"password = \"hunter2hunter2\"\nsudo = true\nsudo_password = \"x\"\n"), "sudo refused"},
		{"not root and no sudo", provideAt("dev@"+h.Addr(), pinned+"password = \"hunter2hunter2\"\n"), "vm.swappiness cannot be written: Permission denied."},
		{"malformed host", provideAt("a@b@:x", ""), "invalid SSH settings"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			had := files(t, h)
			run(t, resource.TestStep{Config: test.provider + swappiness, ExpectError: words(test.want)})
			unchanged(t, had, files(t, h))
			if got := reading(t, h, "vm/swappiness"); got != "60" {
				t.Errorf("vm.swappiness is %s", got)
			}
		})
	}
}

// Guards each way in: encrypted key, password, sudo with and without a password.
func TestAccWaysIn(t *testing.T) {
	t.Parallel()
	encrypted, public := newKey(t, "open sesame")
	h, err := hosttest.Start(hosttest.Options{Users: []hosttest.User{
		{Name: "root", Keys: []ssh.PublicKey{public}, Password: "hunter2hunter2"},
		{Name: "ops", Keys: []ssh.PublicKey{public}, Sudo: hosttest.SudoNoPassword},
		{Name: "dev", Password: "hunter2hunter2", Sudo: hosttest.SudoPassword},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, h) })
	pinned := fmt.Sprintf("host_key = %q\nagent = false\n", h.HostKey())
	key := pinned + fmt.Sprintf("private_key = %q\nprivate_key_passphrase = \"open sesame\"\n", encrypted)
	for name, provider := range map[string]string{
		"root with an encrypted key": provideAt(h.Addr(), key),
		"root with a password":       provideAt(h.Addr(), pinned+"password = \"hunter2hunter2\"\n"),
		"sudo without a password":    provideAt("ops@"+h.Addr(), key+"sudo = true\n"),
		"sudo with a password":       provideAt("dev@"+h.Addr(), pinned+"password = \"hunter2hunter2\"\nsudo = true\nsudo_password = \"hunter2hunter2\"\n"),
	} {
		t.Run(name, func(t *testing.T) {
			run(t, resource.TestStep{Config: provider + swappiness, ConfigPlanChecks: emptyAfter(), Check: func(*terraformState) error {
				if got := reading(t, h, "vm/swappiness"); got != "10" {
					return fmt.Errorf("vm.swappiness is %s", got)
				}
				return nil
			}})
		})
	}
}

// Guards that a host which cannot be reached at refresh is an error, and its state is kept.
func TestAccUnreachableHostKeepsItsState(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	c := config(m, swappiness)
	nobody := strings.Replace(c, "port = "+portOf(m), "port = 1", 1)
	run(t,
		resource.TestStep{Config: c},
		resource.TestStep{Config: nobody, ExpectError: words("connection refused")},
		resource.TestStep{Config: c, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}},
	)
}

func portOf(m machine) string {
	_, port, _ := net.SplitHostPort(m.Addr())
	return port
}

// Guards the host attribute: omitted it is the provider's, changed it replaces, missing it is an error, and one that is not known at plan is no error.
func TestAccHostOmittedChangedUnknown(t *testing.T) {
	t.Parallel()
	one, two := simulated(t), simulated(t)
	both := func(first, resources string) string {
		return fmt.Sprintf(`
provider "host" {
  %s
  hosts = {
    one = { address = "127.0.0.1", port = %s, host_key = %q, private_key = %q }
    two = { address = "127.0.0.1", port = %s, host_key = %q, private_key = %q }
  }
}
%s`, first, portOf(one), one.HostKey(), one.PrivateKey(), portOf(two), two.HostKey(), two.PrivateKey(), resources)
	}
	value := func(m machine, want string) resource.TestCheckFunc {
		return func(*terraformState) error {
			if got := reading(t, m, "vm/swappiness"); got != want {
				return fmt.Errorf("vm.swappiness is %s, not %s", got, want)
			}
			return nil
		}
	}
	replaced := resource.ConfigPlanChecks{
		PreApply:             []plancheck.PlanCheck{plancheck.ExpectResourceAction("host_sysctl.a", plancheck.ResourceActionDestroyBeforeCreate)},
		PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
	}
	run(t,
		resource.TestStep{Config: both("", swappiness), ExpectError: words("The resource names no host and the provider block has no host for it.")},
		resource.TestStep{Config: both(`host = "one"`, swappiness), ConfigPlanChecks: emptyAfter(),
			Check: resource.ComposeTestCheckFunc(value(one, "10"), value(two, "60"), resource.TestCheckResourceAttr("host_sysctl.a", "host", "one"))},
		resource.TestStep{Config: both(`host = "two"`, swappiness), ConfigPlanChecks: replaced, Check: resource.ComposeTestCheckFunc(value(one, "60"), value(two, "10"))},
		resource.TestStep{Config: both(`host = "two"`, strings.Replace(swappiness, "key ", "host = \"one\"\n  key ", 1)), ConfigPlanChecks: replaced,
			Check: resource.ComposeTestCheckFunc(value(one, "10"), value(two, "60"))},
		resource.TestStep{Config: both(`host = "two"`, `
resource "terraform_data" "vm" {
  input = "two"
}
resource "host_kernel_module" "a" {
  host = terraform_data.vm.output
  name = "overlay"
}
resource "host_sysctl" "a" {
  host   = host_kernel_module.a.host
  key    = "vm.swappiness"
  value  = "10"
}`), ConfigPlanChecks: resource.ConfigPlanChecks{
			PreApply:             []plancheck.PlanCheck{plancheck.ExpectUnknownValue("host_kernel_module.a", hostPath)},
			PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
		}, Check: resource.ComposeTestCheckFunc(value(one, "60"), value(two, "10"))},
	)
}

// Guards that a provider whose settings are made in the same apply plans without a connection.
func TestAccSettingsUnknownAtPlan(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	c := fmt.Sprintf(`
resource "terraform_data" "vm" {
  input = %q
}
provider "host" {
  host        = %q
  private_key = %q
  host_key    = terraform_data.vm.output
}
%s`, m.HostKey(), m.Addr(), m.PrivateKey(), swappiness)
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()})
}

// Guards that a jump host and the host behind it can be made in one apply: while the address of the jump host is unknown,
// a plan dials neither of the two.
func TestAccJumpHostOfTheSameApply(t *testing.T) {
	t.Parallel()
	m, jump := simulated(t), simulated(t)
	address, port, _ := net.SplitHostPort(jump.Addr())
	w := newWorkspace(t, fmt.Sprintf(required+`
resource "terraform_data" "vm" {
  input = %[1]q
}
provider "host" {
  agent = false
  hosts = {
    jump = { address = terraform_data.vm.output, port = %[2]s, private_key = %[3]q, host_key = %[4]q }
    web1 = { address = "127.0.0.1", port = %[5]s, private_key = %[6]q, host_key = %[7]q, bastion = { host = "jump" } }
  }
}
%[8]s`, address, port, jump.PrivateKey(), jump.HostKey(), portOf(m), m.PrivateKey(), m.HostKey(),
		strings.Replace(swappiness, "{", "{\n  host = \"web1\"", 1)))
	if out := w.run("plan"); strings.Contains(out, "Warning") {
		t.Errorf("the plan asked a host:\n%s", out)
	}
	w.run("apply", "-auto-approve")
	if got := reading(t, m, "vm/swappiness"); got != "10" {
		t.Errorf("vm.swappiness is %s", got)
	}
	w.run("plan", "-detailed-exitcode")
}

// Guards that a host entry which is null is an error of the configuration.
func TestAccNullHostEntry(t *testing.T) {
	t.Parallel()
	run(t, resource.TestStep{Config: "provider \"host\" {\n  host = \"web9\"\n  hosts = { web9 = null }\n}\n" + swappiness, ExpectError: words("The entry web9 of hosts is null.")})
}

// Guards that a destroy which cannot reach the host, because the settings are not known, fails and keeps the state.
func TestAccDestroyWithUnknownSettingsKeepsTheState(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, fmt.Sprintf(required+`
resource "terraform_data" "vm" {
  input = %q
}
provider "host" {
  host        = %q
  private_key = %q
  host_key    = terraform_data.vm.output
}
%s`, m.HostKey(), m.Addr(), m.PrivateKey(), swappiness))
	w.run("apply", "-auto-approve")
	w.run("state", "rm", "terraform_data.vm")
	if out, status := w.try("destroy", "-auto-approve"); status == 0 || !words("host settings are not known").MatchString(out) {
		t.Errorf("destroy ended with %d:\n%s", status, out)
	}
	if out := w.run("state", "list"); !strings.Contains(out, "host_sysctl.a") {
		t.Errorf("the state has %s", out)
	}
}

// Guards that create waits for a machine that is booting.
func TestAccCreateWaitsForABootingHost(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	_, port, _ := net.SplitHostPort(relay.Addr().String())
	refused := make(chan int, 1)
	go bootAfter(relay, m.Addr(), 2, refused)
	c := strings.Replace(config(m, swappiness), "port = "+portOf(m), "port = "+port, 1)
	run(t, resource.TestStep{Config: c, ConfigPlanChecks: emptyAfter()})
	relay.Close()
	if n := <-refused; n != 2 {
		t.Errorf("%d connections were cut before one was let through, not 2", n)
	}
}

// bootAfter cuts the first n connections as a booting machine does, and relays the others to addr.
func bootAfter(relay net.Listener, addr string, n int, refused chan<- int) {
	cut := 0
	for {
		c, err := relay.Accept()
		if err != nil {
			refused <- cut
			return
		}
		if cut < n {
			cut++
			c.Close()
			continue
		}
		to, err := net.Dial("tcp", addr)
		if err != nil {
			c.Close()
			continue
		}
		go pump(c, to)
		go pump(to, c)
	}
}

func pump(from, to net.Conn) {
	io.Copy(to, from) //nolint:errcheck // either side may end it
	from.Close()
	to.Close()
}
