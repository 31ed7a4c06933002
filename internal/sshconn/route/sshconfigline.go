package route

import (
	"errors"
	"strings"
)

// sshConfigLine is one line that is neither empty nor a comment.
type sshConfigLine struct {
	number int
	// text is the line without the white space around it.
	text string
	// keyword is in small letters, rest all that follows it.
	keyword, rest string
	// args are the arguments in rest, without quotes and comments.
	args []string
	// err is what is wrong with the line, whatever its keyword.
	err error
}

const sshWhiteSpace = " \t\r\n"

var (
	errNoArgument    = errors.New("which has no argument")
	errEmptyArgument = errors.New("which has an empty argument")
	errMoreArguments = errors.New("which has too many arguments")
	errQuotes        = errors.New("which has quotes that are not closed")
)

func sshConfigLines(text string) []sshConfigLine {
	var lines []sshConfigLine
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if l, ok := parseSSHConfigLine(line); ok {
			l.number = number
			lines = append(lines, l)
		}
	}
	return lines
}

// parseSSHConfigLine splits a line into its keyword and its arguments. It returns false for a line that says nothing.
func parseSSHConfigLine(line string) (sshConfigLine, bool) {
	line, _, _ = strings.Cut(line, "\x00")
	if line == "" {
		return sshConfigLine{}, false
	}
	line = line[:1] + strings.TrimRight(line[1:], sshWhiteSpace+"\f")
	keyword, rest, ok := cutKeyword(line)
	if ok && keyword == "" { // white space came first
		keyword, rest, ok = cutKeyword(rest)
	}
	if !ok || keyword == "" || keyword[0] == '#' {
		return sshConfigLine{}, false
	}
	l := sshConfigLine{text: strings.TrimSpace(line), keyword: strings.ToLower(keyword)}
	l.rest = strings.TrimLeft(rest, sshWhiteSpace)
	if l.rest == "" {
		l.err = errNoArgument
	} else if l.args, ok = splitArguments(l.rest, true); !ok {
		l.err = errQuotes
	}
	return l, true
}

// cutKeyword splits at white space, at one = that may have white space around it, or at double quotes. It returns false
// where such quotes are not closed.
func cutKeyword(s string) (keyword, rest string, ok bool) {
	i := strings.IndexAny(s, sshWhiteSpace+`"=`)
	if i < 0 {
		return s, "", true
	}
	if s[i] == '"' {
		head, tail, closed := strings.Cut(s[i+1:], `"`)
		return s[:i] + head, strings.TrimLeft(tail, sshWhiteSpace), closed
	}
	rest = strings.TrimLeft(s[i+1:], sshWhiteSpace)
	if s[i] != '=' && strings.HasPrefix(rest, "=") {
		rest = strings.TrimLeft(rest[1:], sshWhiteSpace)
	}
	return s[:i], rest, true
}

// splitArguments splits the arguments of a line at white space. Single and double quotes keep it, in any part of an
// argument; a backslash takes a quote, itself, and outside of quotes a space, for what they are. If comments is
// set, a # at the beginning of an argument ends the line. It returns false where quotes are not closed.
func splitArguments(s string, comments bool) (args []string, ok bool) {
	for i := 0; ; {
		for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
			i++
		}
		if i == len(s) || comments && s[i] == '#' {
			return args, true
		}
		var arg strings.Builder
		var quote byte
		for ; i < len(s); i++ {
			c := s[i]
			if quote == 0 && (c == ' ' || c == '\t') {
				break
			}
			switch {
			case c == '\\' && i+1 < len(s) && (strings.IndexByte(`'"\`, s[i+1]) >= 0 || quote == 0 && s[i+1] == ' '):
				i++
				arg.WriteByte(s[i])
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case quote != 0 && c == quote:
				quote = 0
			default:
				arg.WriteByte(c)
			}
		}
		if quote != 0 {
			return nil, false
		}
		args = append(args, arg.String())
	}
}
