package sshconn

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// startSSHDv6 is startSSHD on an IPv6 address.
func startSSHDv6(t *testing.T, lines ...string) *sshd {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("NOT TESTED: this machine has no IPv6: ", err)
	}
	l.Close()
	return startSSHD(t, append(lines, "ListenAddress ::1")...)
}

// An IPv6 host is reached as every other: by [user@]address[:port], an entry of hosts, ssh_config or a jump host, and
// found in known_hosts as ssh itself writes it there.
func TestIPv6(t *testing.T) {
	s, bastion4 := startSSHDv6(t), startSSHD(t)
	bastion := startSSHDv6(t, "HostKey "+hostKeyFile(t, t.TempDir(), otherKey))
	address := fmt.Sprintf("[::1]:%d", port(s)) // as net.JoinHostPort, known_hosts and the host attribute have it
	if s.addr != address {
		t.Fatalf("the server listens at %s", s.addr)
	}
	bastionAddress := fmt.Sprintf("[::1]:%d", port(bastion))
	plain := address + " " + publicLine(hostKey)
	through := plain + bastionAddress + " " + publicLine(otherKey)
	hashed := knownhosts.HashHostname(address) + " " + publicLine(hostKey)
	for _, tc := range []struct {
		name, host  string
		known       string // FILE in the words stands for this file
		change      func(*Config)
		kind        fault.Kind // 0: it works
		words       []string
		throughJump *sshd
	}{
		{name: "user, address and port", host: "root@" + address, known: plain},
		{name: "known by a hashed name", host: "root@" + address, known: hashed},
		{name: "bare, the port from the provider", host: "::1", known: plain,
			change: func(c *Config) { c.Defaults.Port = port(s) }},
		{name: "in brackets, the port from the provider", host: "root@[::1]", known: plain,
			change: func(c *Config) { c.Defaults.Port = port(s) }},
		{name: "entry of hosts", host: "web1", known: plain, change: func(c *Config) {
			c.Hosts = map[string]route.Settings{"web1": {Address: "::1", Login: route.Login{Port: port(s)}}}
		}},
		{name: "entry of hosts in brackets", host: "web1", known: plain, change: func(c *Config) {
			c.Hosts = map[string]route.Settings{"web1": {Address: "[::1]", Login: route.Login{Port: port(s)}}}
		}},
		{name: "known without the port", host: address, known: "::1 " + publicLine(hostKey)},
		{name: "known for another port", host: address, known: "[::1]:1 " + publicLine(hostKey), kind: fault.HostKeyUnknown,
			words: []string{"'" + strings.TrimSpace(plain) + "' to FILE"}},
		{name: "changed", host: address, known: "\n" + address + " " + publicLine(otherKey), kind: fault.HostKeyChanged,
			words: []string{"On " + address + " (" + address + ")", "FILE:2"}},
		{name: "revoked", host: address, known: plain + "@revoked " + address + " " + publicLine(hostKey),
			kind: fault.HostKeyRevoked, words: []string{"FILE:2"}},
		{name: "known by a wildcard", host: address, known: "::* " + publicLine(hostKey)},
		{name: "changed, by a wildcard", host: address, known: "[::*]:* " + publicLine(otherKey),
			kind: fault.HostKeyChanged, words: []string{"FILE:1"}},
		{name: "unknown, beside a wildcard without a port", host: address, known: "::* " + publicLine(otherKey),
			kind: fault.HostKeyUnknown},
		{name: "unknown, beside a wildcard for others", host: address,
			known: "*.example.com " + publicLine(hostKey) + "::1 " + publicLine(otherKey), kind: fault.HostKeyUnknown,
			words: []string{"no known_hosts file has a key for the host"}},
		{name: "accepted new, beside a wildcard for others", host: address, known: "*.example.com " + publicLine(otherKey),
			change: func(c *Config) {
				c.Defaults.HostKeyChecking = hostkey.AcceptNew
			}},
		{name: "not accepted new, changed by a wildcard", host: address, known: "[::*]:* " + publicLine(otherKey),
			kind: fault.HostKeyChanged, words: []string{"FILE:1"},
			change: func(c *Config) { c.Defaults.HostKeyChecking = hostkey.AcceptNew }},
		{name: "through an IPv6 jump host", host: "root@" + address, known: through, throughJump: bastion,
			change: func(c *Config) {
				c.Defaults.Bastion = &route.Bastion{Host: "root@" + bastionAddress}
			}},
		{name: "through an IPv6 jump host whose key changed", host: "root@" + address,
			known: plain + bastionAddress + " " + publicLine(hostKey), kind: fault.HostKeyChanged,
			change: func(c *Config) { c.Defaults.Bastion = &route.Bastion{Host: "root@" + bastionAddress} },
			words:  []string{"its jump host root@" + bastionAddress + " (" + bastionAddress + ")", "FILE:2"}},
		{name: "through an IPv4 jump host", host: "root@" + address, known: plain, throughJump: bastion4,
			change: func(c *Config) {
				c.Defaults.Bastion = &route.Bastion{Host: bastion4.addr, Login: route.Login{HostKey: publicLine(hostKey)}}
			}},
		{name: "ssh_config alone", host: "web1", known: through, throughJump: bastion, change: func(c *Config) {
			home(t, map[string]string{"config": fmt.Sprintf("Host web1\n HostName ::1\n Port %d\n ProxyJump root@%s\n", port(s),
				bastionAddress)})
			c.SSHConfig = []string{"~/.ssh/config"}
		}},
		{name: "nobody listens", host: "[::1]:1", kind: fault.Unreachable,
			words: []string{"On [::1]:1 ([::1]:1)", "nobody listens on port 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			no := false
			file := filepath.Join(t.TempDir(), "known_hosts")
			write(t, file, tc.known)
			config := Config{Defaults: route.Settings{Login: route.Login{PrivateKey: privatePEM(userKey), Agent: &no,
				KnownHosts: []string{file}}}}
			if tc.change != nil {
				tc.change(&config)
			}
			p := NewPool(config)
			t.Cleanup(p.Close)
			c, err := p.Conn(tc.host)
			if err != nil {
				t.Fatal(err)
			}
			if tc.kind != 0 {
				for i := range tc.words {
					tc.words[i] = strings.ReplaceAll(tc.words[i], "FILE", file)
				}
				fails(t, c, tc.kind, tc.words...)
				return
			}
			had := 0
			if tc.throughJump != nil {
				had = tc.throughJump.count("Accepted publickey")
			}
			mustEcho(t, c)
			if tc.throughJump != nil && tc.throughJump.count("Accepted publickey") != had+1 {
				t.Error("it was not reached through the jump host")
			}
		})
	}
}

