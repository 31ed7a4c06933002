package provider

// host_boot: what the next boot makes of a host as it is now.

import (
	"context"
	"maps"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

var (
	_ datasource.DataSource              = (*bootDataSource)(nil)
	_ datasource.DataSourceWithConfigure = (*bootDataSource)(nil)
)

type bootDataSource struct{ configured }

func newBootDataSource() datasource.DataSource { return &bootDataSource{} }

// bootModel is host_boot's schema in Go.
type bootModel struct {
	Host     types.String               `tfsdk:"host"`
	AlsoKeys []types.String             `tfsdk:"also_keys"`
	Holds    types.Bool                 `tfsdk:"holds"`
	Kernel   types.String               `tfsdk:"kernel"`
	Init     types.String               `tfsdk:"init"`
	Keys     map[string]bootKeyModel    `tfsdk:"keys"`
	Modules  map[string]bootModuleModel `tfsdk:"modules"`
	Failures []bootFailureModel         `tfsdk:"failures"`
	Units    []bootUnitModel            `tfsdk:"units"`
}

type bootKeyModel struct {
	Value      types.String `tfsdk:"value"`
	BootValue  types.String `tfsdk:"boot_value"`
	BootSource types.String `tfsdk:"boot_source"`
	ProvenAt   types.String `tfsdk:"proven_at"`
	Shadows    []string     `tfsdk:"shadows"`
	bootCheck
}

type bootModuleModel struct {
	Loaded       types.Bool   `tfsdk:"loaded"`
	Builtin      types.Bool   `tfsdk:"builtin"`
	LoadedAtBoot types.Bool   `tfsdk:"loaded_at_boot"`
	BootSource   types.String `tfsdk:"boot_source"`
	bootCheck
}

// bootCheck is what keys and modules have alike.
type bootCheck struct {
	Holds  types.Bool   `tfsdk:"holds"`
	Reason types.String `tfsdk:"reason"`
	Detail types.String `tfsdk:"detail"`
	Remedy types.String `tfsdk:"remedy"`
	Notes  []string     `tfsdk:"notes"`
}

type bootFailureModel struct {
	Unit   types.String `tfsdk:"unit"`
	Source types.String `tfsdk:"source"`
	Detail types.String `tfsdk:"detail"`
}

type bootUnitModel struct {
	Name        types.String `tfsdk:"name"`
	LoadState   types.String `tfsdk:"load_state"`
	ActiveState types.String `tfsdk:"active_state"`
	Result      types.String `tfsdk:"result"`
	After       []string     `tfsdk:"after"`
}

func (d *bootDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_boot"
}

func (d *bootDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	flag := func(description string) schema.BoolAttribute {
		return schema.BoolAttribute{Computed: true, MarkdownDescription: description}
	}
	list := func(description string) schema.ListAttribute {
		return schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: description}
	}
	object := func(holds string, more map[string]schema.Attribute) schema.NestedAttributeObject {
		attributes := map[string]schema.Attribute{
			"holds":  flag(holds),
			"reason": computed("Why not, or why that is not known, as one of the words of the guide [What happens at boot](../guides/boot); null where it holds."),
			"detail": computed("The reason in a sentence, with the files and lines at hand."),
			"remedy": computed("What to do about it."),
			"notes":  list("What else there is to know."),
		}
		maps.Copy(attributes, more)
		return schema.NestedAttributeObject{Attributes: attributes}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "What the next boot makes of a Linux host as it is now: every key that a file sets and every module that a file asks for, with what runs now, " +
			"what the next boot leaves, and the line that decides. It changes nothing, so a fleet can be audited before Terraform manages any of it.",
		Attributes: map[string]schema.Attribute{
			"host": schema.StringAttribute{Optional: true, Computed: true, Validators: hostValidators(),
				MarkdownDescription: "Host to ask: a name in the provider's `hosts` or `[user@]address[:port]`. Default: the provider's `host`."},
			"also_keys": schema.SetAttribute{Optional: true, ElementType: types.StringType, Validators: alsoKeysValidators(),
				MarkdownDescription: "Keys to ask for beside those that the host's files set, in either spelling. Without a file that sets it, a key does not hold."},
			"holds":  flag("Whether every key and module comes back as it is now, no line makes a unit fail, and systemd orders its units as it has to."),
			"kernel": computed("Running kernel release."),
			"init":   computed("What starts services: `systemd`, `openrc`, or null for anything else."),
			"keys": schema.MapNestedAttribute{Computed: true, MarkdownDescription: "Keys by their names with dots. On a host with " +
				"more than 64 network interfaces, a pattern for all of them shows as the keys of `all` and `default`.",
				NestedObject: object("Whether the next boot leaves the value that runs now.", map[string]schema.Attribute{
					"value":       computed("Running value; null where there is none, and for keys that hold a secret."),
					"boot_value":  computed("Value that the next boot leaves; null where that is not known."),
					"boot_source": computed("What decides it, as `path:line`."),
					"proven_at": computed("When this boot of the host set the value that runs now, as the files say; null if no boot has shown that yet: the file is " +
						"newer than the boot, or the value is another one. On hosts without systemd always null."),
					"shadows": list("Assignments that it overrules, as `path:line`."),
				})},
			"modules": schema.MapNestedAttribute{Computed: true, MarkdownDescription: "Modules by name: those that a file asks for, and those that own one of the keys.",
				NestedObject: object("Whether it is there at boot if it is there now.", map[string]schema.Attribute{
					"loaded":         flag("Whether it is in the running kernel, loaded or built in."),
					"builtin":        flag("Whether the kernel has it built in."),
					"loaded_at_boot": flag("Whether it is there when systemd-sysctl runs."),
					"boot_source":    computed("What loads it or keeps it out, as `path:line`."),
				})},
			"failures": schema.ListNestedAttribute{Computed: true,
				MarkdownDescription: "Lines that make a unit fail at boot, whose other lines are done all the same, and what keeps systemd from starting its units in order.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"unit":   computed("Unit that fails."),
					"source": computed("`path:line`, or the path where the file itself is at fault; null for the order of the units."),
					"detail": computed("What is wrong."),
				}}},
			"units": schema.ListNestedAttribute{Computed: true,
				MarkdownDescription: "The units that apply the files, as the host's own systemd reports them; empty without systemd.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"name": computed("Unit."), "load_state": computed("`loaded`, `masked` or `not-found`."), "active_state": computed("State now, as `active` or `failed`."),
					"result": computed("How it ended at the last boot, as `success`."), "after": list("Units that it starts after."),
				}}},
		},
	}
}

