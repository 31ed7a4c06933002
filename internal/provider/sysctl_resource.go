package provider

// host_sysctl: a kernel parameter, now and at the next boot.

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
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
	_ resource.Resource                = (*sysctlResource)(nil)
	_ resource.ResourceWithConfigure   = (*sysctlResource)(nil)
	_ resource.ResourceWithIdentity    = (*sysctlResource)(nil)
	_ resource.ResourceWithImportState = (*sysctlResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*sysctlResource)(nil)
)

type sysctlResource struct{ target }

func newSysctlResource() resource.Resource { return &sysctlResource{} }

// sysctlModel is host_sysctl's schema in Go.
type sysctlModel struct {
	Host          types.String `tfsdk:"host"`
	Key           types.String `tfsdk:"key"`
	Value         types.String `tfsdk:"value"`
	Module        types.String `tfsdk:"module"`
	Persist       types.Bool   `tfsdk:"persist"`
	FileName      types.String `tfsdk:"file_name"`
	OnDestroy     types.String `tfsdk:"on_destroy"`
	Adopt         types.Bool   `tfsdk:"adopt"`
	BootValue     types.String `tfsdk:"boot_value"`
	BootSource    types.String `tfsdk:"boot_source"`
	HoldsAtBoot   types.Bool   `tfsdk:"holds_at_boot"`
	BootReason    types.String `tfsdk:"boot_reason"`
	OriginalValue types.String `tfsdk:"original_value"`
}

// sysctlIdentity is host_sysctl's identity.
type sysctlIdentity struct {
	Host types.String `tfsdk:"host"`
	Key  types.String `tfsdk:"key"`
}

func (r *sysctlResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_sysctl"
}

func (r *sysctlResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A kernel parameter (sysctl) of a Linux host: the running value, set at once, and a drop-in in `/etc/sysctl.d`, so that it is set again at boot.",
		Attributes: map[string]schema.Attribute{
			"host": hostAttribute(),
			"key": schema.StringAttribute{
				Required:      true,
				Validators:    keyValidators(),
				PlanModifiers: []planmodifier.String{sameSpelling{sameKey}},
				MarkdownDescription: "Key, with dots or with slashes: the first separator decides which is meant, as in sysctl.d(5), so `net.ipv4.conf.eth0/100.forwarding` and " +
					"`net/ipv4/conf/eth0.100/forwarding` are the same. A change replaces the resource.",
			},
			"value": schema.StringAttribute{
				Required:   true,
				Validators: valueValidators(),
				MarkdownDescription: "Running value. Compared as the kernel means it: white space, `010` (8) and `0x10` (16) make no difference. " +
					"A value that the kernel refuses or changes is an error, and the one before is put back.",
			},
			"module": schema.StringAttribute{
				Optional:   true,
				Validators: moduleValidators(),
				MarkdownDescription: "Kernel module that the key belongs to. A reference, as in `host_kernel_module.conntrack.name`, makes Terraform load the module first and " +
					"keep it until the key is taken back.",
			},
			"persist": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "Whether to write the drop-in. `false` sets the running value only; a note in `/run/sysctl.d`, which sets nothing and is gone after a " +
					"boot, remembers the value from before. Default `true`.",
			},
			"file_name": schema.StringAttribute{
				Optional: true, Computed: true, Validators: fileNameValidators(),
				MarkdownDescription: "Name of the drop-in in `/etc/sysctl.d`. Files are read in the order of their names and the last one wins. Default " +
					"`90-terraform-KEY.conf`, or `85-terraform-KEY.conf` for a key whose change changes others, so that these have the last word.",
			},
			"on_destroy": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("restore"),
				Validators: []validator.String{stringvalidator.OneOf("restore", "keep")},
				MarkdownDescription: "What to do with the running value when the resource is destroyed: `restore` puts it to what the host's other files set, else to " +
					"`original_value`; `keep` leaves it. The drop-in is removed either way. Default `restore`.",
			},
			"adopt": adoptAttribute(),
			"boot_value": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Value that the next boot leaves, given every file on the host; null when it would be lost, and with `persist = false`.",
			},
			"boot_source": schema.StringAttribute{Computed: true, MarkdownDescription: "What decides it, as `path:line`."},
			"holds_at_boot": schema.BoolAttribute{
				Computed: true,
				MarkdownDescription: "Whether the next boot leaves the value, given every file on the host; known at plan if the host can be asked. " +
					"Null with `persist = false`.",
			},
			"boot_reason": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "Why not, or why that is not certain, as one of the words of the guide [What happens at boot](../guides/boot); " +
					"null if it holds.",
			},
			"original_value": schema.StringAttribute{
				Computed: true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
				MarkdownDescription: "Value found before Terraform first wrote the key.",
			},
		},
	}
}

