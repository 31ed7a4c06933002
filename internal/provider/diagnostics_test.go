package provider

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
)

// Guards that nothing which a host says can act on the user's terminal: what controls it, or changes the order of what it
// shows, is written out. All other text stays as it is.
func TestControlCharactersAreWrittenOut(t *testing.T) {
	for said, want := range map[string]string{
		"":                                "",
		"two\nlines\tand a tab, ä, 日本, ✓": "two\nlines\tand a tab, ä, 日本, ✓",
		"\x1b]0;title\a":                  `\x1b]0;title\x07`,
		"\x1b[2Jgone\r\x00\x7f":           `\x1b[2Jgone\x0d\x00\x7f`,
		"c1 \u009b31m \u0085":             `c1 \u009b31m \u0085`,
		"\xff\x9b":                        `\xff\x9b`,
		"a\u202eb\u2066c\u2069 \u202a":    `a\u202eb\u2066c\u2069 \u202a`,
		"\ufffd is a character":           "\ufffd is a character",
		"a backslash \\x1b":               `a backslash \x1b`,
	} {
		if got := visible(said); got != want {
			t.Errorf("visible(%q) = %q, want %q", said, got, want)
		}
		var diags diag.Diagnostics
		addError(&diags, errors.New(said))
		addWarning(&diags, errors.New(said+"!"))
		if diags[0].Detail() != want || diags[1].Detail() != want+"!" {
			t.Errorf("%q is said as %v", said, diags)
		}
	}
}

// Guards that every diagnostic is made where control characters are written out, so that none is forgotten.
func TestEveryDiagnosticIsMadeInOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch s.Sel.Name {
			case "AddError", "AddWarning", "AddAttributeError", "AddAttributeWarning", "NewErrorDiagnostic", "NewWarningDiagnostic":
				found++
				if name != "diagnostics.go" {
					t.Errorf("%s: use fail, failAt or warn of diagnostics.go", set.Position(s.Pos()))
				}
			}
			return true
		})
	}
	if found < 3 {
		t.Errorf("%d diagnostics were found: the code is not read", found)
	}
}
