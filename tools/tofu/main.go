// Command tofu builds the OpenTofu CLI that tools/tofu/go.mod pins, once, into the user's cache, and prints the path of the binary.
//
// It needs Go and a module proxy only. The cache lies outside the tree, so that every clone on a machine shares one build:
// terraform-provider-host/tofu-VERSION/tofu below os.UserCacheDir.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

const (
	module  = "github.com/opentofu/opentofu"
	command = module + "/cmd/tofu"
	// A version that calls itself a development build refuses some provider settings, and this variable decides it.
	ldflags = "-s -w -X " + module + "/version.dev=no"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	path, err := ensure(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot build the OpenTofu CLI:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}

// ensure returns the path of the CLI in the cache, built first where it is not there yet. Callers may race: a finished binary is renamed into place,
// so none of them ever sees half of one.
func ensure(ctx context.Context) (string, error) {
	version, err := goOutput(ctx, "list", "-m", "-f", "{{.Version}}", module)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "terraform-provider-host", "tofu-"+strings.TrimPrefix(version, "v"))
	path := filepath.Join(dir, "tofu")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// In the same directory, because a rename is atomic only within one file system.
	building, err := os.MkdirTemp(dir, "building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(building)
	fmt.Fprintf(os.Stderr, "Building OpenTofu %s from source into %s: some minutes, once on this machine.\n", version, dir)
	built := filepath.Join(building, "tofu")
	if _, err := goOutput(ctx, "build", "-ldflags", ldflags, "-o", built, command); err != nil {
		return "", err
	}
	return path, os.Rename(built, path)
}

// goOutput runs the go command in the current directory, which is this module's, and returns what it prints, without the last newline.
func goOutput(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
