package host

// Taking a snapshot: one script and one exchange, for all resources that read from it.

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"weak"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/shell"
)

var (
	//go:embed scripts/files.sh
	filesScript string
	//go:embed scripts/boot.sh
	bootScript string
	//go:embed scripts/expand.sh
	expandScript string
	//go:embed scripts/values.sh
	valuesScript string
	//go:embed scripts/writers.sh
	writersScript string
	//go:embed scripts/all.sh
	allScript string
)

// singly is a line before files.sh that makes it read each file by itself.
const singly = "single=yes\n"

// read returns a snapshot that holds these paths. It may be an earlier one, if nothing was written to this host since.
// Callers that come while another reads are served together by the next exchange. If the host could not be read, read
// returns the same error again without trying.
func (h *Host) read(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	h.fleet.demand(ctx, h.name)
	return h.readOnce(ctx, true, paths)
}

// readOnce is read. If nobody asked for it, and nobody waits for it by the time it fails, the host is tried again when
// somebody asks.
func (h *Host) readOnce(ctx context.Context, asked bool, paths []string) (*boot.Snapshot, error) {
	h.mu.Lock()
	h.wanted = append(h.wanted, paths...)
	h.queued++
	h.mu.Unlock()
	unqueue := func() { // the caller holds no lock
		h.mu.Lock()
		defer h.mu.Unlock()
		h.queued--
	}
	select {
	case h.snapshotLock <- struct{}{}:
		defer func() { <-h.snapshotLock }()
		unqueue()
	case <-ctx.Done():
		unqueue()
		return nil, ctx.Err()
	}
	h.mu.Lock()
	s, writes, unreachable, wanted := h.snapshot, h.writes, h.unreachable, h.wanted
	h.wanted = nil
	h.mu.Unlock()
	if unreachable != nil {
		return nil, unreachable
	}
	if s != nil && !h.searched(s) {
		s = nil // it was under way when a reader came who asks for another module
	}
	s, err := h.extend(ctx, s, slices.Concat(paths, wanted))
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil && (asked || h.queued > 0) {
			h.unreachable = err
		}
		return nil, err
	}
	if h.writes == writes {
		h.snapshot = s
	}
	h.remember(s)
	return s, nil
}

// readForPlan returns the last snapshot, even one from before a write of this process, and reads only paths that no
// snapshot has. It is for plans only: during an apply each resource is planned once more while others are written, and
// then checked on a fresh snapshot.
func (h *Host) readForPlan(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	h.mu.Lock()
	s := h.lastSeen
	h.mu.Unlock()
	if s != nil && h.searched(s) && !slices.ContainsFunc(paths, func(p string) bool { _, ok := s.Values[p]; return !ok }) {
		return s, nil
	}
	return h.read(ctx, paths...)
}

// remember keeps s for readForPlan, together with the values that only older snapshots hold. The caller must hold mu.
func (h *Host) remember(s *boot.Snapshot) {
	if h.machineName == "" && s.Kernel != "" {
		h.machineName = h.machine(s)
	}
	more := func(old *boot.Snapshot) bool {
		for p := range old.Values {
			if _, ok := s.Values[p]; !ok {
				return true
			}
		}
		return false
	}
	if old := h.lastSeen; old != nil && old != s && more(old) {
		values := maps.Clone(old.Values)
		maps.Copy(values, s.Values)
		c := *s
		c.Values, c.AllKeys = values, s.AllKeys || old.AllKeys
		s = &c
	}
	h.lastSeen = s
}

// lastPrediction is a snapshot and its prediction. The pointers are weak, so that the predictions of a thousand hosts
// are not kept in memory.
type lastPrediction struct {
	of         weak.Pointer[boot.Snapshot]
	prediction weak.Pointer[boot.Prediction]
}

// markOf returns what mark.sh prints of a host that has the files of s; ok is false if that is not known.
func markOf(s *boot.Snapshot) (text string, ok bool) {
	all := slices.Concat(s.Sysctl, s.ModulesLoad, s.Modprobe)
	slices.SortFunc(all, func(a, b confdir.File) int { return compareListed(a.Path, b.Path) })
	for _, f := range []*confdir.File{s.SysctlConf, s.Modules, s.Extra} {
		if f != nil {
			all = append(all, *f)
		}
	}
	var names, sums strings.Builder
	for _, f := range all {
		if f.Unread != "" || strings.ContainsAny(f.Path, "\\\n\r") {
			return "", false
		}
		switch {
		case path.Base(f.Path) == "sysctl.extra", f.Path == "/etc/sysctl.conf", f.Path == "/etc/modules":
		case f.Target != "":
			names.WriteString("link " + f.Path + "\n")
		default:
			names.WriteString("file " + f.Path + "\n")
		}
		if f.Regular {
			fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256([]byte(f.Text)), f.Path)
		}
	}
	return fmt.Sprintf("%x  -", sha256.Sum256([]byte(names.String()+sums.String()))), true
}

