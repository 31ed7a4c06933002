package hosttest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// programs are the files below /usr/bin, /usr/sbin and /usr/lib/openssh that can be run.
var programs map[string]program

// superPrograms are kept in /usr/sbin, which an ordinary user's PATH lacks.
var superPrograms = []string{"modprobe", "modinfo", "rmmod", "lsmod", "sysctl", "iptables"}

func init() {
	programs = map[string]program{
		"true":  func(*process, []string) int { return 0 },
		"false": func(*process, []string) int { return 1 },
		"echo":  echo, "printf": printf, "sh": sh, "dash": sh, "env": env, "id": id, "uname": uname, "sudo": sudo, "sftp-server": sftpServer,
		"cat": cat, "sort": sortProgram, "wc": wc, "tr": tr, "grep": grep, "ls": ls, "stat": statProgram, "readlink": readlink,
		"rm": rm, "mv": mv, "mkdir": mkdir, "rmdir": rmdir, "ln": ln, "touch": touch, "chmod": chmod, "sync": syncProgram,
		"modprobe": modprobe, "modinfo": modinfo, "rmmod": rmmod, "lsmod": lsmod, "sysctl": sysctl, "iptables": iptables, "dmesg": dmesg,
		"systemctl": systemctl, "journalctl": journalctl, "flock": flock, "sha256sum": sha256sum,
	}
}

// takeFlags reads the single-letter flags in known from the front of args. A flag that is not known ends the program with 127.
func (p *process) takeFlags(name, known string, args []string) (flags string, rest []string, ok bool) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		if args[0] == "--" {
			return flags, args[1:], true
		}
		for _, f := range args[0][1:] {
			if !strings.ContainsRune(known, f) {
				p.unknownFlag(args[0], name)
				return "", nil, false
			}
			flags += string(f)
		}
		args = args[1:]
	}
	return flags, args, true
}

func has(flags string, f rune) bool { return strings.ContainsRune(flags, f) }

