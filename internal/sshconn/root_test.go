package sshconn

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

var accounts = []account{
	{name: "root"},
	{name: "free", password: "free-secret", sudo: "nopasswd"},
	{name: "ops", password: "ops-secret", sudo: "password"},
	{name: "guest", password: "guest-secret"},
}

var whoami = shell.Script{Name: "id", Text: "id -u"}

// Guards that sudo gives root where sudoers allows it, and that it is told apart why it does not: sudo, and sudo-rs,
// which prints other words and its prompt in the middle of a line.
func TestSudo(t *testing.T) {
	onMachines(t, machineOptions{users: accounts}, checkSudo)
	t.Run("real sudo-rs", func(t *testing.T) {
		h := realHost(t, machineOptions{users: accounts})
		program, err := sshdtest.SudoRS(t.Context())
		if err != nil {
			t.Skipf("NOT TESTED: %v", err)
		}
		h.WriteFile("/usr/bin/sudo", string(program))
		out, status := h.Sh("chmod 4755 /usr/bin/sudo && sudo --version")
		if status != 0 || !strings.Contains(out, "sudo-rs") {
			t.Fatalf("sudo --version ended with %d, %s", status, out)
		}
		checkSudo(t, h)
	})
}

func checkSudo(t *testing.T, m machine) {
	t.Helper()
	for _, tc := range []struct {
		name, user, password string
		sudo                 bool
		kind                 fault.Kind // 0: it works
		words                []string
	}{
		{name: "root needs none", user: "root", sudo: true},
		{name: "without a password", user: "free", sudo: true},
		{name: "password set that sudo does not ask for", user: "free", password: "free-secret", sudo: true},
		{name: "right password", user: "ops", password: "ops-secret", sudo: true},
		{name: "wrong password", user: "ops", password: "not-the-secret", sudo: true, kind: fault.SudoRefused,
			words: []string{"did not accept the password of user ops"}},
		{name: "password needed and not set", user: "ops", sudo: true, kind: fault.SudoRefused,
			words: []string{"wants a password", "sudo_password"}},
		{name: "not in sudoers", user: "guest", password: "guest-secret", sudo: true, kind: fault.SudoRefused,
			words: []string{"guest may not run"}},
		{name: "not in sudoers, no password set", user: "guest", sudo: true, kind: fault.SudoRefused,
			words: []string{"user guest"}},
		{name: "off", user: "guest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := reach(m, tc.user)
			set.Sudo, set.SudoPassword = &tc.sudo, tc.password
			c := conn(t, pool(t, set))
			if tc.kind != 0 {
				fails(t, c, tc.kind, tc.words...)
				return
			}
			res, err := c.Run(t.Context(), whoami)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := res.Get("")
			if isRoot := strings.TrimSpace(got) == "0"; isRoot != (tc.sudo || tc.user == "root") {
				t.Errorf("runs as user %s", got)
			}
			mustEcho(t, c)
		})
	}
}

// slowSudo is a sudo that waits before it does anything, as one does whose host cannot resolve its own name.
const slowSudo = "mv /usr/bin/sudo /usr/bin/sudo.real && " +
	"printf '#!/bin/sh\\nsleep %s\\nexec /usr/bin/sudo.real \"$@\"\\n' >/usr/bin/sudo && chmod 755 /usr/bin/sudo"

// Guards that a sudo which takes longer than a connection may is given its time, and named if that does not suffice.
func TestSlowSudo(t *testing.T) {
	on := true
	for name, tc := range map[string]struct {
		sleeps       string
		user, secret string
		works        bool
	}{
		"with a password":                   {"3", "ops", "ops-secret", true},
		"without a password":                {"3", "free", "", true},
		"that never ends, with a password":  {"1000", "ops", "ops-secret", false},
		"that never ends, without password": {"1000", "free", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := realHost(t, machineOptions{users: accounts})
			if out, status := h.Sh(fmt.Sprintf(slowSudo, tc.sleeps)); status != 0 {
				t.Fatal(out)
			}
			set := reach(h, tc.user)
			set.Sudo, set.SudoPassword = &on, tc.secret
			patience := time.Minute
			if !tc.works {
				patience = time.Second
			}
			c := conn(t, pool(t, set, func(p *Pool) { p.config.ConnectTimeout, p.pace.root = 2*time.Second, patience }))
			if tc.works {
				mustEcho(t, c)
				return
			}
			fails(t, c, fault.SudoRefused, "sudo started no shell within", "/etc/hosts", "connect_timeout")
		})
	}
}

