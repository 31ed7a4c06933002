package hosttest

// Locks on files through descriptor 9 of a shell. The interpreter knows only the descriptors 0 to 2.

import (
	"os"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// descriptor is descriptor 9 of a shell.
type descriptor struct{ path string }

// useNine turns the opening and closing of descriptor 9 into programs, and leaves it out everywhere else.
func useNine(st *syntax.Stmt) {
	st.Redirs = slices.DeleteFunc(st.Redirs, func(rd *syntax.Redirect) bool {
		if rd.N == nil || rd.N.Value != "9" {
			return false
		}
		call, ok := st.Cmd.(*syntax.CallExpr)
		if ok && len(call.Args) == 1 && call.Args[0].Lit() == "exec" {
			name := &syntax.Word{Parts: []syntax.WordPart{&syntax.SglQuoted{Value: "\x00close-9"}}}
			call.Args = []*syntax.Word{name}
			if rd.Op == syntax.AppOut {
				name.Parts[0] = &syntax.SglQuoted{Value: "\x00open-9"}
				call.Args = append(call.Args, rd.Word)
			}
		}
		return true
	})
}

// openNine is `exec 9>>FILE`.
func openNine(p *process, args []string) int {
	if _, err := p.open(args[0], os.O_WRONLY|os.O_CREATE|os.O_APPEND); err != nil {
		p.errorf("sh: 1: cannot create %s: %s\n", args[0], strerror(err))
		return 2
	}
	p.nine.path = p.abs(args[0])
	return 0
}

// closeNine is `exec 9>&-`, and the end of the shell.
func closeNine(p *process, _ []string) int {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.m.locks[p.nine.path] == p.nine {
		delete(p.m.locks, p.nine.path)
	}
	p.nine.path = ""
	return 0
}

// flock is util-linux' with -n and the descriptor 9.
func flock(p *process, args []string) int {
	if len(args) != 2 || args[0] != "-n" || args[1] != "9" || p.nine == nil {
		return p.unknownFlag(strings.Join(args, " "), "flock")
	}
	if p.nine.path == "" {
		p.errorf("flock: 9: Bad file descriptor\n")
		return 65
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if by := p.m.locks[p.nine.path]; by != nil && by != p.nine {
		return 1
	}
	if p.m.locks == nil {
		p.m.locks = map[string]*descriptor{}
	}
	p.m.locks[p.nine.path] = p.nine
	return 0
}
