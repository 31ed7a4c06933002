package hosttest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"mvdan.cc/sh/v3/expand"
)

// process is one running program of the simulated host.
type process struct {
	m      *machine
	ctx    context.Context
	cred   cred
	dir    string
	env    map[string]string
	vars   expand.Environ // the shell's, whose exported part is the environment in place of env; nil outside of a shell
	umask  fs.FileMode
	stdin  io.Reader // nil: nothing that a program may read
	stdout io.Writer
	stderr io.Writer
	link   *link       // the SSH channel it belongs to; nil at the console
	nine   *descriptor // of the shell that it runs in
}

// program is the code of one file below /usr/bin or /usr/sbin. It returns the exit status.
type program func(p *process, args []string) int

const (
	rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	userPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
)

// newProcess is what a login or sudo starts with.
func (m *machine) newProcess(ctx context.Context, c cred, in io.Reader, out, err io.Writer, l *link) *process {
	p := &process{m: m, ctx: ctx, cred: c, dir: "/", umask: 0o022, stdin: in, stdout: out, stderr: err, link: l}
	p.env = map[string]string{"HOME": c.home, "USER": c.name, "LOGNAME": c.name, "SHELL": "/bin/sh", "PATH": userPath}
	if c.uid == 0 {
		p.env["PATH"] = rootPath
	}
	return p
}

// getenv returns one variable of the environment, empty if it is not there.
func (p *process) getenv(name string) string {
	if p.vars == nil {
		return p.env[name]
	}
	if v := p.vars.Get(name); v.Exported && v.Kind == expand.String && name != umaskVar {
		return v.Str
	}
	return ""
}

// environ returns the environment. The caller must not change it.
func (p *process) environ() map[string]string {
	if p.vars == nil {
		return p.env
	}
	all := environ(p.vars)
	delete(all, umaskVar)
	return all
}

func (p *process) printf(format string, args ...any) { fmt.Fprintf(p.stdout, format, args...) }
func (p *process) errorf(format string, args ...any) { fmt.Fprintf(p.stderr, format, args...) }

// abs makes a path absolute.
func (p *process) abs(name string) string {
	if name == "" || strings.HasPrefix(name, "/") {
		return name
	}
	return p.dir + "/" + name
}

// open is open(2) with the process's rights and umask.
func (p *process) open(name string, flags int) (*file, error) {
	return p.m.open(p.cred, p.abs(name), flags, 0o666&^p.umask)
}

// input is what the process may read. Reading what is meant for the shell itself is a fault of the script, so that is recorded.
func (p *process) input(program string) io.Reader {
	if p.stdin == nil {
		p.m.unknown(program + " reads the shell's own standard input")
		return strings.NewReader("")
	}
	return p.stdin
}

// unknownFlag records a flag that the simulated program does not have.
func (p *process) unknownFlag(flag string, program ...string) int {
	name := strings.Join(program, " ")
	p.m.unknown(strings.TrimSpace(name + " " + flag))
	p.errorf("hosttest: %s: unknown flag or argument %s\n", name, flag)
	return 127
}

// which finds a program by name or path: empty if there is none.
func (p *process) which(name string) string {
	if strings.Contains(name, "/") {
		if p.m.access(p.cred, p.abs(name), 1) == nil {
			return p.abs(name)
		}
		return ""
	}
	for dir := range strings.SplitSeq(p.getenv("PATH"), ":") {
		if file := dir + "/" + name; p.m.isProgram(p.cred, file) {
			return file
		}
	}
	return ""
}

// run runs a program by name or path. One that is not there is recorded, unless this host lacks a program that others have, or keeps it elsewhere.
func (p *process) run(args []string) int {
	name := args[0]
	if b, ok := shellPrograms[name]; ok {
		return b(p, args[1:])
	}
	file := p.which(name)
	prog, known := programs[path.Base(name)]
	if file == "" {
		if !known || !strings.Contains(name, "/") && p.m.installed(name) {
			p.m.unknown(strings.Join(args, " "))
		}
		p.errorf("sh: 1: %s: not found\n", name)
		return 127
	}
	if !known {
		p.m.unknown(strings.Join(args, " "))
		p.errorf("hosttest: %s is not simulated\n", file)
		return 127
	}
	if !p.m.hang(p.ctx, path.Base(name)) {
		return 137 // killed by the end of the host
	}
	return prog(p, args[1:])
}

// atomic runs f while it holds the machine's mutex; what f prints is kept back until the mutex is free, as it may go to a file of the machine.
func (p *process) atomic(f func(*process) int) int {
	type part struct {
		to   io.Writer
		text string
	}
	var parts []part
	q := *p
	q.stdout = writerFunc(func(b []byte) { parts = append(parts, part{p.stdout, string(b)}) })
	q.stderr = writerFunc(func(b []byte) { parts = append(parts, part{p.stderr, string(b)}) })
	p.m.mu.Lock()
	status := f(&q)
	p.m.mu.Unlock()
	for _, part := range parts {
		if _, err := io.WriteString(part.to, part.text); err != nil {
			return 1
		}
	}
	return status
}

type writerFunc func([]byte)

func (w writerFunc) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// environ is the exported part of a shell's variables.
func environ(env expand.Environ) map[string]string {
	all := map[string]string{}
	env.Each(func(name string, v expand.Variable) bool {
		if v.Exported && v.Kind == expand.String {
			all[name] = v.Str
		}
		return true
	})
	return all
}
