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
}

// File is a file as it is to be, for a script that writes it.
type File struct{ Path, Content string }

// Result is what one run of a Script left.
type Result struct {
	// Status is the exit status. Shells differ in which failure is 1 and which 2: only zero and not zero mean something.
	Status int
	// Records hold the output, standard error included, in order. The first has an empty Head: what was printed before the first `rec`.
	Records []Record
}

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

// Prologue is what a new session is fed first. The reply ends with Ready(nonce); everything before it is noise, such as a login banner.
func Prologue(nonce string) string {
	return "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\nLC_ALL=C\nexport LC_ALL\numask 022\nN='" + nonce + "'\n" +
		`rec() { printf '\n\036%s + %s\n' "$N" "$*"; }` + "\n" +
		`printf '\n\036%s ready\n' "$N"` + "\n"
}

// Ready is the line that says a session has read its Prologue.
func Ready(nonce string) []byte { return []byte("\n\x1e" + nonce + " ready\n") }

// Encode is the text that runs s in a session with this nonce. A shell that is sent only a part of it, because the connection ends, runs nothing: it takes the end of
// its input for the end of a here-document, but not for the brace that closes the whole.
func Encode(nonce string, s Script) (string, error) {
	var b strings.Builder
	b.WriteString("{\n(\nset --")
	for _, a := range s.Args {
		if strings.IndexByte(a, 0) >= 0 {
			return "", ErrNUL
		}
		b.WriteByte(' ')
		b.WriteString(Quote(a))
	}
	b.WriteByte('\n')
	b.WriteString(s.Text)
	switch {
	case s.Stdin == "":
		b.WriteString("\n) </dev/null 2>&1\n")
	case strings.IndexByte(s.Stdin, 0) >= 0:
		return "", ErrNUL
	case strings.Contains("\n"+s.Stdin, "\n"+nonce):
		return "", fmt.Errorf("%w: data holds the session's nonce", ErrGarbled)
	default:
		b.WriteString("\n) 2>&1 <<'" + nonce + "'\n" + s.Stdin)
		if !strings.HasSuffix(s.Stdin, "\n") {
			b.WriteByte('\n')
		}
		b.WriteString(nonce + "\n")
	}
	b.WriteString(`printf '\n\036%s = %s\n' "$N" "$?"` + "\n}\n")
	return b.String(), nil
}

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
