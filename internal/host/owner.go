package host

// Ownership of drop-ins: which resource instance wrote a file, and what becomes of its keys when another instance
// takes them over.

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// instanceMark precedes the instance in the first line of a drop-in.
const instanceMark = " (instance "

// owner is the resource instance that wrote a drop-in.
type owner struct {
	// Resource is the type of the resource, and Name what it is called on the host.
	Resource, Name string
	// Instance tells instances of one name apart. It is empty in files of versions that did not write it.
	Instance string
}

// mark returns the first line of the owner's drop-ins, without the comment character.
func (o owner) mark() string {
	mark := owned + o.Resource + " " + o.Name
	if o.Instance != "" {
		mark += instanceMark + o.Instance + ")"
	}
	return mark
}

func (o owner) String() string { return o.Resource + " " + o.Name }

// ownerOf returns the instance that wrote a file; ok is false if this provider did not write it.
func ownerOf(f confdir.File) (o owner, ok bool) {
	first, _, _ := strings.Cut(f.Text, "\n")
	text, ok := strings.CutPrefix(first, "# "+owned)
	if !ok {
		return owner{}, false
	}
	if i := strings.LastIndex(text, instanceMark); i >= 0 && strings.HasSuffix(text, ")") {
		text, o.Instance = text[:i], text[i+len(instanceMark):len(text)-1]
	}
	o.Resource, o.Name, ok = strings.Cut(text, " ")
	return o, ok
}

// belongsTo reports whether the drop-in at an instance's own path is that instance's. A file without an instance
// belongs to whoever has its path: an older version wrote it, or it was imported as it is.
func belongsTo(f confdir.File, instance string) bool {
	o, _ := ownerOf(f)
	return o.Instance == "" || o.Instance == instance
}

// holding is a line of a drop-in of another resource instance.
type holding struct {
	owner
	file confdir.File
	// key is what the line sets: the key that s declares, or one that excludes it.
	key sysctl.Key
}

// holdings returns the keys of s that drop-ins and notes of other instances hold, and those whose values exclude what
// their drop-ins hold. prior is what Terraform last recorded of s.
func (s Sysctls) holdings(snap *boot.Snapshot, prior *Sysctls) map[sysctl.Key][]holding {
	own := map[string]bool{s.Path(): true}
	if prior != nil {
		own[prior.Path()] = true
	}
	wanted, coupled := map[sysctl.Key]bool{}, []Setting(nil)
	for _, v := range s.Settings {
		if wanted[v.Key] = true; sysctl.Cluster(v.Key) != "" {
			coupled = append(coupled, v)
		}
	}
	found := map[sysctl.Key][]holding{}
	for _, f := range snap.Sysctl {
		o, ours := ownerOf(f)
		if !ours || !strings.HasPrefix(f.Path, sysctlDir) || own[f.Path] && belongsTo(f, s.Instance) ||
			o.Instance != "" && o.Instance == s.Instance {
			continue
		}
		all, _ := sysctl.ParseFile(f.Path, f.Text)
		for _, a := range all {
			k, err := sysctl.ParseKey(a.Pattern)
			if err != nil {
				continue
			}
			if wanted[k] {
				found[k] = append(found[k], holding{o, f, k})
			}
			for _, v := range coupled {
				if excludes(v, Setting{k, a.Value}) {
					found[v.Key] = append(found[v.Key], holding{o, f, k})
				}
			}
		}
	}
	s.holdingsInNotes(snap, wanted, found)
	return found
}

