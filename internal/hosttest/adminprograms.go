package hosttest

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

func itoa(n int) string { return strconv.Itoa(n) }

// sysctl is procps 4.0.2's: it reads a key, and writes KEY=VALUE; -n leaves out names, -q says nothing of a write, -e forgives missing keys.
func sysctl(p *process, args []string) int {
	flags, words, ok := p.takeFlags("sysctl", "nwqep", args)
	if !ok {
		return 127
	}
	if has(flags, 'p') {
		return p.sysctlFiles(words, flags)
	}
	status := 0
	for _, w := range words {
		name, value, write := strings.Cut(w, "=")
		if !p.sysctlOne(strings.TrimSpace(name), strings.TrimSpace(value), write || has(flags, 'w'), flags) {
			status = 1
		}
	}
	return status
}

func (p *process) sysctlFiles(files []string, flags string) int {
	status := 0
	if len(files) == 0 {
		files = []string{"/etc/sysctl.conf"}
	}
	for _, name := range files {
		f, err := p.open(name, os.O_RDONLY)
		if err != nil {
			p.errorf("sysctl: cannot open \"%s\": %s\n", name, strerror(err))
			status = 1
			continue
		}
		data, _ := f.readAll()
		for i, line := range strings.Split(string(data), "\n") {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' || line[0] == ';' {
				continue
			}
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				p.errorf("sysctl: %s(%d): invalid syntax, continuing...\n", name, i+1)
				continue
			}
			if !p.sysctlOne(strings.TrimSpace(key), strings.TrimSpace(value), true, flags) {
				status = 1
			}
		}
	}
	return status
}

// sysctlOne reads or writes one key.
func (p *process) sysctlOne(name, value string, write bool, flags string) bool {
	key := normalKey(name)
	file := "/proc/sys/" + key
	dotted := strings.NewReplacer("/", ".", ".", "/").Replace(key)
	if _, err := p.m.stat(p.cred, file, true); err != nil {
		if !has(flags, 'e') {
			p.errorf("sysctl: cannot stat %s: %s\n", file, strerror(err))
		}
		return has(flags, 'e')
	}
	if !write {
		f, err := p.open(file, os.O_RDONLY)
		var data []byte
		if err == nil {
			data, err = f.readAll()
		}
		switch {
		case errors.Is(err, syscall.EACCES):
			p.errorf("sysctl: permission denied on key '%s'\n", dotted)
			return false
		case err != nil:
			p.errorf("sysctl: reading key \"%s\": %s\n", dotted, strerror(err))
			return false
		}
		for _, line := range strings.SplitAfter(string(data), "\n") {
			switch {
			case line == "":
			case has(flags, 'n'):
				p.printf("%s", line)
			default:
				p.printf("%s = %s", dotted, line)
			}
		}
		return true
	}
	f, err := p.open(file, os.O_WRONLY)
	if err == nil {
		err = writeAll(f, []byte(value+"\n"))
	}
	switch {
	case errors.Is(err, syscall.EACCES):
		p.errorf("sysctl: permission denied on key \"%s\"\n", dotted)
		return p.cred.uid == 0 // as procps does: a key that may not be written is no failure
	case err != nil:
		p.errorf("sysctl: setting key \"%s\": %s\n", dotted, strerror(err))
		return false
	case has(flags, 'q'):
	case has(flags, 'n'):
		p.printf("%s\n", value)
	default:
		p.printf("%s = %s\n", dotted, value)
	}
	return true
}

