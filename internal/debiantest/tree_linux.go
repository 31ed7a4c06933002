// Package debiantest builds root file systems of Debian into the user's cache, for tests.
package debiantest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// searchPath finds administrators' programs even if PATH does not have their directories.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Tree is the recipe of a root file system.
type Tree struct {
	// Name is the first word of its directory in the cache.
	Name string
	// Suite is a suite of Debian, such as trixie. Packages are those to install, with what they need.
	Suite    string
	Packages []string
	// Hook is a shell script that runs with the path of the tree as $1 after the packages are installed; "" is none.
	Hook string
}

// Dir returns the directory of the tree, which is in the user's cache and named after the recipe. If it does not exist,
// Dir builds it with mmdebstrap, which takes a minute or two and must run as root.
func (t Tree) Dir(ctx context.Context) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{t.Hook, t.Suite}, t.Packages...), "\n\n")))
	name := t.Name + "-" + t.Suite + "-" + hex.EncodeToString(sum[:8])
	return Cached(ctx, name, func(dir string) (string, error) { return t.build(ctx, dir) })
}

// build makes the tree in a directory below dir and returns its path.
func (t Tree) build(ctx context.Context, dir string) (string, error) {
	hook := filepath.Join(dir, "hook.sh")
	if err := os.WriteFile(hook, []byte(t.Hook), 0o600); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "Building a tree of Debian %s in %s: a minute or two, once on this machine.\n",
		t.Suite, filepath.Dir(dir))
	made := filepath.Join(dir, "tree")
	// In a mount namespace, so that not even a killed mmdebstrap leaves a mount. Valid-Until does not matter here, because
	// the lists of an old snapshot of sid, or of a mirror that lags, serve as well as new ones.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--", "mmdebstrap", "--mode=root", "--variant=apt",
		`--aptopt=Acquire::Check-Valid-Until "false"`, "--include="+strings.Join(t.Packages, ","),
		`--customize-hook=sh "$HOOK" "$1"`, t.Suite, made)
	cmd.Env = append(os.Environ(), "PATH="+searchPath, "LC_ALL=C", "HOOK="+hook)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // mmdebstrap then removes its files
	cmd.WaitDelay = time.Minute
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, out[max(0, len(out)-3000):])
	}
	return made, nil
}

// Cached returns the path of a file or directory in the user's cache. If it does not exist, build makes it in a new
// directory and returns where, and Cached moves it into place. Several processes may call it at the same time: one
// builds, and the others wait.
func Cached(ctx context.Context, name string, build func(dir string) (made string, err error)) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	parent := filepath.Join(cache, "terraform-provider-host")
	path := filepath.Join(parent, name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	lock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	dir, err := os.MkdirTemp(parent, name+"-building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	made, err := build(dir)
	if err != nil {
		return "", err
	}
	return path, os.Rename(made, path)
}

// lockFile locks a file. Closing it unlocks it.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
