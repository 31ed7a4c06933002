// Command prepare prints the path of a root file system of Debian for the oracle tests, which it builds if the user's
// cache does not have it. It is part of `make oracle`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/host-provider/terraform-provider-host/internal/debiantest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := prepare(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func prepare(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the name of a suite, such as trixie")
	}
	dir, err := debiantest.Tree{
		Name: "oracle", Suite: args[0],
		// systemd-modules-load is in the package udev from Debian's systemd 26x on.
		Packages: []string{"busybox", "coreutils", "dash", "grep", "kmod", "systemd", "udev"},
	}.Dir(ctx)
	if err == nil {
		fmt.Println(dir)
	}
	return err
}
