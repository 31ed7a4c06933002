package sshconn

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Guards that a host whose key is revoked is refused, in each place where ssh looks for that, and none else: ssh itself
// is asked too.
func TestHostKeysAreRevokedAsForSSH(t *testing.T) {
	h := realHost(t, machineOptions{})
	dir := t.TempDir()
	file := func(name, text string) string {
		write(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	at := reach(h, "root")
	key := strings.TrimSpace(h.HostKey())
	line := "web1 " + key + "\n"
	known := file("known", line)
	identity := file("id", privatePEM(userKey))
	list := filepath.Join(dir, "list")
	keygen := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-k", "-f", list, file("key.pub", key+"\n"))
	if out, err := keygen.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	long := "@revoked " + strings.Repeat("elsewhere.example,", 5000) + "web1 " + key + "\n"
	other := strings.TrimSpace(publicLine(otherKey))
	knownFile := "UserKnownHostsFile " + known + "\n"
	for _, tc := range []struct {
		name, config string
		checking     hostkey.Checking
		kind         fault.Kind // 0: it connects
		words        string
	}{
		{name: "nothing is revoked", config: knownFile},
		{name: "another key is", config: knownFile + "RevokedHostKeys " + file("other", other+"\n")},
		{name: "a file has the key", config: knownFile + "RevokedHostKeys " + file("same", "# old\n"+key+"\n"),
			kind: fault.HostKeyRevoked, words: "revokes the key"},
		{name: "a list has it", config: knownFile + "RevokedHostKeys " + list, kind: fault.HostKeyRevoked,
			words: "list revokes the key"},
		{name: "a list has it, and keys are not checked", config: knownFile + "RevokedHostKeys " + list,
			checking: hostkey.Insecure, kind: fault.HostKeyRevoked},
		{name: "the file is missing", config: knownFile + "RevokedHostKeys " + dir + "/none", kind: fault.Misconfigured,
			words: "no such file"},
		{name: "the file has no keys", config: knownFile + "RevokedHostKeys " + file("bad", "web1\n"),
			kind: fault.Misconfigured, words: "bad:1 has no public key"},
		{name: "none", config: knownFile + "RevokedHostKeys none\n"},
		{name: "known_hosts revokes it", config: "UserKnownHostsFile " + file("revoked", line+"@revoked web1 "+key+"\n"),
			kind: fault.HostKeyRevoked, words: "revoked:2 revokes"},
		{name: "known_hosts revokes it, and keys are not checked", checking: hostkey.Insecure,
			config: "UserKnownHostsFile " + dir + "/revoked\n"},
		{name: "a line of 90 KB revokes it", config: "UserKnownHostsFile " + file("long", line+long),
			kind: fault.HostKeyRevoked, words: "long:2 revokes"},
		{name: "the file for all users has it", config: "UserKnownHostsFile none\nGlobalKnownHostsFile " + known + "\n"},
		{name: "the file for all users revokes it", config: knownFile + "GlobalKnownHostsFile " + dir + "/revoked\n",
			kind: fault.HostKeyRevoked},
		{name: "there is no file", config: "UserKnownHostsFile none\nGlobalKnownHostsFile none\n",
			kind: fault.HostKeyUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := file("config", "Host web1\nHostName "+at.Address+"\nPort "+strings.TrimPrefix(at.Addr(), at.Address+":")+
				"\nUser root\nHostKeyAlias web1\nIdentityFile "+identity+"\nIdentitiesOnly yes\n"+tc.config)
			args := []string{"-F", config, "-o", "BatchMode=yes", "web1", "true"}
			if tc.checking == hostkey.Insecure {
				args = append([]string{"-o", "StrictHostKeyChecking=no"}, args...)
			}
			cmd := exec.CommandContext(t.Context(), "ssh", args...)
			cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=")
			var said bytes.Buffer
			cmd.Stderr = &said
			if err := cmd.Run(); (err == nil) != (tc.kind == 0) {
				t.Fatalf("ssh: %v, %s", err, said.String())
			}
			no := false
			p := NewPool(Config{SSHConfig: []string{config},
				Defaults: route.Settings{Login: route.Login{Agent: &no, HostKeyChecking: tc.checking}}})
			t.Cleanup(p.Close)
			c := conn(t, p)
			if tc.kind == 0 {
				mustEcho(t, c)
				return
			}
			fails(t, c, tc.kind, tc.words)
		})
	}
}
