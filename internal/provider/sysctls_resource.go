package provider

// host_sysctls: kernel parameters that share one drop-in, now and at the next boot.

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

var (
	_ resource.Resource                = (*sysctlsResource)(nil)
	_ resource.ResourceWithConfigure   = (*sysctlsResource)(nil)
	_ resource.ResourceWithIdentity    = (*sysctlsResource)(nil)
	_ resource.ResourceWithImportState = (*sysctlsResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*sysctlsResource)(nil)
)

type sysctlsResource struct{ target }

func newSysctlsResource() resource.Resource { return &sysctlsResource{} }

// sysctlsModel is host_sysctls' schema in Go.
type sysctlsModel struct {
	Host           types.String `tfsdk:"host"`
	Name           types.String `tfsdk:"name"`
	Settings       types.Map    `tfsdk:"settings"`
	Modules        types.Set    `tfsdk:"modules"`
	Persist        types.Bool   `tfsdk:"persist"`
	FileName       types.String `tfsdk:"file_name"`
	OnDestroy      types.String `tfsdk:"on_destroy"`
	Adopt          types.Bool   `tfsdk:"adopt"`
	BootValues     types.Map    `tfsdk:"boot_values"`
	BootSources    types.Map    `tfsdk:"boot_sources"`
	HoldsAtBoot    types.Map    `tfsdk:"holds_at_boot"`
	BootReasons    types.Map    `tfsdk:"boot_reasons"`
	OriginalValues types.Map    `tfsdk:"original_values"`
}

// sysctlsIdentity is host_sysctls' identity.
type sysctlsIdentity struct {
	Host types.String `tfsdk:"host"`
	Name types.String `tfsdk:"name"`
}

func (r *sysctlsResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_sysctls"
}

func (r *sysctlsResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Kernel parameters (sysctls) of a Linux host that share one drop-in in `/etc/sysctl.d`: the running values, set at once and all or none, and " +
			"the drop-in, so that they are set again at boot. For a fleet this is quicker than a `host_sysctl` a key: Terraform's own cost grows with the number of resources.",
		Attributes: map[string]schema.Attribute{
			"host": hostAttribute(),
			"name": schema.StringAttribute{
				Required: true, Validators: groupNameValidators(), PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
				MarkdownDescription: "Name of the group of keys on the host, and in the drop-in's default name. A change replaces the resource.",
			},
			"settings": schema.MapAttribute{
				Required: true, ElementType: types.StringType, Validators: append(settingsValidators(), mapvalidator.SizeAtLeast(1)),
				MarkdownDescription: "Running values by key, each as in `host_sysctl`: a key with dots or slashes, a value compared as the kernel means it. If the kernel refuses " +
					"or changes a value, all are put back and the error names each bad one. A key that is taken out is handled as `on_destroy` says.",
			},
			"modules": schema.SetAttribute{
				Optional: true, ElementType: types.StringType, Validators: []validator.Set{setvalidator.ValueStringsAre(moduleValidators()...)},
				MarkdownDescription: "Kernel modules that keys belong to. A reference, as in `[host_kernel_module.conntrack.name]`, makes Terraform load the module first and " +
					"keep it until the keys are taken back.",
			},
			"persist": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "Whether to write the drop-in. `false` sets the running values only; a note in `/run/sysctl.d`, which sets nothing and is gone after a " +
					"boot, remembers the values from before. Default `true`.",
			},
			"file_name": schema.StringAttribute{
				Optional: true, Computed: true, Validators: fileNameValidators(),
				MarkdownDescription: "Name of the drop-in in `/etc/sysctl.d`. Files are read in the order of their names and the last one wins. Default `90-terraform-NAME.conf`.",
			},
			"on_destroy": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("restore"),
				Validators: []validator.String{stringvalidator.OneOf("restore", "keep")},
				MarkdownDescription: "What to do with the running values when the resource is destroyed, or a key is taken out of `settings`: `restore` puts them to what the " +
					"host's other files set, else to `original_values`; `keep` leaves them. The drop-in loses them either way. Default `restore`.",
			},
			"adopt": adoptAttribute(),
			"boot_values": schema.MapAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "Values that the next boot leaves, by key, given every file on the host, without those that would be lost; null with `persist = false`.",
			},
			"boot_sources": schema.MapAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "What decides each of them: the path of the drop-in, or `path:line` where another file has the last word.",
			},
			"holds_at_boot": schema.MapAttribute{
				Computed: true, ElementType: types.BoolType,
				MarkdownDescription: "Whether the next boot leaves each value, given every file on the host; known at plan if the host can be asked. " +
					"Null with `persist = false`.",
			},
			"boot_reasons": schema.MapAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "Why a value does not hold, or why that is not certain, as one of the words of the guide " +
					"[What happens at boot](../guides/boot); without the keys that hold.",
			},
			"original_values": schema.MapAttribute{
				Computed: true, ElementType: types.StringType, MarkdownDescription: "Values found before Terraform first wrote each key.",
			},
		},
	}
}

