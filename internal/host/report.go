package host

// The report of host_boot: whether the next boot leaves the host as it is now, judged by every file, the kernel and
// systemd.

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

//go:embed scripts/units.sh
var unitsScript string

// BootReport compares a host as it is now with what the next boot leaves.
type BootReport struct {
	// Kernel is the running release. Init is the program that starts services: "systemd", "openrc" or "".
	Kernel, Init string
	// Keys are those that some file sets and those that the caller named, in the order of their names. Modules are those
	// that a file loads or that own one of the keys.
	Keys    []KeyReport
	Modules []ModuleReport
	// Failures are the lines that make a unit fail at boot, and the reasons why systemd may start units in another order
	// than the prediction assumes.
	Failures []boot.UnitFailure
	// Units are systemd's units that apply the files, as systemd reports them. There are none without systemd.
	Units []Unit
	// Holds is true if every key and module is after the next boot as it is now, no line makes a unit fail, and systemd
	// orders its units as predicted.
	Holds bool
}

// KeyReport is one key now and after the next boot.
type KeyReport struct {
	Key sysctl.Key
	// Running is nil if the key does not exist or cannot be read. Boot is nil if it is not known. Both are nil for a key
	// that holds a secret.
	Running, Boot *string
	// Cause is what decides, and why the next boot does not leave the value that runs now.
	boot.Cause
	// Shadows are the path:line of the assignments that Source overrides.
	Shadows []string
	// Holds says that the next boot leaves the value that runs now.
	Holds bool
	// ProvenAt is when this boot set the value that runs now, as the files say; "" if that is not known.
	ProvenAt string
	Notes    []boot.Cause
}

// ModuleReport is one module now and after the next boot.
type ModuleReport struct {
	Name               string
	LoadedNow, Builtin bool
	// LoadedAtBoot is true if the module is loaded before systemd-sysctl runs. It is false if that is not known.
	LoadedAtBoot bool
	// Cause is what loads the module at boot or blocks it, and why it is not loaded.
	boot.Cause
	// Holds says that it is there at boot if it is there now.
	Holds bool
	Notes []boot.Cause
}

// Unit is a unit as systemctl show reports it.
type Unit struct {
	Name, LoadState, ActiveState, Result string
	// After are the units that must start before it.
	After []string
}

// BootReport reports what the next boot leaves of the host as it is now. keys are reported in addition to those that
// files set.
func (h *Host) BootReport(ctx context.Context, keys []sysctl.Key) (BootReport, error) {
	h.forget()
	snap, err := h.read(ctx, pathsOf(keys)...)
	if err != nil {
		return BootReport{}, err
	}
	p := h.predict(snap)
	// The script does not know every spelling of a key; where it does, this takes no exchange.
	if snap, err = h.read(ctx, pathsOf(append(slices.Clone(keys), p.Keys()...))...); err != nil {
		return BootReport{}, err
	}
	if snap, err = h.withEvidence(ctx, snap); err != nil {
		return BootReport{}, err
	}
	p = boot.Predict(snap)
	keys = append(slices.Clone(keys), p.Keys()...)
	slices.SortFunc(keys, func(a, b sysctl.Key) int { return strings.Compare(a.String(), b.String()) })
	c := BootReport{Kernel: snap.Kernel, Init: snap.Init, Failures: p.Failures(), Holds: len(p.Failures()) == 0}
	modules := p.Modules()
	for _, k := range slices.Compact(keys) {
		c.Keys = append(c.Keys, keyReport(snap, p, k))
		if m, ok := kmod.Owner(k); ok {
			modules = append(modules, m)
		}
	}
	for i, m := range modules {
		modules[i] = kmod.Canonical(m)
	}
	slices.Sort(modules)
	for _, m := range slices.Compact(modules) {
		c.Modules = append(c.Modules, moduleReport(snap, p, m))
	}
	if names := p.Units(); len(names) > 0 {
		if c.Units, err = h.units(ctx, names...); err != nil {
			return BootReport{}, err
		}
		if fault := outOfOrder(c.Units, names[0], names[1]); fault != nil {
			c.Failures, c.Holds = append(c.Failures, *fault), false
		}
	}
	c.Holds = c.Holds && !slices.ContainsFunc(c.Keys, func(k KeyReport) bool { return !k.Holds }) &&
		!slices.ContainsFunc(c.Modules, func(m ModuleReport) bool { return !m.Holds })
	return c, nil
}

// pathsOf returns the paths of keys under /proc/sys.
func pathsOf(keys []sysctl.Key) []string {
	paths := make([]string, len(keys))
	for i, k := range keys {
		paths[i] = k.Path()
	}
	return paths
}

