package sshconn

// Commands that hang: a sync of a dead disk, a stat of a file on an NFS server that is gone. The SSH server still
// answers keepalive requests then, so link.watch sees nothing.

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// defaultReplyTimeout is how long a host may send nothing while a request is under way. A slow disk may take a minute
// for a sync. A large reply, or many small ones, may take any time, because only silence counts.
const defaultReplyTimeout = 2 * time.Minute

// silence ends a link whose host sent nothing for too long while it did a step.
type silence struct {
	// step is the name of the script.
	step  string
	limit time.Duration
}

func (e *silence) Error() string {
	return fmt.Sprintf("the host stopped answering while it was %s: it sent nothing for %s, although the connection works",
		doing(e.step), e.limit)
}

// silenceNext is what to do about a host that hangs.
const silenceNext = "Look on the host at dmesg, and for processes in state D, which wait for a disk or a file server " +
	"('ps -eo pid,stat,wchan:30,args'). When that is mended, plan again: it reads what the host has now"

// hung returns the silence that err comes of; nil for any other error.
func hung(err error) *silence {
	var s *silence
	if errors.As(err, &s) {
		return s
	}
	return nil
}

// silent is the error for a request that was sent to a host that hangs. The host may go on with it later.
func (c *Conn) silent(request string, cause *silence) *fault.Error {
	why := cause.Error()
	if request != cause.step {
		why += ", and " + strconv.Quote(request) + " was waiting behind that"
	}
	return c.fault(fault.Hung, why+". It may still happen", silenceNext, cause)
}

// unsent is the error for a request that was not sent when the link ended. It is errNotSent, so that the request is
// sent over a new connection, unless the host hangs: then the request would only wait again.
func (l *link) unsent(request string) error {
	cause := hung(context.Cause(l.ctx))
	if cause == nil {
		return errNotSent
	}
	why := fmt.Sprintf("%s. %q was waiting behind that, and it was not begun", cause, request)
	return l.conn.fault(fault.Unreachable, why, silenceNext, cause)
}

// bounded runs one exchange of SFTP, and ends the link if there is no answer in time.
func (l *link) bounded(step string, exchange func() error) error {
	limit := l.conn.pool.config.ReplyTimeout
	timer := time.AfterFunc(limit, func() { l.end(&silence{step, limit}) })
	defer timer.Stop()
	return exchange()
}

// watchSilence ends the link if the host has sent nothing for the reply timeout although a request is under way. It
// calls itself again until the link is over.
func (s *session) watchSilence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	limit := s.link.conn.pool.config.ReplyTimeout
	next := limit
	if len(s.flight) > 0 {
		if next = time.Until(s.heard.Add(limit)); next <= 0 {
			s.link.end(&silence{s.flight[0].script.Name, limit})
			return
		}
	}
	s.silence.Reset(next)
}

// doing says in a user's words what a script does.
func doing(script string) string {
	verb, file, _ := strings.Cut(script, " ")
	switch {
	case verb == "write" && path.IsAbs(file):
		return "writing " + file + " (with sync)"
	case verb == "remove" && path.IsAbs(file):
		return "removing " + file + " (with sync)"
	case verb == "sync" && path.IsAbs(file):
		return "making changes in " + file + " durable (sync)"
	case verb == "look" && path.IsAbs(strings.TrimPrefix(file, "at ")):
		return "reading " + strings.TrimPrefix(file, "at ")
	}
	switch script {
	case "snapshot":
		return "reading its configuration files and its kernel's values"
	case "values":
		return "reading values of its kernel"
	case "set":
		return "writing values of its kernel"
	case "evidence":
		return "asking what its boot has done (stat, systemctl, journalctl)"
	case "units":
		return "asking systemd for its units (systemctl)"
	case "resolve":
		return "looking for a kernel module (modprobe)"
	case "parameters":
		return "asking for the parameters of a kernel module (modinfo)"
	case "load":
		return "loading a kernel module (modprobe)"
	case "unload":
		return "unloading a kernel module (modprobe -r)"
	case "find sftp-server":
		return "looking for its SFTP server"
	}
	return "running the script " + strconv.Quote(script)
}
