package hosttest

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"mvdan.cc/sh/v3/pattern"
	"mvdan.cc/sh/v3/syntax"
)

// caseCommand is the command that a case clause becomes. Its arguments are the word and the patterns of one item.
const caseCommand = "\x00case"

// ifClause returns a case clause as a chain of ifs, with the patterns compiled once. The interpreter compiles each
// pattern whenever it comes to it, which is most of what a loop over words costs. It returns nil for a clause that is
// not simple enough.
func ifClause(c *syntax.CaseClause) *syntax.IfClause {
	if !simpleWord(c.Word) {
		return nil
	}
	word := &syntax.Word{Parts: []syntax.WordPart{&syntax.DblQuoted{Parts: c.Word.Parts}}}
	var first *syntax.IfClause
	next := &first
	for _, item := range c.Items {
		if item.Op != syntax.Break {
			return nil
		}
		var patterns []string
		for _, p := range item.Patterns {
			text, ok := patternText(p)
			if !ok {
				return nil
			}
			patterns = append(patterns, text)
		}
		call := &syntax.CallExpr{Args: []*syntax.Word{literal(caseCommand), word, literal(strings.Join(patterns, "\x00"))}}
		*next = &syntax.IfClause{Cond: []*syntax.Stmt{{Cmd: call}}, Then: item.Stmts}
		next = &(*next).Else
	}
	return first
}

func literal(text string) *syntax.Word {
	return &syntax.Word{Parts: []syntax.WordPart{&syntax.SglQuoted{Value: text}}}
}

// simpleWord reports whether the word is one variable, of which a pattern may be taken off: it may be expanded more
// than once.
func simpleWord(w *syntax.Word) bool {
	if len(w.Parts) != 1 {
		return false
	}
	v, ok := w.Parts[0].(*syntax.ParamExp)
	if !ok || v.Exp == nil {
		return ok
	}
	switch v.Exp.Op {
	case syntax.RemSmallPrefix, syntax.RemLargePrefix, syntax.RemSmallSuffix, syntax.RemLargeSuffix:
		_, ok := patternText(v.Exp.Word)
		return ok
	}
	return false
}

// patternText returns a pattern in which nothing is expanded. A quoted character has a backslash.
func patternText(w *syntax.Word) (text string, ok bool) {
	var b strings.Builder
	for i, part := range w.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			if i == 0 && strings.HasPrefix(part.Value, "~") {
				return "", false
			}
			b.WriteString(part.Value)
		case *syntax.SglQuoted:
			b.WriteString(pattern.QuoteMeta(part.Value, 0))
		default:
			return "", false
		}
	}
	return b.String(), true
}

// casePatterns are the compiled patterns of an item by their text.
var casePatterns sync.Map

// caseMatches reports whether one of an item's patterns matches the word. A malformed pattern matches nothing.
func caseMatches(word, patterns string) bool {
	compiled, ok := casePatterns.Load(patterns)
	if !ok {
		var all []*regexp.Regexp
		for text := range strings.SplitSeq(patterns, "\x00") {
			expr, err := pattern.Regexp(text, pattern.EntireString|pattern.ExtendedOperators)
			if err == nil {
				all = append(all, regexp.MustCompile(expr))
			}
		}
		compiled, _ = casePatterns.LoadOrStore(patterns, all)
	}
	all, _ := compiled.([]*regexp.Regexp)
	return slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(word) })
}
