// Command schemajson prints the provider's schema in the form of `terraform providers schema -json`, from which docs/ is generated.
//
// It asks the provider itself, so that the documentation is the same whichever CLI a machine has: older ones leave out what they do not know,
// such as the identity of resources.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/host-provider/terraform-provider-host/internal/provider"
)

// object is a JSON object. Encoding sorts its members, so the same schema always gives the same text.
type object = map[string]any

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "cannot print the provider's schema:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	server, err := providerserver.NewProtocol6WithError(provider.New("docs"))()
	if err != nil {
		return err
	}
	schemas, err := server.GetProviderSchema(ctx, &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		return err
	}
	identities, err := server.GetResourceIdentitySchemas(ctx, &tfprotov6.GetResourceIdentitySchemasRequest{})
	if err != nil {
		return err
	}
	for _, d := range append(schemas.Diagnostics, identities.Diagnostics...) {
		return fmt.Errorf("%s: %s", d.Summary, d.Detail)
	}
	if n := len(schemas.Functions) + len(schemas.EphemeralResourceSchemas) + len(schemas.ListResourceSchemas) + len(schemas.ActionSchemas); n > 0 {
		return fmt.Errorf("%d functions, ephemeral resources, list resources or actions would be missing in the documentation: teach this command about them", n)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(object{
		"format_version": "1.0",
		"provider_schemas": object{"host": object{
			"provider":                  schema(schemas.Provider),
			"resource_schemas":          each(schemas.ResourceSchemas, schema),
			"data_source_schemas":       each(schemas.DataSourceSchemas, schema),
			"resource_identity_schemas": each(identities.IdentitySchemas, identity),
		}},
	})
}

// each encodes every value of a map.
func each[T any](in map[string]T, encode func(T) object) object {
	out := object{}
	for name, v := range in {
		out[name] = encode(v)
	}
	return out
}

func schema(s *tfprotov6.Schema) object {
	return object{"version": s.Version, "block": block(s.Block)}
}

func block(b *tfprotov6.SchemaBlock) object {
	nested := object{}
	for _, n := range b.BlockTypes {
		nested[n.TypeName] = object{"nesting_mode": kind(n.Nesting), "block": block(n.Block), "min_items": n.MinItems, "max_items": n.MaxItems}
	}
	return object{
		"attributes":       attributes(b.Attributes),
		"block_types":      nested,
		"description":      b.Description,
		"description_kind": kind(b.DescriptionKind),
		"deprecated":       b.Deprecated,
	}
}

func attributes(in []*tfprotov6.SchemaAttribute) object {
	out := object{}
	for _, a := range in {
		o := object{
			"description":      a.Description,
			"description_kind": kind(a.DescriptionKind),
			"required":         a.Required,
			"optional":         a.Optional,
			"computed":         a.Computed,
			"sensitive":        a.Sensitive,
			"write_only":       a.WriteOnly,
			"deprecated":       a.Deprecated,
		}
		if a.NestedType != nil {
			o["nested_type"] = object{"nesting_mode": kind(a.NestedType.Nesting), "attributes": attributes(a.NestedType.Attributes)}
		} else {
			o["type"] = a.Type
		}
		out[a.Name] = o
	}
	return out
}

func identity(s *tfprotov6.ResourceIdentitySchema) object {
	out := object{}
	for _, a := range s.IdentityAttributes {
		out[a.Name] = object{
			"type":                a.Type,
			"description":         a.Description,
			"required_for_import": a.RequiredForImport,
			"optional_for_import": a.OptionalForImport,
		}
	}
	return object{"version": s.Version, "attributes": out}
}

// kind is how the JSON form spells a nesting mode or a kind of description.
func kind(v fmt.Stringer) string { return strings.ToLower(v.String()) }