func (r *sysctlsResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"host": identityschema.StringAttribute{RequiredForImport: true, Description: "Host, as the resource names it."},
		"name": identityschema.StringAttribute{RequiredForImport: true, Description: "Name of the group; to import a file of another name, that of the file in /etc/sysctl.d."},
	}}
}

func (r *sysctlsResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m sysctlsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	h := r.mustReach(m.Host, &resp.Diagnostics)
	if h == nil {
		return
	}
	if err := h.Wait(ctx); err != nil {
		addError(&resp.Diagnostics, err)
		return
	}
	want := m.wanted(ctx, newInstance())
	want.Boots = &host.Boots{}
	states, err := h.SetSysctls(ctx, want, nil, nil)
	if err != nil {
		addError(&resp.Diagnostics, err)
		if !host.MayHaveChanged(err) {
			return
		}
	}
	m.takeAsPlanned(states, &resp.Diagnostics)
	keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
	keepBoots(ctx, resp.Private, want.Boots, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *sysctlsResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m sysctlsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	h := r.reach(m.Host, &resp.Diagnostics)
	if h == nil {
		if !resp.Diagnostics.HasError() {
			warnUnread(&resp.Diagnostics)
			resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
		}
		return
	}
	instance := instanceOf(ctx, req.Private, &resp.Diagnostics)
	imported := m.Persist.IsNull()
	if imported {
		if !m.imported(ctx, h, &resp.Diagnostics) {
			return
		}
		instance = writtenBy(ctx, h, m.wanted(ctx, "").Path(), &resp.Diagnostics)
		keepInstance(ctx, resp.Private, instance, &resp.Diagnostics)
	}
	known := m.known(ctx, instance)
	known.Boots = bootsOf(ctx, req.Private, &resp.Diagnostics)
	states, err := h.ReadSysctls(ctx, known)
	if err != nil {
		r.unread(m.Host, &resp.Diagnostics, err, imported)
		resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
		return
	}
	m.take(states, &resp.Diagnostics)
	keepBoots(ctx, resp.Private, known.Boots, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *sysctlsResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, prior sysctlsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	if resp.Diagnostics.HasError() {
		return
	}
	h := r.mustReach(m.Host, &resp.Diagnostics)
	if h == nil {
		return
	}
	want := m.wanted(ctx, instanceOrNew(ctx, req.Private, &resp.Diagnostics))
	want.Boots = bootsOf(ctx, req.Private, &resp.Diagnostics)
	was := prior.known(ctx, want.Instance)
	states, err := h.SetSysctls(ctx, want, &was, keyed(prior.OriginalValues))
	switch {
	case onlyNotRestored(err):
		addWarning(&resp.Diagnostics, err)
	case err != nil:
		addError(&resp.Diagnostics, err)
		if host.MayHaveChanged(err) {
			keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
			prior.remember(states, spellings(m.Settings), &resp.Diagnostics)
			resp.Diagnostics.Append(resp.State.Set(ctx, prior)...)
		}
		return
	}
	m.takeAsPlanned(states, &resp.Diagnostics)
	keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
	keepBoots(ctx, resp.Private, want.Boots, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *sysctlsResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m sysctlsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	h := r.mustReach(m.Host, &resp.Diagnostics)
	if h == nil {
		return
	}
	instance := instanceOf(ctx, req.Private, &resp.Diagnostics)
	err := h.UnsetSysctls(ctx, m.known(ctx, instance), keyed(m.OriginalValues))
	switch {
	case onlyNotRestored(err):
		addWarning(&resp.Diagnostics, err)
	case err != nil:
		addError(&resp.Diagnostics, err)
	}
}

func (r *sysctlsResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	var id sysctlsIdentity
	if req.ID != "" {
		name, file, err := splitID(req.ID, "HOST/FILE or HOST/NAME")
		if err != nil {
			fail(&resp.Diagnostics, "malformed import id", err.Error())
			return
		}
		id = sysctlsIdentity{Host: types.StringValue(name), Name: types.StringValue(file)}
	} else {
		resp.Diagnostics.Append(req.Identity.Get(ctx, &id)...)
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("host"), id.Host)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), id.Name)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, id)...)
}

