// Package shell frames fixed POSIX shell scripts for one long-lived `/bin/sh -s` session and reads back what they print. Pure: it does no I/O.
//
// A script is a constant; what varies reaches it as quoted arguments or on its standard input. Every reply is delimited by a nonce, so that a login banner
// before it, or a file inside it, can never be taken for a delimiter.
package shell

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Script is one fixed program and the data of one run of it.
type Script struct {
	// Name names the script in errors and logs.
	Name string
	// Text is a POSIX shell program. It runs in a subshell and may call `rec WORD...`, which starts a Record.
	Text string
	// Args are its positional parameters.
	Args []string
	// Stdin is its standard input, which always ends with a newline; empty means /dev/null.
	Stdin string
	// Merge, where set, says that this script only reads, and that one run of it may answer for all such scripts of a batch: it makes of two the one that answers for
	// both. It runs behind the other scripts of the batch.
	Merge func(a, b Script) Script
	// Repeatable says that to run it twice is as to run it once, so that it is run again where its reply was lost.
	Repeatable bool
	// Exclusive says that it runs only while its session has the lock on the host, which keeps two processes from
	// changing a host at the same time. Last says that its change needs the lock no longer after its batch.
	Exclusive, Last bool
	// Mark, if set, is a program that prints in what state the host is. It runs before the batch, and the script runs
	// only if it printed Expect.
	Mark, Expect string
	// Behind says that the script runs only if the one before it in its batch ran and succeeded.
	Behind bool
	// Session, if set, is the only session in which the script may run: that of the Result that it was decided on.
	Session string
}

// File is a file as it is to be, for a script that writes it.
type File struct {
	Path, Content string
	// Optional says that a host which cannot have it does without.
	Optional bool
}

// Change is a change of a host: First makes it or decides whether it is made, files are written and removed if First
// succeeds, and Then looks at what came of it. All but one may be left out.
type Change struct {
	First  *Script
	Write  []File
	Remove []string
	Then   *Script
	// Last says that the change needs the host's lock no longer if all goes well.
	Last bool
	// Session, if set, is the only session that may make the change: that of the Result that it was decided on.
	Session string
	// Asked, if set, is called when the change is about to be sent.
	Asked func()
}

// Result is what one run of a Script left.
type Result struct {
	// Status is the exit status. Shells differ in which failure is 1 and which 2: only zero and not zero mean something.
	Status int
	// Records hold the output, standard error included, in order. The first has an empty Head: what was printed before the first `rec`.
	Records []Record
	// Skipped is why the script did not run; "" if it did.
	Skipped Skip
	// Session tells the session from all others.
	Session string
}

// ErrOtherSession is returned for a script whose session has ended. The script did not run.
var ErrOtherSession = errors.New("the session that the script was meant for has ended")

// Skip is why a script did not run.
type Skip string

// The reasons not to run a script.
const (
	// Busy: another session has the lock on the host. The first record says who.
	Busy Skip = "busy"
	// Stale: the Mark printed something else.
	Stale Skip = "stale"
	// Behind: the script before it failed, or did not run.
	Behind Skip = "behind"
)

// Record is a part of a script's output: Head is what `rec` was given, Body every byte printed after it.
type Record struct {
	Head string
	Body string
}

// Get returns the body of the first record with this head.
func (r Result) Get(head string) (string, bool) {
	for _, rec := range r.Records {
		if rec.Head == head {
			return rec.Body, true
		}
	}
	return "", false
}

// ErrNUL is returned for data that holds a NUL byte, which neither an argument nor a here-document can carry.
var ErrNUL = errors.New("data for a shell script holds a NUL byte")

// ErrGarbled is returned for a reply that does not have the form a session gives it.
var ErrGarbled = errors.New("garbled reply from the remote shell")

// Quote makes one shell word of s.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Decode reads the first whole reply in out. It returns the reply and the number of bytes it took; n is 0 while the reply is not whole.
func Decode(nonce string, out []byte) (r Result, n int, err error) {
	mark := []byte("\n\x1e" + nonce + " ")
	head, rest := "", out
	for {
		i := bytes.Index(rest, mark)
		if i < 0 {
			return Result{}, 0, nil
		}
		after := rest[i+len(mark):]
		eol := bytes.IndexByte(after, '\n')
		if eol < 0 {
			return Result{}, 0, nil
		}
		line := string(after[:eol])
		r.Records = append(r.Records, Record{Head: head, Body: string(rest[:i])})
		rest = after[eol+1:]
		kind, word, _ := strings.Cut(line, " ")
		switch kind {
		case "+":
			head = word
		case "=":
			if skipped := Skip(word); skipped == Busy || skipped == Stale || skipped == Behind {
				r.Skipped, r.Status = skipped, 1
				return r, len(out) - len(rest), nil
			}
			status, err := strconv.Atoi(word)
			if err != nil {
				return Result{}, 0, fmt.Errorf("%w: status %q", ErrGarbled, word)
			}
			r.Status = status
			return r, len(out) - len(rest), nil
		default:
			return Result{}, 0, fmt.Errorf("%w: %q", ErrGarbled, line)
		}
	}
}
