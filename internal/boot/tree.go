package boot

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
)

// Tree is what is known of a directory of /lib/modules. All names are in canonical spelling.
type Tree struct {
	// Release is the directory's name, which is the kernel's uname -r.
	Release string
	// Dep are the modules that were found in modules.dep, each with all that it depends on, in the order of loading.
	Dep map[string][]string
	// Alias are the modules that a name stands for: the lines of modules.alias without a pattern.
	Alias map[string][]string
	// Softdep are the lines of modules.softdep.
	Softdep []kmod.Directive
	// Builtin are the names of modules.builtin.
	Builtin map[string]bool
}

// ParseTree parses what was found in the files of /lib/modules/RELEASE: lines of modules.dep, modules.alias,
// modules.softdep and modules.builtin. It leaves out lines of another form.
func ParseTree(release, dep, alias, softdep, builtin string) Tree {
	t := Tree{Release: release, Dep: map[string][]string{}, Alias: map[string][]string{}, Builtin: map[string]bool{}}
	for line := range strings.Lines(dep) {
		file, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		name := moduleOf(file)
		if !ok || name == "" {
			continue
		}
		deps := []string{}
		for f := range strings.FieldsSeq(rest) {
			if dep := moduleOf(f); dep != "" {
				deps = append(deps, dep)
			}
		}
		slices.Reverse(deps) // modules.dep names first what is loaded last
		t.Dep[name] = deps
	}
	directives, _ := kmod.ParseModprobe(release+"/modules.alias", alias)
	for _, d := range directives {
		if d.Command == "alias" {
			t.Alias[d.Name] = append(t.Alias[d.Name], d.Text)
		}
	}
	t.Softdep, _ = kmod.ParseModprobe(release+"/modules.softdep", softdep)
	for _, name := range kmod.ParseBuiltin(builtin) {
		t.Builtin[name] = true
	}
	return t
}

// moduleOf returns the name of the module in a file such as kernel/net/ipv6/nf-x.ko.xz; "" if it cannot be one.
func moduleOf(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	name, err := kmod.ParseName(kmod.Canonical(name))
	if err != nil {
		return ""
	}
	return name
}

// tree returns the tree of this release, nil if there is none.
func (s *Snapshot) tree(release string) *Tree {
	for i := range s.Trees {
		if s.Trees[i].Release == release {
			return &s.Trees[i]
		}
	}
	return nil
}

// newer returns the trees of later releases than this one.
func (s *Snapshot) newer(release string) []*Tree {
	var list []*Tree
	for i := range s.Trees {
		if compareReleases(s.Trees[i].Release, release) > 0 {
			list = append(list, &s.Trees[i])
		}
	}
	return list
}

// compareReleases orders kernel releases: runs of digits by value, anything else byte by byte.
func compareReleases(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x > 0 && y > 0 {
			m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
			if c := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); c != 0 {
				return c
			}
			a, b = a[x:], b[y:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns how many digits s begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
