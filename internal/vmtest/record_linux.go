package vmtest

// The recorder: kprobes that the kernel command line sets, before the first program of the initramfs runs. Names behind
// an arrow are looked up in the kernel's BTF, which a kernel before 6.6 does not do: bookworm's has no recorder.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

//go:embed scripts/recording.sh
var recordingScript string

// recorder returns the words of the kernel command line that record a boot. 4 MB for each CPU hold some 30,000 events.
func recorder() string {
	const (
		// What a probe may say in 63 characters is too short for the names of a path by BTF: struct kiocb has ki_filp at 0,
		// struct file f_path.dentry at 72, struct dentry d_parent at 24 and d_name.name at 40.
		dentry, parent, name = "+72(+0(%di))", "+24(", "+0(+40("
		// depth is how many names are recorded, as in rp_filter, eth0, conf, ipv4, net, sys, and the root of procfs.
		depth = 7
	)
	write := []string{"p:" + eventWrite, "proc_sys_write", "comm=$comm", "iter=iter->iter_type:u8", "count=iter->count"}
	for i := range depth {
		above := strings.Repeat(parent, i) + dentry + strings.Repeat(")", i)
		write = append(write, fmt.Sprintf("name%d=%s%s)):string", i, name, above))
	}
	write = append(write, "kernel=+0(+0(iter->kvec)):string", "user=+0(iter->ubuf):ustring") // the parser needs user last
	probes := [][]string{
		write,
		{"r:" + eventWritten, "proc_sys_write", "error=$retval:s64"},
		{"p:" + eventLoad, "do_init_module", "comm=$comm", "module=mod->name:string"},
		{"r:" + eventLoaded, "do_init_module", "error=$retval:s32"},
		{
			"p:" + eventFork, "wake_up_new_task", "pid=p->pid", "cgroup=p->cgroups->dfl_cgrp->kn->name:string",
			"parent=p->cgroups->dfl_cgrp->kn->parent->name:string",
		},
	}
	events := []string{}
	for _, p := range probes {
		events = append(events, strings.Join(p, ","))
	}
	return "trace_buf_size=4M trace_clock=mono trace_event=cgroup:" + eventMoved +
		" kprobe_event=" + strings.Join(events, ";")
}

// lost matches a count, other than zero, of events that the recorder has not kept.
var lost = regexp.MustCompile(`(?m)^(overrun|commit overrun|dropped events): [1-9].*|^  \w+ +\d+ +[1-9]\d*$`)

// Recording returns what the recorder has seen since the machine's last boot began. The VM must have Options.Record.
func (v *VM) Recording() (*Recording, error) {
	text, status := v.Sh(recordingScript)
	losses, trace, _ := strings.Cut(text, "# tracer:")
	if status != 0 {
		return nil, &Error{What: "the recording could not be read", Err: errors.New(tail(losses))}
	}
	if missed := lost.FindString(losses); missed != "" {
		return nil, &Error{What: "the recorder has lost events", Err: errors.New(missed)}
	}
	r, err := ParseTrace(trace)
	if err != nil {
		return nil, &Error{What: "the recording is not understood", Err: err}
	}
	return r, nil
}

// RecordingWhen waits until a recording has what done looks for, and returns it: a service may set sysctls long after
// the machine is up. If that does not come, it returns the last recording and an error.
func (v *VM) RecordingWhen(ctx context.Context, done func(*Recording) bool) (*Recording, error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	for {
		r, err := v.Recording()
		if err != nil || done(r) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, &Error{What: "what was waited for is not in the recording", Err: ctx.Err()}
		case <-time.After(time.Second):
		}
	}
}
