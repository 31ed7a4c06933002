package provider

// host_kernel_module: a kernel module, loaded now and at the next boot.

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/kmod"
)

var (
	_ resource.Resource                = (*kernelModuleResource)(nil)
	_ resource.ResourceWithConfigure   = (*kernelModuleResource)(nil)
	_ resource.ResourceWithIdentity    = (*kernelModuleResource)(nil)
	_ resource.ResourceWithImportState = (*kernelModuleResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*kernelModuleResource)(nil)
)

type kernelModuleResource struct{ target }

func newKernelModuleResource() resource.Resource { return &kernelModuleResource{} }

// kernelModuleModel is host_kernel_module's schema in Go.
type kernelModuleModel struct {
	Host           types.String `tfsdk:"host"`
	Name           types.String `tfsdk:"name"`
	Parameters     types.Map    `tfsdk:"parameters"`
	Persist        types.Bool   `tfsdk:"persist"`
	OnDestroy      types.String `tfsdk:"on_destroy"`
	Adopt          types.Bool   `tfsdk:"adopt"`
	Loaded         types.Bool   `tfsdk:"loaded"`
	Builtin        types.Bool   `tfsdk:"builtin"`
	BootSource     types.String `tfsdk:"boot_source"`
	HoldsAtBoot    types.Bool   `tfsdk:"holds_at_boot"`
	BootReason     types.String `tfsdk:"boot_reason"`
	BootParameters types.Map    `tfsdk:"boot_parameters"`
}

// kernelModuleIdentity is host_kernel_module's identity.
type kernelModuleIdentity struct {
	Host types.String `tfsdk:"host"`
	Name types.String `tfsdk:"name"`
}

func (r *kernelModuleResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_kernel_module"
}

func (r *kernelModuleResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A kernel module of a Linux host: loaded at once, and listed in `/etc/modules-load.d`, so that it is there at boot before " +
			"systemd-sysctl sets the keys that it brings.",
		Attributes: map[string]schema.Attribute{
			"host": hostAttribute(),
			"name": schema.StringAttribute{
				Required: true, Validators: moduleValidators(), PlanModifiers: []planmodifier.String{sameSpelling{kmod.Same}},
				MarkdownDescription: "Name or alias of the module. `-` and `_` are the same. A change replaces the resource.",
			},
			"parameters": schema.MapAttribute{
				Optional: true, ElementType: types.StringType, Validators: parameterValidators(),
				MarkdownDescription: "Module parameters by name: given when the module is loaded, written to a loaded module where the kernel allows it, and kept in " +
					"`/etc/modprobe.d` for the next load. One that a loaded module cannot change is a warning, and holds from the next load on.",
			},
			"persist": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "Whether to list the module for the next boot, and its parameters. `false` loads it only. Default `true`.",
			},
			"on_destroy": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("keep"),
				Validators: []validator.String{stringvalidator.OneOf("keep", "unload")},
				MarkdownDescription: "What to do with the module when the resource is destroyed: `keep` leaves it loaded; `unload` unloads it, which can cut connections. " +
					"The files are removed either way. Default `keep`.",
			},
			"adopt":  adoptAttribute(),
			"loaded": schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the running kernel has the module, loaded or built in."},
			"builtin": schema.BoolAttribute{
				Computed: true, PlanModifiers: []planmodifier.Bool{boolplanmodifier.UseStateForUnknown()},
				MarkdownDescription: "Whether the running kernel has the module built in.",
			},
			"boot_source": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "What loads the module at the next boot, as `path:line`, given every file on the host; null when nothing does.",
			},
			"holds_at_boot": schema.BoolAttribute{
				Computed: true,
				MarkdownDescription: "Whether the module is there at the next boot before systemd-sysctl runs, given every file on the " +
					"host; known at plan if the host can be asked. Null with `persist = false`.",
			},
			"boot_reason": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "Why not, or why that is not certain, as one of the words of the guide [What happens at boot](../guides/boot); " +
					"null if it holds.",
			},
			"boot_parameters": schema.MapAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "Parameters that our file in `/etc/modprobe.d` gives at the next load.",
			},
		},
	}
}

func (r *kernelModuleResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"host": identityschema.StringAttribute{RequiredForImport: true, Description: "Host, as the resource names it."},
		"name": identityschema.StringAttribute{RequiredForImport: true, Description: "Name or alias of the module."},
	}}
}

