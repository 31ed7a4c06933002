package provider

// Validators: what can be refused without a host, so that `terraform validate` says it.

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// checked is a validator of one string by a function that the pure packages have.
type checked struct {
	summary, form string
	check         func(string) error
}

var _ validator.String = checked{}

func (c checked) Description(context.Context) string         { return c.form }
func (c checked) MarkdownDescription(context.Context) string { return c.form }

func (c checked) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := c.check(req.ConfigValue.ValueString()); err != nil {
		failAt(&resp.Diagnostics, req.Path, c.summary, err.Error())
	}
}

func keyValidators() []validator.String {
	return []validator.String{checked{"malformed sysctl key", "must be a sysctl key", func(s string) error { _, err := sysctl.ParseKey(s); return err }}}
}

func alsoKeysValidators() []validator.Set {
	return []validator.Set{setvalidator.NoNullValues(), setvalidator.ValueStringsAre(keyValidators()...)}
}

func valueValidators() []validator.String {
	return []validator.String{checked{"malformed sysctl value", "must be one line", func(s string) error { _, err := sysctl.ParseValue(s); return err }}}
}

func moduleValidators() []validator.String {
	return []validator.String{checked{"malformed kernel module name", "must be a module's name", func(s string) error { _, err := kmod.ParseName(s); return err }}}
}

func durationValidators() []validator.String {
	return []validator.String{checked{"malformed duration", "must be a duration such as 30s or 5m", func(s string) error {
		if d, err := time.ParseDuration(s); err != nil || d <= 0 {
			return fmt.Errorf("%q is not a time above zero. Write a number and a unit, such as 30s or 5m", s)
		}
		return nil
	}}}
}

func fileNameValidators() []validator.String {
	return []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@:,+-]*\.conf$`),
		"must be a file name without a directory that ends in .conf, since systemd and procps read no other")}
}

// groupNameValidators leave room for the rest of a file name, and tell a name from a file.
func groupNameValidators() []validator.String {
	return []validator.String{
		stringvalidator.RegexMatches(regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@:,+-]*$`), "must be fit for a file name: letters, digits and _ . @ : , + -"),
		stringvalidator.LengthAtMost(200),
		checked{"malformed name", "must be a name without .conf", func(s string) error {
			if strings.HasSuffix(s, ".conf") {
				return fmt.Errorf("%q is a file's name. Give the group a name of its own, and set file_name", s)
			}
			return nil
		}},
	}
}

// checkedSettings is a validator of sysctl values by key.
type checkedSettings struct{}

var _ validator.Map = checkedSettings{}

func settingsValidators() []validator.Map { return []validator.Map{checkedSettings{}} }

func (checkedSettings) Description(context.Context) string { return "must be sysctl values by key" }

func (c checkedSettings) MarkdownDescription(ctx context.Context) string { return c.Description(ctx) }

func (checkedSettings) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	seen, elements := map[sysctl.Key]string{}, req.ConfigValue.Elements()
	for _, name := range slices.Sorted(maps.Keys(elements)) {
		at := req.Path.AtMapKey(name)
		k, err := sysctl.ParseKey(name)
		if err != nil {
			failAt(&resp.Diagnostics, at, "malformed sysctl key", err.Error())
			continue
		}
		if other, twice := seen[k]; twice {
			failAt(&resp.Diagnostics, at, "sysctl key twice", other+" and "+name+" are two spellings of one key. Leave one of them out.")
		}
		seen[k] = name
		value, ok := elements[name].(types.String)
		if !ok || value.IsUnknown() {
			continue
		}
		if value.IsNull() {
			failAt(&resp.Diagnostics, at, "malformed sysctl value", "The value of "+name+" is null. Give it a value, or leave the key out.")
			continue
		}
		if _, err := sysctl.ParseValue(value.ValueString()); err != nil {
			failAt(&resp.Diagnostics, at, "malformed sysctl value", name+": "+err.Error())
		}
	}
}

func hostValidators() []validator.String {
	return []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^[^/\s]+$`), "must be a name in hosts or [user@]address[:port]")}
}

func portValidators() []validator.Int64 { return []validator.Int64{int64validator.Between(1, 65535)} }

// checkedParameters is a validator of a module's parameters.
type checkedParameters struct{}

var _ validator.Map = checkedParameters{}

func parameterValidators() []validator.Map { return []validator.Map{checkedParameters{}} }

func (checkedParameters) Description(context.Context) string { return "must be module parameters" }

func (c checkedParameters) MarkdownDescription(ctx context.Context) string { return c.Description(ctx) }

func (checkedParameters) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for name, element := range req.ConfigValue.Elements() {
		value, ok := element.(types.String)
		if !ok || value.IsUnknown() {
			continue
		}
		if value.IsNull() {
			failAt(&resp.Diagnostics, req.Path.AtMapKey(name), "malformed module parameter", "The parameter "+name+" is null. Give it a value, or leave it out.")
			continue
		}
		if _, err := kmod.ParseParameter(name, value.ValueString()); err != nil {
			failAt(&resp.Diagnostics, req.Path.AtMapKey(name), "malformed module parameter", err.Error())
		}
	}
}
