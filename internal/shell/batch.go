package shell

// What a session is sent: its beginning, and batches of scripts.

import (
	"fmt"
	"strconv"
	"strings"
)

// Prologue is what a new session is fed first. The reply ends with Ready(nonce); everything before it is noise, such as
// a login banner.
//
// Its lock is a flock(2) on the file LockPath, through descriptor 9 of the session's shell, so that it goes when the
// shell ends and an Exclusive script that it was running. Such a script closes the descriptor for a program that may
// leave another one behind. $L is "yes" while the session has it, "busy" if another has it, and "none" on a host that
// has no flock or no place for the file: there changes go on without. The file says which shell has it, by process id and nonce, and for
// whom. $K is set if a script failed under the lock, so that it is kept until the change is undone.
func Prologue(nonce string) string {
	return `PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export LC_ALL
umask 022
N='` + nonce + `' L= K= S=
rec() { printf '\n\036%s + %s\n' "$N" "$*"; }
lock() {
	[ "$L" != yes ] || return
	L=none
	command -v flock >/dev/null 2>&1 || return
	(umask 077 && exec 9>>` + LockPath + `) 2>/dev/null || return
	exec 9>>` + LockPath + `
	flock -n 9 9>&9
	case $? in
	0)
		L=yes
		printf '%s\n' "$$ $N $1" >` + LockPath + `
		;;
	1)
		exec 9>&-
		L=busy
		read -r H <` + LockPath + `
		;;
	*) exec 9>&- ;;
	esac
}
unlock() {
	[ "$L" != yes ] || exec 9>&-
	L= K=
}
printf '\n\036%s ready\n' "$N"
`
}

// LockPath is the file whose lock a session has while it changes the host. It is for root alone, since whoever can open
// it can keep the lock.
const LockPath = "/run/terraform-provider-host.lock"

// Unlock gives the lock of a session back. There is no reply.
const Unlock = "unlock\n"

// Ready is the line that says a session has read its Prologue.
func Ready(nonce string) []byte { return []byte("\n\x1e" + nonce + " ready\n") }

// Encode is the text that runs s alone in a session with this nonce.
func Encode(nonce string, s Script) (string, error) { return EncodeBatch(nonce, "", false, s) }

// EncodeBatch is the text that runs scripts in order in a session with this nonce; each replies. For those that are
// Exclusive it takes the lock first, in the name of who, and gives it back at the end if unlock is set and none of them
// failed.
func EncodeBatch(nonce, who string, unlock bool, scripts ...Script) (string, error) {
	var b strings.Builder
	exclusive := false
	for _, s := range scripts {
		exclusive = exclusive || s.Exclusive
	}
	if exclusive {
		b.WriteString("lock " + Quote(who) + "\n")
	}
	marks := map[string]string{}
	for _, s := range scripts {
		if _, ok := marks[s.Mark]; ok || s.Mark == "" {
			continue
		}
		name := "G" + strconv.Itoa(len(marks))
		marks[s.Mark] = name
		b.WriteString(name + "=$( {\n" + s.Mark + "\n} 2>/dev/null </dev/null 9>&- )\n")
	}
	for _, s := range scripts {
		if err := encode(&b, nonce, s, marks[s.Mark]); err != nil {
			return "", err
		}
	}
	if exclusive && unlock {
		b.WriteString("[ -n \"$K\" ] || unlock\n")
	}
	return b.String(), nil
}

// encode appends the text of one script; mark is the variable that holds what its Mark printed. A shell that is sent
// only a part of it, because the connection ends, runs nothing: it takes the end of its input for the end of a
// here-document, but not for the brace that closes the whole.
func encode(b *strings.Builder, nonce string, s Script, mark string) error {
	b.WriteString("{\n")
	conditions := 0
	skip := func(condition string, as Skip, say string) {
		keyword := "if"
		if conditions++; conditions > 1 {
			keyword = "elif"
		}
		b.WriteString(keyword + " " + condition + "; then\nS=1\nprintf '" + say + `\n\036%s = ` + string(as) + `\n' `)
		if say != "" {
			b.WriteString(`"$H" `)
		}
		b.WriteString("\"$N\"\n")
	}
	if s.Exclusive {
		skip(`[ "$L" = busy ]`, Busy, "%s")
	}
	if s.Mark != "" {
		skip(`[ "$`+mark+`" != `+Quote(s.Expect)+" ]", Stale, "")
	}
	if s.Behind {
		skip(`[ "$S" != 0 ]`, Behind, "")
	}
	if conditions > 0 {
		b.WriteString("else\n")
	}
	b.WriteString("(\nset --")
	for _, a := range s.Args {
		if strings.IndexByte(a, 0) >= 0 {
			return ErrNUL
		}
		b.WriteByte(' ')
		b.WriteString(Quote(a))
	}
	b.WriteByte('\n')
	b.WriteString(s.Text)
	// A script that needs the lock keeps it even if the session's shell is ended meanwhile.
	lock := " 9>&-"
	if s.Exclusive {
		lock = ""
	}
	switch {
	case s.Stdin == "":
		b.WriteString("\n) </dev/null 2>&1" + lock + "\n")
	case strings.IndexByte(s.Stdin, 0) >= 0:
		return ErrNUL
	case strings.Contains("\n"+s.Stdin, "\n"+nonce):
		return fmt.Errorf("%w: data holds the session's nonce", ErrGarbled)
	default:
		b.WriteString("\n) 2>&1" + lock + " <<'" + nonce + "'\n" + s.Stdin)
		if !strings.HasSuffix(s.Stdin, "\n") {
			b.WriteByte('\n')
		}
		b.WriteString(nonce + "\n")
	}
	b.WriteString(`S=$?
printf '\n\036%s = %s\n' "$N" "$S"
`)
	if s.Exclusive {
		b.WriteString("[ \"$S\" = 0 ] || K=yes\n")
	}
	if conditions > 0 {
		b.WriteString("fi\n")
	}
	b.WriteString("}\n")
	return nil
}
