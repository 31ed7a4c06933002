package boot

import (
	"path"
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// maxLine is where systemd gives up on a file: LONG_LINE_MAX, in bytes, with the line's end.
const maxLine = 1 << 20

// untilTooLong is the text of a file as far as systemd reads it, and the failure if that is not all.
func untilTooLong(f confdir.File, unit string) (text string, failure *UnitFailure) {
	if len(f.Text) < maxLine {
		return f.Text, nil
	}
	n, start := 0, 0
	for start < len(f.Text) {
		end := strings.IndexAny(f.Text[start:], "\n\r\x00")
		if end < 0 {
			end = len(f.Text) - start
		}
		n++
		if end >= maxLine {
			detail := "The line is longer than the 1 MiB that systemd reads; it and all lines after it are lost."
			failure := lineFails(unit, confdir.Position{File: f.Path, Line: n}.String(), detail)
			return f.Text[:start], &failure
		}
		start += end + 1
	}
	return f.Text, nil
}

// The kernel's words for a file that opens or reads as an error in whatever process tries, root's too.
const (
	isDirectory = "Is a directory"
	linkLoop    = "Too many levels of symbolic links"
	linkLoopToo = "Symbolic link loop" // musl's word
)

// standing are the strongest entries of each basename, masks included, in the order of confdir.Order.
func standing(files []confdir.File) []confdir.File {
	byPath := map[string]confdir.File{}
	marked := slices.Clone(files)
	for i, f := range files {
		byPath[f.Path] = f
		marked[i].Regular, marked[i].Text = true, "content, so that Order leaves none out"
	}
	order := confdir.Order(marked)
	for i, f := range order {
		order[i] = byPath[f.Path]
	}
	return order
}

// hidden are the readable files that a stronger one of the same basename hides, each with the path of that one.
func hidden(files []confdir.File) map[string]string {
	by := map[string]string{}
	for _, f := range standing(files) {
		by[path.Base(f.Path)] = f.Path
	}
	found := map[string]string{}
	for _, f := range files {
		if winner := by[path.Base(f.Path)]; winner != "" && winner != f.Path && f.Regular && f.Unread == "" {
			found[f.Path] = winner
		}
	}
	return found
}

// brokenFiles are the entries of a family that make its program fail: directories and links that lead to themselves.
func brokenFiles(files []confdir.File, unit string) []UnitFailure {
	var failures []UnitFailure
	for _, f := range standing(files) {
		if !f.Regular && (f.Unread == isDirectory || f.Unread == linkLoop || f.Unread == linkLoopToo) {
			failures = append(failures, lineFails(unit, f.Path, "It cannot be read: "+f.Unread+"."))
		}
	}
	return failures
}
