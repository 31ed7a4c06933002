package sshconn

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Guards that the guide has every heading of an error, and that the messages it explains are those that the code has.
func TestGuideHasEveryHeadingAndNoOtherMessage(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guides/connecting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(guide), "| heading | the message says | what to do |")
	if !ok {
		t.Fatal("the guide has no table of messages")
	}
	headings := []string{(&FileError{Op: "write"}).Summary(), (&FileError{Op: "remove"}).Summary(), (&FileError{Op: "sync"}).Summary()}
	for k := Misconfigured; k <= Lost; k++ {
		headings = append(headings, (&Error{Kind: k}).Summary())
	}
	for _, h := range headings {
		if !strings.Contains(table, "\n| "+h) && !strings.Contains(table, ", "+h) {
			t.Errorf("templates/guides/connecting.md.tmpl has no row for %q", h)
		}
	}
	var code strings.Builder
	files, _ := filepath.Glob("*.go")
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(text)
		}
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		if len(cells) < 3 {
			continue
		}
		rows++
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if !strings.Contains(code.String(), m[1]) {
				t.Errorf("the guide explains %q, which no message has", m[1])
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d rows: the table is not read", rows)
	}
}