func (r *sysctlsResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	instance := instanceOf(ctx, req.Private, &resp.Diagnostics)
	if req.Plan.Raw.IsNull() {
		var m sysctlsModel
		resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
		r.know(m.Host, instance, m.wanted(ctx, instance).Path(), &resp.Diagnostics)
		return
	}
	r.planHost(ctx, req, resp)
	applies := r.applying(req)
	var m, prior sysctlsModel
	resp.Diagnostics.Append(resp.Plan.Get(ctx, &m)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	var named types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("file_name"), &named)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if named.IsNull() {
		m.FileName = types.StringUnknown()
	}
	m.planLayers(prior, &resp.Diagnostics)
	var plan host.SysctlsPlan
	changes := m.changes(prior)
	if h := r.reach(m.Host, &resp.Diagnostics); h != nil && !m.unknown() {
		var err error
		want := m.wanted(ctx, instance)
		want.Boots = bootsOf(ctx, req.Private, &resp.Diagnostics)
		plan, err = h.PlanSysctls(ctx, want, prior.recorded(ctx, instance))
		f := foreseen{plan.Conflicts, plan.Refusals, plan.Warnings, err}
		if !f.report(changes, applies, m.Host, &resp.Diagnostics) {
			plan.Keys = nil
		}
	}
	m.planSources(plan, prior, &resp.Diagnostics)
	m.planBoot(plan, changes, prior, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

// onlyNotRestored reports whether all that went wrong is that the kernel did not take a value from before.
func onlyNotRestored(err error) bool {
	return errors.Is(err, &host.Error{Kind: host.NotRestored}) && !host.MayHaveChanged(err)
}

// keyed is a map attribute by key, without what is unknown or null.
func keyed(m types.Map) map[sysctl.Key]string {
	all := map[sysctl.Key]string{}
	for name, element := range m.Elements() {
		k, err := sysctl.ParseKey(name)
		if v, ok := element.(types.String); ok && err == nil && !v.IsNull() && !v.IsUnknown() {
			all[k] = v.ValueString()
		}
	}
	return all
}

// wanted is what the model asks of the host.
func (m *sysctlsModel) wanted(ctx context.Context, instance string) host.Sysctls {
	s := host.Sysctls{
		Resource: "host_sysctls", Name: m.Name.ValueString(), FileName: m.FileName.ValueString(), Persist: m.Persist.ValueBool(),
		Restore: m.OnDestroy.ValueString() == "restore", Instance: instance, Adopt: m.Adopt.ValueBool(),
	}
	m.Modules.ElementsAs(ctx, &s.Modules, true)
	for k, text := range keyed(m.Settings) {
		value, _ := sysctl.ParseValue(text)
		s.Settings = append(s.Settings, host.Setting{Key: k, Value: value})
	}
	return s
}

// known is wanted with the keys that the state remembers though the host has them no more.
func (m *sysctlsModel) known(ctx context.Context, instance string) host.Sysctls {
	s := m.wanted(ctx, instance)
	settings := keyed(m.Settings)
	for k := range keyed(m.OriginalValues) {
		if _, ok := settings[k]; !ok {
			s.Settings = append(s.Settings, host.Setting{Key: k})
		}
	}
	return s
}

// recorded is what Terraform last recorded; nil when the resource is to be created.
func (m *sysctlsModel) recorded(ctx context.Context, instance string) *host.Sysctls {
	if m.Host.IsNull() {
		return nil
	}
	was := m.known(ctx, instance)
	return &was
}

func (m *sysctlsModel) identity() sysctlsIdentity { return sysctlsIdentity{Host: m.Host, Name: m.Name} }

// unknown reports whether something that a plan needs is not known yet.
func (m *sysctlsModel) unknown() bool {
	unknown := m.FileName.IsUnknown() || m.Persist.IsUnknown() || m.Settings.IsUnknown() || m.Modules.IsUnknown()
	for _, e := range m.Settings.Elements() {
		unknown = unknown || e.IsUnknown()
	}
	for _, e := range m.Modules.Elements() {
		unknown = unknown || e.IsUnknown()
	}
	return unknown
}

// take puts into the model what the host has. A key, and a value that the host means the same by, keep the configuration's spelling.
func (m *sysctlsModel) take(states map[sysctl.Key]host.SysctlState, diags *diag.Diagnostics) {
	spelled := spellings(m.OriginalValues, m.Settings)
	values, originals := m.Settings.Elements(), m.OriginalValues.Elements()
	running, boot, sources, before := map[string]attr.Value{}, map[string]attr.Value{}, map[string]attr.Value{}, map[string]attr.Value{}
	holds, reasons := map[string]attr.Value{}, map[string]attr.Value{}
	for k, st := range states {
		name := spelled[k]
		same := func(v *string) attr.Value {
			if was, ok := values[name].(types.String); ok && sysctl.Equal(k, *v, was.ValueString()) {
				return was
			}
			return stringValue(v)
		}
		switch was, ok := values[name]; {
		case st.Waits && ok:
			running[name] = was
		case st.Running != nil:
			running[name] = same(st.Running)
		}
		if holds[name] = types.BoolValue(st.Holds); st.Reason != "" {
			reasons[name] = types.StringValue(string(st.Reason))
		}
		if st.Boot != nil {
			boot[name] = same(st.Boot)
		}
		if st.BootSource != nil {
			source := m.withoutOwnLine(*st.BootSource)
			sources[name] = stringValue(&source)
		}
		was, ok := originals[name].(types.String)
		switch {
		case ok && !was.IsUnknown():
			before[name] = was
		case st.Original != nil:
			before[name] = stringValue(st.Original)
		case st.Running != nil:
			before[name] = running[name]
		}
	}
	m.Settings, m.OriginalValues = stringMap(running, diags), stringMap(before, diags)
	m.BootValues, m.BootSources = types.MapNull(types.StringType), types.MapNull(types.StringType)
	if m.Persist.ValueBool() {
		m.BootValues, m.BootSources = stringMap(boot, diags), stringMap(sources, diags)
	}
	m.setBoot(holds, reasons, diags)
}

// withoutOwnLine is a source as maps show it: the lines of the own file are those of the map.
func (m *sysctlsModel) withoutOwnLine(source string) string {
	if own := "/etc/sysctl.d/" + m.FileName.ValueString(); strings.HasPrefix(source, own+":") {
		return own
	}
	return source
}

// setBoot sets what the next boot makes of the keys; nothing is said of those that no file keeps.
func (m *sysctlsModel) setBoot(holds, reasons map[string]attr.Value, diags *diag.Diagnostics) {
	m.HoldsAtBoot, m.BootReasons = types.MapNull(types.BoolType), types.MapNull(types.StringType)
	if m.Persist.ValueBool() {
		value, d := types.MapValue(types.BoolType, holds)
		diags.Append(d...)
		m.HoldsAtBoot, m.BootReasons = value, stringMap(reasons, diags)
	}
}

// takeAsPlanned is take after a change, which keeps what the plan said of the next boot, as the CLI demands.
func (m *sysctlsModel) takeAsPlanned(states map[sysctl.Key]host.SysctlState, diags *diag.Diagnostics) {
	values, sources, holds, reasons := m.BootValues, m.BootSources, m.HoldsAtBoot, m.BootReasons
	m.take(states, diags)
	if !values.IsNull() && !values.IsUnknown() {
		m.BootValues = values // another writer may be newer than the plan
	}
	m.BootSources = sourcesAsPlanned(sources, m.BootSources, diags)
	if !holds.IsUnknown() {
		m.HoldsAtBoot, m.BootReasons = holds, reasons
	}
}

// changes reports whether the configuration changes anything, so that an apply changes the host, or is refused. That a
// file is written again is no change of that kind.
func (m *sysctlsModel) changes(prior sysctlsModel) bool {
	return !m.Host.Equal(prior.Host) || !m.Name.Equal(prior.Name) || !sameSettings(m.Settings, prior.Settings) ||
		!m.Persist.Equal(prior.Persist) || !m.FileName.Equal(prior.FileName) || !m.Modules.Equal(prior.Modules) ||
		!m.OnDestroy.Equal(prior.OnDestroy) || !m.Adopt.Equal(prior.Adopt)
}

// planBoot plans what the next boot makes of the keys. A loss that an apply cannot mend is no difference.
func (m *sysctlsModel) planBoot(p host.SysctlsPlan, changes bool, prior sysctlsModel, diags *diag.Diagnostics) {
	if (p.Keys == nil || len(p.Refusals) > 0) && !changes {
		m.BootValues, m.BootSources, m.HoldsAtBoot, m.BootReasons = prior.BootValues, prior.BootSources, prior.HoldsAtBoot, prior.BootReasons
		return
	}
	m.HoldsAtBoot, m.BootReasons = types.MapUnknown(types.BoolType), types.MapUnknown(types.StringType)
	if p.Keys == nil && (m.Persist.IsUnknown() || m.Persist.ValueBool()) {
		return
	}
	holds, reasons := map[string]attr.Value{}, map[string]attr.Value{}
	held, why := prior.HoldsAtBoot.Elements(), keyed(prior.BootReasons)
	for k, name := range spellings(m.Settings) {
		was, known := held[name].(types.Bool)
		stays := known && was.ValueBool() == p.Keys[k].Holds && why[k] == string(p.Keys[k].Reason)
		if p.Keys[k].Open && changes && !stays {
			return
		}
		if holds[name] = types.BoolValue(p.Keys[k].Holds); p.Keys[k].Reason != "" {
			reasons[name] = types.StringValue(string(p.Keys[k].Reason))
		}
	}
	m.setBoot(holds, reasons, diags)
}

// sourcesAsPlanned is asPlanned for each key.
func sourcesAsPlanned(planned, are types.Map, diags *diag.Diagnostics) types.Map {
	if are.IsNull() {
		return are
	}
	sources := are.Elements()
	for name, source := range planned.Elements() {
		was, known := source.(types.String)
		is, decided := sources[name].(types.String)
		if known && decided {
			sources[name] = asPlanned(was, is, diags)
		}
	}
	return stringMap(sources, diags)
}

// remember adds the values from before of keys that a failed update may have left changed: the next apply would take what they hold then for those.
func (m *sysctlsModel) remember(states map[sysctl.Key]host.SysctlState, spelled map[sysctl.Key]string, diags *diag.Diagnostics) {
	known, all := keyed(m.OriginalValues), m.OriginalValues.Elements()
	for k, st := range states {
		if _, ok := known[k]; !ok && st.Original != nil {
			all[spelled[k]] = stringValue(st.Original)
		}
	}
	m.OriginalValues = stringMap(all, diags)
}

// spellings are how maps spell their keys; a later map has the last word.
func spellings(maps ...types.Map) map[sysctl.Key]string {
	all := map[sysctl.Key]string{}
	for _, m := range maps {
		for name := range m.Elements() {
			if k, err := sysctl.ParseKey(name); err == nil {
				all[k] = name
			}
		}
	}
	return all
}

func stringMap(elements map[string]attr.Value, diags *diag.Diagnostics) types.Map {
	value, d := types.MapValue(types.StringType, elements)
	diags.Append(d...)
	return value
}

// imported fills what an import does not name: the defaults, what the file on the host sets, and the modules that own its keys. False means that it failed.
func (m *sysctlsModel) imported(ctx context.Context, h *host.Host, diags *diag.Diagnostics) bool {
	found, err := h.FindSysctls(ctx, m.Name.ValueString())
	if err != nil {
		addError(diags, err)
		return false
	}
	m.Name, m.FileName = types.StringValue(found.Name), types.StringValue(found.FileName)
	m.Persist, m.OnDestroy = types.BoolValue(true), types.StringValue("restore")
	settings, modules := map[string]attr.Value{}, []attr.Value{}
	for _, v := range found.Settings {
		settings[v.Key.String()] = types.StringValue(strings.ToValidUTF8(v.Value, "\uFFFD"))
		if owner, ok := kmod.Owner(v.Key); ok && !slices.Contains(modules, attr.Value(types.StringValue(owner))) {
			modules = append(modules, types.StringValue(owner))
		}
	}
	m.Settings = stringMap(settings, diags)
	if len(modules) > 0 {
		var d diag.Diagnostics
		m.Modules, d = types.SetValue(types.StringType, modules)
		diags.Append(d...)
	}
	return true
}

// sameSettings reports whether two maps set the same keys to the same values, however they are spelled.
func sameSettings(a, b types.Map) bool {
	x, y := keyed(a), keyed(b)
	if len(x) != len(a.Elements()) || len(x) != len(y) {
		return false
	}
	for k, v := range x {
		if w, ok := y[k]; !ok || !sysctl.Equal(k, v, w) {
			return false
		}
	}
	return true
}

// planLayers plans what the host will hold, a line a key and layer.
func (m *sysctlsModel) planLayers(prior sysctlsModel, diags *diag.Diagnostics) {
	if m.FileName.IsUnknown() && !m.Name.IsUnknown() {
		m.FileName = types.StringValue(host.SysctlsFileName(m.Name.ValueString()))
	}
	if !prior.Settings.IsNull() && sameSettings(m.Settings, prior.Settings) {
		m.Settings = prior.Settings
	}
	unknown, null := types.MapUnknown(types.StringType), types.MapNull(types.StringType)
	m.BootValues, m.BootSources, m.OriginalValues = unknown, unknown, unknown
	if m.Settings.IsUnknown() {
		return
	}
	replaced := !m.Host.Equal(prior.Host) || !m.Name.Equal(prior.Name)
	originals, sources := map[string]attr.Value{}, map[string]attr.Value{}
	known, spelled := keyed(prior.OriginalValues), spellings(m.Settings)
	for k, name := range spelled {
		originals[name], sources[name] = types.StringUnknown(), types.StringUnknown()
		if v, ok := known[k]; ok && !replaced {
			originals[name] = types.StringValue(v)
		}
	}
	m.OriginalValues = stringMap(originals, diags)
	switch {
	case m.Persist.IsUnknown():
	case m.Persist.ValueBool():
		m.BootValues, m.BootSources = m.Settings, stringMap(sources, diags)
	default:
		m.BootValues, m.BootSources = null, null
	}
}

// planSources plans what will decide each key at the next boot. A key whose boot layer stays as it is keeps its source.
func (m *sysctlsModel) planSources(p host.SysctlsPlan, prior sysctlsModel, diags *diag.Diagnostics) {
	if !m.Persist.ValueBool() || m.Settings.IsUnknown() {
		return
	}
	stays := m.FileName.Equal(prior.FileName) && m.Host.Equal(prior.Host) && m.Name.Equal(prior.Name)
	wanted, had, priorSources := keyed(m.Settings), keyed(prior.BootValues), keyed(prior.BootSources)
	sources, boot := map[string]attr.Value{}, m.BootValues.Elements()
	for k, name := range spellings(m.Settings) {
		source, known := priorSources[k]
		was, held := had[k]
		switch {
		case p.Keys[k].Contested != "":
			sources[name] = types.StringValue(m.withoutOwnLine(p.Keys[k].Contested))
			delete(boot, name)
		case stays && known && held && sysctl.Equal(k, was, wanted[k]):
			sources[name] = types.StringValue(source)
		case p.Keys[k].Own:
			sources[name] = types.StringValue("/etc/sysctl.d/" + m.FileName.ValueString())
		default:
			sources[name] = types.StringUnknown()
		}
	}
	m.BootValues, m.BootSources = stringMap(boot, diags), stringMap(sources, diags)
}
