package sshdtest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed scripts/sudors.sh
var sudoRSScript string

// SudoRS returns the program of Debian 13's package sudo-rs, which runs on Debian 12 too. It is downloaded once, into the user's cache. Callers may race, from other
// processes too. The error is an *Error.
func SudoRS(ctx context.Context) ([]byte, error) {
	text, err := sudoRS(ctx)
	if err != nil {
		return nil, &Error{What: "sudo-rs could not be downloaded", Err: err, Next: "This needs apt-get and Debian's package mirror."}
	}
	return text, nil
}

func sudoRS(ctx context.Context) ([]byte, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	parent := filepath.Join(cache, "terraform-provider-host")
	path := filepath.Join(parent, "sudo-rs-trixie")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	text, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	dir, err := os.MkdirTemp(parent, "sudo-rs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "sh", "-c", sudoRSScript, "sudors", "trixie", "sudo-rs")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	if text, err = os.ReadFile(filepath.Join(dir, "tree/usr/lib/cargo/bin/sudo")); err != nil {
		return nil, err
	}
	whole := filepath.Join(dir, "sudo")
	if err := os.WriteFile(whole, text, 0o600); err != nil {
		return nil, err
	}
	return text, os.Rename(whole, path)
}
