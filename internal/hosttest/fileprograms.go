package hosttest

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func rm(p *process, args []string) int {
	flags, names, ok := p.takeFlags("rm", "frR", args)
	if !ok {
		return 127
	}
	status := 0
	for _, name := range names {
		info, err := p.m.stat(p.cred, p.abs(name), false)
		switch {
		case err != nil:
		case info.IsDir() && !has(flags, 'r') && !has(flags, 'R'):
			err = syscall.EISDIR
		case info.IsDir():
			err = p.removeAll(p.abs(name))
		default:
			err = p.m.remove(p.cred, p.abs(name), false)
		}
		if err != nil && !(has(flags, 'f') && errors.Is(err, syscall.ENOENT)) {
			p.errorf("rm: cannot remove '%s': %s\n", name, strerror(err))
			status = 1
		}
	}
	return status
}

func (p *process) removeAll(dir string) error {
	all, err := p.m.list(p.cred, dir)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.IsDir() {
			err = p.removeAll(dir + "/" + i.name)
		} else {
			err = p.m.remove(p.cred, dir+"/"+i.name, false)
		}
		if err != nil {
			return err
		}
	}
	return p.m.remove(p.cred, dir, true)
}

func mv(p *process, args []string) int {
	flags, names, ok := p.takeFlags("mv", "fT", args)
	if !ok {
		return 127
	}
	if len(names) != 2 {
		return p.unknownFlag(strings.Join(args, " "), "mv")
	}
	to := names[1]
	if info, err := p.m.stat(p.cred, p.abs(to), true); err == nil && info.IsDir() && !has(flags, 'T') {
		to += "/" + base(names[0])
	}
	if _, err := p.m.stat(p.cred, p.abs(names[0]), false); err != nil {
		p.errorf("mv: cannot stat '%s': %s\n", names[0], strerror(err))
		return 1
	}
	if err := p.m.rename(p.cred, p.abs(names[0]), p.abs(to)); err != nil {
		p.errorf("mv: cannot move '%s' to '%s': %s\n", names[0], to, strerror(err))
		return 1
	}
	return 0
}

func mkdir(p *process, args []string) int {
	mode, parents := 0o777&^p.umask, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-p":
			parents = true
		case args[0] == "-m" && len(args) > 1:
			n, err := strconv.ParseUint(args[1], 8, 32)
			if err != nil {
				return p.unknownFlag(args[1], "mkdir -m")
			}
			mode, args = fs.FileMode(n), args[1:]
		case args[0] == "--":
			args = args[1:]
			return p.mkdirs(args, mode, parents)
		default:
			return p.unknownFlag(args[0], "mkdir")
		}
		args = args[1:]
	}
	return p.mkdirs(args, mode, parents)
}

func (p *process) mkdirs(names []string, mode fs.FileMode, parents bool) int {
	status := 0
	for _, name := range names {
		if parents {
			full := p.abs(name)
			for i := 1; i < len(full); i++ {
				if full[i] == '/' {
					_ = p.m.mkdir(p.cred, full[:i], 0o777&^p.umask) // what is missing shows at the last one
				}
			}
		}
		err := p.m.mkdir(p.cred, p.abs(name), mode)
		if info, e := p.m.stat(p.cred, p.abs(name), true); parents && errors.Is(err, syscall.EEXIST) && e == nil && info.IsDir() {
			err = nil
		}
		if err != nil {
			p.errorf("mkdir: cannot create directory '%s': %s\n", name, strerror(err))
			status = 1
		}
	}
	return status
}

func rmdir(p *process, args []string) int {
	_, names, ok := p.takeFlags("rmdir", "", args)
	if !ok {
		return 127
	}
	status := 0
	for _, name := range names {
		if err := p.m.remove(p.cred, p.abs(name), true); err != nil {
			p.errorf("rmdir: failed to remove '%s': %s\n", name, strerror(err))
			status = 1
		}
	}
	return status
}

func ln(p *process, args []string) int {
	flags, names, ok := p.takeFlags("ln", "sfnT", args)
	if !ok {
		return 127
	}
	if len(names) != 2 {
		return p.unknownFlag(strings.Join(args, " "), "ln")
	}
	to := p.abs(names[1])
	if has(flags, 'f') {
		_ = p.m.remove(p.cred, to, false) // that it is still there shows below
	}
	kind, link := "hard", func() error { return p.m.hardLink(p.cred, p.abs(names[0]), to) }
	if has(flags, 's') {
		kind, link = "symbolic", func() error { return p.m.symlink(p.cred, names[0], to) }
	}
	if err := link(); err != nil {
		p.errorf("ln: failed to create %s link '%s': %s\n", kind, names[1], strerror(err))
		return 1
	}
	return 0
}

