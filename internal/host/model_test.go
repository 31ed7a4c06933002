package host_test

// A model of what several applies in a row may do to one host, compared with hosts that do it. Sequences are random.
// A sequence has a host as somebody left it, and desired configurations one after the other: keys move between
// resources, resources are replaced in both orders, some changes fail, and another name of the host does some of them.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/hosttest"
	"github.com/host-provider/terraform-provider-host/internal/shell"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// modelKey is a key of the pool with values that the kernel takes.
type modelKey struct {
	name   string
	values []string
}

// modelPool returns the keys that sequences declare. neighbor is the interface whose neighbor keys are used.
func modelPool(neighbor string, more ...modelKey) []modelKey {
	onOff := []string{"0", "1"}
	return append([]modelKey{
		{"net.ipv4.ip_forward", onOff},
		{"net.ipv4.conf.all.forwarding", onOff},
		{"net.ipv4.conf.all.accept_redirects", onOff},
		{"net.ipv4.conf.lo.forwarding", onOff},
		{"net.ipv4.conf.all.send_redirects", onOff},
		{"net.ipv6.conf.all.disable_ipv6", onOff},
		{"net.ipv6.conf.lo.disable_ipv6", onOff},
		{"net.ipv6.conf.default.disable_ipv6", onOff},
		{"net.ipv6.conf.all.forwarding", onOff},
		{"net.ipv4.conf.default.rp_filter", []string{"1", "2"}},
		{"net.ipv4.conf.lo.rp_filter", []string{"1", "2"}},
		{"net.ipv4.tcp_fin_timeout", []string{"30", "40"}},
		{"net.core.somaxconn", []string{"128", "1024"}},
		{"net.ipv4.neigh." + neighbor + ".unres_qlen", []string{"50", "200"}},
		{"net.ipv4.neigh." + neighbor + ".unres_qlen_bytes", []string{"100000", "300000"}},
	}, more...)
}

// witnesses are followers of keys of the pool that no sequence declares.
var witnesses = []string{
	"net.ipv4.conf.default.forwarding", "net.ipv6.conf.lo.forwarding", "net.ipv6.conf.default.forwarding",
}

// leads reports whether a write to the key named a changes the one named b.
func leads(a, b string) bool {
	effect, ok := sysctl.Follows(keyNamed(a), keyNamed(b))
	return ok && effect != sysctl.Inherits
}

// mutual reports whether each of the two keys changes the other, so that only one can be declared freely.
func mutual(a, b string) bool { return leads(a, b) && leads(b, a) }

// assignment is "KEY = VALUE" of the model.
type assignment struct{ key, value string }

func (a assignment) String() string { return a.key + " = " + a.value }

// sequence is everything that happens to a host.
type sequence struct {
	// written are values that somebody writes by hand before anything else, in this order.
	written []assignment
	// site are the lines of a file of the host's own, siteName, whose values run too.
	site     []assignment
	siteName string
	applies  []modelApply
	// reboots says that the host is rebooted after the last apply, and everything is destroyed then.
	reboots bool
}

// modelApply is a desired configuration and how it is applied.
type modelApply struct {
	// desired are the settings of each resource by its address: "one KEY" or "many NAME".
	desired map[string][]assignment
	// order is the order of the addresses, and replaced says which of them are replaced though they could be updated.
	order    []string
	replaced map[string]bool
	// createFirst is create_before_destroy of all resources.
	createFirst, parallel bool
	// otherName are the addresses whose changes another name of the host does.
	otherName map[string]bool
	fault     modelFault
}

// modelFault is what goes wrong in an apply. After it, the same configuration is applied again without.
type modelFault struct {
	kind string // "", "full", "read-only", "cut" or "refused"
	at   int    // the exchange of a cut, or the address of what is refused
	also int    // another cut so many exchanges later
}

// GoString returns the sequence as a person reads it.
func (s sequence) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  by hand: %v\n  %s: %v\n", s.written, s.siteName, s.site)
	for i, a := range s.applies {
		fmt.Fprintf(&b, "  apply %d: parallel %t, create first %t, fault %+v\n", i+1, a.parallel, a.createFirst, a.fault)
		for _, address := range a.order {
			if settings, ok := a.desired[address]; ok || a.replaced[address] || a.otherName[address] {
				fmt.Fprintf(&b, "    %s: %v, replaced %t, by another name %t\n", address, settings, a.replaced[address],
					a.otherName[address])
			}
		}
	}
	return b.String()
}

