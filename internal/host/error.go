package host

// The errors of this package. Each is made where the fact is known, and says what, where, why and what to do next.

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is what went wrong on a host. It is the heading of the diagnostic, and names no host, so that the CLI groups the
// diagnostics of many hosts.
type Kind string

// The kinds of failure.
const (
	KeyMissing        Kind = "sysctl does not exist on the host"
	KeyUnreadable     Kind = "sysctl cannot be read"
	KeySecret         Kind = "sysctl holds a secret" //nolint:gosec // a heading, no credential
	KeyReadOnly       Kind = "sysctl cannot be written"
	ValueRefused      Kind = "kernel refused the value"
	ValueChanged      Kind = "kernel kept another value"
	DropInForeign     Kind = "file exists and is not managed here"
	ModuleUnknown     Kind = "kernel module does not exist on the host"
	ModuleNotLoaded   Kind = "kernel module could not be loaded"
	ModuleNotUnloaded Kind = "kernel module could not be unloaded"
	ParameterBuiltin  Kind = "parameter of a built-in kernel module"
	ParameterUnknown  Kind = "kernel module has no such parameter"
	KeyLost           Kind = "sysctl would be lost at the next boot"
	ModuleLost        Kind = "kernel module would not be loaded at the next boot"
	KeyContested      Kind = "something else writes the sysctl at boot"
	KeyOverwritten    Kind = "the last boot did not leave the sysctl"
	KeyChanged        Kind = "sysctl was changed since the boot"
	BootNote          Kind = "something to know about the next boot"
	OneWay            Kind = "sysctl cannot be set back"
	KeysFight         Kind = "two sysctls set each other"
	Dangerous         Kind = "value does harm"
	DropInUnknown     Kind = "file was written by a resource that this state does not know"
	KeyTwice          Kind = "sysctl is set by two resources"
	NothingToImport   Kind = "nothing to import"
	NotKept           Kind = "host does not hold what was applied"
	NotRestored       Kind = "value could not be restored"
	Pending           Kind = "module parameter waits until the module is loaded again"
)

// Error is a failure on a host.
type Error struct {
	Kind Kind
	// Host is the name the configuration gives the host.
	Host string
	// Detail says where, why and what to do next, in sentences.
	Detail string
	// Err is the cause, where there is one.
	Err error
}

// Summary is the fixed heading of this kind of failure. A CLI shows one of many warnings with one heading, so that of a
// loss names the host.
func (e *Error) Summary() string {
	if e.Kind == KeyLost || e.Kind == ModuleLost {
		return string(e.Kind) + " of " + e.Host
	}
	return string(e.Kind)
}

func (e *Error) Error() string { return "On " + e.Host + ", " + e.Detail }

func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same Kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind
}

func (h *Host) errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Host: h.name, Detail: fmt.Sprintf(format, args...)}
}

// manyErrors are the failures of one change.
type manyErrors []*Error

// several returns one error for these: nil if there is none, and the error itself if there is one.
func several(faults []*Error) error {
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	return manyErrors(faults)
}

func (m manyErrors) Error() string {
	var all []string
	for _, e := range m {
		all = append(all, e.Error())
	}
	return strings.Join(all, "\n\n")
}

// Summary returns the heading of the first.
func (m manyErrors) Summary() string { return m[0].Summary() }

func (m manyErrors) Unwrap() []error {
	var all []error
	for _, e := range m {
		all = append(all, e)
	}
	return all
}

// MayHaveChanged reports whether a failed change may have left something on the host.
func MayHaveChanged(err error) bool {
	var e *undoError
	return errors.As(err, &e)
}

// undoError is the failure of a change that could not be undone completely.
type undoError struct {
	cause     error
	leftovers []string
	undoErr   error
}

func (e *undoError) Error() string {
	return fmt.Sprintf(
		"%v\n\nUndoing what was done before that failed too (%v). This may be left on the host: %s. Plan again: it starts "+
			"from what the host then holds.",
		e.cause, e.undoErr, strings.Join(e.leftovers, "; "))
}

// Summary returns the heading of the failure that came first.
func (e *undoError) Summary() string {
	var s interface{ Summary() string }
	if errors.As(e.cause, &s) {
		return s.Summary()
	}
	return "change on the host failed"
}

func (e *undoError) Unwrap() []error { return []error{e.cause, e.undoErr} }
