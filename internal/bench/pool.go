package main

// How many goroutines and how much memory the layers below Terraform's take for many hosts, and what is left when they are idle and when all is closed. In a process
// of its own, since the simulated hosts have goroutines too.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// inPool starts this program again as readAll, for these hosts.
func inPool(ctx context.Context, hosts []*hosttest.Host) error {
	type login struct{ Addr, HostKey, PrivateKey string }
	var logins []login
	for _, h := range hosts {
		logins = append(logins, login{h.Addr(), h.HostKey(), h.PrivateKey()})
	}
	text, err := json.Marshal(logins)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-read-all")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(string(text)), os.Stdout, os.Stderr
	return cmd.Run()
}

// name is what the provider block calls host i.
func name(i int) string { return fmt.Sprintf("h%d", i) }

// readAll reads all the hosts that standard input names, and prints what that takes.
func readAll(ctx context.Context) error {
	var logins []struct{ Addr, HostKey, PrivateKey string }
	if err := json.NewDecoder(os.Stdin).Decode(&logins); err != nil {
		return err
	}
	const idle = 5 * time.Second
	key, err := sysctl.ParseKey(ten[0].key)
	if err != nil {
		return err
	}
	settings := map[string]route.Settings{}
	for i, l := range logins {
		address, port, err := net.SplitHostPort(l.Addr)
		if err != nil {
			return err
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			return err
		}
		settings[name(i)] = route.Settings{Address: address, Login: route.Login{User: "root", Port: number, PrivateKey: l.PrivateKey, HostKey: l.HostKey}}
	}
	before := runtime.NumGoroutine()
	pool := sshconn.NewPool(sshconn.Config{Hosts: settings, IdleTimeout: idle})
	fleet := host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) })
	errs := make([]error, len(logins))
	var all sync.WaitGroup
	most, slots := 0, make(chan struct{}, atOnce)
	for i := range logins {
		slots <- struct{}{}
		most = max(most, runtime.NumGoroutine())
		all.Go(func() {
			defer func() { <-slots }()
			h, err := fleet.Host(name(i))
			if err == nil {
				_, err = h.ReadSysctl(ctx, host.Sysctl{Key: key, Value: ten[0].value, FileName: key.DropInName(), Persist: true})
			}
			errs[i] = err
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("%d hosts read by one pool, ten at a time: at most %d goroutines, with %d connections open at most; RSS at most %d MB\n",
		len(logins), most, pool.MaxConnections(), highWater("/proc/self")>>20)
	for began := time.Now(); time.Since(began) < 3*idle && runtime.NumGoroutine() > before; {
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Printf("idle for %s, which ends a connection here: %d goroutines, of which there were %d before\n", idle, runtime.NumGoroutine(), before)
	fleet.Close()
	pool.Close()
	fmt.Printf("all closed: %d goroutines\n", runtime.NumGoroutine())
	return nil
}