// An authority for all hosts is one for IPv6 hosts at any port.
func TestIPv6HostCertificate(t *testing.T) {
	authority, err := ssh.NewSignerFromKey(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{Key: public(hostKey), CertType: ssh.HostCert, ValidPrincipals: []string{"::1"},
		ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cert.pub"), string(ssh.MarshalAuthorizedKey(cert)))
	s := startSSHDv6(t, "HostKey "+hostKeyFile(t, dir, hostKey), "HostCertificate "+filepath.Join(dir, "cert.pub"))
	set := s.settings()
	set.HostKey, set.KnownHosts = "", []string{filepath.Join(dir, "known_hosts")}
	write(t, set.KnownHosts[0], "@cert-authority * "+publicLine(otherKey))
	mustEcho(t, conn(t, pool(t, set)))
	write(t, set.KnownHosts[0], "@cert-authority * "+publicLine(otherKey)+"@revoked * "+publicLine(otherKey))
	fails(t, conn(t, pool(t, set)), fault.HostKeyRevoked, "revokes the certificate")
	write(t, set.KnownHosts[0], "@cert-authority * "+publicLine(ecdsaKey))
	fails(t, conn(t, pool(t, set)), fault.HostKeyUnknown)
}

// A key that ssh recorded is one that we know, and the other way round, hashed or not.
func TestIPv6KnownHostsAreThoseOfSSH(t *testing.T) {
	s := startSSHDv6(t)
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, privatePEM(userKey))
	bySSH := func(file string, options ...string) {
		t.Helper()
		args := append([]string{"-F", "none", "-p", fmt.Sprint(port(s)), "-i", key, "-o", "BatchMode=yes", "-o",
			"UserKnownHostsFile=" + file,
			"-o", "GlobalKnownHostsFile=none"}, options...)
		if out, err := exec.CommandContext(t.Context(), "ssh",
			append(args, "root@::1", "true")...).CombinedOutput(); err != nil {
			t.Fatalf("ssh: %v\n%s", err, out)
		}
	}
	ours := func(file string, checking hostkey.Checking) {
		t.Helper()
		set := s.settings()
		set.HostKey, set.KnownHosts, set.HostKeyChecking = "", []string{file}, checking
		mustEcho(t, conn(t, pool(t, set)))
	}
	for _, hash := range []string{"no", "yes"} {
		file := filepath.Join(t.TempDir(), "known_hosts")
		bySSH(file, "-o", "StrictHostKeyChecking=accept-new", "-o", "HashKnownHosts="+hash)
		if text, _ := os.ReadFile(file); strings.Contains(string(text), "::1") != (hash == "no") {
			t.Errorf("ssh recorded %q", text)
		}
		ours(file, hostkey.Strict)
	}
	file := filepath.Join(t.TempDir(), "known_hosts")
	ours(file, hostkey.AcceptNew)
	bySSH(file, "-o", "StrictHostKeyChecking=yes")
}
