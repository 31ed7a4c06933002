package sshconn

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// startDropbear starts a real dropbear on a loopback port, that lets root in with userKey, and returns how it is
// reached. Root's home is its own.
func startDropbear(t *testing.T) route.Settings {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("NOT TESTED: a real dropbear is run on Linux, by root")
	}
	program, err := exec.LookPath("dropbear")
	if err != nil {
		t.Skip("NOT TESTED: there is no dropbear here (Debian's package dropbear-bin): ", err)
	}
	dir := t.TempDir()
	key, keys := filepath.Join(dir, "host_key"), filepath.Join(dir, "authorized_keys")
	write(t, keys, publicLine(userKey))
	out, err := exec.Command("dropbearkey", "-t", "ed25519", "-f", key).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	// The end of its standard input ends it, however the test ends.
	cmd := exec.Command("unshare", "--mount", "/bin/sh", "-c", `mount -t tmpfs -o mode=700 root /root &&
	mkdir -m 700 /root/.ssh && install -m 600 "$3" /root/.ssh/authorized_keys || exit
"$1" -F -E -p "$4" -r "$2" -P /root/pid & cat >/dev/null; kill -9 $(ps -o pid= --ppid $!) $!`,
		"sh", program, key, keys, addr)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // it was killed
	})
	until(t, "dropbear listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	set, err := route.ParseTarget(addr)
	if err != nil {
		t.Fatal(err)
	}
	no := false
	set.User, set.PrivateKey, set.Agent = "root", privatePEM(userKey), &no
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "ssh-ed25519 ") {
			set.HostKey = strings.TrimSpace(line)
		}
	}
	return set
}

// dropbear does all that OpenSSH does: scripts, files by SFTP, many requests at a time, a jump host, a refusal.
func TestDropbear(t *testing.T) {
	set := startDropbear(t)
	c := conn(t, pool(t, set))
	mustEcho(t, c)
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			name := filepath.Join(dir, string(rune('a'+i))+".conf")
			if err := c.WriteFile(t.Context(), name, "x\n"); err != nil {
				t.Error(err)
			}
			if text, err := os.ReadFile(name); string(text) != "x\n" {
				t.Errorf("%s holds %q, %v", name, text, err)
			}
			mustEcho(t, c)
			if err := c.Remove(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	c.mu.Lock()
	l := c.live
	c.mu.Unlock()
	if l.files.client == nil {
		t.Error("no SFTP")
	}
	if !l.answers() {
		t.Error("no answer to a keepalive")
	}
	t.Run("as a jump host", func(t *testing.T) {
		mustEcho(t, conn(t, pool(t, behind(set, startSSHD(t).settings()))))
		nobody := startSSHD(t).settings()
		nobody.Port = 1
		fails(t, conn(t, pool(t, behind(set, nobody))), fault.Unreachable, "does not reach it")
	})
	t.Run("behind a jump host", func(t *testing.T) {
		mustEcho(t, conn(t, pool(t, behind(startSSHD(t).settings(), set))))
	})
	t.Run("wrong key", func(t *testing.T) {
		set := set
		set.PrivateKey = privatePEM(otherKey)
		fails(t, conn(t, pool(t, set)), fault.AuthRefused, "it offers: publickey")
	})
	t.Run("changed host key", func(t *testing.T) {
		set := set
		set.HostKey = publicLine(hostKey)
		fails(t, conn(t, pool(t, set)), fault.HostKeyChanged)
	})
}
