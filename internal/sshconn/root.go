package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/errno"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

var (
	errNoLine        = errors.New("the command ended")
	errWrongPassword = errors.New("wrong password")
)

// shellCommand is the one shell that a session runs in.
const shellCommand = "/bin/sh -s"

// command starts a fixed command, as root where sudo or doas is on, and returns when it runs.
//
// Sudo reads a password from standard input only when it asks. A line sent without being asked for would reach the
// command, so that a wrapper prints a mark when it is past sudo, and the password leaves only when the prompt, a nonce,
// ends what sudo said.
func (l *link) command(ctx context.Context, command string) (*process, error) {
	s := l.conn.settings
	switch {
	case s.RootBy() == "":
		return l.start(func(chn remoteSession) error { return chn.Start(command) })
	case s.RootBy() == "doas":
		return l.start(func(chn remoteSession) error { return chn.Start("env LC_ALL=C doas -n -- " + command) })
	case s.SudoPassword == "":
		return l.start(func(chn remoteSession) error { return chn.Start("env LC_ALL=C sudo -n -- " + command) })
	}
	prompt, past := nonce(), nonce()
	p, err := l.start(func(chn remoteSession) error {
		return chn.Start(fmt.Sprintf("env LC_ALL=C sudo -k -S -p %s -- /bin/sh -c 'echo %s; exec %s'", prompt, past, command))
	})
	if err != nil {
		return nil, err
	}
	err = p.answer(ctx, past, prompt, func(times int) error {
		if times > 1 {
			return errWrongPassword
		}
		_, err := io.WriteString(p.in, s.SudoPassword+"\n")
		return err
	})
	if err != nil {
		return nil, l.startFailed(ctx, p, err)
	}
	return p, nil
}

// openShell starts the link's session. What d has that may leave early does so with the session's first line: no
// request that must not be repeated, since a shell that does not answer may have run it.
func (l *link) openShell(ctx context.Context, d *dialing) error {
	stop := context.AfterFunc(ctx, func() { l.end(context.Cause(ctx)) }) // a start ends with the link alone
	p, err := l.command(ctx, shellCommand)
	stop()
	var known *fault.Error
	switch {
	case err == nil:
	case errors.As(err, &known), cut(err), l.ctx.Err() != nil, ctx.Err() != nil:
		return err
	default:
		return l.conn.fault(fault.NoShell,
			"the login as "+l.conn.settings.User+" works, but the host runs no command ("+strings.TrimPrefix(err.Error(),
				"ssh: ")+")",
			"Look at ForceCommand, MaxSessions and the user's shell on the host", err)
	}
	n := nonce()
	s := newSession(l, n, p.in)
	text := shell.Prologue(n)
	if early := merged(l.conn.leaves(d)); len(early) > 0 {
		text += s.leave(early)
	}
	if !l.spawn(func() { _, _ = io.WriteString(p.in, text) }) { // it may block; that it failed shows in the answer
		return errHangup
	}
	if err := p.answer(ctx, strings.Trim(string(shell.Ready(n)), "\n"), "", nil); err != nil {
		return l.startFailed(ctx, p, err)
	}
	l.shell = s
	if !l.spawn(func() { l.shell.serve(p.out) }) {
		return errHangup
	}
	return nil
}

// startFailed says why a command did not start.
func (l *link) startFailed(ctx context.Context, p *process, err error) error {
	if errors.Is(err, errNoLine) && !p.ended() {
		l.lives(ctx) // the command may have ended with the connection
	}
	over := context.Cause(l.ctx)
	p.stop()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case over != nil:
		return over
	}
	switch l.conn.settings.RootBy() {
	case "sudo":
		return l.conn.noRoot(p, err)
	case "doas":
		return l.conn.noRootByDoas(p, err)
	default:
		return l.conn.noShell(p, err)
	}
}

// saysAny returns a test whether said has one of some phrases.
func saysAny(said string) func(phrases ...string) bool {
	return func(phrases ...string) bool {
		return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(said, phrase) })
	}
}