// normalKey turns either spelling of a key into a path below /proc/sys: the first separator says which character is which.
func normalKey(s string) string {
	if i := strings.IndexAny(s, "./"); i < 0 || s[i] == '/' {
		return s
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(s)
}

// iptables loads modules on demand as the real one does: a match on connections needs xt_conntrack, which stays in use while the rule is there.
func iptables(p *process, args []string) int {
	line := " " + strings.Join(args, " ") + " "
	if p.cred.uid != 0 {
		p.errorf("iptables: Permission denied (you must be root)\n")
		return 4
	}
	want := ""
	switch {
	case strings.Contains(line, " -m conntrack ") || strings.Contains(line, " -m state "):
		want = "xt_conntrack"
	case strings.Contains(line, " MASQUERADE "):
		want = "xt_MASQUERADE"
	}
	return p.atomic(func(p *process) int {
		switch {
		case strings.Contains(line, " -L ") || strings.Contains(line, " -S "):
			return 0
		case strings.Contains(line, " -A ") || strings.Contains(line, " -I "):
			if want == "" {
				return 0
			}
			if err := p.m.request(want); err != nil {
				p.errorf("Warning: Extension %s revision 0 not supported, missing kernel module?\n", strings.TrimPrefix(want, "xt_"))
				p.errorf("iptables: No chain/target/match by that name.\n")
				return 1
			}
			p.m.kernel.mods[want].uses++
			return 0
		case strings.Contains(line, " -D "):
			if want == "" {
				return 0
			}
			if p.m.kernel.mods[want].uses == 0 {
				p.errorf("iptables: Bad rule (does a matching rule exist in that chain?).\n")
				return 1
			}
			p.m.kernel.mods[want].uses--
			return 0
		case strings.Contains(line, " -F "):
			for _, name := range []string{"xt_conntrack", "xt_MASQUERADE"} {
				p.m.kernel.mods[name].uses = 0
			}
			return 0
		}
		return p.unknownFlag(strings.Join(args, " "), "iptables")
	})
}

// sudo knows -n, -k, -S, -p PROMPT and --; what it says is sudo 1.9.13's.
func sudo(p *process, args []string) int {
	var noAsk, fromInput bool
	prompt := "[sudo] password for " + p.cred.name + ": "
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		switch a {
		case "-n":
			noAsk = true
		case "-k":
		case "-S":
			fromInput = true
		case "-p":
			if len(args) == 0 {
				return p.unknownFlag(a, "sudo")
			}
			prompt, args = args[0], args[1:]
		default:
			return p.unknownFlag(a, "sudo")
		}
	}
	if len(args) == 0 {
		return p.unknownFlag("without a command", "sudo")
	}
	user := p.m.user(p.cred.name)
	if p.cred.uid != 0 && user.Sudo != SudoNoPassword {
		if noAsk {
			p.errorf("sudo: a password is required\n")
			return 1
		}
		if !fromInput {
			p.errorf("sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper\n")
			p.errorf("sudo: a password is required\n")
			return 1
		}
		if !p.askPassword(user, prompt) {
			return 1
		}
		if user.Sudo != SudoPassword {
			p.errorf("%s is not in the sudoers file.\n", p.cred.name)
			return 1
		}
	}
	q := *p
	q.cred, q.vars = rootCred, nil
	q.env = map[string]string{"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": rootPath, "SUDO_USER": p.cred.name,
		"SUDO_UID": itoa(p.cred.uid), "SUDO_COMMAND": strings.Join(args, " ")}
	for _, keep := range []string{"LC_ALL", "LANG"} {
		if v, ok := p.environ()[keep]; ok {
			q.env[keep] = v
		}
	}
	if q.which(args[0]) == "" {
		if _, known := programs[base(args[0])]; !known {
			p.m.unknown(strings.Join(args, " "))
		}
		p.errorf("sudo: %s: command not found\n", args[0])
		return 1
	}
	return q.run(args)
}

// askPassword reads the password from standard input, three times at most.
func (p *process) askPassword(user User, prompt string) bool {
	in := p.input("sudo")
	for try := 1; ; try++ {
		p.errorf("%s", strings.ReplaceAll(prompt, "%u", "root"))
		line, err := readLine(in)
		if err != nil && line == "" {
			p.errorf("\nsudo: no password was provided\n")
			if try > 1 {
				p.errorf("sudo: %d incorrect password attempt%s\n", try-1, map[bool]string{true: "s"}[try > 2])
			} else {
				p.errorf("sudo: a password is required\n")
			}
			return false
		}
		if user.Password != "" && line == user.Password {
			return true
		}
		if try == 3 {
			p.errorf("sudo: 3 incorrect password attempts\n")
			return false
		}
		p.errorf("Sorry, try again.\n")
	}
}

// readLine reads byte by byte, as what follows belongs to the command.
func readLine(in io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for {
		n, err := in.Read(b)
		if n == 1 && b[0] == '\n' {
			return string(line), nil
		}
		if n == 1 {
			line = append(line, b[0])
		}
		if err != nil {
			return string(line), err
		}
	}
}
