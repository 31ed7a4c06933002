package sshconn

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// messageTable is the guide's table of messages: its text, and the words of each message that it explains.
func messageTable(t *testing.T) (table string, explained []string) {
	t.Helper()
	guide, err := os.ReadFile("../../docs/guides/connecting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(guide), "| heading | the message says | what to do |")
	if !ok {
		t.Fatal("the guide has no table of messages")
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		if len(cells) < 3 {
			continue
		}
		if strings.TrimSpace(strings.Trim(cells[2], "|\n ")) == "" {
			t.Errorf("no remedy in the row %s", row)
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			explained = append(explained, m[1])
		}
	}
	if len(explained) < 50 {
		t.Errorf("%d messages: the table is not read", len(explained))
	}
	return table, explained
}

// sources are the files of the package and of those below it, without their tests.
func sources(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*.go", "*/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
}

// Guards that the guide has every heading of an error, and that the messages it explains are those that the code has.
func TestGuideHasEveryHeadingAndNoOtherMessage(t *testing.T) {
	table, explained := messageTable(t)
	var headings []string
	for _, op := range []string{"write", "remove", "sync"} {
		headings = append(headings, (&fault.FileError{Op: op}).Summary())
	}
	for k := fault.Misconfigured; k <= fault.Hung; k++ {
		headings = append(headings, (&fault.Error{Kind: k}).Summary())
	}
	for _, h := range headings {
		if !strings.Contains(table, "\n| "+h) && !strings.Contains(table, ", "+h) {
			t.Errorf("templates/guides/connecting.md.tmpl has no row for %q", h)
		}
	}
	var code strings.Builder
	for _, name := range sources(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	for _, words := range explained {
		if !strings.Contains(code.String(), words) {
			t.Errorf("the guide explains %q, which no message has", words)
		}
	}
}

// Guards that the guide explains every message: whatever the code gives as the reason of an Error has words that the
// table has.
func TestGuideExplainsEveryMessage(t *testing.T) {
	_, explained := messageTable(t)
	// Where the reason stands among the arguments of what makes an error, and the files whose plain errors become part of
	// one.
	reasonAt := map[string]int{"fault": 1, "New": 1, "refused": 0, "malformed": 0, "unknown": 2}
	partOfOne := []string{
		"target.go", "sshconfig.go", "sshconfigkeywords.go", "sshconfigline.go", "sshmatch.go", "sshtokens.go",
	}
	// Words such as `but` would explain anything.
	explained = slices.DeleteFunc(explained, func(words string) bool { return len(words) < len("only:") })
	messages := 0
	for _, name := range sources(t) {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		check := func(reason ast.Expr) {
			var words []string
			ast.Inspect(reason, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if n.Kind == token.STRING {
						text, _ := strconv.Unquote(n.Value)
						words = append(words, text)
					}
				case *ast.CallExpr:
					trim, ok := n.Fun.(*ast.SelectorExpr)
					return !ok || trim.Sel.Name != "TrimPrefix" // whose words go
				}
				return true
			})
			text := strings.Join(words, "\x00")
			if !strings.ContainsFunc(text, unicode.IsLower) || strings.HasSuffix(text, "%w") {
				return // worded elsewhere
			}
			messages++
			if !slices.ContainsFunc(explained, func(e string) bool { return strings.Contains(text, e) }) {
				t.Errorf("%s: templates/guides/connecting.md.tmpl explains nothing of %q", files.Position(reason.Pos()), words)
			}
		}
		named := func(e ast.Expr, name string) bool {
			switch e := e.(type) {
			case *ast.Ident:
				return e.Name == name
			case *ast.SelectorExpr:
				return e.Sel.Name == name
			}
			return false
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				for function, at := range reasonAt {
					if named(n.Fun, function) && len(n.Args) > at {
						check(n.Args[at])
					}
				}
				if slices.Contains(partOfOne, filepath.Base(name)) && (named(n.Fun, "Errorf") || named(n.Fun, "New")) {
					check(n.Args[0])
				}
			case *ast.KeyValueExpr:
				if named(n.Key, "Why") {
					check(n.Value)
				}
			case *ast.AssignStmt:
				for i, to := range n.Lhs {
					if (named(to, "why") || named(to, "Why")) && i < len(n.Rhs) {
						check(n.Rhs[i])
					}
					if named(to, "notes") {
						check(n.Rhs[i])
					}
				}
			case *ast.FuncDecl:
				results := n.Type.Results
				if results == nil || len(results.List[0].Names) == 0 || results.List[0].Names[0].Name != "why" {
					return true
				}
				ast.Inspect(n.Body, func(n ast.Node) bool {
					if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
						check(r.Results[0])
					}
					return true
				})
			}
			return true
		})
	}
	if messages < 80 {
		t.Errorf("%d messages were found: the code is not read", messages)
	}
}
