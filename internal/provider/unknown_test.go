package provider

import (
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// value makes a value of this type. The attributes of an object that v does not name are null.
func value(of tftypes.Type, v any) tftypes.Value {
	fields, isMap := v.(map[string]any)
	elements, isList := v.([]any)
	switch of := of.(type) {
	case tftypes.Object:
		if !isMap {
			break
		}
		all := map[string]tftypes.Value{}
		for name, t := range of.AttributeTypes {
			all[name] = value(t, fields[name])
		}
		return tftypes.NewValue(of, all)
	case tftypes.Map:
		if !isMap {
			break
		}
		all := map[string]tftypes.Value{}
		for name, field := range fields {
			all[name] = value(of.ElementType, field)
		}
		return tftypes.NewValue(of, all)
	case tftypes.List:
		if !isList {
			break
		}
		var all []tftypes.Value
		for _, e := range elements {
			all = append(all, value(of.ElementType, e))
		}
		return tftypes.NewValue(of, all)
	}
	return tftypes.NewValue(of, v)
}

// configure returns what resources get of a provider block with these values.
func configure(t *testing.T, values map[string]any) *target {
	t.Helper()
	p := New("test")
	t.Cleanup(p.Close)
	var schema provider.SchemaResponse
	p.Schema(t.Context(), provider.SchemaRequest{}, &schema)
	raw := value(schema.Schema.Type().TerraformType(t.Context()), values)
	var resp provider.ConfigureResponse
	p.Configure(t.Context(), provider.ConfigureRequest{Config: tfsdk.Config{Schema: schema.Schema, Raw: raw}}, &resp)
	if resp.Diagnostics.HasError() {
		t.Fatal(resp.Diagnostics)
	}
	c, ok := resp.ResourceData.(configured)
	if !ok {
		t.Fatalf("the resources get %T", resp.ResourceData)
	}
	return &target{c}
}

// known reports whether all is known that it takes to reach a host.
func known(t *testing.T, to *target, host string) bool {
	t.Helper()
	var diags diag.Diagnostics
	h := to.reach(types.StringValue(host), &diags)
	if diags.HasError() {
		t.Errorf("%s: %v", host, diags)
	}
	return h != nil
}

const notYet = tftypes.UnknownValue

// attributes are those of an object's type.
func attributes(t *testing.T, object tftypes.Type) map[string]tftypes.Type {
	t.Helper()
	o, ok := object.(tftypes.Object)
	if !ok {
		t.Fatalf("%s is no object", object)
	}
	return o.AttributeTypes
}

// Guards that no host is dialled while any setting of the provider block is unknown, and no host while any setting of
// its own entry is: each attribute that the schema has now or will have counts. The exception is the provider's host,
// because it is a setting of the resources that name none.
func TestEveryUnknownSettingCounts(t *testing.T) {
	var schema provider.SchemaResponse
	New("test").Schema(t.Context(), provider.SchemaRequest{}, &schema)
	of := attributes(t, schema.Schema.Type().TerraformType(t.Context()))
	none := map[string]any{"ssh_config_files": []any{}}
	with := func(name string, value any) map[string]any {
		values := maps.Clone(none)
		values[name] = value
		return values
	}
	// unknowns are the ways in which the value of an attribute can be unknown.
	unknowns := func(name string, of tftypes.Type) map[string]any {
		ways := map[string]any{name: notYet}
		switch of := of.(type) {
		case tftypes.List:
			ways["an element of "+name] = []any{"/x", notYet}
		case tftypes.Object:
			for inner := range of.AttributeTypes {
				values := map[string]any{"host": "jump"}
				values[inner] = notYet
				ways[name+"."+inner] = values
			}
		}
		return ways
	}
	if to := configure(t, none); !known(t, to, "web1") {
		t.Error("nothing is unknown, and web1 is")
	}
	for name, attribute := range of {
		for way, value := range unknowns(name, attribute) {
			if got, want := known(t, configure(t, with(name, value)), "web1"), name == "host"; got != want {
				t.Errorf("%s is unknown: web1 is known: %v", way, got)
			}
		}
	}
	hosts, ok := of["hosts"].(tftypes.Map)
	if !ok {
		t.Fatalf("hosts is %s", of["hosts"])
	}
	for name, attribute := range attributes(t, hosts.ElementType) {
		for way, value := range unknowns(name, attribute) {
			to := configure(t, with("hosts", map[string]any{"web1": map[string]any{name: value}, "web2": map[string]any{}}))
			if known(t, to, "web1") || !known(t, to, "web2") {
				t.Errorf("%s of web1 is unknown: web1 is known: %v, web2: %v", way, known(t, to, "web1"), known(t, to, "web2"))
			}
		}
	}
}

// Guards that a host counts as unknown when its way leads through an unknown one, so that the name of that one is not
// dialled in place of its address: through the host's own bastion, the provider's, the environment's, and through a
// chain of them.
func TestHostBehindAnUnknownJumpHostIsUnknown(t *testing.T) {
	behind := func(jump string) map[string]any { return map[string]any{"bastion": map[string]any{"host": jump}} }
	unknown := map[string]any{"address": notYet}
	for _, test := range []struct {
		name                  string
		hosts                 map[string]any
		provider, environment string // jump hosts
		// known are those of the hosts a, b, c, d and jump that are.
		known []string
	}{
		{name: "its own bastion", hosts: map[string]any{"jump": unknown, "a": behind("jump")},
			known: []string{"b", "c", "d"}},
		{name: "an entry of which nothing is known", hosts: map[string]any{"jump": notYet, "a": behind("jump")},
			known: []string{"b", "c", "d"}},
		{name: "a name that is no address", hosts: map[string]any{"the jump host": notYet, "a": behind("the jump host")},
			known: []string{"b", "c", "d", "jump"}},
		{name: "a chain", hosts: map[string]any{"jump": unknown, "a": behind("b"), "b": behind("c"), "c": behind("jump")},
			known: []string{"d"}},
		// A jump host does not go through the provider's bastion itself.
		{name: "the provider's bastion", provider: "jump",
			hosts: map[string]any{"jump": unknown, "b": behind("none"), "c": behind("d")},
			known: []string{"b", "c"}},
		{name: "the environment's bastion", environment: "jump",
			hosts: map[string]any{"jump": unknown, "b": behind("none")},
			known: []string{"b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HOST_BASTION", test.environment)
			values := map[string]any{"ssh_config_files": []any{}, "hosts": test.hosts}
			if test.provider != "" {
				values["bastion"] = map[string]any{"host": test.provider}
			}
			to := configure(t, values)
			for _, name := range []string{"a", "b", "c", "d", "jump"} {
				if got, want := known(t, to, name), slices.Contains(test.known, name); got != want {
					t.Errorf("%s is known: %v", name, got)
				}
			}
		})
	}
}
