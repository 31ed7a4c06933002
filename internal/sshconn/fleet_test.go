package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// Of fifty real hosts five refuse, five drop packets and five have another key than before. Each says what it is, and
// the others are reached while those that drop packets are still being waited for.
func TestFleetIsNeverWhole(t *testing.T) {
	if err := realAvailable(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	const fleet, each = 50, 5
	config := Config{Hosts: map[string]route.Settings{}, ConnectTimeout: time.Hour}
	var mu sync.Mutex
	var all sync.WaitGroup
	kinds := map[string]int{"refuses": each, "drops": each, "changed": each, "good": fleet - 3*each}
	starting := make(chan struct{}, 4)
	for kind, n := range kinds {
		for i := range n {
			all.Go(func() {
				starting <- struct{}{}
				defer func() { <-starting }()
				h, err := sshdtest.Start(sshdtest.Options{Users: []sshdtest.User{{Name: "root",
					AuthorizedKeys: []string{strings.TrimSpace(publicLine(userKey))}}}})
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { h.Close() })
				set := reach(h, "root")
				switch kind {
				case "refuses":
					set.Port = 1
				case "drops":
					machine := net.ParseIP(set.Address).To4()
					machine[3]-- // the other end of the host's link
					if out, status := h.Sh(fmt.Sprintf("ip route add blackhole %s/32", machine)); status != 0 {
						t.Errorf("blackhole: %s", out)
					}
				case "changed":
					set.HostKey = publicLine(otherKey)
				}
				mu.Lock()
				config.Hosts[fmt.Sprint(kind, i)] = set
				mu.Unlock()
			})
		}
	}
	all.Wait()
	if t.Failed() {
		return
	}
	type outcome struct {
		host string
		err  error
	}
	run := func(p *Pool) chan outcome {
		results := make(chan outcome, fleet)
		for name := range config.Hosts {
			c, err := p.Conn(name)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, err := c.Run(context.Background(), echo("x"))
				results <- outcome{name, err}
			}()
		}
		return results
	}
	want := map[string]fault.Kind{"refuses": fault.Unreachable, "changed": fault.HostKeyChanged, "good": 0}
	p := NewPool(config)
	defer p.Close()
	results := run(p)
	for range fleet - each {
		r := <-results
		var e *fault.Error
		errors.As(r.err, &e)
		kind, ok := want[strings.TrimRight(r.host, "0123456789")]
		if !ok || kind == 0 && r.err != nil || kind != 0 && (e == nil || e.Kind != kind) {
			t.Errorf("%s: %v", r.host, r.err)
		}
	}
	if len(results) > 0 {
		t.Errorf("a host that drops packets answered: %v", <-results)
	}
	p.Close()
	for range each {
		if r := <-results; !errors.Is(r.err, ErrClosed) {
			t.Errorf("%s: %v", r.host, r.err)
		}
	}

	// With a timeout, those that drop packets end by it.
	config.ConnectTimeout = 2 * time.Second
	for name := range config.Hosts {
		if !strings.HasPrefix(name, "drops") {
			delete(config.Hosts, name)
		}
	}
	q := NewPool(config)
	defer q.Close()
	results = run(q)
	for range each {
		if r := <-results; r.err == nil || !strings.Contains(r.err.Error(), "no answer within 2s") {
			t.Errorf("%s: %v", r.host, r.err)
		}
	}
}