// compareListed compares paths in the order in which files.sh and mark.sh list them.
func compareListed(a, b string) int {
	order := func(p string) (rank int) {
		for i, root := range []string{"/etc/", "/run/", "/usr/local/lib/", "/usr/lib/", "/lib/"} {
			if rest, ok := strings.CutPrefix(p, root); ok {
				dir, _, _ := strings.Cut(rest, "/")
				return 3*i + slices.Index([]string{"sysctl.d", "modules-load.d", "modprobe.d"}, dir)
			}
		}
		return 15
	}
	return cmp.Or(cmp.Compare(order(a), order(b)), strings.Compare(a, b))
}

// answer is what a host printed and the snapshot decoded from it. The pointers are weak.
type answer struct {
	of       weak.Pointer[shell.Record]
	snapshot weak.Pointer[boot.Snapshot]
}

// predict returns the prediction for s. Resources that ask for the same snapshot at about the same time share it.
func (h *Host) predict(s *boot.Snapshot) *boot.Prediction {
	of := weak.Make(s)
	h.mu.Lock()
	last := h.lastPrediction
	h.mu.Unlock()
	if p := last.prediction.Value(); p != nil && last.of == of {
		return p
	}
	p := boot.Predict(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastPrediction = lastPrediction{of, weak.Make(p)}
	return p
}

// extend returns s with these paths added. It takes no exchange if s has them. If s is nil, it takes a new snapshot.
func (h *Host) extend(ctx context.Context, s *boot.Snapshot, paths []string) (*boot.Snapshot, error) {
	slices.Sort(paths)
	paths = slices.Compact(paths)
	h.mu.Lock()
	all := h.everything
	h.mu.Unlock()
	if s == nil {
		return h.takeSnapshot(ctx, h.snapshotScript(paths, all))
	}
	missing := slices.DeleteFunc(paths, func(p string) bool { _, ok := s.Values[p]; return ok })
	if len(missing) == 0 {
		return s, nil
	}
	script := shell.Script{Name: "values", Text: valuesScript, Args: missing, Repeatable: true}
	if all {
		script.Text += allScript
	}
	r, err := h.conn.Run(ctx, script)
	if err != nil {
		return nil, err
	}
	s = s.WithValues(values(r))
	_, whole := r.Get("all-keys")
	s.AllKeys = s.AllKeys || whole
	return s, nil
}

// sawAllKeys reports whether the last snapshot has all keys.
func (h *Host) sawAllKeys() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lastSeen != nil && h.lastSeen.AllKeys
}

// readEverythingFor makes later snapshots for readers hold all keys if s is a key alone that no file names: many
// resources like it may follow, and one exchange for all of them is less than one for each. A group names its keys at
// once.
func (h *Host) readEverythingFor(s Sysctls) {
	if len(s.Settings) != 1 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.everything = true
}

// fresh takes a new snapshot that holds these paths, when no other process changes the host. Every write is decided on
// one, or checked against one by its mark.
func (h *Host) fresh(ctx context.Context, paths ...string) (*boot.Snapshot, error) {
	snap, _, err := h.freshIn(ctx, paths...)
	return snap, err
}

// freshIn is fresh. It also returns the session that took the snapshot.
func (h *Host) freshIn(ctx context.Context, paths ...string) (*boot.Snapshot, string, error) {
	s := h.snapshotScript(paths, false)
	s.Exclusive = true
	r, err := h.conn.Run(ctx, s)
	if err != nil {
		return nil, "", err
	}
	snap, err := h.decoded(ctx, r, s.Args[1:])
	return snap, r.Session, err
}

// takeSnapshot runs a snapshot script and decodes what it printed.
func (h *Host) takeSnapshot(ctx context.Context, s shell.Script) (*boot.Snapshot, error) {
	r, err := h.conn.Run(ctx, s)
	if err != nil {
		return nil, err
	}
	return h.decoded(ctx, r, s.Args[1:])
}