// takeOver returns the drop-ins of other instances as they are without the keys that s takes from them: those that
// keep something, and the paths of those that are left with nothing. The one at s's own path is replaced anyway.
func (s Sysctls) takeOver(held map[sysctl.Key][]holding) (written []shell.File, removed []string) {
	taken, files := map[string]map[sysctl.Key]bool{}, map[string]confdir.File{}
	for _, all := range held {
		for _, h := range all {
			if h.file.Path == s.Path() {
				continue
			}
			if files[h.file.Path] = h.file; taken[h.file.Path] == nil {
				taken[h.file.Path] = map[sysctl.Key]bool{}
			}
			taken[h.file.Path][h.key] = true
		}
	}
	for path, keys := range taken {
		without := withoutKeys
		if isNote(files[path]) {
			without = withoutNoted
		}
		if text, left := without(files[path], keys); left {
			written = append(written, shell.File{Path: path, Content: text})
		} else {
			removed = append(removed, path)
		}
	}
	slices.SortFunc(written, func(a, b shell.File) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(removed)
	return written, removed
}

// withoutKeys returns the text of a drop-in without the lines of these keys and the values from before above them;
// left is false if it then sets nothing.
func withoutKeys(f confdir.File, keys map[sysctl.Key]bool) (text string, left bool) {
	lines := strings.SplitAfter(f.Text, "\n")
	drop := map[int]bool{}
	all, _ := sysctl.ParseFile(f.Path, f.Text)
	for _, a := range all {
		if k, err := sysctl.ParseKey(a.Pattern); err != nil || !keys[k] {
			left = true
			continue
		}
		drop[a.At.Line-1] = true
		if a.At.Line > 1 && strings.HasPrefix(lines[a.At.Line-2], "# "+before) {
			drop[a.At.Line-2] = true
		}
	}
	var b strings.Builder
	for i, line := range lines {
		if !drop[i] {
			b.WriteString(line)
		}
	}
	return b.String(), left
}

// checkOwners adds to p which keys and files of s an instance holds that this run does not know. They are not taken
// over unless s adopts them: another configuration may rely on them.
func (h *Host) checkOwners(ctx context.Context, p *SysctlsPlan, snap *boot.Snapshot, s Sysctls,
	held map[sysctl.Key][]holding) {
	names := map[string]confdir.File{}
	for _, f := range s.othersFiles(snap, held) {
		o, _ := ownerOf(f)
		names[h.knownAs(o.Instance, f.Path)] = f
	}
	refusals, warnings := h.unknownOwners(ctx, names)
	p.Refusals, p.Warnings = append(p.Refusals, refusals...), append(p.Warnings, warnings...)
}

// othersFiles returns the drop-ins of other instances from which s takes something over; none if s adopts them.
func (s Sysctls) othersFiles(snap *boot.Snapshot, held map[sysctl.Key][]holding) (files []confdir.File) {
	if s.Adopt {
		return nil
	}
	if f, ok := snap.File(s.Path()); ok && !belongsTo(f, s.Instance) {
		files = append(files, f)
	}
	for _, all := range withoutNotes(held) {
		for _, other := range all {
			files = append(files, other.file)
		}
	}
	return files
}

// unknownOwners says which of the files, each by the name of the instance that wrote it, this run does not know.
func (h *Host) unknownOwners(ctx context.Context, files map[string]confdir.File) (refusals, warnings []*Error) {
	unknown, certain := h.unknown(ctx, slices.Sorted(maps.Keys(files)))
	for _, name := range unknown {
		if e := h.unknownOwner(files[name]); certain {
			refusals = append(refusals, e)
		} else {
			warnings = append(warnings, h.takenOver(files[name]))
		}
	}
	return refusals, warnings
}

// takenOver is the warning for a drop-in of an instance that may belong to this run, or not.
func (h *Host) takenOver(f confdir.File) *Error {
	o, _ := ownerOf(f)
	return h.errorf(DropInUnknown, "%s was written by %s, and what both set is taken over, with the values from before. "+
		"If that resource belongs to another configuration, leave the keys to one of the two.", f.Path, o)
}

// unknownOwner is the error for a drop-in of an instance that this run does not know.
func (h *Host) unknownOwner(f confdir.File) *Error {
	o, _ := ownerOf(f)
	id := o.Name
	if o.Resource == "host_sysctls" {
		id = strings.TrimPrefix(f.Path, sysctlDir)
	}
	return h.errorf(DropInUnknown, "%s was written by %s of another configuration, or by one that this state has "+
		"forgotten. To take over what it sets, with the values from before, import it: terraform import %s.<name> '%s/%s'; "+
		"or set "+
		"adopt = true, which does so on every host at once. Else remove it where it was declared.",
		f.Path, o, o.Resource, h.name, id)
}

// checkModuleOwners is checkOwners for the files of a module, and says what else stands against them.
func (h *Host) checkModuleOwners(ctx context.Context, p *ModulePlan, snap *boot.Snapshot, m Module, prior *Module) {
	names := map[string]confdir.File{}
	for _, f := range m.othersFiles(snap) {
		o, _ := ownerOf(f)
		names[o.Instance] = f
	}
	p.Refusals, p.Warnings = h.unknownOwners(ctx, names)
	var e *Error
	if errors.As(h.checkModuleFiles(snap, m, prior), &e) {
		p.Refusals = append(p.Refusals, e)
	}
}

// othersFiles returns the files of m that other instances wrote; none if m adopts them.
func (m Module) othersFiles(snap *boot.Snapshot) (files []confdir.File) {
	for _, path := range []string{m.LoadPath(), m.OptionsPath()} {
		f, ok := snap.File(path)
		if o, _ := ownerOf(f); ok && o.Instance != "" && o.Instance != m.Instance && !m.Adopt {
			files = append(files, f)
		}
	}
	return files
}

// WrittenBy returns the instance that wrote the file at path; "" if there is none, or nobody knows.
func (h *Host) WrittenBy(ctx context.Context, path string) (string, error) {
	snap, err := h.read(ctx)
	if err != nil {
		return "", err
	}
	f, _ := snap.File(path)
	o, _ := ownerOf(f)
	return o.Instance, nil
}