func (r *kernelModuleResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m kernelModuleModel
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
	st, err := h.SetModule(ctx, want, nil)
	if err != nil {
		addError(&resp.Diagnostics, err)
		if !host.MayHaveChanged(err) {
			return
		}
	}
	m.takeAsPlanned(ctx, h, st, &resp.Diagnostics)
	keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *kernelModuleResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m kernelModuleModel
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
	imported, instance := m.Persist.IsNull(), instanceOf(ctx, req.Private, &resp.Diagnostics)
	if imported {
		m.Persist, m.OnDestroy = types.BoolValue(true), types.StringValue("keep")
		instance = writtenBy(ctx, h, m.wanted(ctx, "").LoadPath(), &resp.Diagnostics)
		keepInstance(ctx, resp.Private, instance, &resp.Diagnostics)
	}
	st, err := h.ReadModule(ctx, m.wanted(ctx, instance))
	if err != nil {
		r.unread(m.Host, &resp.Diagnostics, err, imported)
		resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
		return
	}
	if imported && !st.LoadedNow && st.BootSource == nil {
		fail(&resp.Diagnostics, "nothing to import", "On "+m.Host.ValueString()+", the kernel module "+m.Name.ValueString()+" is not loaded and no file loads it at boot. "+
			"Check its spelling, or let Terraform create it.")
		return
	}
	if imported && st.BootParameters != nil {
		m.Parameters, st.Parameters = mapValue(st.BootParameters, &resp.Diagnostics), st.BootParameters
	}
	m.take(ctx, h, st, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *kernelModuleResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, prior kernelModuleModel
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
	was := prior.wanted(ctx, want.Instance)
	st, err := h.SetModule(ctx, want, &was)
	if err != nil {
		addError(&resp.Diagnostics, err)
		if host.MayHaveChanged(err) {
			keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
		}
		return
	}
	m.takeAsPlanned(ctx, h, st, &resp.Diagnostics)
	keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *kernelModuleResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m kernelModuleModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	h := r.mustReach(m.Host, &resp.Diagnostics)
	if h == nil {
		return
	}
	instance := instanceOf(ctx, req.Private, &resp.Diagnostics)
	if err := h.UnsetModule(ctx, m.wanted(ctx, instance), m.OnDestroy.ValueString() == "unload"); err != nil {
		addError(&resp.Diagnostics, err)
	}
}

func (r *kernelModuleResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	var id kernelModuleIdentity
	if req.ID != "" {
		name, module, err := splitID(req.ID, "HOST/MODULE")
		if err != nil {
			fail(&resp.Diagnostics, "malformed import id", err.Error())
			return
		}
		id = kernelModuleIdentity{Host: types.StringValue(name), Name: types.StringValue(module)}
	} else {
		resp.Diagnostics.Append(req.Identity.Get(ctx, &id)...)
	}
	if _, err := kmod.ParseName(id.Name.ValueString()); err != nil {
		fail(&resp.Diagnostics, "malformed kernel module name", err.Error())
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("host"), id.Host)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), id.Name)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, id)...)
}