// Guards that what sudo says in another language, before it lets the user through or when it does not, does no harm: it
// is quoted, and sudo named.
func TestSudoInAnotherLanguage(t *testing.T) {
	on := true
	for name, tc := range map[string]struct {
		user, secret, script string
		words                []string // of the error
	}{
		"a lecture, and the password is right": {"ops", "ops-secret",
			"echo 'Wir gehen davon aus, dass der Systemadministrator Ihnen die Regeln erklärt hat.' >&2; exec $REAL", nil},
		"a lecture, without a password": {"free", "", "echo 'Achtung: alles wird aufgezeichnet.' >&2; exec $REAL", nil},
		"refused": {"ops", "", "echo 'Leider darf der Benutzer ops dies nicht als root ausführen.' >&2; exit 1",
			[]string{"under sudo", "Leider darf der Benutzer ops"}},
		"refused, with a password": {"ops", "ops-secret", "echo 'sudo: Es ist ein Passwort notwendig' >&2; exit 1",
			[]string{"it said: sudo: Es ist ein Passwort notwendig"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := realHost(t, machineOptions{users: accounts})
			h.Sh("mv /usr/bin/sudo /usr/bin/sudo.real")
			h.WriteFile("/usr/bin/sudo", "#!/bin/sh\n"+strings.ReplaceAll(tc.script, "$REAL", `/usr/bin/sudo.real "$@"`)+"\n")
			if out, status := h.Sh("chmod 755 /usr/bin/sudo"); status != 0 {
				t.Fatal(out)
			}
			set := reach(h, tc.user)
			set.Sudo, set.SudoPassword = &on, tc.secret
			c := conn(t, pool(t, set))
			if tc.words == nil {
				mustEcho(t, c)
				return
			}
			_, err := c.Run(t.Context(), whoami)
			for _, word := range tc.words {
				if err == nil || !strings.Contains(err.Error(), word) {
					t.Errorf("%v, want %q in it", err, word)
				}
			}
		})
	}
}

// Whoever lists the processes of the host and their environments sees no password: neither sudo's, which waits as long
// as the connection lasts, nor the shell's.
func TestPasswordsAreInNoArgumentAndNoEnvironment(t *testing.T) {
	h := realHost(t, machineOptions{users: accounts})
	on := true
	set := reach(h, "ops")
	set.Sudo, set.PrivateKey, set.Password, set.SudoPassword = &on, "", "ops-secret", "ops-secret"
	c := conn(t, pool(t, set))
	if err := c.WriteFile(t.Context(), dropIn, "x\n"); err != nil { // SFTP is root's by a sudo of its own
		t.Fatal(err)
	}
	out, status := h.Sh(`for p in /proc/[0-9]*; do
	tr '\0' ' ' <$p/cmdline; tr '\0' ' ' <$p/environ; echo
done 2>/dev/null`)
	if status != 0 || strings.Count(out, "sudo -k -S -p") < 2 {
		t.Fatalf("sudo is not among the processes: the look proves nothing:\n%s", out)
	}
	noSecret(t, set, out)
}

func TestPasswordLogin(t *testing.T) {
	onMachines(t, machineOptions{users: accounts}, func(t *testing.T, m machine) {
		set := reach(m, "ops")
		set.PrivateKey, set.Password = "", "ops-secret"
		mustEcho(t, conn(t, pool(t, set)))
		set.PrivateKey = privatePEM(otherKey)
		mustEcho(t, conn(t, pool(t, set))) // after a key that is refused, on the same connection
		set.PrivateKey, set.Password = "", "not-the-secret"
		fails(t, conn(t, pool(t, set)), fault.AuthRefused, "tried: password")
	})
}

