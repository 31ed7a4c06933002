package sshconn

import (
	"context"
	_ "embed"
	"errors"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// The scripts that change files. All but the last need saveScript before them.
var (
	//go:embed scripts/save.sh
	saveScript string
	//go:embed scripts/write.sh
	writeScript string
	//go:embed scripts/same.sh
	sameScript string
	//go:embed scripts/remove.sh
	removeScript string
	//go:embed scripts/syncdir.sh
	syncDirScript string
	//go:embed scripts/sftpserver.sh
	sftpServerScript string
)

// WriteFile puts content into the file name on the host, mode 0644, owned by root where root or sudo is used. It makes
// a missing directory, 0755. Content is text without NUL; a last line without a newline gets one.
//
// Either the old file or the whole new one is there at any time, and when nil is returned the new one outlives a power
// cut. Where the connection ends so that either may be there, a new one finds out, and writes again only where it is
// the old one. The error is a *FileError, or as Run's; only one that matches ErrLost leaves open which of the two files
// is there.
func (c *Conn) WriteFile(ctx context.Context, name, content string) error {
	content, err := c.checkFile(name, content)
	if err != nil {
		return err
	}
	write := func() error {
		return c.with(ctx, nil, func(l *link) error {
			w := &writing{link: l, name: name, dir: path.Dir(name), base: path.Base(name), content: content,
				done: make(chan struct{})}
			return w.run(ctx)
		})
	}
	return c.whenFree(ctx, func() error {
		err := write()
		if !c.settles(ctx, err) {
			return err
		}
		switch there, lookErr := c.landed(ctx, shell.File{Path: name, Content: content}); {
		case lookErr != nil:
			return stillOpen(err, lookErr)
		case !there:
			return write()
		}
		return nil
	})
}

// landed says, after a lost reply, whether every file holds its content, and makes sure that those which do outlive a
// power cut.
func (c *Conn) landed(ctx context.Context, files ...shell.File) (bool, error) {
	for _, f := range files {
		dir, base := path.Dir(f.Path), path.Base(f.Path)
		look, err := c.Run(ctx, shell.Script{Name: "look at " + f.Path, Text: sameScript, Args: []string{dir, base},
			Stdin: f.Content, Repeatable: true})
		if err == nil && look.Status != 0 && f.Optional {
			continue
		}
		if err != nil || look.Status != 0 {
			return false, err
		}
		// What was renamed was made durable before; its name may not be yet.
		err = c.with(ctx, nil, func(l *link) error {
			return l.fileScript(ctx, "write", f.Path, shell.Script{Name: "sync " + dir, Text: saveScript + syncDirScript,
				Args: []string{dir}})
		})
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// Change runs c.First, then writes and removes the files as WriteFile and Remove do, and runs c.Then: all in one
// exchange, unless files go by SFTP. If First does not succeed or does not run, the files stay as they are, and err is
// nil all the same: first says what happened. err is that of the first file that failed, else Then's; the files after
// it stay as they are. If First or Session is set and the reply is lost, Change does not try again.
func (c *Conn) Change(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	for i, f := range ch.Write {
		if i == 0 {
			ch.Write = slices.Clone(ch.Write)
		}
		if ch.Write[i].Content, err = c.checkFile(f.Path, f.Content); err != nil {
			return first, then, err
		}
	}
	for _, name := range ch.Remove {
		if err := c.checkPath("remove", name); err != nil {
			return first, then, err
		}
	}
	err = c.whenFree(ctx, func() error {
		if c.pool.config.SFTP && len(ch.Write) > 0 {
			first, then, err = c.changeBySFTP(ctx, ch)
		} else {
			first, then, err = c.change(ctx, ch)
		}
		if err == nil {
			err = taken(first)
		}
		return err
	})
	if first.Skipped == shell.Busy {
		first = shell.Result{}
	}
	return first, then, err
}

func (c *Conn) change(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	do := func() error {
		first, then, err = c.changeOnce(ctx, ch)
		return err
	}
	if err = do(); ch.First != nil || ch.Session != "" || !c.settles(ctx, err) {
		return first, then, err
	}
	switch there, lookErr := c.landed(ctx, ch.Write...); {
	case lookErr != nil:
		return first, then, stillOpen(err, lookErr)
	case there && len(ch.Write) > 0:
		ch.Write = nil // to remove files again does no harm
	}
	return first, then, c.again(err, func() error { return c.whenFree(ctx, do) })
}

// changeOnce is Change in one exchange.
func (c *Conn) changeOnce(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	var scripts []shell.Script
	if ch.First != nil {
		scripts = append(scripts, *ch.First)
	}
	type step struct{ op, path string }
	var steps []step
	var names []string
	add := func(op, name string, s shell.Script) {
		s.Behind = len(scripts) > 0
		scripts, steps, names = append(scripts, s), append(steps, step{op, name}), append(names, name)
	}
	for _, f := range ch.Write {
		s := writeFileScript(f.Path, f.Content)
		if f.Optional {
			s.Text = "(\n" + s.Text + "\n) || :\n"
		}
		add("write", f.Path, s)
	}
	for _, name := range ch.Remove {
		add("remove", name, removeFileScript(name))
	}
	if len(scripts) > 0 && ch.Last {
		scripts[0].Last = true
	}
	begun := len(scripts) - len(steps)
	if ch.Then != nil {
		scripts = append(scripts, *ch.Then)
	}
	if len(scripts) == 0 {
		return first, then, nil
	}
	scripts[0].Session = ch.Session
	err = c.with(ctx, nil, func(l *link) error {
		release, err := c.lockFiles(ctx, names)
		if err != nil {
			return err
		}
		defer release()
		results, errs := l.shell.awaitAll(ctx, scripts, ch.Asked)
		if begun > 0 {
			if first = results[0]; errs[0] != nil || first.Status != 0 {
				if ch.Then != nil && errs[0] == nil {
					then = results[len(scripts)-1]
				}
				return errs[0]
			}
		}
		for i, s := range steps {
			if err := l.fileError(s.op, s.path, results[begun+i], errs[begun+i]); err != nil {
				return err
			}
		}
		if ch.Then == nil {
			return nil
		}
		then = results[len(scripts)-1]
		return errs[len(scripts)-1]
	})
	return first, then, err
}

// changeBySFTP is Change where files are written by SFTP. All of it happens in the session of its first script, which
// has the lock on the host.
func (c *Conn) changeBySFTP(ctx context.Context, ch shell.Change) (first, then shell.Result, err error) {
	if ch.Asked != nil {
		ch.Asked() // others share no exchange with files that go by SFTP
	}
	begin := shell.Script{Name: "begin", Text: ":\n", Exclusive: true}
	if ch.First != nil {
		begin = *ch.First
	}
	begin.Session = ch.Session
	begun, err := c.run(ctx, begin)
	if ch.First != nil {
		first = begun
	}
	if err != nil || begun.Status != 0 {
		if ch.First == nil && err == nil {
			err = taken(begun)
		}
		return first, then, err
	}
	step := func(op, name string, do func(*link) error) error {
		return c.with(ctx, nil, func(l *link) error {
			if l.shell.nonce != begun.Session {
				return c.lost(op+" "+name, errHangup)
			}
			return do(l)
		})
	}
	for _, f := range ch.Write {
		err := step("write", f.Path, func(l *link) error {
			dir, base := path.Dir(f.Path), path.Base(f.Path)
			w := &writing{link: l, name: f.Path, dir: dir, base: base, content: f.Content, done: make(chan struct{})}
			return w.run(ctx)
		})
		if file := (*fault.FileError)(nil); err != nil && !(f.Optional && errors.As(err, &file)) {
			return first, then, err
		}
	}
	for _, name := range ch.Remove {
		err := step("remove", name, func(l *link) error {
			release, err := c.lockFiles(ctx, []string{name})
			if err != nil {
				return err
			}
			defer release()
			return l.fileScript(ctx, "remove", name, removeFileScript(name))
		})
		if err != nil {
			return first, then, err
		}
	}
	if ch.Then != nil {
		then, err = c.run(ctx, *ch.Then)
	}
	return first, then, err
}

func writeFileScript(name, content string) shell.Script {
	return shell.Script{Name: "write " + name, Text: saveScript + writeScript, Exclusive: true,
		Args: []string{path.Dir(name), path.Base(name)}, Stdin: content}
}

func removeFileScript(name string) shell.Script {
	return shell.Script{Name: "remove " + name, Text: saveScript + removeScript, Exclusive: true,
		Args: []string{path.Dir(name), path.Base(name)}}
}

// checkFile refuses what is no file, and returns the content as it is written.
func (c *Conn) checkFile(name, content string) (string, error) {
	if err := c.checkPath("write", name); err != nil {
		return "", err
	}
	if strings.ContainsRune(content, 0) {
		return "", &fault.FileError{Op: "write", Host: c.host, Path: name, Reason: "its content holds a NUL byte"}
	}
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	return content, nil
}

// Remove removes files in one exchange, for good when nil is returned; a missing one is no error. Errors are as
// WriteFiles'.
func (c *Conn) Remove(ctx context.Context, names ...string) error {
	var scripts []shell.Script
	for _, name := range names {
		if err := c.checkPath("remove", name); err != nil {
			return err
		}
		scripts = append(scripts, removeFileScript(name))
	}
	remove := func() error {
		return c.with(ctx, nil, func(l *link) error {
			release, err := c.lockFiles(ctx, names)
			if err != nil {
				return err
			}
			defer release()
			results, errs := l.shell.runAll(ctx, scripts...)
			for i, name := range names {
				if err := l.fileError("remove", name, results[i], errs[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c.whenFree(ctx, func() error {
		err := remove()
		if c.settles(ctx, err) {
			err = c.again(err, func() error { return c.whenFree(ctx, remove) }) // it looks before it acts
		}
		return err
	})
}

func (c *Conn) checkPath(op, name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsAny(name, "\x00\n") {
		return &fault.FileError{Op: op, Host: c.host, Path: name, Reason: "not the absolute path of a file"}
	}
	return nil
}

// fileScript runs a script that changes a file. What it prints is why it failed.
func (l *link) fileScript(ctx context.Context, op, name string, s shell.Script) error {
	res, err := l.shell.run(ctx, s)
	return l.fileError(op, name, res, err)
}

// fileError is what the reply of a script that changes a file comes to.
func (l *link) fileError(op, name string, res shell.Result, err error) error {
	if err != nil || res.Status == 0 {
		return err
	}
	if err := taken(res); err != nil {
		return err
	}
	e := &fault.FileError{Op: op, Host: l.conn.host, Path: name}
	var said strings.Builder
	for _, r := range res.Records {
		if r.Head == "sync" {
			e.Op = "sync"
		}
		said.WriteString(r.Body + "\n")
	}
	e.Reason = fault.Reason(said.String())
	return e
}

// writing is one write of a file on its way. Its own goroutine does the steps, since SFTP knows no context; whoever
// asked for it may go away meanwhile.
type writing struct {
	link                     *link
	name, dir, base, content string
	stage                    atomic.Int32
	// err is the outcome when done is closed.
	err  error
	done chan struct{}
}

// The stages of a write, which say what is known about it when its caller goes away.
const (
	preparing int32 = iota // nothing but the temporary file was touched
	abandoned              // the caller went away in time: the temporary file is removed
	renaming               // the rename was sent
	scripted               // a script is on its way, whose session knows how far it is
)

// errAbandoned is the outcome of a write whose caller went away in time.
var errAbandoned = errors.New("abandoned")

func (w *writing) tmp() string { return w.dir + "/." + w.base + ".terraform-tmp" }

// run does the write and waits for it as long as ctx lives.
func (w *writing) run(ctx context.Context) error {
	c := w.link.conn
	lock := c.fileLock(w.name)
	select {
	case lock <- struct{}{}:
	case <-ctx.Done():
		return c.cancelled(ctx, "before the write of "+w.name)
	}
	if !w.link.spawn(func() {
		defer func() { <-lock }()
		defer close(w.done)
		w.err = w.steps(ctx)
	}) {
		<-lock
		return errNotSent
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
	}
	if w.stage.CompareAndSwap(preparing, abandoned) {
		return c.cancelled(ctx, "before "+w.name+" was changed")
	}
	if w.stage.Load() == scripted {
		<-w.done // a session gives up with ctx
		return w.err
	}
	select {
	case <-w.done:
		return w.err
	default:
		return c.lost("write "+w.name, context.Cause(ctx))
	}
}

// steps writes by SFTP where that is asked for, and by the shell whatever SFTP cannot: its "Failure" says too little, a
// server may lack fsync, and a directory may be missing.
func (w *writing) steps(ctx context.Context) error {
	l := w.link
	err := w.bySFTP(ctx)
	script := shell.Script{Name: "sync " + w.dir, Text: saveScript + syncDirScript, Args: []string{w.dir}}
	renamed := w.stage.Load() == renaming
	switch {
	case errors.Is(err, errAbandoned):
		return err
	case err != nil && hung(context.Cause(l.ctx)) != nil:
		return l.conn.lost("write "+w.name, context.Cause(l.ctx))
	case err != nil && !answered(err) && !l.answers():
		err = errNotSent
	case !renamed && !w.stage.CompareAndSwap(preparing, scripted):
		return errAbandoned
	default:
		w.stage.Store(scripted)
		if err != nil {
			script = writeFileScript(w.name, w.content)
		}
		err = l.fileScript(ctx, "write", w.name, script)
	}
	if file := (*fault.FileError)(nil); !renamed || err == nil || errors.As(err, &file) {
		return err
	}
	if errors.Is(err, errNotSent) {
		err = context.Cause(l.ctx) // that was the script: the rename may have come through
	}
	return l.conn.lost("write "+w.name, err)
}

// lockFiles waits until nobody else changes these files, in the order of their names, and keeps others waiting until
// release is called.
func (c *Conn) lockFiles(ctx context.Context, names []string) (release func(), err error) {
	var held []chan struct{}
	release = func() {
		for _, lock := range held {
			<-lock
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		lock := c.fileLock(name)
		select {
		case lock <- struct{}{}:
			held = append(held, lock)
		case <-ctx.Done():
			release()
			return nil, c.cancelled(ctx, "before "+name+" was changed")
		}
	}
	return release, nil
}

// fileLock is what writers of one file send to while they write it, because they share its temporary file: a
// channel, so that the wait for it ends with a context.
func (c *Conn) fileLock(name string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.fileLocks[name]
	if !ok {
		t = make(chan struct{}, 1)
		c.fileLocks[name] = t
	}
	return t
}