func touch(p *process, args []string) int {
	_, names, ok := p.takeFlags("touch", "", args)
	if !ok {
		return 127
	}
	status := 0
	for _, name := range names {
		if _, err := p.open(name, os.O_WRONLY|os.O_CREATE); err != nil {
			p.errorf("touch: cannot touch '%s': %s\n", name, strerror(err))
			status = 1
		}
	}
	return status
}

func chmod(p *process, args []string) int {
	_, args, ok := p.takeFlags("chmod", "f", args)
	if !ok || len(args) < 2 {
		return p.unknownFlag(strings.Join(args, " "), "chmod")
	}
	mode, err := strconv.ParseUint(args[0], 8, 32)
	if err != nil {
		return p.unknownFlag(args[0], "chmod")
	}
	status := 0
	for _, name := range args[1:] {
		if _, err := p.m.stat(p.cred, p.abs(name), true); err != nil {
			p.errorf("chmod: cannot access '%s': %s\n", name, strerror(err))
			status = 1
		} else if err := p.m.chmod(p.cred, p.abs(name), fs.FileMode(mode)); err != nil {
			p.errorf("chmod: changing permissions of '%s': %s\n", name, strerror(err))
			status = 1
		}
	}
	return status
}

func syncProgram(p *process, args []string) int {
	flags, names, ok := p.takeFlags("sync", "df", args)
	if !ok {
		return 127
	}
	if len(names) == 0 || has(flags, 'f') {
		p.m.sync()
		return 0
	}
	status := 0
	for _, name := range names {
		f, err := p.open(name, os.O_RDONLY)
		if err != nil {
			p.errorf("sync: error opening '%s': %s\n", name, strerror(err))
			status = 1
			continue
		}
		if err := f.Sync(); err != nil {
			p.errorf("sync: error syncing '%s': %s\n", name, strerror(err))
			status = 1
		}
	}
	return status
}

// sha256sum is GNU's without flags.
func sha256sum(p *process, names []string) int {
	status := 0
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "-") && name != "-" {
			return p.unknownFlag(name, "sha256sum")
		}
		var in io.Reader
		if name == "-" {
			in = p.input("sha256sum")
		} else if f, err := p.open(name, os.O_RDONLY); err == nil {
			in = f
		} else {
			p.errorf("sha256sum: %s: %s\n", name, strerror(err))
			status = 1
			continue
		}
		text, err := io.ReadAll(in)
		if err != nil {
			p.errorf("sha256sum: %s: %s\n", name, strerror(err))
			status = 1
			continue
		}
		p.printf("%x  %s\n", sha256.Sum256(text), name)
	}
	return status
}

// base is the last part of a path.
func base(name string) string { return path.Base(name) }

// sortProgram is GNU's in the C locale: it sorts the lines of standard input; -u drops those that are there twice.
func sortProgram(p *process, args []string) int {
	flags, words, ok := p.takeFlags("sort", "u", args)
	if !ok || len(words) > 0 {
		return p.unknownFlag(strings.Join(args, " "), "sort")
	}
	text, err := io.ReadAll(p.input("sort"))
	if err != nil {
		p.errorf("sort: read failed: -: %s\n", strerror(err))
		return 2
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	slices.Sort(lines)
	if has(flags, 'u') {
		lines = slices.Compact(lines)
	}
	if len(text) == 0 {
		return 0
	}
	if err := writeAll(p.stdout, []byte(strings.Join(lines, "\n")+"\n")); err != nil {
		p.errorf("sort: write failed: 'standard output': %s\n", strerror(err))
		return 2
	}
	return 0
}

// wc is GNU's with -c: the bytes of each file, and of all where there are several.
func wc(p *process, args []string) int {
	flags, names, ok := p.takeFlags("wc", "c", args)
	if !ok || flags != "c" || len(names) == 0 {
		return p.unknownFlag(strings.Join(args, " "), "wc")
	}
	status, total := 0, 0
	for _, name := range names {
		data, err := p.readAll(name)
		if err != nil {
			p.errorf("wc: %s: %s\n", name, strerror(err))
			status = 1
			continue
		}
		total += len(data)
		p.printf("%d %s\n", len(data), name)
	}
	if len(names) > 1 {
		p.printf("%d total\n", total)
	}
	return status
}

// readAll is what a file holds.
func (p *process) readAll(name string) ([]byte, error) {
	f, err := p.open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return f.readAll()
}
