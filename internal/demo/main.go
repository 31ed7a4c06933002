// Command demo tells the provider's story on a simulated host: what a reboot does to a sysctl alone, and to one that has its module.
//
// Everything it prints of Terraform is the CLI's own output. It ends with an error when the story does not go as told.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/provider"
	"github.com/host-provider/terraform-provider-host/internal/terraform"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := demo(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

const (
	key = "net.netfilter.nf_conntrack_tcp_be_liberal"

	settings = `terraform {
  required_providers {
    host = { source = %q }
  }
}

provider "host" {
  host        = "web1"
  private_key = file("id_ed25519")
  hosts = {
    web1 = { address = "127.0.0.1", port = %s, host_key = %q }
  }
}
`
	alone = `
resource "host_sysctl" "be_liberal" {
  key   = "net.netfilter.nf_conntrack_tcp_be_liberal"
  value = "1"
}
`
	withModule = `
resource "host_kernel_module" "conntrack" {
  name = "nf_conntrack"
}

resource "host_sysctl" "be_liberal" {
  module = host_kernel_module.conntrack.name
  key    = "net.netfilter.nf_conntrack_tcp_be_liberal"
  value  = "1"
}
`
)

// story is the demo while it is told.
type story struct {
	ctx  context.Context //nolint:containedctx // one story, one context
	out  io.Writer
	cli  *terraform.CLI
	host *hosttest.Host
	dir  string
}

func demo(ctx context.Context, out io.Writer) (err error) {
	path, err := terraform.Find()
	if err != nil {
		return err
	}
	if err := os.MkdirAll("bin", 0o755); err != nil {
		return err
	}
	dir, err := workspace()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintf(out, "Building the provider; the CLI is %s.\n", path)
	cli, err := terraform.Install(ctx, path, dir)
	if err != nil {
		return err
	}
	web1, err := hosttest.Start(hosttest.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, web1.Close()) }()
	s := &story{ctx: ctx, out: out, cli: cli, host: web1, dir: filepath.Join(dir, "web1")}
	return s.tell()
}

func (s *story) tell() error {
	_, port, _ := strings.Cut(s.host.Addr(), ":")
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "id_ed25519"), []byte(s.host.PrivateKey()), 0o600); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error {
			s.say("1. By hand. A firewall rule has loaded nf_conntrack on demand, so the key is there; it is set and written to sysctl.d, and everything looks right.")
			return s.onHost("iptables -A INPUT -m conntrack --ctstate INVALID -j DROP")
		},
		func() error { return s.onHost("echo '" + key + " = 1' >/etc/sysctl.d/50-conntrack.conf") },
		func() error { return s.onHost("sysctl -w " + key + "=1") },
		func() error {
			s.say("The host reboots. systemd-sysctl runs before anything loads the module; then the firewall starts.")
			return s.reboot("Couldn't write '1' to 'net/netfilter/nf_conntrack_tcp_be_liberal'")
		},
		func() error { return s.onHost("iptables -A INPUT -m conntrack --ctstate INVALID -j DROP") },
		func() error { return s.reads("0") },
		func() error {
			s.say("The setting is lost, and nothing on the host reported a failure.")
			return s.onHost("rm /etc/sysctl.d/50-conntrack.conf")
		},
		func() error {
			s.say("2. The same setting by Terraform, alone: the plan refuses what the next boot would lose, and touches nothing.")
			return s.write("provider.tf", fmt.Sprintf(settings, provider.Source, port, s.host.HostKey()))
		},
		func() error { return s.write("main.tf", alone) },
		s.init,
		func() error { return s.terraform(1, "plan") },
		func() error { return s.reads("0") },
		func() error {
			s.say("3. With its module: listed in modules-load.d, which systemd reads before sysctl.d.")
			return s.write("main.tf", withModule)
		},
		func() error { return s.terraform(0, "apply", "-auto-approve") },
		func() error {
			s.say("The host reboots.")
			return s.reboot("Inserted module 'nf_conntrack'")
		},
		func() error { return s.reads("1") },
		func() error { return s.terraform(0, "plan", "-detailed-exitcode") },
		func() error {
			s.say("4. Somebody changes the value by hand. The plan shows the drift, and apply mends it.")
			return s.onHost("sysctl -w " + key + "=0")
		},
		func() error { return s.terraform(2, "plan", "-detailed-exitcode") },
		func() error { return s.terraform(0, "apply", "-auto-approve") },
		func() error { return s.reads("1") },
		func() error {
			s.say("5. Destroy puts the value from before back and removes both files.")
			return s.terraform(0, "destroy", "-auto-approve")
		},
		func() error { return s.reads("0") },
		s.nothingLeft,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	s.say("That is the story. Everything ran in a directory below bin, which is gone now.")
	return nil
}

func (s *story) say(text string) { fmt.Fprintf(s.out, "\n# %s\n", text) }

func (s *story) write(name, text string) error {
	if name == "main.tf" {
		fmt.Fprintf(s.out, "\n$ cat %s\n%s", name, strings.TrimLeft(text, "\n"))
	}
	return os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600)
}

// terraform runs the CLI and wants this exit status.
func (s *story) terraform(want int, args ...string) error {
	fmt.Fprintf(s.out, "\n$ %s %s\n", filepath.Base(s.cli.Path), strings.Join(args, " "))
	status, err := s.cli.Run(s.ctx, s.dir, s.out, args...)
	if err == nil && status != want {
		err = fmt.Errorf("%s ended with %d, not %d", args[0], status, want)
	}
	return err
}

// init installs the provider from the mirror; what the CLI says of the mirror is not part of the story, unless it fails.
func (s *story) init() error {
	var said bytes.Buffer
	status, err := s.cli.Run(s.ctx, s.dir, &said, "init")
	if err == nil && status != 0 {
		err = fmt.Errorf("init ended with %d:\n%s", status, &said)
	}
	return err
}

// onHost runs a command at the host's console.
func (s *story) onHost(command string) error {
	out, status := s.host.Sh(command)
	fmt.Fprintf(s.out, "\nweb1# %s\n%s", command, out)
	if status != 0 {
		return fmt.Errorf("%s ended with %d", command, status)
	}
	return nil
}

// reads wants the running value.
func (s *story) reads(want string) error {
	out, _ := s.host.Sh("sysctl " + key)
	fmt.Fprintf(s.out, "\nweb1# sysctl %s\n%s", key, out)
	if got := strings.TrimSpace(out); got != key+" = "+want {
		return fmt.Errorf("the host says %q, not %s", got, want)
	}
	return nil
}

// reboot restarts the host and wants this in its journal.
func (s *story) reboot(want string) error {
	fmt.Fprint(s.out, "\nweb1# reboot\nweb1# journalctl -b -t systemd-modules-load -t systemd-sysctl\n")
	s.host.Reboot()
	var journal bytes.Buffer
	for _, line := range s.host.Journal() {
		fmt.Fprintln(&journal, line)
	}
	fmt.Fprint(s.out, journal.String())
	if !strings.Contains(journal.String(), want) {
		return fmt.Errorf("the journal does not say %q", want)
	}
	return nil
}

func (s *story) nothingLeft() error {
	for _, dir := range []string{"/etc/sysctl.d", "/etc/modules-load.d"} {
		for _, name := range s.host.List(dir) {
			if strings.Contains(name, "terraform") {
				return fmt.Errorf("%s/%s is left on the host", dir, name)
			}
		}
	}
	return nil
}

// workspace makes a directory inside the clone: the demo touches nothing else.
func workspace() (string, error) {
	dir, err := os.MkdirTemp("bin", "demo-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}