func TestSudoThatWantsATerminal(t *testing.T) {
	h := realHost(t, machineOptions{users: accounts, sudoers: "Defaults requiretty"})
	on := true
	for user, password := range map[string]string{"free": "", "ops": "ops-secret"} {
		set := reach(h, user)
		set.Sudo, set.SudoPassword = &on, password
		fails(t, conn(t, pool(t, set)), fault.SudoRefused, "requiretty")
	}
}

func TestHostWithoutSudo(t *testing.T) {
	h := realHost(t, machineOptions{users: accounts})
	h.Sh("rm $(command -v sudo)")
	on := true
	for user, password := range map[string]string{"free": "", "ops": "ops-secret"} {
		set := reach(h, user)
		set.Sudo, set.SudoPassword = &on, password
		fails(t, conn(t, pool(t, set)), fault.SudoRefused, "no sudo on the host")
	}
}

// doas gives root without a password or not at all, and what it says is told apart. Files go by SFTP under doas as
// well.
func TestDoas(t *testing.T) {
	h := realHost(t, machineOptions{users: accounts})
	on := true
	reachBy := func(user string) route.Settings {
		set := reach(h, user)
		set.Doas = &on
		return set
	}
	fails(t, conn(t, pool(t, reachBy("free"))), fault.DoasRefused, "there is no /etc/doas.conf",
		"permit nopass free as root")
	h.WriteFile("/etc/doas.conf", "permit nopass free as root\npermit ops as root\n")
	set := reachBy("free")
	c := conn(t, pool(t, set))
	res, err := c.Run(t.Context(), whoami)
	if got, _ := res.Get(""); err != nil || strings.TrimSpace(got) != "0" {
		t.Errorf("runs as user %q, %v", got, err)
	}
	if err := c.WriteFile(t.Context(), "/etc/sysctl.d/x.conf", "x\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.ReadFile("/etc/sysctl.d/x.conf"); got != "x\n" {
		t.Errorf("wrote %q", got)
	}
	c.mu.Lock()
	if c.live.files.client == nil {
		t.Error("no SFTP under doas")
	}
	c.mu.Unlock()
	fails(t, conn(t, pool(t, reachBy("ops"))), fault.DoasRefused, "wants a password for user ops")
	fails(t, conn(t, pool(t, reachBy("guest"))), fault.DoasRefused, "does not permit user guest")
	mustEcho(t, conn(t, pool(t, reachBy("root"))))
	h.Sh("rm $(command -v doas)")
	fails(t, conn(t, pool(t, set)), fault.DoasRefused, "no doas on the host")
}

func TestForcedCommandIsNoShell(t *testing.T) {
	onMachines(t, machineOptions{forceCommand: "echo go away"}, func(t *testing.T, m machine) {
		fails(t, conn(t, pool(t, reach(m, "root"))), fault.NoShell, "go away")
	})
}

func TestPasswordDoesNotReachAForcedCommandThatQuotesThePrompt(t *testing.T) {
	h := realHost(t, machineOptions{users: accounts,
		forceCommand: `printf %s "not allowed: $SSH_ORIGINAL_COMMAND" >&2; head -n 1 >/tmp/heard`})
	on := true
	set := reach(h, "ops")
	set.Sudo, set.SudoPassword = &on, "ops-secret"
	p := pool(t, set)
	p.config.ConnectTimeout, p.pace.root = 1500*time.Millisecond, 0
	fails(t, conn(t, p), fault.NoShell, "not allowed")
	if heard, _ := h.ReadFile("/tmp/heard"); strings.Contains(heard, "secret") {
		t.Error("the password was sent to a command that did not ask for it")
	}
}

func TestNoiseBeforeTheShellIsSkipped(t *testing.T) {
	h, err := hosttest.Start(hosttest.Options{LoginNoise: "Welcome\nto web1\n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	set := reach(h, "root")
	set.PrivateKey = h.PrivateKey()
	c := conn(t, pool(t, set))
	mustEcho(t, c)
	// Before an SFTP server it is what breaks the protocol: files go through the shell.
	if err := c.WriteFile(t.Context(), "/etc/sysctl.d/x.conf", "x\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.ReadFile("/etc/sysctl.d/x.conf"); got != "x\n" {
		t.Errorf("wrote %q", got)
	}
}
