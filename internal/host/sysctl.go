package host

// host_sysctl on a host: a Sysctls with one key, alone in its drop-in.

import (
	"context"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Sysctl is what a host_sysctl wants of a host.
type Sysctl struct {
	Key   sysctl.Key
	Value string
	// Module is the module that owns the key according to the configuration. It may be empty.
	Module string
	// FileName is the drop-in's name in /etc/sysctl.d.
	FileName string
	// Persist is false if there is no drop-in, and only the running value is set.
	Persist bool
	// Instance, Adopt and Boots are as those of Sysctls.
	Instance string
	Adopt    bool
	Boots    *Boots
}

// alone returns s as a set of one key. Only UnsetSysctl restores the value from before, because the key of a
// host_sysctl never changes.
func (s *Sysctl) alone() *Sysctls {
	if s == nil {
		return nil
	}
	all := Sysctls{Resource: "host_sysctl", Name: s.Key.String(), Settings: []Setting{{s.Key, s.Value}},
		FileName: s.FileName, Persist: s.Persist, Instance: s.Instance, Adopt: s.Adopt,
		Boots: s.Boots}
	if s.Module != "" {
		all.Modules = []string{s.Module}
	}
	return &all
}

// originally returns the value from before of one key as a map.
func originally(k sysctl.Key, original *string) map[sysctl.Key]string {
	if original == nil {
		return nil
	}
	return map[sysctl.Key]string{k: *original}
}

// ReadSysctl reads the layers of s as ReadSysctls does.
func (h *Host) ReadSysctl(ctx context.Context, s Sysctl) (SysctlState, error) {
	states, err := h.ReadSysctls(ctx, *s.alone())
	return states[s.Key], err
}

// SetSysctl applies s as SetSysctls does. original is the value from before Terraform, if the state knows it.
func (h *Host) SetSysctl(ctx context.Context, s Sysctl, prior *Sysctl, original *string) (SysctlState, error) {
	states, err := h.SetSysctls(ctx, *s.alone(), prior.alone(), originally(s.Key, original))
	return states[s.Key], err
}

// UnsetSysctl removes s as UnsetSysctls does.
func (h *Host) UnsetSysctl(ctx context.Context, s Sysctl, original *string, restore bool) error {
	all := s.alone()
	all.Restore = restore
	return h.UnsetSysctls(ctx, *all, originally(s.Key, original))
}

// FindDropIn returns the name of the file in /etc/sysctl.d that an import of k takes over: the default file if it
// exists, else a file that sets only this key. If there is neither, it returns the default name, and the file is still
// to be written.
func (h *Host) FindDropIn(ctx context.Context, k sysctl.Key) (string, error) {
	snap, err := h.read(ctx, k.Path())
	if err != nil {
		return "", err
	}
	s := (&Sysctl{Key: k, FileName: k.DropInName()}).alone()
	if f, ok := snap.File(s.Path()); ok {
		return s.FileName, h.checkOwnership(*s, nil, f)
	}
	if snap.Values[k.Path()].Absent {
		return "", h.errorf(KeyMissing, "%s does not exist. %s", k, h.whyMissing(k, nil, snap))
	}
	for _, f := range confdir.Order(snap.Sysctl) {
		name, ok := strings.CutPrefix(f.Path, sysctlDir)
		if !ok || f.Target != "" {
			continue
		}
		if all, bad := sysctl.ParseFile(
			f.Path, f.Text); len(all) == 1 && len(bad) == 0 && !all[0].IsGlob() && all[0].Matches(k) {
			return name, nil
		}
	}
	return s.FileName, nil
}