func (r *sysctlResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"host": identityschema.StringAttribute{RequiredForImport: true, Description: "Host, as the resource names it."},
		"key":  identityschema.StringAttribute{RequiredForImport: true, Description: "Key, in either spelling."},
	}}
}

func (r *sysctlResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m sysctlModel
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
	want := m.wanted(newInstance())
	want.Boots = &host.Boots{}
	st, err := h.SetSysctl(ctx, want, nil, nil)
	if err != nil {
		addError(&resp.Diagnostics, err)
		if !host.MayHaveChanged(err) {
			return
		}
	}
	m.takeAsPlanned(st, &resp.Diagnostics)
	keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
	keepBoots(ctx, resp.Private, want.Boots, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *sysctlResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m sysctlModel
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
	if m.Persist.IsNull() {
		instance = m.imported(ctx, h, &resp.Diagnostics)
		keepInstance(ctx, resp.Private, instance, &resp.Diagnostics)
	}
	want := m.wanted(instance)
	want.Boots = bootsOf(ctx, req.Private, &resp.Diagnostics)
	st, err := h.ReadSysctl(ctx, want)
	if err != nil {
		r.unread(m.Host, &resp.Diagnostics, err, resp.Diagnostics.HasError())
		resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
		return
	}
	m.take(st)
	keepBoots(ctx, resp.Private, want.Boots, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *sysctlResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, prior sysctlModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	if resp.Diagnostics.HasError() {
		return
	}
	h := r.mustReach(m.Host, &resp.Diagnostics)
	if h == nil {
		return
	}
	want := m.wanted(instanceOrNew(ctx, req.Private, &resp.Diagnostics))
	want.Boots = bootsOf(ctx, req.Private, &resp.Diagnostics)
	st, err := h.SetSysctl(ctx, want, prior.recorded(want.Instance), prior.OriginalValue.ValueStringPointer())
	if err != nil {
		addError(&resp.Diagnostics, err)
		if host.MayHaveChanged(err) {
			keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
		}
		return
	}
	m.takeAsPlanned(st, &resp.Diagnostics)
	keepInstance(ctx, resp.Private, want.Instance, &resp.Diagnostics)
	keepBoots(ctx, resp.Private, want.Boots, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, m.identity())...)
}

func (r *sysctlResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m sysctlModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	h := r.mustReach(m.Host, &resp.Diagnostics)
	if h == nil {
		return
	}
	instance := instanceOf(ctx, req.Private, &resp.Diagnostics)
	err := h.UnsetSysctl(ctx, m.wanted(instance), m.OriginalValue.ValueStringPointer(), m.OnDestroy.ValueString() == "restore")
	switch {
	case errors.Is(err, &host.Error{Kind: host.NotRestored}):
		addWarning(&resp.Diagnostics, err)
	case err != nil:
		addError(&resp.Diagnostics, err)
	}
}

func (r *sysctlResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	var id sysctlIdentity
	if req.ID != "" {
		name, key, err := splitID(req.ID, "HOST/KEY")
		if err != nil {
			fail(&resp.Diagnostics, "malformed import id", err.Error())
			return
		}
		id = sysctlIdentity{Host: types.StringValue(name), Key: types.StringValue(key)}
	} else {
		resp.Diagnostics.Append(req.Identity.Get(ctx, &id)...)
	}
	if _, err := sysctl.ParseKey(id.Key.ValueString()); err != nil {
		fail(&resp.Diagnostics, "malformed sysctl key", err.Error())
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("host"), id.Host)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("key"), id.Key)...)
	resp.Diagnostics.Append(resp.Identity.Set(ctx, id)...)
}

