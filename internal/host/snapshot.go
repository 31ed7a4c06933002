package host

// Taking a snapshot: one script, one exchange, however many resources are read from it.

import (
	"context"
	_ "embed"
	"path"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

var (
	//go:embed scripts/files.sh
	filesScript string
	//go:embed scripts/values.sh
	valuesScript string
)

// read returns a snapshot that holds these paths. It may be one that was taken earlier, with no write on this host since.
func (h *Host) read(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.mu.Lock()
	s, writes := h.snapshot, h.writes
	h.mu.Unlock()
	if s == nil {
		s, err := h.fresh(ctx, paths...)
		if err == nil {
			h.keep(s, writes)
		}
		return s, err
	}
	var missing []string
	for _, p := range paths {
		if _, ok := s.Values[p]; !ok {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return s, nil
	}
	r, err := h.conn.Run(ctx, shell.Script{Name: "values", Text: valuesScript, Args: missing})
	if err != nil {
		return nil, err
	}
	s = s.WithValues(decode(r).Values)
	h.keep(s, writes)
	return s, nil
}

// fresh takes a new snapshot that holds these paths: what a write is decided on.
func (h *Host) fresh(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	r, err := h.conn.Run(ctx, shell.Script{Name: "snapshot", Text: filesScript + valuesScript, Args: paths})
	if err != nil {
		return nil, err
	}
	return decode(r), nil
}

// keep stores a snapshot for later reads, unless a write began since writes was read.
func (h *Host) keep(s *boot.Snapshot, writes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writes == writes {
		h.snapshot = s
	}
}

// writing throws the snapshot away; every step that changes the host calls it before and after.
func (h *Host) writing() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshot = nil
	h.writes++
}

// decode reads what files.sh and values.sh print.
func decode(r shell.Result) *boot.Snapshot {
	s := &boot.Snapshot{Values: map[string]boot.Reading{}}
	var file confdir.File // the one being read; without a path when none is
	var value string
	endFile := func() {
		if file.Path != "" {
			addFile(s, file)
		}
		file = confdir.File{}
	}
	for _, rec := range r.Records {
		switch rec.Head {
		case "kernel":
			s.Kernel = strings.TrimSpace(rec.Body)
		case "file":
			endFile()
			file.Path = rec.Body
		case "link":
			file.Target = strings.TrimSuffix(rec.Body, "\n")
		case "text":
			file.Regular, file.Text = true, rec.Body
		case "modules":
			endFile()
			s.Loaded = loaded(rec.Body)
		case "sysmodules":
			s.SysModules = names(strings.Fields(rec.Body))
		case "builtin":
			s.Builtin = names(kmod.ParseBuiltin(rec.Body))
		case "path":
			value = rec.Body
			s.Values[value] = boot.Reading{Absent: true}
		case "value":
			s.Values[value] = boot.Reading{Text: strings.TrimSuffix(rec.Body, "\n")}
		case "mode":
			r := s.Values[value]
			r.Writable = len(rec.Body) > 2 && rec.Body[2] == 'w'
			s.Values[value] = r
		case "values":
			addValues(s.Values, rec.Body)
		case "unread":
			if file.Path != "" {
				file.Unread, file.Text = reason(file.Text), ""
			} else {
				s.Values[value] = boot.Reading{Unread: reason(s.Values[value].Text)}
			}
		}
	}
	endFile()
	return s
}

func addFile(s *boot.Snapshot, f confdir.File) {
	switch path.Base(path.Dir(f.Path)) {
	case "sysctl.d":
		s.Sysctl = append(s.Sysctl, f)
	case "modules-load.d":
		s.ModulesLoad = append(s.ModulesLoad, f)
	case "modprobe.d":
		s.Modprobe = append(s.Modprobe, f)
	default:
		s.SysctlConf = &f
	}
}

// addValues reads grep -H with an empty pattern over many files: a line of output a line of file.
func addValues(values map[string]boot.Reading, out string) {
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		p, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		if _, asked := values[p]; asked && !seen[p] {
			continue
		}
		if seen[p] {
			text = values[p].Text + "\n" + text
		}
		seen[p] = true
		values[p] = boot.Reading{Text: text}
	}
}

func loaded(text string) map[string]bool {
	m := map[string]bool{}
	for _, l := range kmod.ParseLoaded(text) {
		m[l.Name] = true
	}
	return m
}

func names(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, n := range list {
		m[kmod.Canonical(n)] = true
	}
	return m
}

// reason is the kernel's own words in what a program printed: "cat: write error: Invalid argument" gives "Invalid argument".
func reason(printed string) string {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	last := lines[len(lines)-1]
	if i := strings.LastIndex(last, ": "); i >= 0 {
		last = last[i+2:]
	}
	return strings.TrimSpace(last)
}
