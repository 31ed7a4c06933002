package sshconn

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// Guards that keys which ssh_config does not accept log nobody in, and that a host with too short a key is refused: ssh
// is asked too.
func TestKeysThatSSHConfigDoesNotAccept(t *testing.T) {
	rsa := "HostKey " + hostKeyFile(t, t.TempDir(), rsaKey)
	const old = "PubkeyAcceptedAlgorithms ssh-rsa"
	for _, tc := range []struct {
		name   string
		server []string
		key    any
		config string
		kind   fault.Kind
		words  string
	}{
		{"an old server", []string{old}, rsaKey, "", fault.AuthRefused, "tried"},
		{"an old server, allowed", []string{old}, rsaKey, "PubkeyAcceptedAlgorithms ssh-rsa\n", 0, ""},
		{"a short RSA key", nil, rsaKey, "RequiredRSASize 3072\n", fault.AuthRefused, "RequiredRSASize wants 3072"},
		{"an RSA key", nil, rsaKey, "RequiredRSASize 2048\n", 0, ""},
		{"a host's short RSA key", []string{rsa}, userKey, "RequiredRSASize 3072\n", fault.HostKeyUnknown, "2048 bits"},
		{"a host's RSA key", []string{rsa}, userKey, "RequiredRSASize 2048\n", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startSSHD(t, tc.server...)
			write(t, filepath.Join(s.dir, "authorized_keys"), publicLine(tc.key))
			host := any(hostKey)
			if strings.Contains(strings.Join(tc.server, ""), rsa) {
				host = rsaKey
			}
			dir := filepath.Join(home(t, map[string]string{"id": privatePEM(tc.key),
				"known": knownhosts.Line([]string{s.addr}, public(host)) + "\n"}), ".ssh")
			config := filepath.Join(dir, "config")
			write(t, config, "IdentityFile "+dir+"/id\nIdentityAgent none\nUserKnownHostsFile "+dir+"/known\n"+tc.config)
			address, port, _ := strings.Cut(s.addr, ":")
			args := []string{"-F", config, "-p", port, "-o", "BatchMode=yes", "root@" + address, "true"}
			out, err := exec.Command("ssh", args...).CombinedOutput()
			if (err == nil) != (tc.kind == 0) {
				t.Errorf("ssh: %v, %s", err, out)
			}
			p := NewPool(Config{SSHConfig: []string{config}})
			t.Cleanup(p.Close)
			c, err := p.Conn("root@" + s.addr)
			if err != nil {
				t.Fatal(err)
			}
			if tc.kind == 0 {
				mustEcho(t, c)
				return
			}
			fails(t, c, tc.kind, tc.words)
		})
	}
}
