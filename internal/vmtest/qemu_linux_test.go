package vmtest

import "testing"

// Guards that KVM is used only on a CPU that runs guests itself: a host that offers KVM by PVM interprets Debian's kernel, which then never comes up.
func TestCPUThatRunsGuests(t *testing.T) {
	for flags, want := range map[string]bool{
		"flags\t\t: fpu vme de vmx smx est":                true,
		"flags\t\t: fpu vme de svm":                        true,
		"flags\t\t: fpu vme de hypervisor":                 false,
		"flags\t\t: fpu svm_lock":                          false,
		"flags\t\t: fpu hypervisor\nvmx flags\t: vnmi ept": false,
	} {
		info := "processor\t: 0\nmodel name\t: vmx svm\n" + flags + "\nbugs\t\t: spectre_v1\n"
		if got := virtualizes.MatchString(info); got != want {
			t.Errorf("%q: %v", flags, got)
		}
	}
}
