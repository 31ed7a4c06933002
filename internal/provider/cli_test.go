package provider_test

// Tests that need the provider as a process of its own, started by a real CLI.

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/provider"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
	"github.com/host-provider/terraform-provider-host/internal/terraform"
)

// workspace is a directory with a configuration and a CLI to run in it.
type workspace struct {
	t   *testing.T
	cli *terraform.CLI
	dir string
}

// newWorkspace installs the provider for the CLI that this run of the suite is for.
func newWorkspace(t *testing.T, main string) *workspace {
	t.Helper()
	path := os.Getenv("TF_ACC_TERRAFORM_PATH")
	if path == "" {
		var err error
		if path, err = terraform.Find(); err != nil {
			t.Fatal(err)
		}
	}
	cli, err := terraform.Install(t.Context(), path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &workspace{t: t, cli: cli, dir: t.TempDir()}
	w.write("main.tf", main)
	w.run("init")
	return w
}

const required = "terraform {\n  required_providers {\n    host = { source = \"" + provider.Source + "\" }\n  }\n}\n"

func (w *workspace) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// run runs the CLI and wants it to succeed.
func (w *workspace) run(args ...string) string {
	w.t.Helper()
	out, status := w.try(args...)
	if status != 0 {
		w.t.Fatalf("%s ended with %d:\n%s", args[0], status, out)
	}
	return out
}

func (w *workspace) try(args ...string) (out string, status int) {
	w.t.Helper()
	var b bytes.Buffer
	status, err := w.cli.Run(context.WithoutCancel(w.t.Context()), w.dir, &b, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String(), status
}

// Guards that `module = host_kernel_module.x.name` orders both ways: the module before its key on create, the key before its module on destroy.
func TestAccModuleReferenceOrdersThePlan(t *testing.T) {
	t.Parallel()
	m := simulated(t)
	w := newWorkspace(t, required+config(m, conntrack+beLiberal))
	edge := func(graph, from, to string) {
		t.Helper()
		if !strings.Contains(graph, fmt.Sprintf("%q -> %q", from, to)) {
			t.Errorf("no edge from %s to %s in\n%s", from, to, graph)
		}
	}
	graph := func(plan string) string {
		t.Helper()
		out, status := w.try("graph", "-type=apply", "-plan="+plan)
		if status != 0 {
			t.Fatal(out)
		}
		return out
	}
	w.run("plan", "-out=create.plan")
	edge(graph("create.plan"), "[root] host_sysctl.be_liberal (expand)", "[root] host_kernel_module.conntrack")
	w.run("apply", "create.plan")
	w.run("plan", "-destroy", "-out=destroy.plan")
	edge(graph("destroy.plan"), "[root] host_kernel_module.conntrack (destroy)", "[root] host_sysctl.be_liberal (destroy)")
	w.run("apply", "destroy.plan")
}

// Guards that Ctrl-C ends an apply though the host stopped answering, at its first request or in mid-change, and that the drop-in is then whole or not there.
func TestAccInterruptEndsAnApply(t *testing.T) {
	t.Parallel()
	for _, exchanges := range []int{0, 4, 7} {
		t.Run(fmt.Sprintf("after %d exchanges", exchanges), func(t *testing.T) {
			t.Parallel()
			m, err := hosttest.Start(hosttest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeAll(t, m) }) // what waits in it ends with it
			w := newWorkspace(t, required+config(m, swappiness))
			w.run("plan", "-out=a.plan")
			start := m.Exchanges()
			ctx, interrupt := context.WithCancel(context.Background())
			defer interrupt()
			var out bytes.Buffer
			ended := make(chan error, 1)
			undo := func() {}
			if exchanges == 0 {
				undo = m.Inject(hosttest.Fault{Latency: time.Hour})
			}
			go func() {
				_, err := w.cli.Run(ctx, w.dir, &out, "apply", "a.plan")
				ended <- err
			}()
			eventually(t, "the apply is under way", func() bool { return m.Exchanges() > start+exchanges || len(ended) > 0 })
			if exchanges > 0 {
				undo = m.Inject(hosttest.Fault{Latency: time.Hour})
			}
			interrupt()
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("the apply did not end")
			}
			undo()
			if text, there := m.ReadFile("/etc/sysctl.d/90-terraform-vm.swappiness.conf"); there && !strings.Contains(text, "vm.swappiness = 10\n") {
				t.Errorf("the drop-in holds %q\n%s", text, out.String())
			}
			w.run("apply", "-auto-approve")
			noLeftover(t, m)
			if got := reading(t, m, "vm/swappiness"); got != "10" {
				t.Errorf("vm.swappiness is %s", got)
			}
		})
	}
}

