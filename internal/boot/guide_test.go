package boot

import (
	"os"
	"strings"
	"testing"
)

// Guards that the guide has every reason with its own words and its remedy.
func TestGuideListsEveryReason(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/boot.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Reasons() {
		row := strings.ReplaceAll("| `"+string(r)+"` | "+r.Sentence()+" | "+r.Remedy()+" |\n", "<name>", "NAME")
		if !strings.Contains(string(text), row) {
			t.Errorf("templates/guides/boot.md.tmpl lacks the row %s", row)
		}
	}
}
