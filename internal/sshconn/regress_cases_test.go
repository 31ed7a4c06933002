package sshconn

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// The cases of the list in regress_test.go that connect to a real sshd, and that no other test has.

// bySSH runs a command on a host by ssh itself, with the file config of a directory. It returns what it prints.
func bySSH(t *testing.T, dir, host, command string) (string, error) {
	t.Helper()
	config := filepath.Join(dir, "config")
	cmd := exec.CommandContext(t.Context(), "ssh", "-F", config, "-o", "BatchMode=yes", host, command)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), err
}

// byConfigAlone is the connection to a host that the file config of a directory alone knows.
func byConfigAlone(t *testing.T, dir, host string) *Conn {
	t.Helper()
	p := NewPool(Config{SSHConfig: []string{filepath.Join(dir, "config")}})
	t.Cleanup(p.Close)
	c, err := p.Conn(host)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// configOf is a directory with the file config, which has these lines and those for the server as web1, its key in the
// file known, and userKey in the file id. {dir} in the lines is the directory.
func configOf(t *testing.T, s *sshd, lines string, files map[string]string) string {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.addr)
	dir := t.TempDir()
	all := map[string]string{"id": privatePEM(userKey), "known": "[" + host + "]:" + port + " " + publicLine(hostKey)}
	maps.Copy(all, files)
	all["config"] = strings.ReplaceAll(lines+"\nHost web1\nHostName "+host+"\nPort "+port+"\nUser root\n"+
		"UserKnownHostsFile {dir}/known\nGlobalKnownHostsFile none\nIdentityFile {dir}/id\n", "{dir}", dir)
	for name, text := range all {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

// Guards that a host is reached by a ProxyCommand that is the server, over pipes and without any address: its name is
// none that could be resolved, compression is allowed or not, and the user's name has a style behind it.
func TestHostBehindAPipe(t *testing.T) {
	s := startSSHD(t)
	const host, want = "999.999.999.999", "UNKNOWN 65535 UNKNOWN 65535"
	for _, tc := range []struct{ name, config, user string }{
		{"without compression", "Compression no", "root"},
		{"with compression", "Compression yes", "root"},
		{"user with a style", "", "root:style"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := configOf(t, s, tc.config+"\nHost "+host+"\nProxyCommand "+sshdPath+" -i -f "+s.dir+
				"/sshd_config\nUserKnownHostsFile {dir}/pipe\nIdentityFile {dir}/id\n",
				map[string]string{"pipe": host + " " + publicLine(hostKey)})
			t.Setenv("SSH_AUTH_SOCK", "")
			if out, err := bySSH(t, dir, tc.user+"@"+host, `printf '%s' "$SSH_CONNECTION"`); err != nil || out != want {
				t.Fatalf("ssh: %q, %v", out, err)
			}
			c := byConfigAlone(t, dir, tc.user+"@"+host)
			res, err := c.Run(t.Context(), shell.Script{Name: "echo", Text: `printf '%s' "$SSH_CONNECTION"`})
			if out, _ := res.Get(""); err != nil || out != want {
				t.Errorf("got %q, %v", out, err)
			}
		})
	}
}

// Guards that the forwardings of the user's ssh_config are nobody's: none is made, and a host that refuses one, for
// which ssh gives up, is reached.
func TestForwardingsOfTheUserAreNotMade(t *testing.T) {
	refusing := startSSHD(t, "PermitListen 127.0.0.1:1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, taken, _ := net.SplitHostPort(l.Addr().String())
	t.Setenv("SSH_AUTH_SOCK", "")
	for _, tc := range []struct{ name, config string }{
		{"the host does not let it listen", "RemoteForward 3301 127.0.0.1:1"},
		{"the port is taken here", "LocalForward 127.0.0.1:" + taken + " 127.0.0.1:1"},
		{"the port is taken here, SOCKS", "DynamicForward 127.0.0.1:" + taken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := configOf(t, refusing, "ExitOnForwardFailure yes\n"+tc.config, nil)
			if out, err := bySSH(t, dir, "web1", "true"); err == nil {
				t.Fatalf("ssh connects: %s", out)
			}
			mustEcho(t, byConfigAlone(t, dir, "web1"))
		})
	}
	t.Run("all are permitted", func(t *testing.T) {
		var ports []string
		for range 3 {
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(free.Addr().String())
			ports = append(ports, port)
			free.Close()
		}
		dir := configOf(t, startSSHD(t), "ExitOnForwardFailure yes\nLocalForward "+ports[0]+" 127.0.0.1:1\nRemoteForward "+
			ports[1]+" 127.0.0.1:1\nDynamicForward "+ports[2], nil)
		mustEcho(t, byConfigAlone(t, dir, "web1"))
		for _, port := range ports {
			if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
				c.Close()
				t.Errorf("somebody listens at %s", port)
			}
		}
	})
}

