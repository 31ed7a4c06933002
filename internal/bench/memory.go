package main

// How much memory the provider's process takes for a thousand simulated hosts, and whether it dials one twice.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/hosttest"
)

// memory plans n simulated hosts with nothing to do, and prints the highest RSS of the provider's process and how often each host was dialled meanwhile.
func memory(ctx context.Context, n int) (err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cli, err := install(ctx, dir)
	if err != nil {
		return err
	}
	var hosts []*hosttest.Host
	defer func() {
		for _, h := range hosts {
			err = errors.Join(err, h.Close())
		}
	}()
	var config strings.Builder
	config.WriteString("terraform {\n  required_providers {\n    host = { source = \"host-provider/host\" }\n  }\n}\nprovider \"host\" {\n  hosts = {\n")
	for i := range n {
		h, err := hosttest.Start(hosttest.Options{})
		if err != nil {
			return err
		}
		hosts = append(hosts, h)
		_, port, _ := net.SplitHostPort(h.Addr())
		fmt.Fprintf(&config, "    h%d = { address = \"127.0.0.1\", port = %s, host_key = %q, private_key = %q }\n", i, port, h.HostKey(), h.PrivateKey())
	}
	fmt.Fprintf(&config, "  }\n}\nresource \"host_sysctls\" \"h\" {\n  count = %d\n  host = \"h${count.index}\"\n  name = \"bench\"\n  settings = {\n", n)
	for _, s := range settings(10) {
		fmt.Fprintf(&config, "    %q = %q\n", s.key, s.value)
	}
	config.WriteString("  }\n}\n")
	w := &workspace{cli: cli, dir: filepath.Join(dir, "w")}
	if err := errors.Join(os.Mkdir(w.dir, 0o755), os.WriteFile(filepath.Join(w.dir, "main.tf"), []byte(config.String()), 0o600)); err != nil {
		return err
	}
	if err := errors.Join(w.run(ctx, "init"), w.apply(ctx)); err != nil {
		return err
	}
	before := make([]int, n)
	for i, h := range hosts {
		_, before[i] = h.Connections()
	}
	most := watch(filepath.Join(dir, "mirror"))
	began := time.Now()
	err = w.plan(ctx, true)
	took := time.Since(began)
	rss := most()
	if err != nil {
		return err
	}
	twice := 0
	for i, h := range hosts {
		if _, now := h.Connections(); now-before[i] > 1 {
			twice++
		}
	}
	fmt.Printf("%d simulated hosts, no-op plan: %s; provider RSS at most %d MB; %d hosts dialled more than once\n", n, seconds(took), rss>>20, twice)
	return inPool(ctx, hosts)
}

// watch looks at the processes whose program is below dir, and says at the end what the largest had in memory, in bytes.
func watch(dir string) (most func() int) {
	var largest int
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				largest = max(largest, highest(dir))
			}
		}
	})
	return func() int {
		close(done)
		watcher.Wait()
		return largest
	}
}

// highest is the highest RSS so far of the processes whose program is below dir.
func highest(dir string) (bytes int) {
	programs, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range programs {
		program, err := os.Readlink(exe)
		if err != nil || !strings.Contains(filepath.Base(program), "terraform-provider-host") || !strings.HasPrefix(program, filepath.Dir(dir)) {
			continue
		}
		bytes = max(bytes, highWater(filepath.Dir(exe)))
	}
	return bytes
}

// highWater is the highest RSS so far of a process that is a directory in /proc, in bytes.
func highWater(process string) int {
	status, _ := os.ReadFile(filepath.Join(process, "status"))
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return kb << 10
}