// drawSettings draws a value for some of the keys.
func drawSettings(t *rapid.T, pool []modelKey, one int) []assignment {
	var all []assignment
	for _, k := range pool {
		if rapid.IntRange(0, one-1).Draw(t, "set") != 0 {
			continue
		}
		all = append(all, assignment{k.name, rapid.SampledFrom(k.values).Draw(t, "value")})
	}
	return all
}

// compatible returns the settings without those that the kernel cannot keep beside an earlier one: it has two names
// for one switch, and two units for one limit.
func compatible(all []assignment) []assignment {
	var kept []assignment
	for _, a := range all {
		for _, b := range kept {
			if !mutual(a.key, b.key) {
				continue
			}
			if effect, _ := sysctl.Follows(keyNamed(a.key), keyNamed(b.key)); effect == sysctl.Copies {
				a.value = b.value
			} else {
				a.key = ""
			}
		}
		if a.key != "" {
			kept = append(kept, a)
		}
	}
	return kept
}

// sequences generates sequences on the keys of the pool.
func sequences(pool []modelKey, faults []string) *rapid.Generator[sequence] {
	return rapid.Custom(func(t *rapid.T) sequence {
		s := sequence{siteName: rapid.SampledFrom([]string{"10-site.conf", "95-site.conf"}).Draw(t, "site name")}
		s.written = drawSettings(t, pool, 2)
		if len(s.written) > 0 {
			s.written = rapid.Permutation(s.written).Draw(t, "order")
		}
		s.site = compatible(drawSettings(t, pool, 4))
		slices.SortFunc(s.site, func(a, b assignment) int {
			return sysctl.Compare(keyNamed(a.key), keyNamed(b.key))
		})
		free := slices.DeleteFunc(slices.Clone(pool), func(k modelKey) bool { return s.decides(k.name) })
		for range rapid.IntRange(1, 4).Draw(t, "applies") {
			s.applies = append(s.applies, drawApply(t, free, s.site, faults))
		}
		s.reboots = rapid.IntRange(0, 4).Draw(t, "reboots") == 4
		return s
	})
}

// decides reports whether the host's own file has the last word on a key, so that the product refuses to declare it.
func (s sequence) decides(key string) bool {
	return s.siteName > "90" && slices.ContainsFunc(s.site, func(a assignment) bool {
		return a.key == key || leads(a.key, key)
	})
}

func drawApply(t *rapid.T, pool []modelKey, site []assignment, faults []string) modelApply {
	a := modelApply{desired: map[string][]assignment{}, replaced: map[string]bool{}, otherName: map[string]bool{}}
	settings := compatible(drawSettings(t, pool, 2))
	for i, v := range settings {
		// A line that only repeats an earlier one does not set the key again at boot. So the host's own line would be the
		// one that counts, and our leader comes after it: the product refuses that.
		led := slices.ContainsFunc(settings, func(l assignment) bool { return leads(l.key, v.key) && !mutual(l.key, v.key) })
		if led && slices.Contains(site, v) {
			settings[i].value = other(pool, v)
		}
	}
	owners := map[string]string{}
	leading := map[string]bool{}
	for _, v := range settings {
		owner := rapid.SampledFrom([]string{"one", "many a", "many b"}).Draw(t, "owner")
		if owner == "one" {
			owner += " " + v.key
		}
		owners[v.key] = owner
		leading[owner] = leading[owner] || sysctl.Leads(keyNamed(v.key))
	}
	for _, v := range settings {
		// A key must be set after those that change it: in their file, or in one that sorts after all of their files.
		for _, leader := range settings {
			if leads(leader.key, v.key) && !leads(v.key, leader.key) && owners[leader.key] != owners[v.key] &&
				leading[owners[v.key]] {
				owners[v.key] = "one " + v.key
				break
			}
		}
		a.desired[owners[v.key]] = append(a.desired[owners[v.key]], v)
	}
	addresses := []string{"many a", "many b"}
	for _, k := range pool {
		addresses = append(addresses, "one "+k.name)
	}
	a.order = rapid.Permutation(addresses).Draw(t, "order")
	a.createFirst = rapid.Bool().Draw(t, "create first")
	a.parallel = rapid.IntRange(0, 2).Draw(t, "parallel") == 2
	if !a.parallel {
		a.fault.kind = rapid.SampledFrom(append([]string{"", "", ""}, faults...)).Draw(t, "fault")
	}
	switch a.fault.kind {
	case "cut":
		a.fault.at = rapid.IntRange(1, 12).Draw(t, "cut at")
		a.fault.also = rapid.IntRange(0, 2).Draw(t, "and after")
	case "refused":
		a.fault.at = rapid.IntRange(0, 3).Draw(t, "refused at")
	}
	for _, address := range addresses {
		_, declared := a.desired[address]
		if declared && rapid.IntRange(0, 3).Draw(t, "replaced") == 3 {
			a.replaced[address] = true
		}
		if !a.parallel && rapid.IntRange(0, 3).Draw(t, "other name") == 3 {
			a.otherName[address] = true
		}
	}
	return a
}

