// Command couplings prints which sysctls a write to another one changes, as a real kernel has it: the table internal/sysctl/couplings.tsv.
//
//	go run ./couplings DIR >../internal/sysctl/couplings.tsv
//
// DIR holds an unpacked kernel package (see the package guest). The guest loads every module that registers sysctls, writes candidate values to each
// key in turn, and looks after each write for other keys whose values have changed.
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
const limit = 20 * time.Minute

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
	written := 0
	for _, line := range said {
		if o, ok := parseObservation(line); ok {
			all = append(all, o)
		} else if _, err := fmt.Sscanf(line, wroteKeys, &written); err != nil {
			fmt.Fprintf(os.Stderr, "unknown line %q\n", line)
		}
	}
	_, err = fmt.Fprintf(out, "# Kernel %s; %d keys written\n%s", k.Release, written, format(all))
	return err
}
