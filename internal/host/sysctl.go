package host

// host_sysctl on a host: a key alone in its drop-in, which is the case of one of Sysctls.

import (
	"context"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// Sysctl is what a host_sysctl asks of a host.
type Sysctl struct {
	Key   sysctl.Key
	Value string
	// Module is the module that the configuration says owns the key; may be empty.
	Module string
	// FileName is the drop-in's name in /etc/sysctl.d.
	FileName string
	// Persist false means no drop-in: the running value alone.
	Persist bool
}

// alone is s as a set of one key. The value from before is put back by UnsetSysctl only, since the key of a host_sysctl never changes.
func (s *Sysctl) alone() *Sysctls {
	if s == nil {
		return nil
	}
	all := Sysctls{Resource: "host_sysctl", Name: s.Key.String(), Settings: []Setting{{s.Key, s.Value}}, FileName: s.FileName, Persist: s.Persist}
	if s.Module != "" {
		all.Modules = []string{s.Module}
	}
	return &all
}

// originally is the value from before of one key.
func originally(k sysctl.Key, original *string) map[sysctl.Key]string {
	if original == nil {
		return nil
	}
	return map[sysctl.Key]string{k: *original}
}

// ReadSysctl reads the layers of s, as ReadSysctls does.
func (h *Host) ReadSysctl(ctx context.Context, s Sysctl) (SysctlState, error) {
	states, err := h.ReadSysctls(ctx, *s.alone())
	return states[s.Key], err
}

// SetSysctl makes the host hold s, as SetSysctls does. original is the value from before Terraform, where the state knows it.
func (h *Host) SetSysctl(ctx context.Context, s Sysctl, prior *Sysctl, original *string) (SysctlState, error) {
	states, err := h.SetSysctls(ctx, *s.alone(), prior.alone(), originally(s.Key, original))
	return states[s.Key], err
}

// UnsetSysctl takes s back, as UnsetSysctls does.
func (h *Host) UnsetSysctl(ctx context.Context, s Sysctl, original *string, restore bool) error {
	all := s.alone()
	all.Restore = restore
	return h.UnsetSysctls(ctx, *all, originally(s.Key, original))
}

// FindDropIn returns the name of the file in /etc/sysctl.d that an import of k takes over: the default one, else one that sets this key and no other, else the
// default one, which then is still to be written.
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
		if all, bad := sysctl.ParseFile(f.Path, f.Text); len(all) == 1 && len(bad) == 0 && !all[0].IsGlob() && all[0].Matches(k) {
			return name, nil
		}
	}
	return s.FileName, nil
}