// other returns another value of a key.
func other(pool []modelKey, v assignment) string {
	k := pool[slices.IndexFunc(pool, func(k modelKey) bool { return k.name == v.key })]
	return k.values[(slices.Index(k.values, v.value)+1)%len(k.values)]
}

// modelMachine is a machine that sequences happen to.
type modelMachine struct {
	// observe returns the values at paths and the files of sysctl.d.
	observe func(paths []string) map[string]string
	write   func([]shell.File)
	remove  func(paths []string)
	reboot  func() // nil if it cannot be
	inject  func(modelFault) (undo func())
	hosts   func() []*host.Host // new ones, each under another name
}

// modelRun is one sequence on one machine.
type modelRun struct {
	t       *rapid.T
	m       *modelMachine
	seq     sequence
	pool    []modelKey
	hosts   []*host.Host
	start   map[string]string // values by path, and files
	mu      sync.Mutex
	state   map[string]*object
	deposed []*object
	trace   []string
	// forgotten are keys whose values from before may be lost.
	forgotten map[string]bool
	// lost are the keys whose drop-in a failed change may have removed, with the address that knows their values.
	lost map[string]string
	next int
}

func (r *modelRun) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
}

func (r *modelRun) fatalf(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s\nwhat happened:\n  %s", fmt.Sprintf(format, args...), strings.Join(r.trace, "\n  "))
}

// observe returns every value of the pool and every file.
func (r *modelRun) observe() map[string]string {
	var paths []string
	for _, k := range r.pool {
		paths = append(paths, keyNamed(k.name).Path())
	}
	for _, name := range witnesses {
		paths = append(paths, keyNamed(name).Path())
	}
	return r.m.observe(paths)
}

func value(all map[string]string, key string) string { return all[keyNamed(key).Path()] }

// runSequence makes the machine what the sequence begins with, and does all of it.
func runSequence(t *rapid.T, m *modelMachine, pool []modelKey, clean map[string]string, seq sequence) {
	r := &modelRun{t: t, m: m, seq: seq, pool: pool, state: map[string]*object{}, forgotten: map[string]bool{},
		lost: map[string]string{}}
	m.remove(slices.DeleteFunc(slices.Collect(maps.Keys(m.observe(nil))), func(path string) bool {
		_, ok := clean[path]
		return ok
	}))
	var writes []shell.File
	write := func(path, text string) { writes = append(writes, shell.File{Path: path, Content: text}) }
	values := slices.SortedFunc(maps.Keys(clean), func(a, b string) int {
		return sysctl.Compare(keyAt(a), keyAt(b))
	})
	for _, path := range values {
		if strings.HasPrefix(path, "/proc/sys/") && (!strings.HasSuffix(path, "_bytes") || clean[path] != "0") {
			write(path, clean[path])
		}
	}
	var text strings.Builder
	for _, a := range seq.site {
		text.WriteString(a.String() + "\n")
	}
	write("/etc/sysctl.d/"+seq.siteName, text.String())
	for _, a := range slices.Concat(seq.written, seq.site) {
		write(keyNamed(a.key).Path(), a.value)
	}
	m.write(writes)
	r.start = r.observe()
	for i, a := range seq.applies {
		r.note("apply %d", i+1)
		if a.fault.kind != "" {
			undo := m.inject(a.fault)
			failed := r.apply(a, true)
			undo()
			if !failed {
				r.check(a)
			}
			r.note("apply %d again", i+1)
			a.fault = modelFault{}
			a.replaced = nil
		}
		// A change may be refused while the old file of another still has the last word, and that one while a third has.
		for again := 0; r.apply(a, again > 0 && again < mostRefused || again == 0 && r.inTransit(a)); again++ {
			r.note("apply %d again", i+1)
			a.replaced = nil
		}
		r.check(a)
	}
	if m.reboot != nil && seq.reboots {
		r.reboot()
	}
	r.note("destroy")
	last := modelApply{order: seq.applies[len(seq.applies)-1].order, parallel: seq.applies[0].parallel}
	r.apply(last, false)
	if seq.reboots && m.reboot != nil {
		return // what was written by hand is gone
	}
	now := r.observe()
	for key := range r.forgotten {
		delete(now, keyNamed(key).Path())
		delete(r.start, keyNamed(key).Path())
	}
	if !maps.Equal(now, r.start) {
		r.fatalf("after the last destroy:%s", difference(r.start, now))
	}
}