// Guards the same on a real sshd, whose write of the drop-in hangs at one of its programs, or whose network then goes dark too. Whenever the hanging program goes on, the
// drop-in is whole.
func TestAccInterruptEndsAnApplyOnARealHost(t *testing.T) {
	t.Parallel()
	if err := sshdtest.Available(); err != nil {
		t.Skipf("NOT PROVED ON A REAL SSHD: %v", err)
	}
	const dropIn = "/etc/sysctl.d/90-terraform-net.core.somaxconn.conf"
	const hang = "cat >/usr/local/bin/%[1]s <<'END'\n#!/bin/sh\necho $$ >/run/hangs\nread -r _ </run/gate\nexec /bin/%[1]s \"$@\"\nEND\nmkfifo /run/gate; chmod +x /usr/local/bin/%[1]s"
	for _, tc := range []struct {
		at   string
		dark bool
	}{{"chmod", false}, {"sync", false}, {"mv", false}, {"mv", true}} {
		t.Run(fmt.Sprintf("at %s, dark %v", tc.at, tc.dark), func(t *testing.T) {
			t.Parallel()
			m, err := sshdtest.Start(sshdtest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeAll(t, m) }) // what hangs in it ends with it
			sh := func(script string) {
				t.Helper()
				if out, status := m.Sh(script); status != 0 {
					t.Fatalf("%s: %s", script, out)
				}
			}
			whole := func() {
				t.Helper()
				if text, there := m.ReadFile(dropIn); there && !strings.HasSuffix(text, "net.core.somaxconn = 1111\n") {
					t.Errorf("the drop-in holds %q", text)
				}
			}
			w := newWorkspace(t, required+config(m, "resource \"host_sysctl\" \"a\" {\n  key = \"net.core.somaxconn\"\n  value = \"1111\"\n}\n"))
			w.run("plan", "-out=a.plan")
			sh(fmt.Sprintf(hang, tc.at))
			ctx, interrupt := context.WithCancel(context.Background())
			defer interrupt()
			var out bytes.Buffer
			ended := make(chan int, 1)
			go func() {
				status, err := w.cli.Run(ctx, w.dir, &out, "apply", "a.plan")
				if err != nil {
					t.Error(err)
				}
				ended <- status
			}()
			eventually(t, "the write hangs", func() bool { _, there := m.ReadFile("/run/hangs"); return there || len(ended) > 0 })
			if tc.dark {
				sh("ip route add blackhole $(ip -4 -o addr show dev eth0 | awk '{print $4}' | awk -F'[./]' '{print $1\".\"$2\".\"$3\".\"$4-1}')/32")
			}
			interrupt()
			select {
			case status := <-ended:
				if status == 0 {
					t.Errorf("the interrupted apply succeeded:\n%s", out.String())
				}
			case <-time.After(time.Minute):
				t.Fatal("the apply did not end")
			}
			whole()
			sh("rm /usr/local/bin/" + tc.at + "; ip route flush type blackhole; exec 3<>/run/gate; echo >&3; while kill -0 $(cat /run/hangs) 2>/dev/null; do :; done")
			whole()
			w.run("apply", "-auto-approve")
			if text, there := m.ReadFile(dropIn); !there || reading(t, m, "net/core/somaxconn") != "1111" {
				t.Errorf("after the next apply the drop-in holds %q", text)
			}
			whole()
			noLeftover(t, m)
		})
	}
}

