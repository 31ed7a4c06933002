package sshdtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childTask, in the environment, makes this test binary do one thing and end: some things can be seen from outside only.
const childTask = "SSHDTEST_CHILD_TASK"

func TestMain(m *testing.M) {
	switch os.Getenv(childTask) {
	case "":
		goleak.VerifyTestMain(m)
	case "available":
		fmt.Println(Available())
	case "host":
		h, err := Start(Options{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(h.link.name(), namespaces(h.init.Process.Pid))
		select {}
	}
}

// namespaces are the ids of a process's namespaces.
func namespaces(pid int) []string {
	var ids []string
	for _, kind := range []string{"mnt", "net", "pid", "uts", "ipc"} {
		if id, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// leftovers are what there still is of a host: processes in its namespaces, its network interface, files that keep a namespace. A process that has ended
// counts for nothing: it waits for the machine's init.
func leftovers(t *testing.T, link string, ids []string) []string {
	t.Helper()
	if len(ids) != 5 {
		t.Fatalf("namespaces of the host: %q", ids)
	}
	var left []string
	paths, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		for _, path := range paths {
			if got, err := os.Readlink(path); err == nil && got == id && !zombie(path) {
				left = append(left, path+" is "+id)
			}
		}
		if bytes.Contains(mounts, []byte(id)) {
			left = append(left, "a mount of "+id)
		}
	}
	if _, err := net.InterfaceByName(link); err == nil {
		left = append(left, link)
	}
	return left
}

// zombie says whether the process whose namespace file this is has ended.
func zombie(path string) bool {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "../status"))
	return err == nil && bytes.Contains(b, []byte("\nState:\tZ"))
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func childrenOf(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(paths) == 0 {
		t.Fatal("no /proc/self/task/*/children")
	}
	var all string
	for _, path := range paths {
		b, _ := os.ReadFile(path)
		all += string(b)
	}
	return all
}

// A host whose sshd is down refuses connections, and comes back, as a machine that boots does.
func TestHostLivesWithoutSSHD(t *testing.T) {
	h := startHost(t, Options{})
	if out, status := h.Sh("while [ ! -s /run/sshd.pid ]; do sleep 0.05; done; kill $(cat /run/sshd.pid)"); status != 0 {
		t.Fatal(out)
	}
	eventually(t, "nobody listens", func() bool {
		c, err := net.Dial("tcp", h.Addr())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if out, status := h.Sh("/usr/sbin/sshd"); status != 0 {
		t.Fatal(out)
	}
	eventually(t, "sshd is back", func() bool {
		c, err := dial(h, "root", key(t, h.PrivateKey()))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func TestStartSaysWhyNot(t *testing.T) {
	need(t)
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"line that sshd refuses", Options{SSHDConfig: "Nonsense yes"}, "Bad configuration option: Nonsense"},
		{"shell", Options{Shell: "fish"}, `Shell is "fish"`},
		{"sudo", Options{Users: []User{{Name: "a", Sudo: "yes"}}}, `Sudo of a is "yes"`},
		{"user name", Options{Users: []User{{Name: "a:b"}}}, `"a:b"`},
		{"user twice", Options{Users: []User{{Name: "a"}, {Name: "a"}}}, `"a"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := Start(tt.o)
			if err == nil {
				_ = h.Close()
			}
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Close leaves no process, namespace, interface, mount or descriptor, even of a host with a session under way, and the session ends at once.
func TestCloseLeavesNothing(t *testing.T) {
	need(t)
	before := descriptors(t)
	h := startHost(t, Options{})
	ids := namespaces(h.init.Process.Pid)
	c := mustDial(t, h, "root", key(t, h.PrivateKey()))
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("trap '' HUP TERM; setsid sleep 1000 & sleep 1000"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session runs", func() bool { return len(h.Processes()) >= 2 })
	if got := leftovers(t, h.link.name(), ids); len(got) == 0 {
		t.Fatal("a running host is not seen: this test would see nothing")
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if got := leftovers(t, h.link.name(), ids); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	if err := s.Wait(); err == nil {
		t.Error("the session did not fail")
	}
	_ = c.Close()
	if h.init.ProcessState == nil {
		t.Error("the first process was not waited for")
	}
	if got := descriptors(t); got != before {
		t.Errorf("%d descriptors, there were %d", got, before)
	}
	if out, status := h.Sh("true"); status == 0 {
		t.Errorf("a closed host answers: %q", out)
	}
}

// A host that cannot be started leaves as little: without its first process, the kernel has taken the rest.
func TestFailedStartLeavesNothing(t *testing.T) {
	need(t)
	before, children := descriptors(t), childrenOf(t)
	if _, err := Start(Options{SSHDConfig: "Nonsense yes"}); err == nil {
		t.Fatal("started")
	}
	if got := childrenOf(t); got != children {
		t.Errorf("children %q, there were %q", got, children)
	}
	if got := descriptors(t); got != before {
		t.Errorf("%d descriptors, there were %d", got, before)
	}
}

// When the process that started a host is killed, and can clean up nothing, the kernel does.
func TestKilledProcessLeavesNothing(t *testing.T) {
	need(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childTask+"=host")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	link, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	ids := strings.Fields(strings.Trim(rest, "[]"))
	if got := leftovers(t, link, ids); len(got) == 0 {
		t.Fatalf("no host was started: %s", line)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	eventually(t, "nothing is left", func() bool { return len(leftovers(t, link, ids)) == 0 })
}

// Where hosts cannot be started, Available names the cause and the cure.
func TestAvailableSaysWhyNot(t *testing.T) {
	need(t)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no capability", []string{"--bounding-set", "-sys_admin"}, "docker run --privileged"},
		{"not root", []string{"--reuid", "65534", "--clear-groups"}, "Run it as root"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			binary, err := os.Open(os.Args[0]) // by its descriptor, since another user may not reach its directory
			if err != nil {
				t.Fatal(err)
			}
			defer binary.Close()
			child := exec.Command("setpriv", append(tt.args, "--", "/proc/self/fd/3")...)
			child.ExtraFiles = []*os.File{binary}
			child.Env = append(os.Environ(), childTask+"=available")
			out, err := child.CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("%s, %v; want %q", out, err, tt.want)
			}
		})
	}
}

// Hosts may be started at once: each gets an address of its own.
func TestTwentyAtOnce(t *testing.T) {
	need(t)
	const n = 20
	hosts, errs := make([]*Host, n), make([]error, n)
	done := make(chan int)
	begin := time.Now()
	for i := range n {
		go func() {
			hosts[i], errs[i] = Start(Options{})
			done <- i
		}()
	}
	for range n {
		<-done
	}
	t.Logf("%d hosts in %s", n, time.Since(begin).Round(time.Millisecond))
	addrs := map[string]bool{}
	for i, h := range hosts {
		if errs[i] != nil {
			t.Error(errs[i])
			continue
		}
		addrs[h.Addr()] = true
		if out, err := command(t, mustDial(t, h, "root", key(t, h.PrivateKey())), "hostname", ""); err != nil || out != h.link.hostName()+"\n" {
			t.Errorf("%q, %v", out, err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(addrs) != n {
		t.Errorf("%d addresses", len(addrs))
	}
}

// Guards that nothing is run on a host whose root is still the machine's.
func TestNothingIsRunInTheMachinesRoot(t *testing.T) {
	sleeping := exec.CommandContext(t.Context(), "sleep", "60")
	if err := sleeping.Start(); err != nil {
		t.Fatal(err)
	}
	h := &inside{pid: func() int { return sleeping.Process.Pid }, name: func() string { return "sleeping" }}
	if out, status := h.Sh("true"); status != 127 || !strings.Contains(out, "nothing is run there") {
		t.Errorf("it was run: %d, %s", status, out)
	}
	if err := sleeping.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = sleeping.Wait() // killed
}