// inTransit reports whether a drop-in which the apply changes or removes sets a key that changes a desired one. Until
// it is gone, the product may refuse the desired one: it would be lost at a boot in between. The next apply then
// succeeds.
func (r *modelRun) inTransit(a modelApply) bool {
	for address, o := range r.state {
		for _, was := range o.s.Settings {
			for desired, settings := range a.desired {
				for _, v := range settings {
					stays := slices.Contains(a.desired[address], assignment{was.Key.String(), was.Value})
					if leads(was.Key.String(), v.key) && (!stays || desired != address) {
						return true
					}
				}
			}
		}
	}
	return false
}

func keyAt(path string) sysctl.Key {
	k, _ := sysctl.ParseKey(strings.TrimPrefix(path, "/proc/sys/"))
	return k
}

// difference lists what differs.
func difference(was, is map[string]string) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(mergedMaps(was, is))) {
		if was[what] != is[what] {
			fmt.Fprintf(&b, "\n  %s is %q, and was %q", what, is[what], was[what])
		}
	}
	return b.String()
}

// step is one change of an apply, after another one of the same address.
type step struct {
	address string
	old     *object // what is updated or destroyed
	want    *host.Sysctls
	refused bool
	after   *step
	done    chan struct{}
	failed  bool
}

func (s *step) String() string {
	switch {
	case s.want == nil:
		return fmt.Sprintf("destroy %s (%s)", s.address, s.old.s.Instance)
	case s.old == nil:
		return fmt.Sprintf("create %s (%s) in %s: %s", s.address, s.want.Instance, s.want.FileName, settingsText(*s.want))
	}
	return fmt.Sprintf("update %s (%s) in %s: %s", s.address, s.want.Instance, s.want.FileName, settingsText(*s.want))
}

// kept returns the settings of old whose keys want has too. The product refuses to create a drop-in in the place of one
// with other keys, since it cannot know that the other's object is about to be destroyed.
func kept(old, want host.Sysctls) []host.Setting {
	return slices.DeleteFunc(slices.Clone(old.Settings), func(v host.Setting) bool {
		return !slices.ContainsFunc(want.Settings, func(w host.Setting) bool { return w.Key == v.Key })
	})
}

func settingsText(s host.Sysctls) string {
	var all []string
	for _, v := range s.Settings {
		all = append(all, v.Key.String()+" = "+v.Value)
	}
	return strings.Join(all, ", ")
}

// wanted returns what a resource asks of the host.
func (r *modelRun) wanted(address string, settings []assignment) host.Sysctls {
	s := host.Sysctls{Resource: "host_sysctls", Persist: true, Restore: true}
	prefix := "90-"
	for _, a := range settings {
		k := keyNamed(a.key)
		s.Settings = append(s.Settings, host.Setting{Key: k, Value: a.value})
		if sysctl.Leads(k) {
			prefix = "85-"
		}
	}
	kind, name, _ := strings.Cut(address, " ")
	if kind == "one" {
		s.Resource = "host_sysctl"
	}
	s.Name, s.FileName = name, prefix+name+".conf"
	return s
}

// instance returns a name that no other instance has.
func (r *modelRun) instance() string {
	r.next++
	return fmt.Sprintf("i%d", r.next)
}

// steps returns the changes that lead to what an apply desires.
func (r *modelRun) steps(a modelApply) []*step {
	var all []*step
	add := func(s *step) *step {
		s.done = make(chan struct{})
		all = append(all, s)
		return s
	}
	for _, address := range a.order {
		var deposed *step
		for _, old := range r.deposed {
			if old.address == address {
				deposed = add(&step{address: address, old: old})
			}
		}
		old := r.state[address]
		settings, declared := a.desired[address]
		if !declared {
			if old != nil {
				add(&step{address: address, old: old, after: deposed})
			}
			continue
		}
		want := r.wanted(address, settings)
		switch {
		case old == nil:
			want.Instance = r.instance()
			add(&step{address: address, want: &want})
		case a.replaced[address] || old.tainted:
			want.Instance = r.instance()
			if a.createFirst && len(old.s.Settings) == len(kept(old.s, want)) {
				create := add(&step{address: address, want: &want})
				add(&step{address: address, old: old, after: create})
			} else {
				destroy := add(&step{address: address, old: old})
				add(&step{address: address, want: &want, after: destroy})
			}
		case settingsText(old.s) != settingsText(want) || old.s.FileName != want.FileName || old.unsure:
			want.Instance = old.s.Instance
			add(&step{address: address, old: old, want: &want})
		}
	}
	if a.fault.kind == "refused" && len(all) > 0 {
		if s := all[a.fault.at%len(all)]; s.want != nil {
			bad := *s.want
			bad.Settings = slices.Clone(bad.Settings)
			bad.Settings[0].Value = "9999999999999999999999"
			s.want, s.refused = &bad, true
		}
	}
	return all
}