// keyReport returns the report on one key.
func keyReport(snap *boot.Snapshot, p *boot.Prediction, k sysctl.Key) KeyReport {
	r := snap.Values[k.Path()]
	o := p.KeyNow(k)
	if o.Reason == boot.Shadowed && isOurs(snap, o.Source) {
		o.Cause = boot.NotAppliedBy(o.Source, k)
	}
	c := KeyReport{Key: k, Cause: o.Cause, Shadows: o.Shadows, Holds: o.Holds, Notes: o.Notes,
		ProvenAt: shownTime(p.Proven(k))}
	switch {
	case r.Absent && (o.Reason == boot.KeyMissing || o.Reason == boot.NotInTree || o.Reason == boot.Container):
		c.Holds, c.Reason, c.Detail = true, "", "" // there is no such key now, and there will be none
		c.Notes = append(c.Notes, o.Cause)
		return c
	case sysctl.WriteOnly(k):
		c.Holds, c.Reason, c.Detail = true, "", "" // a trigger has no value to keep
		return c
	case r.Absent && o.Known:
		c.Holds, c.Reason, c.Detail = false, boot.KeyMissing, fmt.Sprintf(
			"%s is not there now, and the next boot sets it.", k)
	case r.Unread != "":
		c.Holds, c.Reason, c.Detail = false, boot.Unread, fmt.Sprintf("%s cannot be read: %s.", k, r.Unread)
	case !r.Absent && !sysctl.Secret(k):
		c.Running = &r.Text
	}
	if o.Known && !sysctl.Secret(k) {
		value := o.Value
		if sysctl.Equal(k, value, r.Text) {
			value = r.Text
		}
		c.Boot = &value
	}
	return c
}

// moduleReport returns the report on one module.
func moduleReport(snap *boot.Snapshot, p *boot.Prediction, name string) ModuleReport {
	o := p.Module(name)
	m := ModuleReport{
		Name: name, LoadedNow: snap.Has(name), Builtin: snap.IsBuiltin(name), LoadedAtBoot: o.Known && o.LoadedAtBoot,
		Cause: o.Cause, Notes: o.Notes,
	}
	for _, real := range p.Resolve(name) {
		m.LoadedNow = m.LoadedNow || snap.Has(real)
	}
	m.Holds = m.LoadedAtBoot || !m.LoadedNow && o.Known || m.LoadedNow &&
		o.Reason == boot.Container // its kernel does not reboot
	return m
}

// units asks systemd about units. It returns none if systemd does not answer.
func (h *Host) units(ctx context.Context, names ...string) ([]Unit, error) {
	r, err := h.conn.Run(ctx, shell.Script{Name: "units", Text: unitsScript, Args: names, Repeatable: true})
	if err != nil {
		return nil, err
	}
	printed, _ := r.Get("units")
	if _, failed := r.Get("failed"); failed {
		return nil, nil
	}
	return parseUnits(printed), nil
}

// parseUnits parses what systemctl show prints of several units: a block of NAME=VALUE lines for each, with an empty
// line between two.
func parseUnits(printed string) []Unit {
	var units []Unit
	for block := range strings.SplitSeq(strings.TrimSpace(printed), "\n\n") {
		var u Unit
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch name {
			case "Id":
				u.Name = value
			case "LoadState":
				u.LoadState = value
			case "ActiveState":
				u.ActiveState = value
			case "Result":
				u.Result = value
			case "After":
				u.After = strings.Fields(value)
			}
		}
		units = append(units, u)
	}
	return units
}

// outOfOrder returns a failure if systemd does not start last, the unit that applies sysctls, after first, the unit
// that loads modules, because every prediction assumes that order. It returns nil if systemd does.
func outOfOrder(units []Unit, first, last string) *boot.UnitFailure {
	i := slices.IndexFunc(units, func(u Unit) bool { return u.Name == last })
	fault := &boot.UnitFailure{Unit: last}
	switch {
	case i < 0:
		fault.Detail = "systemctl did not say whether systemd starts it, and after what. Log in as root or set sudo = " +
			"true, " +
			"and try `systemctl show " + last + "` on the host."
	case units[i].LoadState != "loaded":
		fault.Detail = fmt.Sprintf(
			"systemd does not start it: it is %s. Let it start: systemctl unmask %s.",
			units[i].LoadState, last)
	case !slices.Contains(units[i].After, first):
		fault.Detail = fmt.Sprintf(
			"systemd does not start it after %s, so keys of modules may be lost. Remove the unit file or drop-in that changes "+
				"the order: systemctl cat %s.",
			first, last)
	default:
		return nil
	}
	return fault
}