// Configure takes the configured provider; it is called without one too, to validate.
func (d *bootDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	if c, ok := req.ProviderData.(configured); ok {
		d.configured = c
	}
}

func (d *bootDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m bootModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.Host.IsNull() {
		m.Host = d.host
	}
	if m.Host.IsNull() {
		failAt(&resp.Diagnostics, path.Root("host"), "no host", "The data source names no host and the provider block has no host for it. Set host in one of the two.")
		return
	}
	h := (&target{d.configured}).reach(m.Host, &resp.Diagnostics)
	if h == nil {
		if !resp.Diagnostics.HasError() {
			fail(&resp.Diagnostics, "host settings are not known", "The provider's settings for the host "+m.Host.ValueString()+", or for a "+
				"jump host on the way to it, depend on something that is not known yet, so it cannot be asked. "+
				"Give the data source a depends_on that names what they depend on: Terraform then reads it in the apply.")
		}
		return
	}
	var keys []sysctl.Key
	for _, name := range m.AlsoKeys {
		k, _ := sysctl.ParseKey(name.ValueString()) // its validator refused all else
		keys = append(keys, k)
	}
	c, err := h.BootReport(ctx, keys)
	if err != nil {
		addError(&resp.Diagnostics, err)
		return
	}
	m.take(c)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// take puts into the model what the host makes of the next boot.
func (m *bootModel) take(c host.BootReport) {
	m.Holds, m.Kernel, m.Init = types.BoolValue(c.Holds), types.StringValue(c.Kernel), orNull(c.Init)
	m.Keys, m.Modules = map[string]bootKeyModel{}, map[string]bootModuleModel{}
	m.Failures, m.Units = []bootFailureModel{}, []bootUnitModel{}
	for _, k := range c.Keys {
		m.Keys[k.Key.String()] = bootKeyModel{
			stringValue(k.Running), stringValue(k.Boot), orNull(k.Source), orNull(k.ProvenAt), append([]string{}, k.Shadows...), checkOf(k.Holds, k.Cause, k.Notes),
		}
	}
	for _, o := range c.Modules {
		m.Modules[o.Name] = bootModuleModel{
			types.BoolValue(o.LoadedNow), types.BoolValue(o.Builtin), types.BoolValue(o.LoadedAtBoot), orNull(o.Source), checkOf(o.Holds, o.Cause, o.Notes),
		}
	}
	for _, f := range c.Failures {
		m.Failures = append(m.Failures, bootFailureModel{orNull(f.Unit), orNull(f.Source), orNull(f.Detail)})
	}
	for _, u := range c.Units {
		m.Units = append(m.Units, bootUnitModel{orNull(u.Name), orNull(u.LoadState), orNull(u.ActiveState), orNull(u.Result), append([]string{}, u.After...)})
	}
}

func checkOf(holds bool, why boot.Cause, notes []boot.Cause) bootCheck {
	v := bootCheck{Holds: types.BoolValue(holds), Reason: orNull(string(why.Reason)), Detail: orNull(why.Detail), Remedy: orNull(why.Reason.Remedy()), Notes: []string{}}
	for _, n := range notes {
		v.Notes = append(v.Notes, n.Detail+" "+n.Reason.Remedy())
	}
	return v
}

// orNull makes an attribute of a text that a host said; an empty one says nothing.
func orNull(text string) types.String {
	if text == "" {
		return types.StringNull()
	}
	return stringValue(&text)
}