// apply makes the host what is desired. mayFail says that something was made to go wrong.
func (r *modelRun) apply(a modelApply, mayFail bool) (failed bool) {
	all := r.steps(a)
	r.hosts = r.m.hosts() // of a process of its own
	do := func(s *step) {
		defer close(s.done)
		if s.after != nil {
			<-s.after.done
			if s.failed = s.after.failed; s.failed {
				return
			}
		}
		h := r.hosts[0]
		if a.otherName[s.address] {
			h = r.hosts[1]
		}
		r.take(h, s, mayFail, !a.parallel)
	}
	if a.parallel && os.Getenv(modelVariable) != "" {
		var work sync.WaitGroup
		places := make(chan struct{}, 4)
		for _, s := range all {
			places <- struct{}{}
			work.Go(func() { defer func() { <-places }(); do(s) })
		}
		work.Wait()
	} else {
		for _, s := range all {
			do(s)
		}
	}
	for _, s := range all {
		failed = failed || s.failed
	}
	if failed && !mayFail {
		r.fatalf("an apply failed in which nothing goes wrong")
	}
	return failed
}

// take takes one step, and records what Terraform records.
func (r *modelRun) take(h *host.Host, s *step, mayFail, alone bool) {
	ctx := context.Background()
	var before map[string]string
	if mayFail && alone {
		before = r.observe()
	}
	var states map[sysctl.Key]host.SysctlState
	var err error
	switch {
	case s.want == nil:
		err = unset(ctx, h, s.old)
	case s.old == nil:
		states, err = set(ctx, h, *s.want, nil, nil)
	default:
		prior := s.old.known()
		states, err = set(ctx, h, *s.want, &prior, s.old.originals)
	}
	maybe := host.MayHaveChanged(err)
	r.note("%v: %v", s, err)
	if errors.Is(err, &host.Error{Kind: host.NotRestored}) && !maybe && (mayFail || r.forgets(s.old)) {
		err = nil
	}
	s.failed = err != nil
	if s.refused && err == nil {
		r.fatalf("a value that the kernel refuses is taken")
	}
	if err != nil && !maybe && before != nil {
		if now := r.observe(); !maps.Equal(now, before) {
			r.fatalf("a failed change leaves something, and its error does not say so:%s", difference(before, now))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteLost(s, err == nil, maybe)
	if maybe {
		r.forgetValuesBefore(s)
	}
	switch {
	case s.want == nil && err == nil:
		r.deposed = slices.DeleteFunc(r.deposed, func(o *object) bool { return o == s.old })
		if r.state[s.address] == s.old {
			delete(r.state, s.address)
		}
	case s.want == nil:
		s.old.unsure = maybe
	case s.old == nil && (err == nil || maybe):
		if replaced := r.state[s.address]; replaced != nil {
			r.deposed = append(r.deposed, replaced)
		}
		r.state[s.address] = &object{address: s.address, s: *s.want, originals: originals(states), tainted: maybe}
	case s.old == nil:
	case err == nil:
		r.state[s.address] = &object{address: s.address, s: *s.want, originals: originals(states)}
	case maybe:
		for k, v := range originals(states) {
			if _, ok := s.old.originals[k]; !ok {
				s.old.originals[k] = v
			}
		}
	}
}

// forgets reports whether the values from before of an object may be lost.
func (r *modelRun) forgets(o *object) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o == nil {
		return false
	}
	return slices.ContainsFunc(o.known().Settings, func(v host.Setting) bool { return r.forgotten[v.Key.String()] })
}

// noteLost notes whether the drop-in of a step may be gone. Another resource that sets its keys then takes what they
// have for their values from before, since only the state of the first resource knows better.
func (r *modelRun) noteLost(s *step, succeeded, maybe bool) {
	if s.want != nil {
		for _, v := range s.want.Settings {
			if address, ok := r.lost[v.Key.String()]; ok && address != s.address {
				r.forgotten[v.Key.String()] = true
			}
		}
	}
	if succeeded {
		maps.DeleteFunc(r.lost, func(_, address string) bool { return address == s.address })
	}
	if maybe && s.old != nil {
		for _, v := range s.old.known().Settings {
			r.lost[v.Key.String()] = s.address
		}
	}
}

// forgetValuesBefore notes that the drop-in of a step may be gone although the change failed. Nobody but that drop-in
// knows what the keys had that its own keys change.
func (r *modelRun) forgetValuesBefore(s *step) {
	var keys []string
	if s.old != nil {
		for _, v := range s.old.known().Settings {
			keys = append(keys, v.Key.String())
		}
	}
	if s.want != nil {
		for _, v := range s.want.Settings {
			keys = append(keys, v.Key.String())
		}
	}
	for range 2 { // by way of a key that leads both
		for _, k := range keys {
			for _, name := range r.names() {
				if (leads(k, name) || leads(name, k)) && !slices.Contains(keys, name) {
					keys = append(keys, name)
					r.forgotten[name], r.forgotten[k] = true, true
				}
			}
		}
	}
}

// known returns what the object asks for, with the keys of which the state has only the values from before.
func (o *object) known() host.Sysctls {
	s := o.s
	s.Settings = slices.Clone(s.Settings)
	for k := range o.originals {
		if !slices.ContainsFunc(s.Settings, func(v host.Setting) bool { return v.Key == k }) {
			s.Settings = append(s.Settings, host.Setting{Key: k})
		}
	}
	return s
}

// single returns a host_sysctl as its resource asks for it, and the value from before that the state has.
func single(s host.Sysctls, originals map[sysctl.Key]string) (one host.Sysctl, original *string) {
	v := s.Settings[0]
	if text, ok := originals[v.Key]; ok {
		original = &text
	}
	return host.Sysctl{Key: v.Key, Value: v.Value, FileName: s.FileName, Persist: true, Instance: s.Instance}, original
}

func set(ctx context.Context, h *host.Host, s host.Sysctls, prior *host.Sysctls,
	known map[sysctl.Key]string) (map[sysctl.Key]host.SysctlState, error) {
	if s.Resource != "host_sysctl" {
		return h.SetSysctls(ctx, s, prior, known)
	}
	one, original := single(s, known)
	var was *host.Sysctl
	if prior != nil {
		before, _ := single(*prior, nil)
		was = &before
	}
	st, err := h.SetSysctl(ctx, one, was, original)
	return map[sysctl.Key]host.SysctlState{one.Key: st}, err
}

func unset(ctx context.Context, h *host.Host, o *object) error {
	s := o.known()
	if s.Resource != "host_sysctl" {
		return h.UnsetSysctls(ctx, s, o.originals)
	}
	one, original := single(s, o.originals)
	return h.UnsetSysctl(ctx, one, original, true)
}

// check compares the host with what an apply without an error promises.
func (r *modelRun) check(a modelApply) {
	now := r.observe()
	r.hosts = r.m.hosts()
	declared, files := map[string]string{}, map[string]bool{}
	for address, o := range r.state {
		files[o.s.Path()] = true
		states, err := r.hosts[0].ReadSysctls(context.Background(), o.s)
		if err != nil {
			r.fatalf("%s cannot be read: %v", address, err)
		}
		for _, v := range o.s.Settings {
			declared[v.Key.String()] = v.Value
			st := states[v.Key]
			if text(st.Running) != v.Value || text(st.Boot) != v.Value || now[v.Key.Path()] != v.Value {
				r.fatalf("%s declares %s = %s, but it runs %q (read %q), and the next boot brings %q by %s", address, v.Key,
					v.Value, now[v.Key.Path()], text(st.Running), text(st.Boot), text(st.BootSource))
			}
		}
	}
	if len(r.deposed) > 0 || len(r.state) != len(a.desired) {
		r.fatalf("the state has %d resources and %d deposed objects, and %d are declared", len(r.state), len(r.deposed),
			len(a.desired))
	}
	r.checkFiles(now, declared, files)
	for _, k := range r.names() {
		if _, ok := declared[k]; ok || r.forgotten[k] || value(now, k) == value(r.start, k) {
			continue
		}
		var by []string
		for other := range declared {
			if leads(other, k) && (mutual(other, k) || !r.inSite(k)) {
				by = append(by, other)
			}
		}
		if len(by) == 0 {
			r.fatalf("%s is %s; nothing declares it, and it was %s", k, value(now, k), value(r.start, k))
		}
	}
}

// reboot boots the host, and wants every declared key to have its value.
func (r *modelRun) reboot() {
	r.note("reboot")
	r.m.reboot()
	now := r.observe()
	for address, o := range r.state {
		for _, v := range o.s.Settings {
			if now[v.Key.Path()] != v.Value {
				r.fatalf("%s declares %s = %s, and after a reboot it is %q", address, v.Key, v.Value, now[v.Key.Path()])
			}
		}
	}
}

// names returns the names of all keys that are observed.
func (r *modelRun) names() []string {
	all := slices.Clone(witnesses)
	for _, k := range r.pool {
		all = append(all, k.name)
	}
	return all
}

func (r *modelRun) inSite(key string) bool {
	return slices.ContainsFunc(r.seq.site, func(a assignment) bool { return a.key == key })
}

// checkFiles wants each declared key in one drop-in of ours, the other files as they were, and no other drop-in.
func (r *modelRun) checkFiles(now, declared map[string]string, files map[string]bool) {
	in := map[string]int{}
	for path, text := range now {
		was, wasThere := r.start[path]
		switch {
		case strings.HasPrefix(path, "/proc/sys/") || strings.HasSuffix(path, ".terraform-tmp"):
		case files[path]:
			all, _ := sysctl.ParseFile(path, text)
			for _, a := range all {
				in[strings.ReplaceAll(a.Pattern, "/", ".")]++
			}
		case !wasThere || was != text:
			r.fatalf("%s holds %q, and held %q", path, text, was)
		}
	}
	for path := range r.start {
		if _, ok := now[path]; !ok {
			r.fatalf("%s is gone", path)
		}
	}
	for key := range mergedMaps(declared, map[string]string{}) {
		if in[key] != 1 {
			r.fatalf("%d drop-ins set %s", in[key], key)
		}
		delete(in, key)
	}
	if len(in) > 0 {
		r.fatalf("drop-ins also set %v", in)
	}
}

const (
	// modelVariable names the variable with the number of sequences to try on demand.
	modelVariable = "MODEL_SEQUENCES"
	// mostRefused is how often an apply may be refused that moves keys which change each other.
	mostRefused = 3
)

// modelSequences sets how many sequences rapid tries: MODEL_SEQUENCES of them, with what is parallel in them at the
// same time, or n. Those are the same every time, one step after the other, so that a red gate is about the change.
func modelSequences(t *testing.T, n int) {
	t.Helper()
	if text := os.Getenv(modelVariable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			t.Fatalf("MODEL_SEQUENCES=%q: want a number of sequences, such as 10000", text)
		}
	} else {
		must(t, flag.Set("rapid.seed", "1"))
		if raceDetector {
			n /= 5 // make testunit tries all of them without it
		}
	}
	must(t, flag.Set("rapid.checks", strconv.Itoa(n)))
	must(t, flag.Set("rapid.nofailfile", "true"))
}