func (r *kernelModuleResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	instance := instanceOf(ctx, req.Private, &resp.Diagnostics)
	if req.Plan.Raw.IsNull() {
		var m kernelModuleModel
		resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
		r.know(m.Host, instance, m.wanted(ctx, instance).LoadPath(), &resp.Diagnostics)
		return
	}
	r.planHost(ctx, req, resp)
	applies := r.applying(req)
	var m kernelModuleModel
	resp.Diagnostics.Append(resp.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var prior kernelModuleModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	m.planLayers()
	if m.Name.IsUnknown() || m.Persist.IsUnknown() {
		resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
		return
	}
	changes, asked := m.changes(prior), false
	if h := r.reach(m.Host, &resp.Diagnostics); h != nil {
		plan, err := h.PlanModule(ctx, m.wanted(ctx, instance), prior.recorded(ctx, instance))
		f := foreseen{nil, plan.Refusals, plan.Warnings, err}
		if asked = f.report(changes, applies, m.Host, &resp.Diagnostics); asked && m.Persist.ValueBool() {
			m.plan(plan, changes, prior)
		}
	}
	if !asked && !changes {
		m.keepBoot(prior)
	}
	if m.Persist.ValueBool() && !prior.BootSource.IsNull() && m.Host.Equal(prior.Host) && m.Name.Equal(prior.Name) {
		m.BootSource = prior.BootSource
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

// recorded is what Terraform last recorded; nil when the resource is to be created.
func (m *kernelModuleModel) recorded(ctx context.Context, instance string) *host.Module {
	if m.Host.IsNull() {
		return nil
	}
	was := m.wanted(ctx, instance)
	return &was
}

// changes reports whether the configuration changes anything, so that an apply changes the host, or is refused. That a
// file is written again is no change of that kind.
func (m *kernelModuleModel) changes(prior kernelModuleModel) bool {
	return !m.Host.Equal(prior.Host) || !kmod.Same(m.Name.ValueString(), prior.Name.ValueString()) ||
		!m.Persist.Equal(prior.Persist) || !m.Parameters.Equal(prior.Parameters) || !m.Loaded.Equal(prior.Loaded) ||
		!m.OnDestroy.Equal(prior.OnDestroy) || !m.Adopt.Equal(prior.Adopt)
}

// plan plans what the next boot makes of the change. A loss that an apply cannot mend is no difference.
func (m *kernelModuleModel) plan(plan host.ModulePlan, changes bool, prior kernelModuleModel) {
	if len(plan.Refusals) > 0 && !changes {
		m.keepBoot(prior)
		return
	}
	stays := !prior.Host.IsNull() && plan.Holds == prior.HoldsAtBoot.ValueBool() &&
		string(plan.Reason) == prior.BootReason.ValueString()
	if !plan.Open || !changes || stays {
		m.HoldsAtBoot, m.BootReason = types.BoolValue(plan.Holds), orNull(string(plan.Reason))
	}
	if plan.Source != nil {
		m.BootSource = types.StringValue(*plan.Source)
	}
}

// takeAsPlanned is take after a change, which keeps what the plan said of the next boot, as the CLI demands.
func (m *kernelModuleModel) takeAsPlanned(ctx context.Context, h *host.Host, st host.ModuleState, diags *diag.Diagnostics) {
	source, holds, reason := m.BootSource, m.HoldsAtBoot, m.BootReason
	m.take(ctx, h, st, diags)
	m.BootSource = asPlanned(source, m.BootSource, diags)
	if !holds.IsUnknown() {
		m.HoldsAtBoot, m.BootReason = holds, reason
	}
}

func (m *kernelModuleModel) wanted(ctx context.Context, instance string) host.Module {
	want := host.Module{Name: m.Name.ValueString(), Persist: m.Persist.ValueBool(), Instance: instance, Adopt: m.Adopt.ValueBool()}
	m.Parameters.ElementsAs(ctx, &want.Parameters, true)
	return want
}

func (m *kernelModuleModel) identity() kernelModuleIdentity {
	return kernelModuleIdentity{Host: m.Host, Name: types.StringValue(kmod.Canonical(m.Name.ValueString()))}
}

// take puts into the model what the host has, and warns of parameters that wait for the next load.
func (m *kernelModuleModel) take(ctx context.Context, h *host.Host, st host.ModuleState, diags *diag.Diagnostics) {
	for _, w := range h.Warnings(m.wanted(ctx, ""), st) {
		addWarning(diags, w)
	}
	m.Loaded, m.Builtin, m.BootSource = types.BoolValue(st.LoadedNow), types.BoolValue(st.Builtin), stringValue(st.BootSource)
	if !m.Parameters.IsNull() {
		m.Parameters = mapValue(st.Parameters, diags)
	}
	m.HoldsAtBoot, m.BootReason = types.BoolNull(), types.StringNull()
	if m.Persist.ValueBool() {
		m.HoldsAtBoot, m.BootReason = types.BoolValue(st.Holds), orNull(string(st.Reason))
	}
	m.BootParameters = types.MapNull(types.StringType)
	if st.BootParameters != nil {
		m.BootParameters = mapValue(st.BootParameters, diags)
	}
}

// keepBoot plans that the next boot makes of the resource what it was last seen to.
func (m *kernelModuleModel) keepBoot(prior kernelModuleModel) {
	m.BootSource, m.HoldsAtBoot, m.BootReason, m.BootParameters = prior.BootSource, prior.HoldsAtBoot, prior.BootReason, prior.BootParameters
}

// planLayers plans what the host will hold, a line a layer.
func (m *kernelModuleModel) planLayers() {
	m.Loaded, m.HoldsAtBoot, m.BootReason = types.BoolValue(true), types.BoolUnknown(), types.StringUnknown()
	switch {
	case m.Persist.IsUnknown() || m.Name.IsUnknown():
		m.BootSource, m.BootParameters = types.StringUnknown(), types.MapUnknown(types.StringType)
		return
	case !m.Persist.ValueBool():
		m.BootSource, m.BootParameters = types.StringNull(), types.MapNull(types.StringType)
		m.HoldsAtBoot, m.BootReason = types.BoolNull(), types.StringNull()
		return
	}
	m.BootSource, m.BootParameters = types.StringUnknown(), types.MapNull(types.StringType)
	if m.Parameters.IsUnknown() || len(m.Parameters.Elements()) > 0 {
		m.BootParameters = m.Parameters
	}
}
