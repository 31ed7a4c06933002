package sshconn

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Guards that a list of ssh_config is read as ssh reads it: in place of the usual algorithms, behind or before them, or
// without some of them.
func TestChosenAlgorithms(t *testing.T) {
	for said, want := range map[string]string{
		"c,b": "c b", "+old": "a b c old", "+b": "a b c", "^c": "c a b", "^old": "old a b c", "-b": "a c", "-*": "",
		"old":  "old",
		"none": "", "[ab],?": "a b c", "-[bc],x": "a", "+o*,older": "a b c old older",
	} {
		got := chosen(said, []string{"a", "b", "c"}, []string{"old", "older"})
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", said, got, want)
		}
	}
}

// Guards that a server of old algorithms is reached if ssh_config allows them, and only then, and that a list which the
// server shares nothing with is obeyed: ssh is asked too.
func TestAlgorithmsOfSSHConfig(t *testing.T) {
	rsa := "HostKey " + hostKeyFile(t, t.TempDir(), rsaKey)
	for _, tc := range []struct {
		name   string
		server []string
		config string
		works  bool
	}{
		{"an old cipher", []string{"Ciphers aes128-cbc"}, "", false},
		{"an old cipher, allowed", []string{"Ciphers aes128-cbc"}, "Ciphers +aes128-cbc\n", true},
		{"an old host key", []string{rsa, "HostKeyAlgorithms ssh-rsa"}, "", false},
		{"an old host key, allowed", []string{rsa, "HostKeyAlgorithms ssh-rsa"}, "HostKeyAlgorithms +ssh-rsa\n", true},
		{"an old key exchange", []string{"KexAlgorithms diffie-hellman-group14-sha1"}, "", false},
		{"an old key exchange, allowed", []string{"KexAlgorithms diffie-hellman-group14-sha1"},
			"KexAlgorithms +diffie-hellman-group14-sha1\n", true},
		{"nothing shared", []string{"Ciphers aes256-ctr"}, "Ciphers -aes256-*\n", false},
		{"one shared", []string{"Ciphers aes256-ctr", "MACs hmac-sha2-256"}, "Ciphers aes256-ctr\nMACs hmac-sha2-256\n",
			true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startSSHD(t, tc.server...)
			dir := home(t, map[string]string{"id": privatePEM(userKey), "config": tc.config})
			if err := os.Chmod(filepath.Join(dir, ".ssh", "id"), 0o600); err != nil {
				t.Fatal(err)
			}
			address, port, _ := strings.Cut(s.addr, ":")
			args := []string{"-F", filepath.Join(dir, ".ssh", "config"), "-i", filepath.Join(dir, ".ssh", "id"), "-p", port,
				"-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "root@" + address,
				"true"}
			out, err := exec.Command("ssh", args...).CombinedOutput()
			if (err == nil) != tc.works {
				t.Fatalf("ssh: %v, %s", err, out)
			}
			set := s.settings()
			if slices.Contains(tc.server, rsa) {
				set.HostKey = publicLine(rsaKey)
			}
			p := NewPool(Config{Hosts: map[string]route.Settings{"web1": set}, SSHConfig: []string{"~/.ssh/config"}})
			t.Cleanup(p.Close)
			if tc.works {
				mustEcho(t, conn(t, p))
				return
			}
			_, err = conn(t, p).Run(t.Context(), echo("x"))
			if err == nil {
				t.Fatal("it connects")
			}
		})
	}
	t.Run("nothing known", func(t *testing.T) {
		home(t, map[string]string{"config": "Ciphers none-of-these\n"})
		p := NewPool(Config{SSHConfig: []string{"~/.ssh/config"}})
		t.Cleanup(p.Close)
		fails(t, conn(t, p), fault.Misconfigured, "leaves none of the algorithms", "Ciphers none-of-these")
	})
}