func cat(p *process, args []string) int {
	_, files, ok := p.takeFlags("cat", "u", args)
	if !ok {
		return 127
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	status := 0
	for _, name := range files {
		var read func() ([]byte, error)
		if name == "-" {
			in, b := p.input("cat"), make([]byte, 64<<10) // as much as a pipe holds
			read = func() ([]byte, error) {
				n, err := in.Read(b)
				return b[:n], err
			}
		} else {
			f, err := p.open(name, os.O_RDONLY)
			if err != nil {
				p.errorf("cat: %s: %s\n", name, strerror(err))
				status = 1
				continue
			}
			read = f.readBlock
		}
		for {
			block, err := read()
			if len(block) > 0 {
				if err := writeAll(p.stdout, block); err != nil {
					p.errorf("cat: write error: %s\n", strerror(err))
					return 1
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				p.errorf("cat: %s: %s\n", name, strerror(err))
				status = 1
				break
			}
		}
	}
	return status
}

// writeAll goes on after a short write, as GNU programs do.
func writeAll(w io.Writer, b []byte) error {
	for len(b) > 0 {
		n, err := w.Write(b)
		if err != nil {
			return err
		}
		if n == 0 {
			return syscall.EIO
		}
		b = b[n:]
	}
	return nil
}

func uname(p *process, args []string) int {
	flags, rest, ok := p.takeFlags("uname", "rsnmo", args)
	if !ok || len(rest) > 0 {
		return p.unknownFlag(strings.Join(args, " "), "uname")
	}
	if flags == "" {
		flags = "s"
	}
	text := map[rune]string{'s': "Linux", 'r': kernelRelease, 'm': "x86_64", 'o': "GNU/Linux"}
	text['n'] = strings.TrimSpace(p.m.textOf("/proc/sys/kernel/hostname"))
	var words []string
	for _, f := range "snrmo" {
		if has(flags, f) {
			words = append(words, text[f])
		}
	}
	p.printf("%s\n", strings.Join(words, " "))
	return 0
}

func id(p *process, args []string) int {
	n := strconv.Itoa(p.cred.uid)
	switch strings.Join(args, " ") {
	case "":
		p.printf("uid=%s(%s) gid=%s(%s) groups=%s(%s)\n", n, p.cred.name, n, p.cred.name, n, p.cred.name)
	case "-u", "-g":
		p.printf("%s\n", n)
	case "-un", "-nu", "-u -n", "-gn":
		p.printf("%s\n", p.cred.name)
	default:
		return p.unknownFlag(strings.Join(args, " "), "id")
	}
	return 0
}

// tr turns each byte of one set into that of another as large; a set is made of bytes, and of \n, \r and \000.
func tr(p *process, args []string) int {
	escapes := strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\000`, "\x00")
	if len(args) != 2 || strings.HasPrefix(args[0], "-") || strings.ContainsAny(strings.Join(args, ""), "[") {
		return p.unknownFlag(strings.Join(args, " "), "tr")
	}
	from, to := escapes.Replace(args[0]), escapes.Replace(args[1])
	if len(from) != len(to) || strings.ContainsAny(from+to, `\-`) {
		return p.unknownFlag(strings.Join(args, " "), "tr")
	}
	data, err := io.ReadAll(p.input("tr"))
	if err != nil {
		p.errorf("tr: read error: %s\n", strerror(err))
		return 1
	}
	for i, c := range data {
		if at := strings.IndexByte(from, c); at >= 0 {
			data[i] = to[at]
		}
	}
	p.printf("%s", data)
	return 0
}

func env(p *process, args []string) int {
	q := *p
	q.vars, q.env = nil, maps.Clone(p.environ())
	for len(args) > 0 {
		k, v, assign := strings.Cut(args[0], "=")
		switch {
		case args[0] == "-i":
			q.env = map[string]string{}
		case strings.HasPrefix(args[0], "-"):
			return p.unknownFlag(args[0], "env")
		case assign:
			q.env[k] = v
		default:
			if q.which(args[0]) == "" {
				p.m.unknown(strings.Join(args, " "))
				p.errorf("env: '%s': No such file or directory\n", args[0])
				return 127
			}
			return q.run(args)
		}
		args = args[1:]
	}
	var all []string
	for k, v := range q.env {
		all = append(all, k+"="+v+"\n")
	}
	sort.Strings(all)
	p.printf("%s", strings.Join(all, ""))
	return 0
}

func ls(p *process, args []string) int {
	flags, names, ok := p.takeFlags("ls", "1aAld", args)
	if !ok {
		return 127
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	status := 0
	line := func(i fileInfo, full string) {
		if !has(flags, 'l') {
			p.printf("%s\n", i.name)
			return
		}
		arrow := ""
		if i.mode&fs.ModeSymlink != 0 {
			target, _ := p.m.readlink(p.cred, full)
			arrow = " -> " + target
		}
		owner := p.m.userName(i.uid)
		p.printf("%s 1 %s %s %d %s %s%s\n", modeString(i.mode), owner, owner, i.size, i.mtime.UTC().Format("Jan _2 15:04"), i.name, arrow)
	}
	for _, name := range names {
		full := p.abs(name)
		info, err := p.m.stat(p.cred, full, !has(flags, 'd') && !has(flags, 'l'))
		if err == nil && info.IsDir() && !has(flags, 'd') {
			var all []fileInfo
			if all, err = p.m.list(p.cred, full); err == nil {
				if len(names) > 1 {
					p.printf("%s:\n", name)
				}
				for _, i := range all {
					if !strings.HasPrefix(i.name, ".") || has(flags, 'a') || has(flags, 'A') {
						line(i, full+"/"+i.name)
					}
				}
				continue
			}
			p.errorf("ls: cannot open directory '%s': %s\n", name, strerror(err))
			status = 2
			continue
		}
		if err != nil {
			p.errorf("ls: cannot access '%s': %s\n", name, strerror(err))
			status = 2
			continue
		}
		info.name = name
		line(info, full)
	}
	return status
}

// modeString spells a mode as ls -l does.
func modeString(m fs.FileMode) string {
	kind := "-"
	switch {
	case m.IsDir():
		kind = "d"
	case m&fs.ModeSymlink != 0:
		kind = "l"
	case m&fs.ModeCharDevice != 0:
		kind = "c"
	}
	s := []byte(m.Perm().String())
	if m&fs.ModeSticky != 0 {
		s[9] = 't'
	}
	return kind + string(s[1:])
}

func statProgram(p *process, args []string) int {
	format, follow := "", false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-L":
			follow = true
		case args[0] == "-c" && len(args) > 1:
			format, args = args[1], args[1:]
		default:
			return p.unknownFlag(args[0], "stat")
		}
		args = args[1:]
	}
	if format == "" {
		return p.unknownFlag("without -c", "stat")
	}
	status := 0
	for _, name := range args {
		i, err := p.m.stat(p.cred, p.abs(name), follow)
		if err != nil {
			p.errorf("stat: cannot statx '%s': %s\n", name, strerror(err))
			status = 1
			continue
		}
		kind := map[fs.FileMode]string{fs.ModeDir: "directory", fs.ModeSymlink: "symbolic link", 0: "regular file"}[i.mode&(fs.ModeDir|fs.ModeSymlink)]
		if kind == "regular file" && i.size == 0 {
			kind = "regular empty file"
		}
		owner := p.m.userName(i.uid)
		perm := strconv.FormatUint(uint64(i.mode.Perm()), 8)
		if i.mode&fs.ModeSticky != 0 {
			perm = "1" + perm
		}
		text := strings.NewReplacer("%a", perm, "%A", modeString(i.mode), "%U", owner, "%G", owner, "%u", strconv.Itoa(i.uid), "%g", strconv.Itoa(i.uid),
			"%s", strconv.FormatInt(i.size, 10), "%F", kind, "%n", name, "%Y", strconv.FormatInt(i.mtime.Unix(), 10),
			"%Z", strconv.FormatInt(i.mtime.Unix(), 10)).Replace(format)
		if strings.Contains(text, "%") {
			return p.unknownFlag(format, "stat -c")
		}
		p.printf("%s\n", text)
	}
	return status
}

func readlink(p *process, args []string) int {
	flags, names, ok := p.takeFlags("readlink", "fn", args)
	if !ok {
		return 127
	}
	status := 0
	for _, name := range names {
		get := p.m.readlink
		if has(flags, 'f') {
			get = p.m.realPath
		}
		text, err := get(p.cred, p.abs(name))
		if err != nil {
			status = 1
			continue
		}
		if !has(flags, 'n') {
			text += "\n"
		}
		p.printf("%s", text)
	}
	return status
}
