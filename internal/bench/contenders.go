package main

// Who is measured: the OpenSSH client, Terraform with this provider and with one that does nothing, and Ansible.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/host-provider/terraform-provider-host/internal/terraform"
)

// atOnce is Terraform's own default, given to the others too.
const atOnce = 10

// floor logs in to each host once and runs one command there.
func floor(ctx context.Context, f *fleet, slow bool) error {
	errs := make([]error, len(f.hosts))
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range f.hosts {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			address, port := f.addr(i, slow)
			cmd := exec.CommandContext(ctx, "ssh", "-F", "none", "-i", f.keyFile(i), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile="+f.knownHosts(),
				"-p", port, "root@"+address, "cat /proc/sys/net/ipv4/ip_forward")
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("ssh: %w: %s", err, out)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// workspace is a directory with a configuration, and a CLI.
type workspace struct {
	cli *terraform.CLI
	dir string
}

// install builds this provider and the idle one, for one CLI.
func install(ctx context.Context, dir string) (*terraform.CLI, error) {
	path, err := terraform.Find()
	if err != nil {
		return nil, err
	}
	cli, err := terraform.Install(ctx, path, dir)
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "terraform-provider-idle_v0.0.1")
	const module = "github.com/host-provider/terraform-provider-host/internal/bench/idle"
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, module).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the idle provider: %w\n%s", err, out)
	}
	for _, registry := range []string{"registry.terraform.io", "registry.opentofu.org"} {
		target := filepath.Join(dir, "mirror", registry, "host-provider", "idle", "0.0.1", runtime.GOOS+"_"+runtime.GOARCH)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return nil, err
		}
		if err := os.Link(binary, filepath.Join(target, filepath.Base(binary))); err != nil {
			return nil, err
		}
	}
	return cli, nil
}

// newWorkspace writes a configuration for the fleet: kind is a resource's type, with a host's settings each or a key each.
func newWorkspace(ctx context.Context, cli *terraform.CLI, dir string, f *fleet, kind string, all []setting, slow bool) (*workspace, error) {
	w := &workspace{cli: cli, dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return w, errors.Join(os.WriteFile(filepath.Join(dir, "main.tf"), []byte(configuration(f, kind, all, slow)), 0o600), w.run(ctx, "init"))
}

func configuration(f *fleet, kind string, all []setting, slow bool) string {
	var b strings.Builder
	source, _, _ := strings.Cut(kind, "_")
	kind, sftp := strings.CutSuffix(kind, bySFTP)
	fmt.Fprintf(&b, "terraform {\n  required_providers {\n    %s = { source = \"host-provider/%[1]s\" }\n  }\n}\n", source)
	if source == "host" {
		fmt.Fprintf(&b, "provider \"host\" {\n  sftp = %v\n  hosts = {\n", sftp)
		for i, h := range f.hosts {
			address, port := f.addr(i, slow)
			fmt.Fprintf(&b, "    h%d = { address = %q, port = %s, host_key = %q, private_key = file(%q) }\n", i, address, port, h.HostKey(), f.keyFile(i))
		}
		b.WriteString("  }\n}\n")
	}
	b.WriteString("locals {\n  settings = {\n")
	for _, s := range all {
		fmt.Fprintf(&b, "    %q = %q\n", s.key, s.value)
	}
	b.WriteString("  }\n}\n")
	kind, single := strings.CutSuffix(kind, " a key")
	name := ""
	if source == "host" && !single {
		name = "  name = \"bench\"\n"
	}
	for i := range f.hosts {
		if single {
			fmt.Fprintf(&b, "resource %q \"h%d\" {\n  for_each = local.settings\n  host = \"h%[2]d\"\n  key = each.key\n  value = each.value\n}\n", kind, i)
		} else {
			fmt.Fprintf(&b, "resource %q \"h%d\" {\n  host = \"h%[2]d\"\n%s  settings = local.settings\n}\n", kind, i, name)
		}
	}
	return b.String()
}

func (w *workspace) run(ctx context.Context, args ...string) error {
	_, err := w.status(ctx, args...)
	return err
}

// status is 2 for a plan that has changes.
func (w *workspace) status(ctx context.Context, args ...string) (int, error) {
	var out bytes.Buffer
	status, err := w.cli.Run(ctx, w.dir, &out, args...)
	if err == nil && status != 0 && status != 2 {
		err = fmt.Errorf("%s ended with %d:\n%s", args[0], status, out.String())
	}
	return status, err
}

func (w *workspace) apply(ctx context.Context) error {
	return w.run(ctx, "apply", "-auto-approve", "-input=false")
}

// plan wants the plan to be empty, or not to be.
func (w *workspace) plan(ctx context.Context, empty bool) error {
	status, err := w.status(ctx, "plan", "-detailed-exitcode", "-input=false")
	if err == nil && (status == 0) != empty {
		err = fmt.Errorf("the plan is empty: %v, not %v", status == 0, empty)
	}
	return err
}

// ansible is a playbook of ansible.posix.sysctl, with pipelining and one connection a host.
type ansible struct{ dir string }

func newAnsible(f *fleet, dir string, all []setting, slow bool) (*ansible, error) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		return nil, err
	}
	a := &ansible{dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var inventory, playbook strings.Builder
	for i := range f.hosts {
		address, port := f.addr(i, slow)
		fmt.Fprintf(&inventory, "h%d ansible_host=%s ansible_port=%s ansible_user=root ansible_ssh_private_key_file=%s "+
			"ansible_python_interpreter=/usr/bin/python3\n", i, address, port, f.keyFile(i))
	}
	playbook.WriteString("- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.posix.sysctl:\n        name: \"{{ item.name }}\"\n" +
		"        value: \"{{ item.value }}\"\n        sysctl_set: true\n        reload: false\n        sysctl_file: /etc/sysctl.d/99-ansible.conf\n      loop:\n")
	for _, s := range all {
		fmt.Fprintf(&playbook, "        - { name: %q, value: %q }\n", s.key, s.value)
	}
	config := fmt.Sprintf("[defaults]\ninventory = hosts\nforks = %d\nhost_key_checking = true\nretry_files_enabled = false\n[ssh_connection]\npipelining = true\n"+
		"ssh_args = -F none -o UserKnownHostsFile=%s -o ControlMaster=auto -o ControlPersist=60s\ncontrol_path_dir = %s\n", atOnce, f.knownHosts(), filepath.Join(f.dir, "cp"))
	return a, errors.Join(
		os.WriteFile(filepath.Join(dir, "hosts"), []byte(inventory.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "play.yml"), []byte(playbook.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "ansible.cfg"), []byte(config), 0o600))
}

func (a *ansible) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "ansible-playbook", append(args, "play.yml")...)
	cmd.Dir, cmd.Env = a.dir, append(os.Environ(), "ANSIBLE_CONFIG="+filepath.Join(a.dir, "ansible.cfg"), "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("ansible-playbook: %w\n%.2000s", err, out)
	}
	return nil
}

// hangUp ends the connections that Ansible keeps, so that the next run logs in anew.
func (a *ansible) hangUp(ctx context.Context, f *fleet) {
	sockets, _ := filepath.Glob(filepath.Join(f.dir, "cp", "*"))
	for _, s := range sockets {
		_ = exec.CommandContext(ctx, "ssh", "-F", "none", "-o", "ControlPath="+s, "-O", "exit", "any").Run()
	}
}
