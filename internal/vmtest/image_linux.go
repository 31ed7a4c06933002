package vmtest

// The image: a disk, a kernel, an initrd, keys and the memory of the booted machine, built once into the user's cache.

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

//go:embed scripts/image.sh
var imageScript string

const systemd = "/lib/systemd/systemd"

// recipe is the part of an image that differs between releases of Debian.
type recipe struct {
	suite string
	// packages are what mmdebstrap installs; off are services of theirs that do not start unless a test enables them.
	packages, off string
}

const common = "busybox-static,dropbear-bin,iproute2,iptables,kmod,openssh-server,procps,sudo,systemd,udev,"

var recipes = map[Suite]recipe{
	Bookworm: {suite: "bookworm", packages: common + "openrc,sysvinit-core"},
	// For tests of the last writer, programs that set sysctls after systemd-sysctl; systemd has networkd. tuned depends on
	// polkitd, which needs systemd's own /sbin/init.
	Trixie: {suite: "trixie", packages: common + "cron,systemd-sysv,tuned,ufw", off: "cron tuned ufw"},
}

// image is a directory in the cache and how QEMU runs what is in it.
type image struct {
	dir    string
	recipe recipe
	accel  accel
	// hostKey is a line as in known_hosts, privateKey is in OpenSSH's form.
	hostKey, privateKey string
}

func (i *image) path(name string) string { return filepath.Join(i.dir, name) }

// open returns the image, built first where the cache does not have it. Callers may race: a finished image is renamed into place.
func open(ctx context.Context, s Suite) (*image, error) {
	r, known := recipes[s]
	if !known {
		return nil, fmt.Errorf("no machine is made of Debian %q", s)
	}
	a, version, err := findQEMU(ctx)
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{imageScript, r.suite, r.packages, r.off, version, strings.Join(a.args("", ""), "\n"), cmdline}, "\n\n")))
	parent := filepath.Join(cache, "terraform-provider-host")
	i := &image{dir: filepath.Join(parent, "vm-"+hex.EncodeToString(sum[:8])), recipe: r, accel: a}
	if _, err := os.Stat(i.path("memory")); errors.Is(err, fs.ErrNotExist) {
		if err := build(ctx, i, parent); err != nil {
			return nil, err
		}
	}
	return i, i.readKeys()
}

func (i *image) readKeys() error {
	public, err := os.ReadFile(i.path("host_key.pub"))
	if err != nil {
		return err
	}
	private, err := os.ReadFile(i.path("user_key"))
	i.hostKey, i.privateKey = strings.TrimSpace(string(public)), string(private)
	return err
}

// build makes the image in a directory of its own and renames that to i.dir.
func build(ctx context.Context, i *image, parent string) error {
	for _, program := range []string{"mmdebstrap", "mke2fs", "unshare"} {
		if _, err := lookPath(program); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	building, err := os.MkdirTemp(parent, "vm-building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(building)
	fmt.Fprintf(os.Stderr, "Building a machine of Debian %s in %s: some minutes, once on this machine.\n", i.recipe.suite, parent)
	unfinished := &image{dir: building, recipe: i.recipe, accel: i.accel}
	if err := unfinished.makeKeys(); err != nil {
		return err
	}
	if err := unfinished.makeDisk(ctx); err != nil {
		return err
	}
	if err := unfinished.readKeys(); err != nil {
		return err
	}
	if err := unfinished.makeMemory(ctx); err != nil {
		return err
	}
	err = os.Rename(building, i.dir)
	if _, there := os.Stat(i.path("memory")); there == nil {
		return nil // somebody else was faster
	}
	return err
}

func (i *image) makeKeys() error {
	for _, name := range []string{"host_key", "user_key"} {
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		block, err := ssh.MarshalPrivateKey(priv, "")
		if err != nil {
			return err
		}
		key, err := ssh.NewPublicKey(pub)
		if err != nil {
			return err
		}
		if err := os.WriteFile(i.path(name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(i.path(name+".pub"), ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(i.path("image.sh"), []byte(imageScript), 0o600)
}

// makeDisk installs Debian's packages. Where this process is not root's, all but the transfer of files happens in a user namespace, which cannot see the cache.
func (i *image) makeDisk(ctx context.Context) error {
	args := []string{"--mode=root", "--variant=apt", "--include=" + i.recipe.packages}
	namespaces := []string{"--mount", "--"}
	if os.Getuid() != 0 { // mmdebstrap makes them
		args[0], namespaces = "--mode=unshare", []string{"--"}
	}
	hooks := []string{`mount -t tmpfs vm "$1/mnt"`}
	for _, name := range []string{"image.sh", "host_key", "host_key.pub", "user_key.pub"} {
		hooks = append(hooks, "upload "+name+" /mnt/"+name)
	}
	hooks = append(hooks, `sh "$1/mnt/image.sh" "$1" '`+i.recipe.off+"'")
	for _, name := range []string{"vmlinuz", "initrd.img", "disk"} {
		hooks = append(hooks, "download /mnt/"+name+" "+name+".part")
	}
	for _, h := range append(hooks, `umount "$1/mnt"`) {
		args = append(args, "--customize-hook="+h)
	}
	// In a mount namespace, so that not even a killed mmdebstrap leaves a mount.
	if err := i.run(ctx, "unshare", append(append(namespaces, "mmdebstrap"), append(args, i.recipe.suite, os.DevNull)...)...); err != nil {
		return err
	}
	for _, name := range []string{"vmlinuz", "initrd.img", "disk"} { // most of the disk is empty
		if err := errors.Join(i.run(ctx, "cp", "--sparse=always", name+".part", name), os.Remove(i.path(name+".part"))); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program in the image's directory.
func (i *image) run(ctx context.Context, name string, args ...string) error {
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // mmdebstrap then takes its files away
	cmd.WaitDelay = 30 * time.Second
	cmd.Dir, cmd.Env = i.dir, append(os.Environ(), "PATH="+searchPath, "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, tail(string(out)))
	}
	return nil
}

// makeMemory boots the machine and keeps its memory.
func (i *image) makeMemory(ctx context.Context) error {
	v, err := boot(ctx, i, Options{}, false)
	if err != nil {
		return err
	}
	if out, status := v.Sh("systemctl is-system-running --wait && udevadm settle && sync && echo 3 >/proc/sys/vm/drop_caches"); status != 0 {
		return errors.Join(fmt.Errorf("the machine is not well after its first boot: %s", out), v.Close())
	}
	return errors.Join(v.save(ctx, i.path("memory.part")), v.Close(), os.Rename(i.path("memory.part"), i.path("memory")))
}

// tail is the end of what a program said.
func tail(said string) string {
	const most = 3000
	if len(said) > most {
		said = "..." + said[len(said)-most:]
	}
	return strings.TrimSpace(said)
}
