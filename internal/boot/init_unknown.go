package boot

import (
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// unknownInit is an init system of which nothing is known, such as BusyBox's: it may apply the files or not.
type unknownInit struct{}

// programs reads the files as systemd's do, because what would be set is still told.
func (unknownInit) programs() programs {
	by := systemd{s: &Snapshot{}}.programs()
	by.etcModules, by.order, by.units = kmod.ParseModules, OrderUnknown, nil
	return by
}

func (unknownInit) modulesOff() Cause { return Cause{} }

func (unknownInit) sysctlsOff(sysctl.Key) Cause { return Cause{} }

func (i unknownInit) module(m ModulePrediction) ModulePrediction {
	if anyInit(m) {
		return m
	}
	return ModulePrediction{Cause: i.uncertain(m.Source, "modules-load.d"), Notes: m.Notes}
}

func (unknownInit) late(ModulePrediction) Cause { return Cause{} }

func (i unknownInit) key(*judgement) Cause { return i.uncertain("", "sysctl.d") }

func (unknownInit) failures(*Prediction) []UnitFailure { return nil }

func (unknownInit) uncertain(source, family string) Cause {
	return Cause{InitUncertain, source,
		"The host does not run systemd, and what applies " + family + " at boot is not known."}
}