func (r *sysctlResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	instance := instanceOf(ctx, req.Private, &resp.Diagnostics)
	if req.Plan.Raw.IsNull() {
		var m sysctlModel
		resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
		r.know(m.Host, instance, m.wanted(instance).Path(), &resp.Diagnostics)
		return
	}
	r.planHost(ctx, req, resp)
	applies := r.applying(req)
	var m sysctlModel
	resp.Diagnostics.Append(resp.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var prior sysctlModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
		m.keepSpelling(prior)
	}
	var named types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("file_name"), &named)...)
	if named.IsNull() {
		m.FileName = types.StringUnknown()
	}
	m.planLayers()
	if m.FileName.IsUnknown() || m.Value.IsUnknown() || m.Module.IsUnknown() || m.Persist.IsUnknown() {
		resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
		return
	}
	changes, asked := m.changes(prior), false
	if h := r.reach(m.Host, &resp.Diagnostics); h != nil {
		want := m.wanted(instance)
		want.Boots = bootsOf(ctx, req.Private, &resp.Diagnostics)
		plan, err := h.PlanSysctl(ctx, want, prior.recorded(instance))
		f := foreseen{plan.Conflicts, plan.Refusals, plan.Warnings, err}
		if asked = f.report(changes, applies, m.Host, &resp.Diagnostics); asked {
			m.plan(plan, changes, prior)
		}
	}
	if !asked && !changes {
		m.keepBoot(prior)
	}
	if !prior.BootSource.IsNull() && m.sameBootValue(prior) && m.FileName.Equal(prior.FileName) && m.Host.Equal(prior.Host) {
		m.BootSource = prior.BootSource
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, m)...)
}

func sameKey(a, b string) bool {
	ka, errA := sysctl.ParseKey(a)
	kb, errB := sysctl.ParseKey(b)
	return errA == nil && errB == nil && ka == kb
}

// key is the model's key, which its validator has checked.
func (m *sysctlModel) key() sysctl.Key {
	k, _ := sysctl.ParseKey(m.Key.ValueString())
	return k
}

func (m *sysctlModel) wanted(instance string) host.Sysctl {
	value, _ := sysctl.ParseValue(m.Value.ValueString())
	return host.Sysctl{
		Key: m.key(), Value: value, Module: m.Module.ValueString(), FileName: m.FileName.ValueString(), Persist: m.Persist.ValueBool(),
		Instance: instance, Adopt: m.Adopt.ValueBool(),
	}
}

func (m *sysctlModel) identity() sysctlIdentity {
	return sysctlIdentity{Host: m.Host, Key: types.StringValue(m.key().String())}
}

// take puts into the model what the host has. A value the host means the same by keeps the configuration's spelling.
func (m *sysctlModel) take(st host.SysctlState) {
	spelled := m.Value
	same := func(v *string) types.String {
		if v != nil && !spelled.IsNull() && sysctl.Equal(m.key(), *v, spelled.ValueString()) {
			return spelled
		}
		return stringValue(v)
	}
	m.BootValue, m.BootSource = same(st.Boot), stringValue(st.BootSource)
	if !st.Waits {
		m.Value = same(st.Running)
	}
	m.HoldsAtBoot, m.BootReason = types.BoolNull(), types.StringNull()
	if m.Persist.ValueBool() {
		m.HoldsAtBoot, m.BootReason = types.BoolValue(st.Holds), orNull(string(st.Reason))
	}
	if m.OriginalValue.IsNull() || m.OriginalValue.IsUnknown() {
		m.OriginalValue = stringValue(st.Original)
	}
	if m.OriginalValue.IsNull() {
		m.OriginalValue = m.Value
	}
}

// takeAsPlanned is take after a change, which keeps what the plan said of the next boot, as the CLI demands.
func (m *sysctlModel) takeAsPlanned(st host.SysctlState, diags *diag.Diagnostics) {
	value, source, holds, reason := m.BootValue, m.BootSource, m.HoldsAtBoot, m.BootReason
	m.take(st)
	if !value.IsUnknown() {
		m.BootValue = value // what speaks against it may be newer than the plan, or gone since
	}
	m.BootSource = asPlanned(source, m.BootSource, diags)
	if !holds.IsUnknown() {
		m.HoldsAtBoot, m.BootReason = holds, reason
	}
}

