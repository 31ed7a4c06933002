package sshconn

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"github.com/pkg/sftp"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// fileServer is the SFTP side of a link, opened when first needed.
type fileServer struct {
	once sync.Once
	// opened is closed when client is set, to nil where the host has no SFTP that serves.
	opened chan struct{}
	client *sftp.Client
}

// errNoSFTP says that the shell has to do it.
var errNoSFTP = errors.New("no SFTP on the host")

// sftpServers are the places that sftpServerScript looks at. What a host prints becomes a command only if it is one of
// them.
var sftpServers = []string{"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server",
	"/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server"}

// sftp returns the client, or errNoSFTP where there is none or it is not asked for, or ctx's error.
func (l *link) sftp(ctx context.Context) (*sftp.Client, error) {
	if !l.conn.pool.config.SFTP {
		return nil, errNoSFTP
	}
	l.files.once.Do(func() {
		if !l.spawn(func() {
			defer close(l.files.opened)
			c := l.conn
			ctx, cancel := context.WithTimeout(l.ctx, c.connectTimeout())
			defer cancel()
			var err error
			if l.files.client, err = l.openSFTP(ctx); err != nil {
				c.pool.log(l.log, "no SFTP, files go through the shell",
					map[string]any{"host": c.host, "address": c.addr, "why": fault.Excerpt(err.Error(), c.settings.Secrets()...)})
			}
		}) {
			close(l.files.opened)
		}
	})
	select {
	case <-l.files.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.files.client == nil {
		return nil, errNoSFTP
	}
	return l.files.client, nil
}

// openSFTP starts the subsystem, or under sudo or doas the server's program on an exec channel.
func (l *link) openSFTP(ctx context.Context) (*sftp.Client, error) {
	var p *process
	var err error
	if l.conn.settings.RootBy() != "" {
		var res shell.Result
		if res, err = l.shell.run(ctx, shell.Script{Name: "find sftp-server", Text: sftpServerScript}); err != nil {
			return nil, err
		}
		program, _ := res.Get("path")
		if !slices.Contains(sftpServers, program) {
			return nil, errNoSFTP
		}
		p, err = l.command(ctx, program)
	} else {
		p, err = l.start(func(chn remoteSession) error { return chn.RequestSubsystem("sftp") })
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, p.stop)
	client, err := sftp.NewClientPipe(p.out, p.in)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	for _, needed := range []string{"fsync@openssh.com", "posix-rename@openssh.com"} {
		if _, ok := client.HasExtension(needed); !ok {
			p.stop()
			return nil, errors.New("the SFTP server lacks " + needed)
		}
	}
	return client, nil
}

// answered reports whether err is an answer of the SFTP server, or says that there is none, and so no end of the
// connection.
func answered(err error) bool {
	var status *sftp.StatusError
	return errors.As(err, &status) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) ||
		errors.Is(err, errNoSFTP)
}

// bySFTP writes the temporary file, makes it durable, and renames it. On an error the stage says whether the rename was
// sent.
func (w *writing) bySFTP(ctx context.Context) error {
	client, err := w.link.sftp(ctx)
	if err != nil {
		return err
	}
	step := "write " + w.name
	exchange := func(do func() error) error { return w.link.bounded(step, do) }
	// A file that an interrupted write left is not taken over, with its owner and mode: the script removes it.
	var f *sftp.File
	err = exchange(func() (err error) {
		f, err = client.OpenFile(w.tmp(), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		return err
	})
	if err != nil {
		return err
	}
	steps := []func() error{func() error { return f.Chmod(0o644) }}
	for part := range slices.Chunk([]byte(w.content), writeAtOnce) {
		steps = append(steps, func() error { _, err := f.Write(part); return err })
	}
	for _, step := range append(steps, f.Sync) {
		if w.stage.Load() == abandoned {
			break
		}
		if err = exchange(step); err != nil {
			break
		}
	}
	if e := exchange(f.Close); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if !w.stage.CompareAndSwap(preparing, renaming) {
		_ = exchange(func() error { return client.Remove(w.tmp()) })
		return errAbandoned
	}
	return exchange(func() error { return client.PosixRename(w.tmp(), w.name) })
}
