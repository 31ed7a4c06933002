// Package terraform runs a real Terraform or OpenTofu CLI with this provider, built from source, in a local mirror: for the demo and the tests.
package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/provider"
)

const (
	module  = "github.com/host-provider/terraform-provider-host"
	version = "0.0.1"
)

// registries are where the provider's source leads: each CLI has its own.
var registries = [...]string{"registry.terraform.io", "registry.opentofu.org"}

// CLI is a Terraform or OpenTofu program that finds this provider in a mirror and nothing anywhere else.
type CLI struct {
	// Path is the program.
	Path string
	env  []string
}

// Find returns the CLI to use: what TF_CLI names, else terraform or tofu from PATH.
func Find() (string, error) {
	if name := os.Getenv("TF_CLI"); name != "" {
		return exec.LookPath(name)
	}
	for _, name := range []string{"terraform", "tofu"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("neither terraform nor tofu is on PATH: set TF_CLI, or let `make tofu` build one")
}

// Install builds the provider and lays out a mirror and a CLI configuration below dir, which must exist.
func Install(ctx context.Context, path, dir string) (*CLI, error) {
	binary := filepath.Join(dir, "terraform-provider-host_v"+version)
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, module).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the provider: %w\n%s", err, out)
	}
	for _, registry := range registries {
		target := filepath.Join(dir, "mirror", registry, filepath.FromSlash(provider.Source), version, runtime.GOOS+"_"+runtime.GOARCH)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return nil, err
		}
		if err := os.Link(binary, filepath.Join(target, filepath.Base(binary))); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	config := filepath.Join(dir, "cli.tfrc")
	text := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\ndisable_checkpoint = true\n", filepath.Join(dir, "mirror"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	c := &CLI{Path: path}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TF_") {
			c.env = append(c.env, v)
		}
	}
	c.env = append(c.env, "TF_CLI_CONFIG_FILE="+config, "TF_IN_AUTOMATION=1", "TF_CLI_ARGS=-no-color", "CHECKPOINT_DISABLE=1")
	return c, nil
}

// With returns a CLI with these further environment variables, each NAME=VALUE.
func (c *CLI) With(env ...string) *CLI {
	return &CLI{Path: c.Path, env: append(append([]string{}, c.env...), env...)}
}

// Run runs the CLI in dir and returns its exit status; err is for a program that could not be run at all. When ctx ends, the CLI is interrupted, as by Ctrl-C, and
// waited for.
func (c *CLI) Run(ctx context.Context, dir string, out io.Writer, args ...string) (status int, err error) {
	cmd := exec.CommandContext(ctx, c.Path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, c.env, out, out
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
