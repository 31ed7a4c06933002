package hosttest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// grep knows GNU's flags -H -h -s -q -v -n -l -L -F -E -x -c -a, in the C locale.
func grep(p *process, args []string) int {
	var flags string
	var words []string
	var pattern *string
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			words = append(words, args[i+1:]...)
			i = len(args)
		case a == "-e" && i+1 < len(args):
			i++
			pattern = &args[i]
		case strings.HasPrefix(a, "-") && len(a) > 1:
			for _, f := range a[1:] {
				if !strings.ContainsRune("HhsqvnlLFExcra", f) {
					return p.unknownFlag(a, "grep")
				}
			}
			flags += a[1:]
		default:
			words = append(words, a)
		}
	}
	if pattern == nil && len(words) > 0 {
		pattern, words = &words[0], words[1:]
	}
	if pattern == nil || has(flags, 'r') {
		return p.unknownFlag(strings.Join(args, " "), "grep")
	}
	re, err := grepPattern(*pattern, flags)
	if err != nil {
		return p.unknownFlag(*pattern, "grep: pattern")
	}
	if len(words) == 0 {
		words = []string{"-"}
	}
	g := &grepRun{p: p, flags: flags, re: re, names: has(flags, 'H') || len(words) > 1 && !has(flags, 'h')}
	for _, name := range words {
		g.file(name)
		if g.matched && has(flags, 'q') {
			return 0
		}
	}
	switch {
	case g.failed:
		return 2
	case g.matched:
		return 0
	}
	return 1
}

// grepPatterns are the compiled patterns by flags and pattern: scripts ask for the same ones again and again.
var grepPatterns sync.Map

// grepPattern returns the compiled pattern.
func grepPattern(s, flags string) (*regexp.Regexp, error) {
	key := [2]string{flags, s}
	cached, _ := grepPatterns.Load(key)
	if re, ok := cached.(*regexp.Regexp); ok {
		return re, nil
	}
	re, err := compilePattern(s, flags)
	if err == nil {
		grepPatterns.Store(key, re)
	}
	return re, err
}

// compilePattern turns the pattern into Go's syntax: a basic expression has \( \| \) \{ \} where an extended one has
// them bare.
func compilePattern(s, flags string) (*regexp.Regexp, error) {
	switch {
	case has(flags, 'F'):
		s = regexp.QuoteMeta(s)
	case !has(flags, 'E'):
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case c == '\\' && i+1 < len(s):
				i++
				if strings.IndexByte("(){}|+?", s[i]) < 0 {
					b.WriteByte('\\')
				}
				b.WriteByte(s[i])
			case strings.IndexByte("(){}|+?", c) >= 0:
				b.WriteByte('\\')
				b.WriteByte(c)
			default:
				b.WriteByte(c)
			}
		}
		s = b.String()
	}
	if has(flags, 'x') {
		s = "^(?:" + s + ")$"
	}
	return regexp.Compile(s)
}

type grepRun struct {
	p               *process
	flags           string
	re              *regexp.Regexp
	names           bool
	matched, failed bool
}

func (g *grepRun) file(name string) {
	var data []byte
	var err error
	opened := true
	switch name {
	case "-":
		data, err = io.ReadAll(g.p.input("grep"))
		name = "(standard input)"
	case "/dev/null":
		return
	default:
		var f *file
		if f, err = g.p.open(name, os.O_RDONLY); err == nil {
			data, err = f.readAll()
		}
		opened = f != nil || errors.Is(err, syscall.EISDIR)
	}
	if err != nil {
		g.failed = true
		if errors.Is(err, syscall.EISDIR) || !has(g.flags, 's') {
			g.p.errorf("grep: %s: %s\n", name, strerror(err))
		}
		if opened && has(g.flags, 'L') {
			g.p.printf("%s\n", name)
		}
		return
	}
	var out bytes.Buffer
	count := 0
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		if len(line) == 0 || g.re.Match(bytes.TrimSuffix(line, []byte("\n"))) == has(g.flags, 'v') {
			continue
		}
		count++
		if g.names {
			out.WriteString(name + ":")
		}
		if has(g.flags, 'n') {
			out.WriteString(itoa(i+1) + ":")
		}
		out.Write(bytes.TrimSuffix(line, []byte("\n")))
		out.WriteByte('\n')
	}
	g.matched = g.matched || count > 0
	switch {
	case has(g.flags, 'q'):
	case has(g.flags, 'c'):
		if g.names {
			g.p.printf("%s:", name)
		}
		g.p.printf("%d\n", count)
	case has(g.flags, 'L'):
		if count == 0 {
			g.p.printf("%s\n", name)
		}
	case has(g.flags, 'l'):
		if count > 0 {
			g.p.printf("%s\n", name)
		}
	case count > 0 && bytes.IndexByte(data, 0) >= 0 && !has(g.flags, 'a'):
		g.p.errorf("grep: %s: binary file matches\n", name)
	default:
		g.p.printf("%s", out.String())
	}
}
