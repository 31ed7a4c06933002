package hosttest

import (
	"fmt"
	"io"
	"strings"
)

// echo is dash's: it knows -n and, unlike bash's, always reads backslash escapes.
func echo(p *process, args []string) int {
	end := "\n"
	if len(args) > 0 && args[0] == "-n" {
		end, args = "", args[1:]
	}
	text, stop := unescape(strings.Join(args, " "), true)
	if stop {
		end = ""
	}
	return p.emit("echo", text+end)
}

// printf is the shell's: all its output is one write, and a write that fails is an error, whatever the kernel said.
func printf(p *process, args []string) int {
	if len(args) == 0 {
		p.errorf("sh: 1: printf: usage: printf format [arg ...]\n")
		return 2
	}
	var b strings.Builder
	status := 0
	format, rest := args[0], args[1:]
	for {
		used, stop, err := formatOnce(&b, format, rest)
		if err != nil {
			p.errorf("sh: 1: printf: %v\n", err)
			status = 1
		}
		rest = rest[used:]
		if stop || used == 0 || len(rest) == 0 {
			break
		}
	}
	return max(status, p.emit("printf", b.String()))
}

// emit writes what a builtin printed, in one write(2) if the kernel takes it whole.
func (p *process) emit(name, text string) int {
	for text != "" {
		n, err := io.WriteString(p.stdout, text)
		if err != nil || n == 0 {
			p.errorf("sh: 1: %s: %s: I/O error\n", name, name)
			return 1
		}
		text = text[n:]
	}
	return 0
}

// formatOnce goes through format once and says how many arguments it used.
func formatOnce(b *strings.Builder, format string, args []string) (used int, stop bool, err error) {
	next := func() string {
		if used < len(args) {
			used++
			return args[used-1]
		}
		return ""
	}
	for i := 0; i < len(format); {
		switch c := format[i]; {
		case c == '\\':
			n := escapeLen(format[i:])
			text, halt := unescape(format[i:i+n], false)
			b.WriteString(text)
			if halt {
				return used, true, nil
			}
			i += n
		case c != '%':
			b.WriteByte(c)
			i++
		case strings.HasPrefix(format[i:], "%%"):
			b.WriteByte('%')
			i += 2
		default:
			j := i + 1
			for j < len(format) && strings.IndexByte("-+ #0123456789.", format[j]) >= 0 {
				j++
			}
			if j == len(format) {
				return used, true, fmt.Errorf("%s: invalid directive", format[i:])
			}
			spec, verb := format[i:j], format[j]
			i = j + 1
			switch verb {
			case 's':
				fmt.Fprintf(b, spec+"s", next())
			case 'b':
				text, halt := unescape(next(), true)
				fmt.Fprintf(b, spec+"s", text)
				if halt {
					return used, true, err
				}
			case 'c':
				arg := next()
				b.WriteString(arg[:min(len(arg), 1)])
			case 'd', 'i', 'u', 'x', 'X', 'o':
				arg := next()
				n, ok := integer(arg)
				if !ok && arg != "" {
					err = fmt.Errorf("%s: expected numeric value", arg)
				}
				if verb == 'i' || verb == 'u' {
					verb = 'd'
				}
				fmt.Fprintf(b, spec+string(verb), n)
			default:
				return used, true, fmt.Errorf("%%%c: invalid directive", verb)
			}
		}
	}
	return used, false, err
}

// integer reads a number as strtoimax does: base 0 without the 0b, 0o and underscores of Go.
func integer(arg string) (n int64, ok bool) {
	magnitude, _, negative, ok := parseLong([]byte(strings.TrimPrefix(arg, "+")), "")
	if n = int64(magnitude); negative {
		n = -n
	}
	return n, ok
}

// escapeLen is the length of the escape that s begins with.
func escapeLen(s string) int {
	n := 1
	for n < len(s) && n < 4 && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if n == 1 {
		n = min(len(s), 2)
	}
	return n
}

// unescape reads backslash escapes; zero says that octal ones begin with \0, as in an argument of echo. stop is true after \c.
func unescape(s string, zero bool) (out string, stop bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if k := strings.IndexByte(`abfnrtv\`, s[i]); k >= 0 {
			b.WriteByte("\a\b\f\n\r\t\v\\"[k])
			continue
		}
		switch {
		case s[i] == 'c':
			return b.String(), true
		case s[i] >= '0' && s[i] <= '7':
			digits, limit := i, i+3
			if zero && s[i] == '0' {
				limit++
			}
			n := 0
			for ; i < len(s) && i < limit && s[i] >= '0' && s[i] <= '7'; i++ {
				n = n*8 + int(s[i]-'0')
			}
			if i == digits {
				b.WriteByte('\\')
			}
			b.WriteByte(byte(n))
			i--
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String(), false
}