// imported fills what an import does not name: the defaults, the module that owns the key, and the file that holds it
// now. It returns the instance that wrote the file, or a new one.
func (m *sysctlModel) imported(ctx context.Context, h *host.Host, diags *diag.Diagnostics) (instance string) {
	name, err := h.FindDropIn(ctx, m.key())
	if err != nil {
		addError(diags, err)
		return newInstance()
	}
	m.Persist, m.OnDestroy, m.FileName = types.BoolValue(true), types.StringValue("restore"), types.StringValue(name)
	if owner, ok := kmod.Owner(m.key()); ok {
		m.Module = types.StringValue(owner)
	}
	return writtenBy(ctx, h, m.wanted("").Path(), diags)
}

// keepSpelling puts the prior value back where the new one means the same.
func (m *sysctlModel) keepSpelling(prior sysctlModel) {
	if !m.Value.IsUnknown() && !prior.Value.IsNull() && sameKey(m.Key.ValueString(), prior.Key.ValueString()) &&
		sysctl.Equal(m.key(), m.Value.ValueString(), prior.Value.ValueString()) {
		m.Value = prior.Value
	}
}

// sameBootValue reports whether the next boot leaves what is planned already: its line then stays as it is.
func (m *sysctlModel) sameBootValue(prior sysctlModel) bool {
	return !m.BootValue.IsNull() && !prior.BootValue.IsNull() && sysctl.Equal(m.key(), m.BootValue.ValueString(), prior.BootValue.ValueString())
}

// recorded is what Terraform last recorded; nil when the resource is to be created.
func (m *sysctlModel) recorded(instance string) *host.Sysctl {
	if m.Host.IsNull() {
		return nil
	}
	was := m.wanted(instance)
	return &was
}

// changes reports whether the configuration changes anything, so that an apply changes the host, or is refused. That a
// file is written again is no change of that kind.
func (m *sysctlModel) changes(prior sysctlModel) bool {
	return !m.Host.Equal(prior.Host) || !sameKey(m.Key.ValueString(), prior.Key.ValueString()) || !m.Value.Equal(prior.Value) ||
		!m.Persist.Equal(prior.Persist) || !m.FileName.Equal(prior.FileName) || !m.Module.Equal(prior.Module) ||
		!m.OnDestroy.Equal(prior.OnDestroy) || !m.Adopt.Equal(prior.Adopt)
}

// plan plans what the next boot makes of the change. A loss that an apply cannot mend is no difference.
func (m *sysctlModel) plan(plan host.SysctlsPlan, changes bool, prior sysctlModel) {
	if len(plan.Refusals) > 0 && !changes {
		m.keepBoot(prior)
		return
	}
	k := plan.Keys[m.key()]
	stays := !prior.Host.IsNull() && k.Holds == prior.HoldsAtBoot.ValueBool() &&
		string(k.Reason) == prior.BootReason.ValueString()
	switch {
	case k.Open && changes && !stays:
		m.HoldsAtBoot, m.BootReason = types.BoolUnknown(), types.StringUnknown()
	case m.Persist.ValueBool():
		m.HoldsAtBoot, m.BootReason = types.BoolValue(k.Holds), orNull(string(k.Reason))
	}
	switch {
	case k.Contested != "":
		m.BootValue, m.BootSource = types.StringNull(), types.StringValue(k.Contested)
	case k.Own:
		m.BootSource = types.StringValue(m.wanted("").Source())
	}
}

// keepBoot plans that the next boot makes of the resource what it was last seen to.
func (m *sysctlModel) keepBoot(prior sysctlModel) {
	m.BootValue, m.BootSource, m.HoldsAtBoot, m.BootReason = prior.BootValue, prior.BootSource, prior.HoldsAtBoot, prior.BootReason
}

// planLayers plans what the host will hold, a line a layer.
func (m *sysctlModel) planLayers() {
	if m.FileName.IsUnknown() && !m.Key.IsUnknown() {
		m.FileName = types.StringValue(m.key().DropInName())
	}
	m.HoldsAtBoot, m.BootReason = types.BoolUnknown(), types.StringUnknown()
	switch {
	case m.Persist.IsUnknown():
		m.BootValue, m.BootSource = types.StringUnknown(), types.StringUnknown()
	case m.Persist.ValueBool():
		m.BootValue, m.BootSource = m.Value, types.StringUnknown()
	default:
		m.BootValue, m.BootSource = types.StringNull(), types.StringNull()
		m.HoldsAtBoot, m.BootReason = types.BoolNull(), types.StringNull()
	}
}
