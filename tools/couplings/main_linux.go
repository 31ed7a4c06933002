// Command couplings prints which sysctls a write to another one changes, as a real kernel has it: the table
// internal/sysctl/couplings.tsv.
//
//	go run ./couplings DIR >../internal/sysctl/couplings.tsv
//
// DIR holds an unpacked kernel package (see the package guest). The guest loads every module that registers sysctls,
// writes candidate values to each key in turn, and looks after each write for other keys whose values have changed.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/host-provider/terraform-provider-host/tools/guest"
)

// limit is how long the guest may take.
const limit = time.Hour

func main() { guest.Main(inside, outside) }

// outside starts the kernel and prints the table.
func outside(ctx context.Context, k *guest.Kernel, out io.Writer) error {
	order, err := k.LoadOrder("dummy", "tcp_bbr")
	if err != nil {
		return err
	}
	said, err := k.Boot(ctx, order, limit, os.Stderr)
	if err != nil {
		return err
	}
	var all []observation
	for _, line := range said {
		o, ok := parseObservation(line)
		if !ok {
			return fmt.Errorf("the guest said %q", line)
		}
		all = append(all, o)
	}
	_, err = fmt.Fprintf(out, "# Kernel %s\n%s", k.Release, format(all))
	return err
}