// Guards that a key of each type that only the agent has is found by its public half, alone and with a certificate, and
// that the login is refused once the agent has it no longer: ssh is asked too.
func TestAgentKeysOfEveryType(t *testing.T) {
	authority, err := ssh.NewSignerFromKey(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pub")
	write(t, ca, publicLine(otherKey))
	for _, key := range []any{userKey, ecdsaKey, rsaKey} {
		kind := public(key).Type()
		accepted := map[string]string{ssh.KeyAlgoRSA: "rsa-sha2-512,rsa-sha2-256"}[kind]
		if accepted == "" {
			accepted = kind
		}
		cert := &ssh.Certificate{Key: public(key), CertType: ssh.UserCert, ValidPrincipals: []string{"root"},
			ValidBefore: ssh.CertTimeInfinity}
		if err := cert.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		plain := startSSHD(t, "PubkeyAcceptedAlgorithms "+accepted)
		write(t, filepath.Join(plain.dir, "authorized_keys"), publicLine(key))
		certified := startSSHD(t, "TrustedUserCAKeys "+ca)
		write(t, filepath.Join(certified.dir, "authorized_keys"), "")
		for _, tc := range []struct {
			name   string
			server *sshd
			config string
			agent  []any
			works  bool
		}{
			{"plain", plain, "IdentityFile {dir}/key.pub", []any{newKey(), key, newKey()}, true},
			{"certificate", certified, "IdentityFile {dir}/key.pub\nCertificateFile {dir}/cert", []any{newKey(), key}, true},
			{"without its certificate", certified, "IdentityFile {dir}/key.pub", []any{newKey(), key}, false},
			{"removed", plain, "IdentityFile {dir}/key.pub", []any{newKey()}, false},
		} {
			t.Run(kind+", "+tc.name, func(t *testing.T) {
				startAgent(t, tc.agent...)
				dir := configOf(t, tc.server, "IdentitiesOnly yes\n"+tc.config,
					map[string]string{"key.pub": publicLine(key), "cert": string(ssh.MarshalAuthorizedKey(cert)), "id": "no key\n"})
				if out, err := bySSH(t, dir, "web1", "true"); (err == nil) != tc.works {
					t.Fatalf("ssh: %s, %v", out, err)
				}
				c := byConfigAlone(t, dir, "web1")
				if tc.works {
					mustEcho(t, c)
					return
				}
				fails(t, c, fault.AuthRefused)
			})
		}
	}
}

// Guards that no agent is forwarded, whatever ForwardAgent of ssh_config names, though ssh does so.
func TestNoAgentIsForwarded(t *testing.T) {
	s := startSSHD(t)
	startAgent(t, userKey)
	t.Setenv("OTHER_AGENT", os.Getenv("SSH_AUTH_SOCK"))
	for _, value := range []string{"yes", "$OTHER_AGENT", os.Getenv("SSH_AUTH_SOCK")} {
		dir := configOf(t, s, "ForwardAgent "+value, nil)
		const agent = `printf '%s' "${SSH_AUTH_SOCK:-none}"`
		if out, err := bySSH(t, dir, "web1", agent); err != nil || out == "none" {
			t.Errorf("ssh, ForwardAgent %s: %q, %v", value, out, err)
		}
		res, err := byConfigAlone(t, dir, "web1").Run(t.Context(), shell.Script{Name: "agent", Text: agent})
		if out, _ := res.Get(""); err != nil || out != "none" {
			t.Errorf("ForwardAgent %s: %q, %v", value, out, err)
		}
	}
}

// Guards that a host certificate for a key of each type counts, and no longer once the key, the certificate or its
// authority is revoked, in each way to say so: ssh is asked too.
func TestHostCertificatesOfEveryType(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	for _, key := range []any{hostKey, ecdsaKey, rsaKey} {
		kind, ca := public(key).Type(), any(otherKey)
		if kind == ssh.KeyAlgoRSA {
			ca = otherRSAKey
		}
		good := certificate(t, key, ca, "127.0.0.1", time.Unix(1<<40, 0))
		server := func(cert string) *sshd {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "cert.pub"), cert)
			return startSSHD(t, "HostKey "+hostKeyFile(t, dir, key), "HostCertificate "+filepath.Join(dir, "cert.pub"))
		}
		certified, limited := server(good), server(certificate(t, key, ca, "127.0.0.1", time.Now().Add(14*24*time.Hour)))
		itself := server(certificate(t, key, key, "127.0.0.1", time.Unix(1<<40, 0)))
		const authority = "@cert-authority {host} "
		trusted := authority + publicLine(ca)
		for _, tc := range []struct {
			name    string
			server  *sshd
			known   string
			revoked string // the lines of a file
			list    string // or a list of this line, or an empty one
			config  string
			kind    fault.Kind
		}{
			{name: "its authority", known: trusted},
			{name: "for two weeks", server: limited, known: trusted},
			{name: "signed by itself", server: itself, known: trusted, kind: fault.HostKeyUnknown},
			{name: "no revocations", known: trusted, revoked: "\n"},
			{name: "line of the key", known: trusted, revoked: publicLine(key), kind: fault.HostKeyRevoked},
			{name: "line of the certificate", known: trusted, revoked: good, kind: fault.HostKeyRevoked},
			{name: "line of the authority", known: trusted, revoked: publicLine(ca), kind: fault.HostKeyRevoked},
			{name: "empty list", known: trusted, list: "empty"},
			{name: "list of the key", known: trusted, list: publicLine(key), kind: fault.HostKeyRevoked},
			{name: "list of the certificate", known: trusted, list: good, kind: fault.HostKeyRevoked},
			{name: "list of the authority", known: trusted, list: publicLine(ca), kind: fault.HostKeyRevoked},
			{name: "second of two files", known: trusted, revoked: publicLine(key),
				config: "RevokedHostKeys /dev/null {dir}/revoked\n", kind: fault.HostKeyRevoked},
			{name: "key revoked in known_hosts", known: trusted + "@revoked * " + publicLine(key), kind: fault.HostKeyRevoked},
			{name: "authority revoked in known_hosts", known: trusted + "@revoked * " + publicLine(ca),
				kind: fault.HostKeyRevoked},
			{name: "the plain key alone", known: "{host} " + publicLine(key)},
			{name: "the plain key alone, in the second file", known: "{host} " + publicLine(key),
				config: "UserKnownHostsFile /dev/null {dir}/known\n"},
		} {
			t.Run(kind+", "+tc.name, func(t *testing.T) {
				t.Parallel()
				if tc.server == nil {
					tc.server = certified
				}
				host := strings.Replace("["+tc.server.addr, ":", "]:", 1)
				files := map[string]string{"known": strings.ReplaceAll(tc.known, "{host}", host), "revoked": tc.revoked}
				config := tc.config
				switch {
				case config != "":
				case tc.revoked != "":
					config = "RevokedHostKeys {dir}/revoked\n"
				case tc.list != "":
					config = "RevokedHostKeys {dir}/list\n"
				}
				dir := configOf(t, tc.server, config, files)
				if tc.list != "" {
					args := []string{"-q", "-k", "-f", filepath.Join(dir, "list")}
					if tc.list != "empty" {
						listed := filepath.Join(dir, "listed.pub")
						write(t, listed, tc.list)
						args = append(args, listed)
					}
					if out, err := exec.CommandContext(t.Context(), "ssh-keygen", args...).CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
				}
				if _, err := bySSH(t, dir, "web1", "true"); (err == nil) != (tc.kind == 0) {
					t.Fatalf("ssh: %v", err)
				}
				c := byConfigAlone(t, dir, "web1")
				if tc.kind == 0 {
					mustEcho(t, c)
					return
				}
				_, err := c.Run(t.Context(), echo("x"))
				wantError(t, route.Settings{}, err, tc.kind)
			})
		}
	}
}

