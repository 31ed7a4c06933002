package provider

// From errors to diagnostics.

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// explained is an error that heads its own diagnostic; those of host and sshconn do.
type explained interface {
	error
	Summary() string
}

func addError(diags *diag.Diagnostics, err error) {
	summary, detail := diagnostic(err)
	fail(diags, summary, detail)
}

func addWarning(diags *diag.Diagnostics, err error) {
	summary, detail := diagnostic(err)
	warn(diags, summary, detail)
}

// fail, failAt and warn make every diagnostic of this package. Much of their text comes from a host, such as names of
// files and words of programs, and the CLI prints it as it is.
func fail(diags *diag.Diagnostics, summary, detail string) {
	diags.AddError(visible(summary), visible(detail))
}

func failAt(diags *diag.Diagnostics, at path.Path, summary, detail string) {
	diags.AddAttributeError(at, visible(summary), visible(detail))
}

func warn(diags *diag.Diagnostics, summary, detail string) {
	diags.AddWarning(visible(summary), visible(detail))
}

func diagnostic(err error) (summary, detail string) {
	summary = "operation on the host failed"
	var e explained
	if errors.As(err, &e) {
		summary = e.Summary()
	}
	return summary, err.Error()
}

// visible writes out whatever in text could control a terminal or change the order of what it shows: control characters
// other than line feed and tab, those of bidirectional text, and bytes that are not UTF-8.
func visible(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		text = text[size:]
	}
	return b.String()
}

// visibleFields does so for the fields of a log message that are text.
func visibleFields(fields map[string]any) map[string]any {
	out := make(map[string]any, len(fields))
	for name, value := range fields {
		if text, ok := value.(string); ok {
			value = visible(text)
		}
		out[name] = value
	}
	return out
}

// stringValue makes an attribute of what a host said, which need not be UTF-8; Terraform's strings must.
func stringValue(s *string) types.String {
	if s == nil {
		return types.StringNull()
	}
	return types.StringValue(strings.ToValidUTF8(*s, "\uFFFD"))
}

func mapValue(m map[string]string, diags *diag.Diagnostics) types.Map {
	elements := make(map[string]attr.Value, len(m))
	for k, v := range m {
		elements[k] = stringValue(&v)
	}
	value, d := types.MapValue(types.StringType, elements)
	diags.Append(d...)
	return value
}
