package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// umaskVar is the shell variable that keeps the umask: so a subshell has its own, as the interpreter copies variables.
const umaskVar = "__hosttest_umask"

// shellPrograms are what a shell has built in and the interpreter has not, or has otherwise than a POSIX shell. The names cannot be typed.
var shellPrograms map[string]program

func init() {
	shellPrograms = map[string]program{
		"\x00echo":      echo,
		"\x00printf":    printf,
		"\x00command-v": commandV,
		"\x00open-9":    openNine,
		"\x00close-9":   closeNine,
		"\x00umask": func(p *process, _ []string) int {
			p.printf("%04o\n", uint32(p.umask))
			return 0
		},
	}
}

// newRunner makes an interpreter whose every touch of the outside goes to the machine.
func (p *process) newRunner(args ...string) (*interp.Runner, error) {
	env := []string{"UID=" + strconv.Itoa(p.cred.uid), "EUID=" + strconv.Itoa(p.cred.uid), "GID=" + strconv.Itoa(p.cred.uid),
		fmt.Sprintf("%s=%04o", umaskVar, uint32(p.umask))}
	for k, v := range p.environ() {
		env = append(env, k+"="+v)
	}
	if p.getenv("HOME") == "" {
		env = append(env, "HOME=/")
	}
	r, err := interp.New(
		interp.Env(expand.ListEnviron(env...)),
		interp.Dir("/"),
		interp.StdIO(p.stdin, p.stdout, p.stderr),
		interp.CallHandler(p.onCall),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return p.onExec }),
		interp.OpenHandler(p.onOpen),
		interp.StatHandler(func(ctx context.Context, name string, follow bool) (fs.FileInfo, error) {
			info, err := p.m.stat(p.cred, name, follow)
			if err != nil {
				return nil, err
			}
			return info, nil
		}),
		interp.AccessHandler(func(_ context.Context, name string, mode interp.AccessMode) error {
			return p.m.access(p.cred, name, fs.FileMode(mode))
		}),
		interp.ReadDirHandler2(func(_ context.Context, name string) ([]fs.DirEntry, error) {
			all, err := p.m.list(p.cred, name)
			if err != nil {
				return nil, err
			}
			entries := make([]fs.DirEntry, len(all))
			for i, info := range all {
				entries[i] = fs.FileInfoToDirEntry(info)
			}
			return entries, nil
		}),
		interp.Params(append([]string{"--"}, args...)...),
	)
	if err != nil {
		return nil, err
	}
	r.Dir = p.dir
	return r, nil
}

// child is the process that a handler of the interpreter acts for.
func (p *process) child(ctx context.Context) *process {
	hc := interp.HandlerCtx(ctx)
	q := *p
	q.ctx, q.dir, q.vars, q.stdin, q.stdout, q.stderr = ctx, hc.Dir, hc.Env, hc.Stdin, hc.Stdout, hc.Stderr
	n, _ := strconv.ParseUint(hc.Env.Get(umaskVar).Str, 8, 32)
	q.umask = fs.FileMode(n)
	return &q
}

// builtins of bash that a POSIX shell lacks, and those of a POSIX shell that the interpreter does not simulate.
var unsupported = []string{"source", "declare", "typeset", "let", "shopt", "mapfile", "readarray", "pushd", "popd", "dirs", "builtin", "compgen",
	"complete", "enable", "help", "history", "disown", "suspend", "caller", "bind", "[[", "kill", "ulimit", "type", "hash", "fc", "bg", "fg", "jobs",
	"newgrp", "times"}

// onCall sees every simple command before it runs.
func (p *process) onCall(_ context.Context, args []string) ([]string, error) {
	switch name := args[0]; {
	case name == caseCommand && caseMatches(args[1], args[2]):
		return []string{"true"}, nil
	case name == caseCommand:
		return []string{"false"}, nil
	case name == "echo" || name == "printf":
		return append([]string{"\x00" + name}, args[1:]...), nil
	case name == "umask" && len(args) == 1:
		return []string{"\x00umask"}, nil
	case name == "umask":
		if n, err := strconv.ParseUint(args[1], 8, 32); err == nil && len(args) == 2 {
			return []string{"eval", fmt.Sprintf("%s=%04o", umaskVar, n)}, nil
		}
		p.m.unknown(strings.Join(args, " "))
		return []string{"false"}, nil
	case name == "command" && len(args) > 2 && args[1] == "-v":
		return append([]string{"\x00command-v"}, args[2:]...), nil
	case name == "cd" && len(args) > 1 && args[1] == "--":
		return append([]string{"cd"}, args[2:]...), nil
	case slices.Contains(unsupported, name):
		p.m.unknown(strings.Join(args, " "))
		p.errorf("hosttest: %s is not simulated\n", name)
		return []string{"false"}, nil
	}
	return args, nil
}

// onExec runs a program.
func (p *process) onExec(ctx context.Context, args []string) error {
	if status := p.child(ctx).run(args); status != 0 {
		return interp.ExitStatus(uint8(status))
	}
	return nil
}

