package provider

// From errors to diagnostics.

import (
	"errors"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// explained is an error that heads its own diagnostic; those of host and sshconn do.
type explained interface {
	error
	Summary() string
}

func addError(diags *diag.Diagnostics, err error) {
	diags.AddError(diagnostic(err))
}

func addWarning(diags *diag.Diagnostics, err error) {
	diags.AddWarning(diagnostic(err))
}

func diagnostic(err error) (summary, detail string) {
	summary = "operation on the host failed"
	var e explained
	if errors.As(err, &e) {
		summary = e.Summary()
	}
	return summary, err.Error()
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