// noRootByDoas says why doas did not give a root shell.
func (c *Conn) noRootByDoas(p *process, err error) error {
	user, has := c.settings.User, saysAny(p.complained.String())
	const next = "Add the line 'permit nopass %s as root' to /etc/doas.conf, or log in as root"
	refused := func(why, next string) error { return c.fault(fault.DoasRefused, why, next, err) }
	switch {
	case has("Authentication required", "Authorization required", "a tty is required"):
		return refused("doas wants a password for user "+user+", and takes none without a terminal", fmt.Sprintf(next, user))
	case has(errno.NotPermitted):
		return refused("doas.conf does not permit user "+user+" to run /bin/sh as root", fmt.Sprintf(next, user))
	case has("doas is not enabled"):
		return refused("doas is not enabled, since there is no /etc/doas.conf", fmt.Sprintf(next, user))
	case has("doas: command not found", "doas: not found", "doas': No such file", "doas’: No such file",
		"doas: No such file", "Unknown command: doas"):
		return refused("there is no doas on the host", "Install doas, set sudo = true instead, or log in as root")
	case errors.Is(err, context.DeadlineExceeded) && (p.complained.String() == "" || has("doas: ")):
		return refused("doas started no shell within "+c.timeAsRoot(fault.Excerpt(p.said(), c.settings.Secrets()...)),
			fmt.Sprintf(slowRoot, "doas"))
	case has("doas: "):
		return refused("it said: "+fault.Excerpt(p.said(), c.settings.Secrets()...), fmt.Sprintf(next, user))
	default:
		return c.noShell(p, err)
	}
}

// noRoot says why sudo did not give a root shell.
func (c *Conn) noRoot(p *process, err error) error {
	said, user := p.complained.String(), c.settings.User
	refused := func(why, next string) error { return c.fault(fault.SudoRefused, why, next, err) }
	has := saysAny(said)
	const next = "Log in as root, or as a user whom sudoers allows to run everything"
	quoted := fault.Excerpt(p.said(), c.settings.Secrets()...)
	switch {
	case errors.Is(err, errWrongPassword), has("incorrect password attempt", "Sorry, try again",
		"no password was provided", "Authentication failed", "incorrect authentication attempt"):
		return refused("sudo did not accept the password of user "+user,
			"Correct sudo_password; it is the user's own password")
	case has("not in the sudoers file", "may not run sudo", "is not allowed to execute", "not allowed to run sudo",
		"I'm afraid I can't do that"):
		return refused("user "+user+" may not run /bin/sh as root ("+quoted+")", next)
	case has("must have a tty"):
		return refused("sudoers has requiretty, and no terminal is there",
			"Add the line 'Defaults:"+user+" !requiretty' to sudoers")
	case has("password is required", "terminal is required", "authentication is required"):
		return refused("sudo wants a password for user "+user+", or the user may not use sudo at all",
			"Set sudo_password, give the user a NOPASSWD line in sudoers, or log in as root")
	case has("sudo: command not found", "sudo: not found", "sudo': No such file", "sudo’: No such file",
		"sudo: No such file", "Unknown command: sudo"):
		return refused("there is no sudo on the host", "Install sudo, or log in as root")
	case errors.Is(err, context.DeadlineExceeded) && (said == "" || has("sudo: ", "sudo-rs: ")):
		return refused("sudo started no shell within "+c.timeAsRoot(quoted), fmt.Sprintf(slowRoot, "sudo"))
	case has("sudo: ", "sudo-rs: "):
		return refused("it said: "+quoted, next)
	default:
		return c.noShell(p, err)
	}
}

// shellTime is how long a host may take to start the shell. Sudo and doas get rootTime at least.
func (c *Conn) shellTime() time.Duration {
	if c.settings.RootBy() == "" {
		return c.connectTimeout()
	}
	return max(c.connectTimeout(), c.pool.pace.root)
}

// shellTimeLeft is how much of that is left when so much of the connect timeout is.
func (c *Conn) shellTimeLeft(left time.Duration) time.Duration {
	if c.settings.RootBy() == "" {
		return left
	}
	return max(left, c.pool.pace.root)
}

// timeAsRoot names the time that sudo or doas had, with what it said meanwhile.
func (c *Conn) timeAsRoot(said string) string {
	text := c.shellTime().String()
	if said != "" {
		text += " (" + said + ")"
	}
	return text
}

// slowRoot is what to do about a sudo or doas that starts no shell in its time.
const slowRoot = "Run '%s -n true' on the host to see what it waits for, such as the host's own name if that does " +
	"not resolve: add it to /etc/hosts there, or raise connect_timeout"

// noShell says that the login works and no POSIX shell answers.
func (c *Conn) noShell(p *process, err error) error {
	command := shellCommand
	if by := c.settings.RootBy(); by != "" {
		command += " under " + by
	}
	why := "the login as " + c.settings.User + " works, but " + command + " ended without an answer"
	if errors.Is(err, context.DeadlineExceeded) {
		why = "the login as " + c.settings.User + " works, but " + command + " gave no answer within " +
			c.shellTime().String()
	}
	if quoted := fault.Excerpt(p.said(), c.settings.Secrets()...); quoted != "" {
		why += ", only: " + quoted
	}
	return c.fault(fault.NoShell, why, "Log in as a user with a POSIX shell and without a forced command, and look for "+
		"a start file that waits for input", err)
}