// snapshotScript returns a script that prints a snapshot with these paths, or with all keys if all is set. Requests for
// a snapshot in the same batch share one.
func (h *Host) snapshotScript(paths []string, all bool) shell.Script {
	paths = slices.Concat(paths, commonLeaderPaths())
	slices.Sort(paths)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := shell.Script{Name: "snapshot", Repeatable: true,
		Text: filesScript + bootScript + writersScript + expandScript + valuesScript, Merge: mergeSnapshots,
		Args: []string{treePattern(slices.Concat(kmod.Owners(), h.modules))}}
	s.Args = append(s.Args, slices.Compact(paths)...)
	if all {
		s.Text += allScript
	}
	if h.single {
		s.Text = singly + s.Text
	}
	return s
}

// mergeSnapshots returns one snapshot script for two requests. Of the two patterns for module trees, and of the two
// texts, the longer one contains the other.
func mergeSnapshots(a, b shell.Script) shell.Script {
	paths := slices.Concat(a.Args[1:], b.Args[1:])
	slices.Sort(paths)
	aText, aSingle := strings.CutPrefix(a.Text, singly)
	bText, bSingle := strings.CutPrefix(b.Text, singly)
	if a.Text = aText; len(bText) > len(aText) {
		a.Text = bText
	}
	if aSingle || bSingle {
		a.Text = singly + a.Text
	}
	pattern := a.Args[0]
	if len(b.Args[0]) > len(pattern) {
		pattern = b.Args[0]
	}
	a.Args = append([]string{pattern}, slices.Compact(paths)...)
	return a
}

// decoded returns the snapshot that a snapshotScript with these paths printed. If files changed while they were read,
// it reads the host again, and from then on reads each file of this host by itself.
func (h *Host) decoded(ctx context.Context, r shell.Result, paths []string) (*boot.Snapshot, error) {
	s, torn := h.decodeOnce(r)
	h.mu.Lock()
	h.single = h.single || torn
	all := h.everything
	h.mu.Unlock()
	if torn {
		again, err := h.conn.Run(ctx, h.snapshotScript(paths, all))
		if err != nil {
			return nil, err
		}
		if s, torn = h.decodeOnce(again); torn {
			return nil, fmt.Errorf("the host prints files as nobody asked it to: %w", shell.ErrGarbled)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remember(s)
	return s, nil
}

// decodeOnce decodes an answer once for all callers that got it.
func (h *Host) decodeOnce(r shell.Result) (*boot.Snapshot, bool) {
	if len(r.Records) == 0 {
		return &boot.Snapshot{Values: map[string]boot.Reading{}}, false
	}
	of := weak.Make(&r.Records[0])
	h.decoding.Lock()
	defer h.decoding.Unlock()
	if s := h.lastAnswer.snapshot.Value(); s != nil && h.lastAnswer.of == of {
		return s, false
	}
	s, torn := decode(r)
	if !torn {
		h.lastAnswer = answer{of, weak.Make(s)}
	}
	return s, torn
}

// searchFor makes later snapshots search the module trees for this module too.
func (h *Host) searchFor(module string) {
	name := kmod.Canonical(module)
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.Trim(name,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || slices.Contains(h.modules, name) {
		return
	}
	h.modules = append(h.modules, name)
	if h.snapshot != nil && !h.snapshot.Searched(name) {
		h.snapshot = nil
	}
	if h.lastSeen != nil && !h.lastSeen.Searched(name) {
		h.lastSeen = nil
	}
}

// treePattern matches the names of modules for which a module tree is always searched: those that own keys, and those
// that a value may need (congestion control, queueing disciplines). The names must be canonical.
func treePattern(modules []string) string {
	return "tcp_[a-z0-9_]*|sch_[a-z0-9_]*|" + strings.ReplaceAll(strings.Join(modules, "|"), "_", "[-_]")
}

// searched reports whether s was searched for every module that searchFor was told of.
func (h *Host) searched(s *boot.Snapshot) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(h.modules, func(name string) bool { return !s.Searched(name) })
}

// forget has the next read ask the host anew, even one that did not answer.
func (h *Host) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshot, h.unreachable, h.evidence = nil, nil, evidence{}
}

// invalidate throws the snapshot away; every step that changes the host calls it before and after.
func (h *Host) invalidate() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshot = nil
	h.writes++
}
