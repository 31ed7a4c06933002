// Command bench measures the provider on a fleet of real sshd hosts in network namespaces, beside the OpenSSH client, a provider that does nothing, and Ansible, all in
// one run. `make bench` starts it; it needs Linux, root and, for that part, Debian's package ansible.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/terraform"
)

// options are how much is measured.
type options struct {
	hosts, keys, many, interfaces, runs int
	noAnsible                           bool
	delay                               time.Duration
	out                                 string
}

func main() {
	var o options
	flag.IntVar(&o.hosts, "hosts", 20, "how many `hosts` the fleet has")
	flag.IntVar(&o.keys, "keys", 10, "how many `keys` each host gets")
	flag.IntVar(&o.many, "many", 50, "how many `resources` the one host of the last part has")
	flag.IntVar(&o.interfaces, "interfaces", 400,
		"how many network `interfaces` the host of the first part gets; 0 leaves that part out")
	flag.IntVar(&o.runs, "runs", 3, "how many `times` each thing is measured")
	flag.BoolVar(&o.noAnsible, "no-ansible", false, "leave Ansible out")
	flag.DurationVar(&o.delay, "delay", 50*time.Millisecond, "how much `time` the slow way adds in each direction")
	flag.StringVar(&o.out, "out", "", "`directory` for the table and the plot; none: only print")
	simulated := flag.Int("memory", 0, "measure the memory for so many simulated `hosts`, and nothing else")
	reads := flag.Bool("read-all", false, "what -memory starts; reads hosts from standard input")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	switch {
	case *reads:
		err = readAll(ctx)
	case *simulated > 0:
		err = memory(ctx, *simulated)
	default:
		err = bench(ctx, o)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bySFTP ends a kind whose files travel by SFTP.
const bySFTP = " by SFTP"

// The rows that ratios are made of.
const (
	floorRow   = "floor: ssh, one login and command a host"
	idleRow    = "a provider that does nothing, no-op plan"
	planRow    = "host_sysctls, no-op plan"
	applyRow   = "host_sysctls, first apply"
	checkRow   = "Ansible, check"
	ansibleRow = "Ansible, first run"
)

// bencher measures into a report.
type bencher struct {
	options
	dir       string
	installed *terraform.CLI
	report    report
}

func bench(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bencher{options: o, dir: dir}
	fmt.Printf("%d hosts of %d keys, %d runs, %s each way on the slow way\n", o.hosts, o.keys, o.runs, o.delay)
	if err := b.all(ctx); err != nil {
		return err
	}
	return b.write()
}

// measure runs do and takes its time.
func (b *bencher) measure(group, name string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s, %s: %w", group, name, err)
	}
	took := time.Since(began)
	b.report.add(group, name, took)
	fmt.Printf("%-28s %-48s %s\n", group, name, seconds(took))
	return nil
}

func (b *bencher) all(ctx context.Context) (err error) {
	if _, err := os.Stat("/run/sshd"); errors.Is(err, os.ErrNotExist) {
		_ = os.MkdirAll("/run/sshd", 0o755)
	}
	f, err := start(b.hosts, b.delay, b.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	kinds := []string{"idle_settings", "host_sysctls", "host_sysctls by SFTP", "idle_settings a key", "host_sysctl a key", "ansible"}
	slowKinds := slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool { return kind == "host_sysctls by SFTP" })
	one := &fleet{hosts: f.hosts[:1], proxies: f.proxies[:1], dir: f.dir}
	if b.interfaces > 0 {
		dir := filepath.Join(b.dir, "wide")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		narrow, err := start(1, 0, dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, narrow.close()) }()
		for n := range b.runs {
			if err := b.part(ctx, narrow, b.interfaced(false), b.keys, false, []string{"host_sysctls"}, n); err != nil {
				return err
			}
		}
		if err := narrow.widen(b.interfaces); err != nil {
			return err
		}
		for n := range b.runs {
			if err := b.part(ctx, narrow, b.interfaced(true), b.keys, false, []string{"host_sysctls"}, b.runs+n); err != nil {
				return err
			}
		}
	}
	for n := range b.runs {
		for _, part := range []struct {
			group string
			fleet *fleet
			keys  int
			slow  bool
			kinds []string
		}{
			{b.group("", b.hosts, b.keys), f, b.keys, false, kinds},
			{b.group("slow way, ", b.hosts, b.keys), f, b.keys, true, slowKinds},
			{b.group("slow way, ", 1, b.many), one, b.many, true, []string{"idle_settings a key", "host_sysctl a key", "host_sysctl a key by SFTP"}},
		} {
			if err := b.part(ctx, part.fleet, part.group, part.keys, part.slow, part.kinds, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// interfaced is the group of one host with few interfaces or many.
func (b *bencher) interfaced(many bool) string {
	if many {
		return fmt.Sprintf("1 x %d, %d interfaces", b.keys, b.interfaces)
	}
	return fmt.Sprintf("1 x %d, few interfaces", b.keys)
}

func (b *bencher) group(way string, hosts, keys int) string {
	return fmt.Sprintf("%s%d x %d", way, hosts, keys)
}

// part measures the floor, and each kind after it.
func (b *bencher) part(ctx context.Context, f *fleet, group string, keys int, slow bool, kinds []string, n int) error {
	all := settings(keys)
	if len(all) != keys {
		return fmt.Errorf("there are only %d keys to set", len(all))
	}
	originals, err := f.read(all)
	if err != nil {
		return err
	}
	if err := b.measure(group, floorRow, func() error { return floor(ctx, f, slow) }); err != nil {
		return err
	}
	cli, err := b.cli(ctx)
	if err != nil {
		return err
	}
	for i, kind := range kinds {
		dir := filepath.Join(b.dir, fmt.Sprintf("w%d-%d-%v-%d-%d", n, i, slow, len(f.hosts), keys))
		if kind == "ansible" {
			if b.noAnsible {
				continue
			}
			err = b.ansible(ctx, f, group, dir, all, originals, slow)
		} else {
			var w *workspace
			if w, err = newWorkspace(ctx, cli, dir, f, kind, all, slow); err == nil {
				err = b.terraform(ctx, w, f, group, kind, all, originals)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cli is built once for all parts.
func (b *bencher) cli(ctx context.Context) (_ *terraform.CLI, err error) {
	if b.installed == nil {
		dir := filepath.Join(b.dir, "cli")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		b.installed, err = install(ctx, dir)
	}
	return b.installed, err
}

// terraform measures the first apply, the plan of what is there, and the plan after a value drifted on every host.
func (b *bencher) terraform(ctx context.Context, w *workspace, f *fleet, group, kind string, all, originals []setting) error {
	name := strings.Replace(kind, "idle_settings", "a provider that does nothing", 1)
	if err := f.reset(originals); err != nil {
		return err
	}
	if err := b.measure(group, name+", first apply", func() error { return w.apply(ctx) }); err != nil {
		return err
	}
	does := strings.HasPrefix(kind, "host_")
	if does {
		if err := f.holds(all); err != nil {
			return err
		}
	}
	if strings.HasSuffix(kind, bySFTP) {
		return f.reset(originals) // files matter to the apply alone
	}
	if err := b.measure(group, name+", no-op plan", func() error { return w.plan(ctx, true) }); err != nil || !does {
		return err
	}
	if err := f.drift(originals); err != nil {
		return err
	}
	if err := b.measure(group, name+", drift plan", func() error { return w.plan(ctx, false) }); err != nil {
		return err
	}
	return f.reset(originals)
}

// ansible measures the first run and a check of what is there; without Ansible it says so.
func (b *bencher) ansible(ctx context.Context, f *fleet, group, dir string, all, originals []setting, slow bool) error {
	a, err := newAnsible(f, dir, all, slow)
	if errors.Is(err, exec.ErrNotFound) {
		fmt.Println("Ansible is not measured: Debian's package ansible is not installed.")
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.reset(originals); err != nil {
		return err
	}
	if err := b.measure(group, ansibleRow, func() error { return a.run(ctx) }); err != nil {
		return err
	}
	a.hangUp(ctx, f)
	if err := f.holds(all); err != nil {
		return err
	}
	if err := b.measure(group, checkRow, func() error { return a.run(ctx, "--check") }); err != nil {
		return err
	}
	a.hangUp(ctx, f)
	return f.reset(originals)
}

// ratios are the numbers to reach, of what was measured.
func (b *bencher) ratios() []ratio {
	fleet, slowOne := b.group("", b.hosts, b.keys), b.group("slow way, ", 1, b.many)
	get := func(group, name string) float64 { return b.report.get(group, name).Seconds() }
	own := get(fleet, planRow) - get(fleet, idleRow)
	const keyed = "host_sysctl a key, first apply"
	all := []ratio{
		{"no-op plan with host_sysctls, less Terraform's own cost, to the floor", "at most 1.3", own / get(fleet, floorRow)},
		{"no-op plan with host_sysctls, all of it, to the floor", "at most 0.75", get(fleet, planRow) / get(fleet, floorRow)},
		{"first apply with host_sysctls to the floor", "at most 1.8", get(fleet, applyRow) / get(fleet, floorRow)},
		{"first apply with host_sysctl a key to the floor", "at most 4", get(fleet, keyed) / get(fleet, floorRow)},
		{"one host on the slow way, first apply with host_sysctl a key, to the floor", "at most 4",
			get(slowOne, keyed) / get(slowOne, floorRow)},
	}
	if few, many := b.interfaced(false), b.interfaced(true); b.interfaces > 0 {
		all = append(all,
			ratio{fmt.Sprintf("first apply with %d interfaces to one with few", b.interfaces), "at most 1.3",
				get(many, applyRow) / get(few, applyRow)},
			ratio{fmt.Sprintf("no-op plan with %d interfaces to one with few", b.interfaces), "at most 1.3",
				get(many, planRow) / get(few, planRow)})
	}
	if get(fleet, checkRow) > 0 {
		all = append(all,
			ratio{"Ansible's check to that", "at least 10", get(fleet, checkRow) / own},
			ratio{"Ansible's check to the whole no-op plan, Terraform's own cost included", "", get(fleet, checkRow) / get(fleet, planRow)},
			ratio{"Ansible's first run to the whole first apply with host_sysctls", "at least 10",
				get(fleet, ansibleRow) / get(fleet, applyRow)})
	}
	const one, idle = "host_sysctl a key, no-op plan", "a provider that does nothing a key, no-op plan"
	return append(all, ratio{"one host on the slow way, no-op plan with host_sysctl a key, less Terraform's own cost, to the floor", "at most 1.3",
		(get(slowOne, one) - get(slowOne, idle)) / get(slowOne, floorRow)})
}

// write prints the tables, and puts them and the plot into the directory that was named.
func (b *bencher) write() error {
	text := b.report.table() + "\n" + ratioTable(b.ratios())
	fmt.Print("\n" + text)
	if b.out == "" {
		return nil
	}
	title := fmt.Sprintf("Hosts x keys: medians of %d runs on %d cores; the slow way adds %s in each direction", b.runs, runtime.NumCPU(), b.delay)
	return errors.Join(os.WriteFile(filepath.Join(b.out, "result.md"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(b.out, "result.svg"), []byte(b.report.plot(title)), 0o644))
}
