package main

// The fleet: real sshd hosts in network namespaces, each with a way that takes longer.

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshdtest"
)

// setting is a key with a value that no kernel has by default.
type setting struct{ key, value string }

// ten are keys of a network namespace; more follow where more are asked for.
var ten = []setting{
	{"net.ipv4.tcp_fin_timeout", "41"}, {"net.ipv4.tcp_keepalive_time", "3601"}, {"net.ipv4.tcp_keepalive_intvl", "71"}, {"net.ipv4.tcp_keepalive_probes", "8"},
	{"net.ipv4.ip_local_port_range", "20000 50000"}, {"net.ipv4.ip_local_reserved_ports", "8080,9000-9002"}, {"net.ipv4.tcp_rmem", "4096 131072 6000000"},
	{"net.ipv4.tcp_syn_retries", "4"}, {"net.ipv4.tcp_retries2", "9"}, {"net.core.somaxconn", "1024"},
}

// settings are n keys with values.
func settings(n int) []setting {
	all := ten[:min(n, len(ten))]
	for _, leaf := range []string{"log_martians", "arp_ignore", "arp_announce", "arp_accept", "promote_secondaries", "drop_gratuitous_arp", "arp_notify", "bootp_relay",
		"igmpv2_unsolicited_report_interval", "tag", "medium_id", "src_valid_mark", "accept_local", "route_localnet"} {
		for _, at := range []string{"all", "default", "eth0"} {
			if len(all) < n {
				all = append(all[:len(all):len(all)], setting{"net.ipv4.conf." + at + "." + leaf, "1"})
			}
		}
	}
	return all
}

// fleet are hosts and how to log in to them.
type fleet struct {
	hosts   []*sshdtest.Host
	proxies []*proxy
	dir     string // of the key files and known_hosts
}

// start starts n hosts.
func start(n int, delay time.Duration, dir string) (f *fleet, err error) {
	if err := sshdtest.Available(); err != nil {
		return nil, err
	}
	f = &fleet{hosts: make([]*sshdtest.Host, n), proxies: make([]*proxy, n), dir: dir}
	errs := make([]error, n)
	var all sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range n {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if f.hosts[i], errs[i] = sshdtest.Start(sshdtest.Options{}); errs[i] == nil {
				f.proxies[i], errs[i] = newProxy(fmt.Sprintf("127.0.1.%d:0", 1+i), f.hosts[i].Addr(), delay)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, f.close())
	}
	var known strings.Builder
	for i, h := range f.hosts {
		for _, addr := range []string{h.Addr(), f.proxies[i].addr()} {
			address, port, _ := net.SplitHostPort(addr)
			if port == "22" {
				fmt.Fprintf(&known, "%s %s\n", address, h.HostKey())
			} else {
				fmt.Fprintf(&known, "[%s]:%s %s\n", address, port, h.HostKey())
			}
		}
		if err := os.WriteFile(f.keyFile(i), []byte(h.PrivateKey()), 0o600); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, os.WriteFile(f.knownHosts(), []byte(known.String()), 0o600)
}

func (f *fleet) keyFile(i int) string { return filepath.Join(f.dir, fmt.Sprintf("key%d", i)) }

func (f *fleet) knownHosts() string { return filepath.Join(f.dir, "known_hosts") }

// addr is where host i is reached, directly or by the way that takes longer.
func (f *fleet) addr(i int, slow bool) (address, port string) {
	addr := f.hosts[i].Addr()
	if slow {
		addr = f.proxies[i].addr()
	}
	address, port, _ = net.SplitHostPort(addr)
	return address, port
}

// each runs a script on each host, past all contenders.
func (f *fleet) each(script string) error {
	for _, h := range f.hosts {
		if out, status := h.Sh(script); status != 0 {
			return fmt.Errorf("%s: %s", script, out)
		}
	}
	return nil
}

// reset puts every host back to what it was: no drop-in of anybody, and the first values.
func (f *fleet) reset(originals []setting) error {
	var script strings.Builder
	script.WriteString("rm -f /etc/sysctl.d/90-terraform-* /etc/sysctl.d/99-ansible.conf\n")
	for _, s := range originals {
		fmt.Fprintf(&script, "echo '%s' >/proc/sys/%s\n", s.value, strings.ReplaceAll(s.key, ".", "/"))
	}
	return f.each(script.String())
}

// widen gives every host so many interfaces, and the file with which systemd sets keys of all of them.
func (f *fleet) widen(interfaces int) error {
	return f.each(fmt.Sprintf(`set -e
for i in $(seq %d); do ip link add "wide$i" type veth peer name "edge$i"; done
mkdir -p /usr/lib/sysctl.d
printf 'net.ipv4.conf.*.%%s = 1\n' rp_filter accept_source_route promote_secondaries >/usr/lib/sysctl.d/50-default.conf
`, interfaces/2))
}

// read is what the first host has for these keys.
func (f *fleet) read(all []setting) ([]setting, error) {
	var found []setting
	for _, s := range all {
		out, status := f.hosts[0].Sh("cat /proc/sys/" + strings.ReplaceAll(s.key, ".", "/"))
		if status != 0 {
			return nil, errors.New(out)
		}
		found = append(found, setting{s.key, strings.TrimSpace(out)})
	}
	return found, nil
}

// holds wants every host to have these values, so that nothing is measured that did not happen.
func (f *fleet) holds(all []setting) error {
	for _, h := range f.hosts {
		for _, s := range all {
			out, status := h.Sh("cat /proc/sys/" + strings.ReplaceAll(s.key, ".", "/"))
			if got := strings.Join(strings.Fields(out), " "); status != 0 || got != s.value {
				return fmt.Errorf("%s is %q on %s, not %q", s.key, got, h.Addr(), s.value)
			}
		}
	}
	return nil
}

// drift changes the first key on every host behind everybody's back.
func (f *fleet) drift(originals []setting) error {
	return f.each(fmt.Sprintf("echo '%s' >/proc/sys/%s", originals[0].value, strings.ReplaceAll(originals[0].key, ".", "/")))
}

func (f *fleet) close() error {
	var errs []error
	for i, h := range f.hosts {
		if f.proxies[i] != nil {
			f.proxies[i].close()
		}
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}

// proxy passes on what comes, later.
type proxy struct {
	listener net.Listener
	target   string
	delay    time.Duration
	work     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// newProxy listens at an address of its own, since handshakes at one address are few at a time.
func newProxy(at, target string, delay time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target, delay: delay, conns: map[net.Conn]bool{}}
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(c) })
		}
	})
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
}

func (p *proxy) serve(client net.Conn) {
	time.Sleep(2 * p.delay) // what the TCP handshake would take over this way
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client) })
	both.Go(func() { p.pass(client, server) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// chunk is what came at a time.
type chunk struct {
	due  time.Time
	data []byte
}

// pass gives to each chunk its delay, and keeps the next ones coming meanwhile.
func (p *proxy) pass(to, from net.Conn) {
	late := make(chan chunk, 1024)
	var writer sync.WaitGroup
	writer.Go(func() {
		for c := range late {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.data); err != nil {
				from.Close()
			}
		}
		to.Close()
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 {
			late <- chunk{time.Now().Add(p.delay), buf[:n]}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				to.Close()
			}
			break
		}
	}
	close(late)
	writer.Wait()
}
