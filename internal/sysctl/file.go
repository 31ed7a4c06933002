package sysctl

// What one sysctl.d file says.

import (
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
)

// Assignment is one line of a sysctl.d file that sets something, or that keeps a pattern from setting it.
type Assignment struct {
	// Pattern is what is set, as a path below /proc/sys such as net/ipv4/conf/*/rp_filter. It need not be a well-formed Key.
	Pattern string
	// Value is what is written, without outer white space. What looks like a comment behind it is part of it.
	Value string
	// HasValue is false for a line such as "-net.ipv4.conf.all.rp_filter": patterns leave that key alone, and an earlier value for it is void.
	HasValue bool
	// Ignore says that a leading "-" makes systemd-sysctl take no notice of a failure.
	Ignore bool
	// At is the line in its file.
	At confdir.Position
}

// IsGlob says whether the assignment is for every key that matches its Pattern.
func (a Assignment) IsGlob() bool { return confdir.IsGlob(a.Pattern) }

// Matches says whether the assignment is about k: by name, or by a pattern as glob(3) would find it.
func (a Assignment) Matches(k Key) bool {
	if !a.IsGlob() {
		return a.Pattern == k.path
	}
	parts := strings.Split(k.path, "/")
	return slices.ContainsFunc(confdir.Braces(a.Pattern), func(pattern string) bool {
		return slices.EqualFunc(strings.Split(pattern, "/"), parts, func(pattern, part string) bool {
			return confdir.Match(pattern, part) && (part[0] != '.' || pattern != "" && pattern[0] == '.')
		})
	})
}

// BadLine is a line of a sysctl.d file that can set nothing. systemd-sysctl goes on with the next one, and in the end exits 1.
type BadLine struct {
	At confdir.Position
	// Text is the line without outer white space.
	Text string
	// Problem is what is wrong with it, such as "it is no assignment".
	Problem string
}

// ParseFile reads the text of one sysctl.d file as systemd-sysctl does: one assignment a line; lines that begin with #
// or ; are comments, and nothing else is. Which of several lines for one key counts is for package boot to decide.
func ParseFile(file, text string) (assignments []Assignment, bad []BadLine) {
	return parseFile(file, text, "#;")
}

// ParsePlainFile is ParseFile as systemd-sysctl reads files from version 259 on: only # begins a comment.
func ParsePlainFile(file, text string) (assignments []Assignment, bad []BadLine) {
	return parseFile(file, text, "#")
}

func parseFile(file, text, comments string) (assignments []Assignment, bad []BadLine) {
	at := confdir.Position{File: file}
	for raw := range confdir.Lines(text) {
		at.Line++
		s := strings.Trim(raw, confdir.Blanks)
		if s == "" || strings.IndexByte(comments, s[0]) >= 0 {
			continue
		}
		refuse := func(problem string) { bad = append(bad, BadLine{At: at, Text: s, Problem: problem}) }
		rest, ignore := strings.CutPrefix(s, "-")
		name, value, hasValue := strings.Cut(rest, "=")
		if !hasValue && !ignore {
			refuse("it is no assignment")
			continue
		}
		pattern := simplify(swap(strings.Trim(name, confdir.Blanks)))
		if pattern == "" {
			refuse("it names no key")
			continue
		}
		assignments = append(assignments, Assignment{
			Pattern: pattern, Value: strings.Trim(value, confdir.Blanks), HasValue: hasValue, Ignore: ignore && hasValue, At: at,
		})
	}
	return assignments, bad
}

// simplify drops what changes nothing in a path: "." parts and doubled, leading or trailing slashes. ".." parts stay.
func simplify(p string) string {
	parts := slices.DeleteFunc(strings.Split(p, "/"), func(part string) bool { return part == "" || part == "." })
	return strings.Join(parts, "/")
}
