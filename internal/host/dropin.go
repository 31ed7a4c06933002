package host

// The format of the files that this provider writes: their names, their first lines, and the lines that set something.

import (
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

const (
	sysctlDir      = "/etc/sysctl.d/"
	modulesLoadDir = "/etc/modules-load.d/"
	modprobeDir    = "/etc/modprobe.d/"
	// modulePrefix begins the name of both files of a module.
	modulePrefix = "terraform-"
	// owned begins the first line of each file this provider writes.
	owned = "Managed by Terraform: "
	// before begins the comment of a drop-in that keeps the value from before Terraform. The file outlives the state.
	before = "Value before Terraform: "
)

// markLine returns the first line of a file of ours: a comment with the mark of its resource.
func markLine(mark string) string { return "# " + mark }

// within reports whether a path:line is in the file at path.
func within(source, path string) bool { return strings.HasPrefix(source, path+":") }

// SysctlsPrefix begins the default file name of a host_sysctls.
const SysctlsPrefix = "90-terraform-"

// SysctlsFileName returns the default file name of the host_sysctls with this name.
func SysctlsFileName(name string) string { return SysctlsPrefix + name + ".conf" }

// Path returns the drop-in's path.
func (s Sysctls) Path() string { return sysctlDir + s.FileName }

// Path returns the drop-in's path.
func (s Sysctl) Path() string { return sysctlDir + s.FileName }

// Source returns the path:line of the assignment: it follows the mark and the value from before.
func (s Sysctl) Source() string { return confdir.Position{File: s.Path(), Line: 3}.String() }

func (s Sysctls) owner() owner { return owner{s.Resource, s.Name, s.Instance} }

// dropIn returns the text of the drop-in: the values in the order in which they are written, each under the value from
// before, and then the values from before of keys that follow them.
func (s Sysctls) dropIn(originals, followers map[sysctl.Key]string) string {
	var text strings.Builder
	text.WriteString(markLine(s.owner().mark()) + "\n")
	for _, v := range s.inOrder() {
		text.WriteString(sysctl.Format(v.Key, v.Value, before+originals[v.Key]))
	}
	text.WriteString(followersText(followers))
	return text.String()
}

// originalsIn returns the values from before Terraform that a drop-in of ours remembers, each in the line above the
// key's own, or that a note does.
func originalsIn(f confdir.File) map[sysctl.Key]string {
	if _, ours := ownerOf(f); !ours {
		return nil
	}
	if isNote(f) {
		return followersIn(f)
	}
	lines := slices.Collect(confdir.Lines(f.Text))
	found := map[sysctl.Key]string{}
	all, _ := sysctl.ParseFile(f.Path, f.Text)
	for _, a := range all {
		k, err := sysctl.ParseKey(a.Pattern)
		if err != nil || a.At.Line < 2 {
			continue
		}
		if v, ok := strings.CutPrefix(lines[a.At.Line-2], "# "+before); ok {
			found[k] = v
		}
	}
	return found
}

// assigned returns the assignments by which a file alone sets the keys of s.
func assigned(f confdir.File, s Sysctls) map[sysctl.Key]*sysctl.Assignment {
	alone := boot.Predict(&boot.Snapshot{Sysctl: []confdir.File{f}})
	found := make(map[sysctl.Key]*sysctl.Assignment, len(s.Settings))
	for _, v := range s.Settings {
		if l, ok := alone.Line(v.Key); ok {
			found[v.Key] = &l.Assignment
		}
	}
	return found
}

// assignsAll reports whether a file alone sets every key of s to its value.
func (s Sysctls) assignsAll(f confdir.File) bool {
	own := assigned(f, s)
	return !slices.ContainsFunc(s.Settings, func(v Setting) bool {
		return own[v.Key] == nil || !sysctl.Equal(
			v.Key, own[v.Key].Value, v.Value)
	})
}

// isExactly reports whether a file sets exactly what s wants. Such a file is not written again.
func (s Sysctls) isExactly(f confdir.File) bool { return s.assignsAll(f) && s.otherKey(f, nil) == "" }

// mends reports whether a key of s has another value now. Its file is then written again even if it sets the value, so
// that it is newer than the boot, which did not leave the value: a file that is older is evidence that the boot did.
func (s Sysctls) mends(snap *boot.Snapshot) bool {
	file, _ := snap.File(s.Path())
	if _, ours := ownerOf(file); !ours {
		return false
	}
	return slices.ContainsFunc(s.Settings, func(v Setting) bool {
		r := snap.Values[v.Key.Path()]
		return !r.Absent && r.Unread == "" && !sysctl.Equal(v.Key, r.Text, v.Value)
	})
}

// otherKey returns a key that a file sets and that neither s nor prior has. It returns "" if there is none.
func (s Sysctls) otherKey(f confdir.File, prior *Sysctls) string {
	ours := map[string]bool{}
	for _, p := range slices.Concat(s.paths(), prior.keys()) {
		ours[p] = true
	}
	all, _ := sysctl.ParseFile(f.Path, f.Text)
	for _, a := range all {
		if a.IsGlob() || !ours["/proc/sys/"+a.Pattern] {
			return strings.ReplaceAll(a.Pattern, "/", ".")
		}
	}
	return ""
}

// keys returns the paths of the keys. s may be nil.
func (s *Sysctls) keys() []string {
	if s == nil {
		return nil
	}
	return s.paths()
}

// adoptable reports whether a drop-in is what a create would have written. If the reply of a create was lost, Terraform
// creates once more and finds such a file.
func (s Sysctls) adoptable(f confdir.File) bool {
	o, _ := ownerOf(f)
	originals := originalsIn(f)
	return o.Resource == s.Resource && o.Name == s.Name && s.assignsAll(f) && !slices.ContainsFunc(s.Settings,
		func(v Setting) bool { _, ok := originals[v.Key]; return !ok })
}

// LoadPath returns the path of the modules-load.d file.
func (m Module) LoadPath() string {
	return modulesLoadDir + modulePrefix + kmod.Canonical(m.Name) + ".conf"
}

// OptionsPath returns the path of the modprobe.d file with the parameters.
func (m Module) OptionsPath() string {
	return modprobeDir + modulePrefix + kmod.Canonical(m.Name) + ".conf"
}

// Source returns the path:line that loads the module at boot: it follows the mark.
func (m Module) Source() string { return confdir.Position{File: m.LoadPath(), Line: 2}.String() }

func (m Module) mark() string {
	return owner{"host_kernel_module", kmod.Canonical(m.Name), m.Instance}.mark()
}

// files returns the module's two files. A file without content must not exist.
func (m Module) files(real string) []shell.File {
	files := []shell.File{{Path: m.LoadPath()}, {Path: m.OptionsPath()}}
	if m.Persist {
		files[0].Content = kmod.FormatLoad(m.Name, m.mark())
		if len(m.Parameters) > 0 {
			files[1].Content = kmod.FormatOptions(real, m.Parameters, m.mark())
		}
	}
	return files
}

// pretended returns the modules-load.d file of m as it would be, for a prediction.
func (m Module) pretended() confdir.File {
	return confdir.File{Path: m.LoadPath(), Text: kmod.FormatLoad(m.Name, m.mark()), Regular: true}
}

// listed returns the path:line of our own file that names the module, or "" if none does.
func (m Module) listed(snap *boot.Snapshot) string {
	f, _ := snap.File(m.LoadPath())
	for _, l := range kmod.ParseLoad(f.Path, f.Text) {
		if kmod.Same(l.Name, m.Name) {
			return l.At.String()
		}
	}
	return ""
}

// optionsIn returns the parameters that a modprobe.d file gives to the module.
func optionsIn(f confdir.File, module string) map[string]string {
	var params map[string]string
	directives, _ := kmod.ParseModprobe(f.Path, f.Text)
	for _, d := range directives {
		if d.Command != "options" || !d.Concerns(module) {
			continue
		}
		for _, p := range kmod.ParseParameters(d.Text) {
			if params == nil {
				params = map[string]string{}
			}
			params[p.Name] = p.Value
		}
	}
	return params
}
