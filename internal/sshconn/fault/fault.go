// Package fault has the errors of SSH connections: which kind of failure, where, why, and what the user can do about
// it.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/host-provider/terraform-provider-host/internal/errno"
)

// Kind says which way a connection failed.
type Kind int

// The ways a connection fails.
const (
	// Misconfigured: the settings or the host's name are malformed; nothing was dialled.
	Misconfigured Kind = iota + 1
	// Unreachable: nobody listens, no answer in time, or the handshake was cut. The only kind that Conn.Wait tries again.
	Unreachable
	// AuthRefused: the host accepted none of the ways to log in.
	AuthRefused
	// KeyUnusable: the private key or the agent cannot be used; nothing was dialled.
	KeyUnusable
	// HostKeyUnknown: no known_hosts file has a key for the host.
	HostKeyUnknown
	// HostKeyChanged: the host shows another key than the one that is known.
	HostKeyChanged
	// HostKeyRevoked: a known_hosts file revokes the key that the host shows.
	HostKeyRevoked
	// SudoRefused: sudo did not give a root shell.
	SudoRefused
	// DoasRefused: doas did not.
	DoasRefused
	// NoShell: the login works, and no POSIX shell answers.
	NoShell
	// Lost: the connection or the caller's context ended after a request was sent and before its reply came, so that its
	// outcome is unknown.
	Lost
	// Hung: the host sent nothing for Config.ReplyTimeout while it did a request, so that its outcome is unknown too.
	Hung
	// Locked: another process changed the host for Config.LockTimeout. Nothing was done.
	Locked
)

// ErrLost matches, with errors.Is, every Error of the kinds Lost and Hung.
var ErrLost = errors.New("the reply to a request was lost: its outcome is unknown")

// NotReached reports whether err says that a host did not answer, or stopped answering: another time it may. A host
// that answers and refuses, or shows a wrong key, is no such host.
func NotReached(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Unreachable && !e.Final || e.OutcomeUnknown())
}

// Error is why a host could not be asked, or why the answer is missing. It never holds a secret.
type Error struct {
	Kind Kind
	// Host is the host as the caller named it, Addr the address dialled, "host:port"; empty when the name could not be
	// read.
	Host, Addr string
	// Why is what is known of the cause, and Next what the user can do about it: whole sentences without the final stop.
	Why, Next string
	// Err is the cause, where there is one.
	Err error
	// Final marks an Unreachable that another try does not mend.
	Final bool
	// Redials is how often the same try to connect may dial again after this error.
	Redials int
	// OtherKey is the type of a host key whose fingerprint is not the pinned one. The host may have a key of another
	// type that has it.
	OtherKey string
}

// Maker makes the errors of one host, which it names as Error does.
type Maker struct{ Host, Addr string }

// New returns an Error of a kind, with its reason, what to do about it, and its cause, if any.
func (m Maker) New(kind Kind, why, next string, err error) *Error {
	return &Error{Kind: kind, Host: m.Host, Addr: m.Addr, Why: why, Next: next, Err: err}
}

// Summary is the same for all errors of a kind, so that they can be grouped.
func (e *Error) Summary() string {
	switch e.Kind {
	case Misconfigured:
		return "invalid SSH settings"
	case Unreachable:
		return "host cannot be reached over SSH"
	case AuthRefused:
		return "SSH login refused"
	case KeyUnusable:
		return "SSH key cannot be used"
	case HostKeyUnknown:
		return "SSH host key is not known"
	case HostKeyChanged:
		return "SSH host key has changed"
	case HostKeyRevoked:
		return "SSH host key is revoked"
	case SudoRefused:
		return "sudo refused"
	case DoasRefused:
		return "doas refused"
	case NoShell:
		return "no POSIX shell on the host"
	case Hung:
		return "host stopped answering, outcome unknown"
	case Locked:
		return "another run is changing the host"
	default:
		return "SSH connection lost, outcome unknown"
	}
}

// Error says where, why and what to do next; Summary says what.
func (e *Error) Error() string {
	where := "Host " + e.Host + ":"
	if e.Addr != "" {
		where = "On " + e.Host + " (" + e.Addr + "),"
	}
	text := where + " " + e.Why + "."
	if e.Next != "" {
		text += " " + e.Next + "."
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// OutcomeUnknown reports whether the request may have happened.
func (e *Error) OutcomeUnknown() bool { return e.Kind == Lost || e.Kind == Hung }

// Hung reports whether the host stopped answering in the middle of a request, so that others would hang too.
func (e *Error) Hung() bool { return e.Kind == Hung }

// Is makes every lost reply match ErrLost.
func (e *Error) Is(target error) bool { return target == ErrLost && e.OutcomeUnknown() }

// FileError is a file that could not be changed on a host. What was there before is still there, except that a failed
// "sync" leaves the change in place, without the promise that it outlives a power cut.
type FileError struct {
	// Op is "write", "remove" or "sync".
	Op string
	// Host is the host as the caller named it.
	Host, Path string
	// Reason is the kernel's words as far as they are known, such as "No space left on device".
	Reason string
}

// Unchanged reports whether the file is as it was before.
func (e *FileError) Unchanged() bool { return e.Op != "sync" }

// Summary is the same for all errors of an Op.
func (e *FileError) Summary() string {
	switch e.Op {
	case "remove":
		return "file could not be removed"
	case "sync":
		return "file could not be made durable"
	default:
		return "file could not be written"
	}
}

// Error says what, where, why and what to do next.
func (e *FileError) Error() string {
	done := map[string]string{"write": "written", "remove": "removed", "sync": "made durable"}[e.Op]
	text := fmt.Sprintf("On %s, %s could not be %s: %s.", e.Host, e.Path, done, e.Reason)
	switch {
	case errno.Full(e.Reason):
		text += " Free some space there and apply again."
	case e.Reason == errno.ReadOnlyFS:
		text += " Mount that file system writable, or use persist = false."
	case errno.Forbidden(e.Reason):
		text += " Log in as root or set sudo = true; if that is so already, look for an immutable file or a security " +
			"module that forbids it."
	}
	return text
}

// Reason finds the kernel's words in what a program printed; text without any is returned as it is, cut and cleaned.
func Reason(printed string) string {
	if word, ok := errno.Find(printed); ok {
		return word
	}
	if t := Excerpt(printed); t != "" {
		return t
	}
	return "no reason was given"
}

// excerptLen is how many bytes of what a host said an error quotes.
const excerptLen = 200

// Excerpt is the beginning of what a host said, as one printable line, without any of the secrets.
func Excerpt(said string, secrets ...string) string {
	said = strings.ToValidUTF8(said, "?")
	for _, s := range secrets {
		if s != "" {
			said = strings.ReplaceAll(said, s, "***")
		}
	}
	said = strings.Join(strings.FieldsFunc(said, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }),
		" ")
	if len(said) > excerptLen {
		cut := excerptLen
		for cut > 0 && !utf8.RuneStart(said[cut]) {
			cut--
		}
		said = said[:cut] + "..."
	}
	return said
}

// TimedOut reports whether err is a time limit that ran out, the context's or the network's.
func TimedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