// onOpen opens the file of a redirection. What is read comes as a pipe, which the interpreter can hand on and close.
func (p *process) onOpen(ctx context.Context, name string, flags int, _ fs.FileMode) (io.ReadWriteCloser, error) {
	q := p.child(ctx)
	if name == "/dev/null" && flags&os.O_WRONLY != 0 {
		return nowhere{}, nil
	}
	if name == "/dev/null" {
		return os.OpenFile(os.DevNull, os.O_RDWR, 0)
	}
	f, err := q.open(name, flags)
	if err != nil {
		return nil, shellPathError(name, flags&os.O_CREATE != 0, err)
	}
	if flags&os.O_WRONLY != 0 {
		return f, nil
	}
	data, err := f.readAll()
	if err != nil {
		return nil, shellPathError(name, false, err)
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fill := func() {
		_, _ = pw.Write(data) // fails when the reader has seen enough
		pw.Close()
	}
	if len(data) <= 4096 { // a pipe always has room for so much
		fill()
	} else {
		p.m.procs.Go(fill)
	}
	return pr, nil
}

// nowhere is /dev/null to a writer.
type nowhere struct{}

func (nowhere) Read([]byte) (int, error)    { return 0, syscall.EBADF }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Close() error                { return nil }

// commandV is `command -v`.
func commandV(p *process, args []string) int {
	status := 0
	for _, name := range args {
		file := p.which(name)
		switch {
		case interp.IsBuiltin(name) && !slices.Contains(unsupported, name):
			p.printf("%s\n", name)
		case file != "":
			p.printf("%s\n", file)
		default:
			status = 127
		}
	}
	return status
}

// sh is /bin/sh: -c COMMAND, -s or a script on standard input.
func sh(p *process, args []string) int {
	var command *string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag := args[0]
		args = args[1:]
		switch {
		case flag == "--":
		case flag == "-s" || flag == "-":
			continue
		case flag == "-c" && len(args) > 0:
			command, args = &args[0], args[1:]
		default:
			return p.unknownFlag(flag, "sh")
		}
		break
	}
	if command != nil {
		if len(args) > 0 {
			args = args[1:] // $0
		}
		return p.script(strings.NewReader(*command), p.stdin, args)
	}
	in := p.stdin
	if in == nil {
		in = strings.NewReader("")
	}
	feed := &lineFeed{p: p, src: in}
	defer feed.end()
	return p.script(feed, nil, args)
}

// script runs the program text that src gives, statement by statement as they come; commands read stdin. A syntax error ends it.
func (p *process) script(src io.Reader, stdin io.Reader, args []string) int {
	q := *p
	q.stdin = stdin
	if q.nine == nil {
		q.nine = &descriptor{}
		defer closeNine(&q, nil)
	}
	r, err := q.newRunner(args...)
	if err != nil {
		p.errorf("sh: 0: %v\n", err)
		return 2
	}
	feed, _ := src.(*lineFeed)
	status := 0
	for st, err := range syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).StmtsSeq(src) {
		if err != nil && !errors.Is(err, errCut) {
			p.errorf("sh: 1: Syntax error: %v\n", err)
			return 2
		}
		if err != nil || p.ctx.Err() != nil {
			break
		}
		adapt(st)
		status = p.statusOf(r.Run(p.ctx, st))
		if feed != nil {
			feed.inStmt = false
		}
		if r.Exited() {
			break
		}
	}
	return status
}

func (p *process) statusOf(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	p.errorf("sh: 1: %v\n", err)
	return 2
}

// adapt turns export, readonly and local into what the interpreter runs: parsed as POSIX shell, they are plain
// commands. It also replaces case clauses by what is faster.
func adapt(st *syntax.Stmt) {
	syntax.Walk(st, func(n syntax.Node) bool {
		st, ok := n.(*syntax.Stmt)
		if !ok {
			return true
		}
		useNine(st)
		if c, ok := st.Cmd.(*syntax.CaseClause); ok {
			if chain := ifClause(c); chain != nil {
				st.Cmd = chain
			}
			return true
		}
		call, ok := st.Cmd.(*syntax.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		switch word := call.Args[0].Lit(); word {
		case "export", "readonly", "local":
			decl := &syntax.DeclClause{Variant: &syntax.Lit{Value: word}}
			for _, arg := range call.Args[1:] {
				decl.Args = append(decl.Args, &syntax.Assign{Naked: true, Value: arg})
			}
			st.Cmd = decl
		}
		return true
	})
}

// lineFeed gives a shell its standard input a line at a time, so that what is there runs before more is waited for, and marks the batches of a session.
type lineFeed struct {
	p      *process
	src    io.Reader
	block  []byte // what is read into
	buf    []byte // the rest of it
	inStmt bool   // a statement has begun and is not whole
	open   bool   // a batch is under way
}

// Read implements io.Reader.
func (l *lineFeed) Read(b []byte) (int, error) {
	if len(l.buf) == 0 {
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
	n := slices.Index(l.buf, '\n') + 1
	if n == 0 {
		n = len(l.buf)
	}
	line := strings.TrimSpace(string(l.buf[:n]))
	if line != "" && line[0] != '#' {
		l.inStmt = true
	}
	n = copy(b, l.buf[:n])
	l.buf = l.buf[n:]
	return n, nil
}

// fill waits for more. When it is called between statements, everything that came before has been answered.
func (l *lineFeed) fill() error {
	if !l.inStmt {
		l.end()
	}
	if l.block == nil {
		l.block = make([]byte, 64<<10)
	}
	n, err := l.src.Read(l.block)
	if n == 0 {
		return err
	}
	if !l.open {
		l.open = true
		if err := l.p.link.begin(batchExchange); err != nil {
			return err
		}
	}
	l.buf = l.block[:n]
	return nil
}

// end closes the batch that is under way.
func (l *lineFeed) end() {
	if l.open {
		l.open = false
		l.p.link.end()
	}
}

// errCut ends a process whose connection was cut on purpose.
var errCut = errors.New("the connection was cut")