// Guards that random applies leave what they declare, one after the other and several at a time, and nothing of it when
// all is destroyed: on the simulated host.
func TestModelOnSimulatedHost(t *testing.T) {
	modelSequences(t, 500)
	pool := modelPool("default",
		modelKey{"vm.swappiness", []string{"10", "30"}},
		modelKey{"vm.dirty_bytes", []string{"8388608", "100000000"}}, modelKey{"vm.dirty_ratio", []string{"10", "30"}})
	checkModel(t, parallelTests(t), simulatedModel, pool, []string{"full", "read-only", "cut", "refused"})
}

// parallelTests is how many tests may run at the same time. Sequences wait more than they compute.
func parallelTests(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String())
	must(t, err)
	return n
}

// simulatedModel returns a simulated host for sequences.
func simulatedModel(t *testing.T) *modelMachine {
	t.Helper()
	b := newBench(t)
	ssh := modelPoolTo(t, b, 5*time.Second)
	m := &modelMachine{reboot: b.Reboot}
	m.remove = func(paths []string) {
		for _, path := range paths {
			b.RemoveFile(path)
		}
	}
	m.write = func(files []shell.File) {
		for _, f := range files {
			b.WriteFile(f.Path, f.Content)
		}
	}
	m.observe = func(paths []string) map[string]string {
		all := map[string]string{}
		for _, path := range paths {
			all[path], _ = b.ReadFile(path)
			all[path] = strings.TrimSpace(all[path])
		}
		for _, name := range b.List("/etc/sysctl.d") {
			if !strings.HasSuffix(name, ".terraform-tmp") {
				all["/etc/sysctl.d/"+name], _ = b.ReadFile("/etc/sysctl.d/" + name)
			}
		}
		return all
	}
	m.hosts = func() []*host.Host { return twoNames(t, ssh, b.Addr()) }
	m.inject = func(f modelFault) (undo func()) {
		switch f.kind {
		case "full":
			return b.Inject(hosttest.Fault{Errno: syscall.ENOSPC, Path: "/etc/sysctl.d"})
		case "read-only":
			return b.Inject(hosttest.Fault{Errno: syscall.EROFS, Path: "/etc/sysctl.d"})
		case "cut":
			first := b.Inject(hosttest.Fault{CutAt: f.at, After: true})
			second := func() {}
			if f.also > 0 {
				second = b.Inject(hosttest.Fault{CutAt: f.at + f.also})
			}
			return func() { first(); second() }
		}
		return func() {}
	}
	return m
}

