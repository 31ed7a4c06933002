// Command owners prints which kernel module owns which sysctl, as a real kernel has it: the table internal/kmod/owners.tsv.
//
//	go run ./owners DIR >../internal/kmod/owners.tsv
//
// DIR holds an unpacked kernel package (see the package guest). The guest loads every module that registers sysctls, one after the other, and looks
// after each for what has appeared.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/tools/guest"
)

// limit is how long the guest may take.
const limit = 10 * time.Minute

// failedToLoad follows the name of a module that the kernel refuses.
const failedToLoad = " is not loaded"

func main() { guest.Main(inside, outside) }

// outside starts the kernel and prints the table.
func outside(ctx context.Context, k *guest.Kernel, out io.Writer) error {
	order, err := k.LoadOrder()
	if err != nil {
		return err
	}
	said, err := k.Boot(ctx, order, limit, os.Stderr)
	if err != nil {
		return err
	}
	for _, m := range order {
		if m.Sysctls && slices.Contains(said, m.Name+failedToLoad) {
			return fmt.Errorf("the kernel does not load %s, so its keys are not known", m.Name)
		}
	}
	_, err = fmt.Fprint(out, format(k.Release, said))
	return err
}

// inside loads each module and prints what appears in /proc/sys.
func inside() error {
	modules, err := guest.Modules()
	if err != nil {
		return err
	}
	before, err := guest.Keys()
	if err != nil {
		return err
	}
	for _, name := range modules {
		if err := guest.Load(name, ""); err != nil {
			guest.Say("%s%s", name, failedToLoad)
		}
		after, err := guest.Keys()
		if err != nil {
			return err
		}
		device, err := guest.Devices()
		if err != nil {
			return err
		}
		for key := range after {
			if !before[key] && !slices.ContainsFunc(strings.Split(key, "/"), func(part string) bool { return device[part] }) {
				guest.Say("%s\t%s", name, spelled(key))
			}
		}
		before = after
	}
	return nil
}

// spelled is a path below /proc/sys with dots for slashes, and slashes for dots, as sysctl.d has it.
func spelled(key string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(key) }

// format is the table: a comment that says where it is from, then a line a key.
func format(release string, said []string) string {
	owner := map[string]string{}
	modules := map[string]bool{}
	for _, line := range said {
		if name, key, ok := strings.Cut(line, "\t"); ok {
			owner[key], modules[name] = name, true
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Kernel %s; keys of %d modules\n", release, len(modules))
	byOwner := func(a, b string) int { return cmp.Or(cmp.Compare(owner[a], owner[b]), cmp.Compare(a, b)) }
	for _, key := range slices.SortedFunc(maps.Keys(owner), byOwner) {
		fmt.Fprintf(&b, "%s\t%s\n", owner[key], key)
	}
	return b.String()
}