// Guards that no secret reaches the state, the plan, its file, a log at its most talkative or the words of a crash, also not by way of an error, and that nothing is
// left of a run: no connection, no provider process. It runs alone, since it looks for the CLI among the test's own children.
func TestAccSecretsStayOut(t *testing.T) {
	const passphrase, password, jumpPassword = "open-sesame-1001", "login-hunter2-1002", "jump-hunter2-1003"
	private, public := newKey(t, passphrase)
	h, err := hosttest.Start(hosttest.Options{Users: []hosttest.User{
		{Name: "ops", Keys: []ssh.PublicKey{public}, Password: password, Sudo: hosttest.SudoPassword},
		{Name: "dev", Password: password, Sudo: hosttest.SudoPassword},
		{Name: "jump", Password: jumpPassword},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, h) })
	// In files and not in the configuration, which a plan file has a copy of.
	w := newWorkspace(t, fmt.Sprintf(required+`
variable "wrong" { default = "" }
variable "wrong_key" { default = "" }
provider "host" {
  host_key = %q
  agent    = false
  sudo     = true
  bastion  = { host = "jump@127.0.0.1:%[2]s", password = "${file("jump-password")}", host_key = %[1]q }
  hosts = {
    key      = { address = "127.0.0.1", port = %[2]s, user = "ops", private_key = file("key"), private_key_passphrase = "${file("passphrase")}${var.wrong_key}", sudo_password = "${file("password")}${var.wrong}" }
    password = { address = "127.0.0.1", port = %[2]s, user = "dev", password = "${file("password")}${var.wrong}", sudo_password = file("password") }
  }
}
resource "host_sysctl" "key" {
  host  = "key"
  key   = "vm.swappiness"
  value = "10"
}
resource "host_sysctl" "password" {
  host  = "password"
  key   = "vm.dirty_ratio"
  value = "21"
}
`, h.HostKey(), portOf(h)))
	for name, text := range map[string]string{"key": private, "passphrase": passphrase, "password": password, "jump-password": jumpPassword} {
		w.write(name, text)
	}
	logs := filepath.Join(w.dir, "trace.log")
	w.cli = w.cli.With("TF_LOG=TRACE", "TF_LOG_PATH="+logs)
	w.run("plan", "-out=a.plan")
	w.run("apply", "-parallelism=1", "a.plan")
	out := w.run("plan")
	var failed string
	for wrong, want := range map[string]string{"wrong=x": "sudo did not accept the password", "wrong_key=x": "private_key_passphrase does not decrypt private_key",
		"wrong=\nx": "its sudo_password holds a line break"} {
		said, status := w.try("plan", "-var="+wrong)
		if failed += said; status == 0 || !words(want).MatchString(said) {
			t.Errorf("with -var=%q the plan ended with %d, and not of %q:\n%s", wrong, status, want, said)
		}
	}
	stateText := w.read("terraform.tfstate")
	w.run("destroy", "-auto-approve")
	eventually(t, "no connection is open", func() bool { open, _ := h.Connections(); return open == 0 })
	crash := crashed(t, w, h)
	if log := w.read("trace.log"); !strings.Contains(log, "SSH") || !strings.Contains(log, "goroutine ") {
		t.Error("the log says nothing of a connection, or of the crash: the scan proves nothing")
	}
	body := regexp.MustCompile(`(?s)-----\n(.{40})`).FindStringSubmatch(private)[1]
	for what, text := range map[string]string{
		"state": stateText, "state backup": w.read("terraform.tfstate.backup"), "log": w.read("trace.log"), "plan output": out, "error output": failed,
		"plan file": unzipped(t, filepath.Join(w.dir, "a.plan")), "crash output": crash,
	} {
		for name, secret := range map[string]string{"passphrase": passphrase, "password": password, "jump host's password": jumpPassword, "private key": body} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s holds the %s", what, name)
			}
		}
	}
	if out, err := exec.CommandContext(t.Context(), "pgrep", "-f", filepath.Dir(w.dir)).Output(); err == nil {
		t.Errorf("processes left: %s", out)
	}
}

// crashed has the provider crash while it waits for the host, and returns what the CLI then says.
func crashed(t *testing.T, w *workspace, h *hosttest.Host) string {
	t.Helper()
	defer h.Inject(hosttest.Fault{Latency: time.Hour})()
	start := h.Exchanges()
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		_, err := w.cli.Run(context.Background(), w.dir, &out, "apply", "-auto-approve")
		ended <- err
	}()
	eventually(t, "the host is asked", func() bool { return h.Exchanges() > start })
	child := func(of, name string) string {
		out, err := exec.CommandContext(t.Context(), "pgrep", "-P", of, "-f", name).Output()
		if err != nil {
			t.Fatalf("no process %s: %v", name, err)
		}
		return strings.TrimSpace(string(out))
	}
	pid, err := strconv.Atoi(child(child(strconv.Itoa(os.Getpid()), "apply -auto-approve"), "terraform-provider-host"))
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(syscall.SIGQUIT) // Go's runtime prints every stack and exits
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// unzipped is all that is in a plan file.
func unzipped(t *testing.T, name string) string {
	t.Helper()
	r, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all strings.Builder
	for _, f := range r.File {
		part, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&all, part); err != nil {
			t.Fatal(err)
		}
		part.Close()
	}
	if !strings.Contains(all.String(), "swappiness") {
		t.Error("the plan file was not read: the scan proves nothing")
	}
	return all.String()
}

func (w *workspace) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}