// modelPoolTo returns connections to a machine, which end with t.
func modelPoolTo(t *testing.T, m interface {
	PrivateKey() string
	HostKey() string
}, timeout time.Duration) *sshconn.Pool {
	t.Helper()
	ssh := sshconn.NewPool(sshconn.Config{
		Defaults:       route.Settings{Login: route.Login{PrivateKey: m.PrivateKey(), HostKey: m.HostKey()}},
		ConnectTimeout: timeout, Timeout: timeout,
	})
	t.Cleanup(ssh.Close)
	return ssh
}

// twoNames returns one machine as a process that has just started sees it under two names.
func twoNames(t *testing.T, ssh *sshconn.Pool, addr string) (all []*host.Host) {
	t.Helper()
	for range 2 {
		h, err := host.NewFleet(func(name string) (host.Conn, error) { return ssh.Conn(name) }).Host(addr)
		must(t, err)
		all = append(all, h)
	}
	return all
}

// Guards the same on a real kernel.
func TestModelOnRealKernel(t *testing.T) {
	modelSequences(t, 50)
	start := func(t *testing.T) *modelMachine { t.Helper(); return realModel(t, sshdPlant(t)) }
	checkModel(t, runtime.GOMAXPROCS(0), start, modelPool("lo"), realFaults)
}

