package vmtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// VM is a running machine. Its methods may be called from several goroutines.
type VM struct {
	image      *image
	qemu       *qemu
	addr, side string // where sshd listens, and the other sshd, which tests look at the machine through

	mu     sync.Mutex
	client *ssh.Client // to the other sshd; nil before the first use, and after the machine went down

	closeOnce sync.Once
	closeErr  error
}

// Start starts a fresh VM, building the machine first where the cache does not have it. It returns when the VM is up. The error is an *Error.
func Start(ctx context.Context, o Options) (*VM, error) {
	if o.Init == OpenRC && o.Suite != Bookworm {
		return nil, &Error{What: "this machine has no OpenRC", Next: "Options.Suite must be Bookworm."}
	}
	if o.Record && o.Suite != Trixie {
		return nil, &Error{What: "the boots of this machine cannot be recorded", Next: "Options.Suite must be Trixie."}
	}
	i, err := open(ctx, o.Suite)
	if err == nil {
		var v *VM
		if v, err = boot(ctx, i, o, true); err == nil {
			return v, nil
		}
	}
	var known *Error
	if errors.As(err, &known) {
		return nil, known
	}
	return nil, &Error{What: "a virtual machine could not be started", Err: err}
}

// boot runs the machine of an image. With fresh, what it writes to the disk is lost with it, and it goes on from the memory that was kept, if it can.
func boot(ctx context.Context, i *image, o Options, fresh bool) (v *VM, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	var memory *os.File
	more := ""
	if fresh {
		more = ",snapshot=on"
		if o == (Options{Suite: o.Suite}) {
			if memory, err = os.Open(i.path("memory")); err != nil {
				return nil, err
			}
			defer closeAll(memory)
		}
	}
	words := []string{cmdline, "init=" + cmp.Or(string(o.Init), systemd)}
	if o.Record {
		words = append(words, recorder())
	}
	if o.Cmdline != "" {
		words = append(words, o.Cmdline)
	}
	const port = "22"
	const forward = ",hostfwd=tcp:127.0.0.1:0-10.0.2.15:"
	args := append(i.accel.args(i.path("disk"), more), "-kernel", i.path("vmlinuz"), "-initrd", i.path("initrd.img"),
		"-append", strings.Join(words, " "),
		"-netdev", "user,id=net,restrict=on"+forward+port+forward+"2222", "-device", "virtio-net-pci,netdev=net,romfile=")
	v = &VM{image: i}
	if v.qemu, err = startQEMU(ctx, i.accel.program, args, memory, i.dir); err != nil {
		return nil, err
	}
	if err := v.up(ctx, port, memory != nil); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// up finds the ports, and waits until the machine is up.
func (v *VM) up(ctx context.Context, port string, resumed bool) error {
	if resumed {
		if _, err := v.qemu.state(ctx, "query-status", "paused", "running"); err != nil {
			return err
		}
		if _, err := v.qemu.call(ctx, "cont", nil); err != nil {
			return err
		}
	} else if err := v.booted(ctx); err != nil {
		return err
	}
	main, err := v.qemu.forwarded(ctx, port)
	if err != nil {
		return err
	}
	side, err := v.qemu.forwarded(ctx, "2222")
	v.addr, v.side = "127.0.0.1:"+main, "127.0.0.1:"+side
	return err
}

// booted waits until the machine says that it is up. Emulated on a busy machine, the guest's kernel now and then hangs while it boots: it is then reset, a few
// times at most. That repeats the boot and no more, since what a test has written is on the disk.
func (v *VM) booted(ctx context.Context) error {
	const most = 3
	for again := 0; ; again++ {
		why, err := v.watchBoot(ctx)
		if why == "" || err != nil {
			return err
		}
		if again == most {
			return fmt.Errorf("the machine hung in each of %d boots, the last time because %s\n%s", most+1, why, tail(v.qemu.said()))
		}
		fmt.Fprintf(os.Stderr, "vmtest: a boot hangs (%s): the machine is reset, %d of %d times\n", why, again+1, most)
		if err := v.PressReset(ctx); err != nil {
			return err
		}
	}
}

// watchBoot waits until the machine is up, and returns why it will not be, if that shows.
func (v *VM) watchBoot(ctx context.Context) (hangs string, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began, err := v.qemu.spent(ctx)
	if err != nil {
		return "", err
	}
	seen, at := began, time.Now()
	for {
		select {
		case <-v.qemu.boots:
			return "", nil
		case <-v.qemu.gone:
			return "", fmt.Errorf("QEMU has ended:\n%s", tail(v.qemu.said()))
		case <-ctx.Done():
			return "", fmt.Errorf("the machine did not come up: %w\n%s", ctx.Err(), tail(v.qemu.said()))
		case <-tick.C:
		}
		spent, err := v.qemu.spent(ctx)
		if err != nil {
			return "", err
		}
		if spent-seen > time.Second {
			seen, at = spent, time.Now()
		}
		switch {
		case v.qemu.lockedUp():
			return "its kernel says so", nil
		case spent-began > bootEffort:
			return fmt.Sprintf("it has taken %s of CPU time", spent-began), nil
		case time.Since(at) > bootPause:
			return fmt.Sprintf("it has done nothing for %s", bootPause), nil
		}
	}
}

// save writes the machine's memory to a file and leaves the machine stopped.
func (v *VM) save(ctx context.Context, path string) error {
	v.disconnect()
	if _, err := v.qemu.call(ctx, "stop", nil); err != nil {
		return err
	}
	if _, err := v.qemu.call(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": 1 << 40}); err != nil {
		return err
	}
	quoted := "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	if _, err := v.qemu.call(ctx, "migrate", map[string]any{"uri": "exec:cat >" + quoted}); err != nil {
		return err
	}
	status, err := v.qemu.state(ctx, "query-migrate", "completed", "failed")
	if err == nil && status == "failed" {
		err = errors.New("QEMU could not write the machine's memory")
	}
	return err
}