// Guards that the exit status of a script arrives over a master, also of one that closes its output first, and that a
// master which is told to stop serves those who have it to the end, and nobody else.
func TestControlMasterThatStops(t *testing.T) {
	s := startSSHD(t)
	m := startMaster(t, s.addr, filepath.Join(socketDir(t), "cm"))
	p := pool(t, s.sharing(m.path))
	c := conn(t, p)
	for _, status := range []int{0, 1, 4, 5, 44} {
		for _, before := range []string{"", "exec >&- 2>&-; "} {
			res, err := c.Run(t.Context(), shell.Script{Name: "exit", Text: fmt.Sprint(before, "exit ", status)})
			if err != nil || res.Status != status {
				t.Errorf("%sexit %d: %+v, %v", before, status, res, err)
			}
		}
	}
	dir := t.TempDir()
	mark, end := filepath.Join(dir, "under-way"), filepath.Join(dir, "end")
	done := make(chan error, 1)
	go func() {
		res, err := c.Run(t.Context(), shell.Script{Name: "wait", Args: []string{mark, end},
			Text: `touch "$1"; until test -e "$2"; do sleep 0.05; done; exit 7`})
		if err == nil && res.Status != 7 {
			err = fmt.Errorf("exit status %d", res.Status)
		}
		done <- err
	}()
	until(t, "the script runs", func() bool { _, err := os.Stat(mark); return err == nil })
	if err := m.ssh("-O", "stop", "127.0.0.1"); err != nil {
		t.Error(err)
	}
	fails(t, conn(t, pool(t, s.sharing(m.path))), fault.Unreachable, "no ssh shares its connection")
	write(t, end, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.Close()
	<-m.ended
}