// realFaults are the faults that a real machine can have.
var realFaults = []string{"cut", "refused"}

// realModel returns a real machine for sequences.
func realModel(t *testing.T, p *plant) *modelMachine {
	t.Helper()
	ssh := modelPoolTo(t, p.machine, time.Minute)
	sh := func(script string) string {
		t.Helper()
		out, status := p.machine.Sh(script)
		if status != 0 {
			t.Fatalf("%s: %d, %s", script, status, out)
		}
		return out
	}
	m := &modelMachine{remove: func(paths []string) { sh("rm -f " + strings.Join(paths, " ")) }}
	m.write = func(files []shell.File) {
		var script strings.Builder
		for _, f := range files {
			script.WriteString("printf '%s' '" + f.Content + "' >" + f.Path + "\n")
		}
		sh("set -e\n" + script.String())
	}
	m.observe = func(paths []string) map[string]string {
		all := map[string]string{}
		for line := range strings.Lines(sh("grep -sH '' " + strings.Join(paths, " ") + " /etc/sysctl.d/*; true")) {
			path, text, _ := strings.Cut(line, ":")
			if all[path] += text; strings.HasPrefix(path, "/proc/sys/") {
				all[path] = strings.TrimSpace(text)
			}
		}
		return all
	}
	m.hosts = func() []*host.Host { return twoNames(t, ssh, p.wire.listener.Addr().String()) }
	m.inject = func(f modelFault) (undo func()) {
		if f.kind == "cut" {
			p.wire.count(f.at, answered, nil)
			return func() { p.wire.counted() }
		}
		return func() {}
	}
	return m
}

// checkModel tries sequences on several machines at once. Each of them draws all sequences and runs its share.
func checkModel(t *testing.T, machines int, start func(*testing.T) *modelMachine, pool []modelKey, faults []string) {
	t.Helper()
	all := sequences(pool, faults)
	usual := debug.SetGCPercent(400) // there is little to keep and much to drop
	t.Cleanup(func() { debug.SetGCPercent(usual) })
	for i := range machines {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			t.Parallel()
			m := start(t)
			clean := (&modelRun{m: m, pool: pool}).observe()
			drawn, failed := 0, false
			rapid.Check(t, func(rt *rapid.T) {
				seq := all.Draw(rt, "sequence")
				drawn++
				if drawn%machines != i && !failed { // once a sequence has failed, all that follow are attempts to make it smaller
					return
				}
				passed := false
				defer func() { failed = failed || !passed }()
				runSequence(rt, m, pool, clean, seq)
				passed = true
			})
		})
	}
}