// Addr is where sshd listens, as ADDRESS:PORT. It stays the same over reboots.
func (v *VM) Addr() string { return v.addr }

// HostKey is sshd's only host key, as in known_hosts: "ssh-ed25519 AAAA...".
func (v *VM) HostKey() string { return v.image.hostKey }

// PrivateKey is the key of every user, in OpenSSH's form.
func (v *VM) PrivateKey() string { return v.image.privateKey }

// Console is what the machine has said on its serial console.
func (v *VM) Console() string { return v.qemu.said() }

// Reboot shuts the machine down as its administrator would, and returns when it is up again.
func (v *VM) Reboot(ctx context.Context) error {
	// The command's own end may be lost with the connection.
	return v.again(ctx, func() error {
		v.qemu.forget()
		v.Sh("if [ -d /run/systemd/system ]; then systemctl --no-block reboot; elif [ -d /run/openrc ]; then reboot; else busybox reboot; fi")
		return nil
	})
}

// Reset is the reset button: what the machine has not written to its disk is lost. It returns when the machine is up again.
func (v *VM) Reset(ctx context.Context) error {
	return v.again(ctx, func() error { return v.PressReset(ctx) })
}

// PressReset is Reset that does not wait for the machine to be up; WaitBoot does.
func (v *VM) PressReset(ctx context.Context) error { return v.qemu.pressReset(ctx) }

// WaitBoot waits until the machine is up after PressReset.
func (v *VM) WaitBoot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	defer v.disconnect()
	return v.booted(ctx)
}

func (v *VM) again(ctx context.Context, down func() error) error {
	if err := down(); err != nil {
		return err
	}
	return v.WaitBoot(ctx)
}

// Sh runs a script as root and returns what it printed and its exit status; 127 where it could not be run.
func (v *VM) Sh(script string) (out string, status int) { return v.run(script, "") }

func (v *VM) run(script, stdin string) (out string, status int) {
	// A connection may have died with the machine, which shows only in its use.
	for range 2 {
		c, err := v.connected()
		if err != nil {
			return err.Error(), 127
		}
		s, err := c.NewSession()
		if err != nil {
			v.disconnect()
			continue
		}
		defer s.Close()
		s.Stdin = strings.NewReader(stdin)
		printed, err := s.CombinedOutput("exec 2>&1\n" + script)
		var exit *ssh.ExitError
		switch {
		case errors.As(err, &exit):
			return string(printed), exit.ExitStatus()
		case err != nil:
			return string(printed) + err.Error(), 127
		}
		return string(printed), 0
	}
	return "the machine takes no session", 127
}

// connected returns the connection to the machine's other sshd.
func (v *VM) connected() (*ssh.Client, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.client != nil {
		return v.client, nil
	}
	signer, err := ssh.ParsePrivateKey([]byte(v.image.privateKey))
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(v.image.hostKey))
	if err != nil {
		return nil, err
	}
	v.client, err = ssh.Dial("tcp", v.side, &ssh.ClientConfig{
		User: Root, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key), Timeout: time.Minute,
		HostKeyAlgorithms: []string{key.Type()},
	})
	if err != nil {
		v.client = nil
	}
	return v.client, err
}

func (v *VM) disconnect() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.client != nil {
		_ = v.client.Close() // the machine may be gone
		v.client = nil
	}
}

// ReadFile returns the content of a file; ok is false where there is none.
func (v *VM) ReadFile(path string) (content string, ok bool) {
	out, status := v.Sh("cat " + quote(path))
	if status != 0 {
		return "", false
	}
	return out, true
}

// WriteFile writes a file, and panics where that fails.
func (v *VM) WriteFile(path, content string) {
	if out, status := v.run("cat >"+quote(path), content); status != 0 {
		panic("cannot write " + path + ": " + out)
	}
}

// RemoveFile removes a file, and panics where that fails.
func (v *VM) RemoveFile(path string) {
	if out, status := v.Sh("rm -f " + quote(path)); status != 0 {
		panic("cannot remove " + path + ": " + out)
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Close kills the machine and returns when nothing of it is left. A second call does nothing and returns the same.
func (v *VM) Close() error {
	v.closeOnce.Do(func() {
		v.disconnect()
		v.closeErr = v.qemu.close()
	})
	return v.closeErr
}
