package provider

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/host"
)

const guides = "../../docs/guides"

// Guards that the guide has each heading of a diagnostic, with what to do about it, and none that the code lacks.
func TestGuideHasEveryHeading(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(guides, "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	inCode := headings(t)
	inGuide := map[string]bool{}
	for _, section := range strings.Split(string(text), "\n### ")[1:] {
		heading, below, _ := strings.Cut(section, "\n")
		below, _, _ = strings.Cut(below, "\n## ")
		if inGuide[heading] {
			t.Errorf("the guide has %q twice", heading)
		}
		inGuide[heading] = true
		if inCode[heading] == "" {
			t.Errorf("templates/guides/troubleshooting.md.tmpl explains %q, which no diagnostic has", heading)
		}
		if len(strings.TrimSpace(below)) < 40 || !strings.Contains(below, "`") {
			t.Errorf("below %q the guide does not say what to type: %q", heading, below)
		}
	}
	for _, heading := range slices.Sorted(maps.Keys(inCode)) {
		if !inGuide[heading] {
			t.Errorf("%s: templates/guides/troubleshooting.md.tmpl does not explain %q", inCode[heading], heading)
		}
	}
}

// headings are the summaries that a diagnostic of the provider may have, each with the place in the code that has it:
// the constants of host.Kind, what a method Summary returns, and what this package hands to the functions that make
// diagnostics. HOST stands for the name of a host.
func headings(t *testing.T) map[string]string {
	t.Helper()
	found, packages := map[string]string{}, map[string]bool{}
	files := token.NewFileSet()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			return err
		}
		add := func(e ast.Expr) bool {
			text, ok := headingOf(e)
			if ok {
				found[text] = files.Position(e.Pos()).String()
				packages[file.Name.Name] = true
			}
			return ok
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if kind, ok := n.Type.(*ast.Ident); ok && file.Name.Name == "host" && kind.Name == "Kind" {
					text, _ := headingOf(n.Values[0])
					text = (&host.Error{Kind: host.Kind(text), Host: "HOST"}).Summary()
					found[text] = files.Position(n.Pos()).String()
					packages["host"] = true
				}
			case *ast.FuncDecl:
				if n.Name.Name == "Summary" && n.Recv != nil {
					ast.Inspect(n, func(n ast.Node) bool {
						if r, ok := n.(*ast.ReturnStmt); ok {
							add(r.Results[0])
						}
						return true
					})
				}
			}
			return true
		})
		if file.Name.Name == "provider" {
			providerHeadings(t, files, file, add)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"fault", "host", "provider"}; !slices.Equal(slices.Sorted(maps.Keys(packages)), want) {
		t.Errorf("headings are in the packages %v, want %v", packages, want)
	}
	return found
}

// providerHeadings adds the summaries that one file of this package names.
func providerHeadings(t *testing.T, files *token.FileSet, file *ast.File, add func(ast.Expr) bool) {
	t.Helper()
	summaryAt := map[string]int{"fail": 1, "failAt": 2, "warn": 1}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name, ok := n.Fun.(*ast.Ident)
			if !ok || summaryAt[name.Name] == 0 {
				return true
			}
			summary := n.Args[summaryAt[name.Name]]
			if add(summary) {
				return true
			}
			// A variable or field of this name gets its text where the other cases look.
			switch s := summary.(type) {
			case *ast.Ident:
				ok = s.Name == "summary"
			case *ast.SelectorExpr:
				ok = s.Sel.Name == "summary"
			default:
				ok = false
			}
			if !ok {
				t.Errorf("%s: this test cannot tell the summary", files.Position(summary.Pos()))
			}
		case *ast.AssignStmt:
			if to, ok := n.Lhs[0].(*ast.Ident); ok && to.Name == "summary" {
				add(n.Rhs[0])
			}
		case *ast.CompositeLit:
			if of, ok := n.Type.(*ast.Ident); ok && of.Name == "checked" && len(n.Elts) > 0 && !add(n.Elts[0]) {
				t.Errorf("%s: this test cannot tell the summary", files.Position(n.Pos()))
			}
		}
		return true
	})
}

// headingOf is the text of an expression. It is false if the expression has no text of its own, or a Kind, whose texts
// are constants.
func headingOf(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, isLeft := headingOf(e.X)
		right, isRight := headingOf(e.Y)
		return left + right, (isLeft || isRight) && left != "" && right != ""
	case *ast.CallExpr:
		if method, ok := e.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "ValueString" {
			return "HOST", false
		}
	}
	return "", false
}

// Guards that whoever reads the README or the first page of the documentation finds every guide.
func TestGuidesAreLinked(t *testing.T) {
	t.Parallel()
	all, err := filepath.Glob("../../templates/guides/*.md.tmpl")
	if err != nil || len(all) < 4 {
		t.Fatalf("%d guides: %v", len(all), err)
	}
	for page, link := range map[string]string{"../../README.md": "](docs/guides/%.md)", "../../docs/index.md": "](guides/%)"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, guide := range all {
			name := strings.TrimSuffix(filepath.Base(guide), ".md.tmpl")
			if want := strings.ReplaceAll(link, "%", name); !strings.Contains(string(text), want) {
				t.Errorf("%s has no link %q", page, want)
			}
		}
	}
}

// Guards that each link of the documentation to a page of its own leads to a page, and to a heading that it has.
func TestLinksBetweenPagesLeadSomewhere(t *testing.T) {
	t.Parallel()
	link, notInAnchor := regexp.MustCompile(`\]\(([^):]+)\)`), regexp.MustCompile("[^a-z0-9 _-]")
	links := 0
	err := filepath.WalkDir("../../docs", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			page, anchor, _ := strings.Cut(m[1], "#")
			target := text
			if page != "" {
				if target, err = os.ReadFile(filepath.Join(filepath.Dir(name), page+".md")); err != nil {
					t.Errorf("%s has a link to %s: %v", name, m[1], err)
					continue
				}
			}
			links++
			found := anchor == "" || strings.Contains(string(target), `<a id="`+anchor+`"></a>`)
			for line := range strings.Lines(string(target)) {
				heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
				heading = strings.ReplaceAll(notInAnchor.ReplaceAllString(heading, ""), " ", "-")
				found = found || strings.HasPrefix(line, "#") && heading == anchor
			}
			if !found {
				t.Errorf("%s has a link to %s, and that page has no such heading", name, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 20 {
		t.Errorf("%d links: the documentation is not read", links)
	}
}
