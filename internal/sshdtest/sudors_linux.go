package sshdtest

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/host-provider/terraform-provider-host/internal/debiantest"
)

//go:embed scripts/sudors.sh
var sudoRSScript string

// SudoRS returns the program of Debian 13's package sudo-rs, which runs on Debian 12 too. It is downloaded once, into the user's cache. The error is an *Error.
func SudoRS(ctx context.Context) ([]byte, error) {
	text, err := sudoRS(ctx)
	if err != nil {
		return nil, &Error{What: "sudo-rs could not be downloaded", Err: err, Next: "This needs apt-get and Debian's package mirror."}
	}
	return text, nil
}

func sudoRS(ctx context.Context) ([]byte, error) {
	path, err := debiantest.Cached(ctx, "sudo-rs-trixie", func(dir string) (string, error) {
		cmd := exec.CommandContext(ctx, "sh", "-c", sudoRSScript, "sudors", "trixie", "sudo-rs")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
		return filepath.Join(dir, "tree/usr/lib/cargo/bin/sudo"), nil
	})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
