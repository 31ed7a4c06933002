package provider

// The host attribute of every resource: which host it means, and what is not known of it yet.

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/host-provider/terraform-provider-host/internal/host"
)

// target is embedded in each resource: the configured provider and what follows from it.
type target struct{ configured }

func hostAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		Optional:   true,
		Computed:   true,
		Validators: hostValidators(),
		MarkdownDescription: "Host to act on: a name in the provider's `hosts` or `[user@]address[:port]`. Default: the provider's `host`. " +
			"A change replaces the resource.",
	}
}

// Configure takes the configured provider; it is called without one too, to validate.
func (t *target) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if c, ok := req.ProviderData.(configured); ok {
		t.configured = c
	}
}

// planHost plans the host attribute: the configuration's, else the provider's. A change replaces.
func (t *target) planHost(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var config, prior types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("host"), &config)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("host"), &prior)...)
	}
	planned := config
	switch {
	case !config.IsNull():
	case t.fleet == nil:
		planned = types.StringUnknown()
	case t.configured.host.IsNull():
		failAt(&resp.Diagnostics, path.Root("host"), "no host", "The resource names no host and the provider block has no host for it. Set host in one of the two.")
		return
	default:
		planned = t.configured.host
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("host"), planned)...)
	if !prior.IsNull() && !prior.Equal(planned) {
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root("host"))
	}
}

// reach returns the host of this name; nil, without an error, when what it takes to reach it is not known yet.
func (t *target) reach(name types.String, diags *diag.Diagnostics) *host.Host {
	if t.fleet == nil || t.unknown || name.IsUnknown() {
		return nil
	}
	h, err := t.fleet.Host(name.ValueString())
	if errors.Is(err, errUnknown) {
		return nil
	}
	if err != nil {
		addError(diags, err)
		return nil
	}
	return h
}

// mustReach is reach for a step that cannot do without the host: what is not known is an error, and the state is kept.
// From then on the run applies, whatever the CLI tells of it.
func (t *target) mustReach(name types.String, diags *diag.Diagnostics) *host.Host {
	if t.fleet != nil {
		t.fleet.Applying()
	}
	h := t.reach(name, diags)
	if h == nil && !diags.HasError() {
		fail(diags, "host settings are not known", "The provider's settings for the host "+name.ValueString()+", or for a jump host "+
			"on the way to it, depend on something that is not known in this run, so the host cannot be reached and nothing was "+
			"changed. Apply what they depend on first (terraform apply -target=...), or write them out.")
	}
	return h
}

// adoptAttribute lets a resource take over what other instances hold.
func adoptAttribute() schema.BoolAttribute {
	return schema.BoolAttribute{
		Optional: true,
		MarkdownDescription: "Whether to take over keys and files that a resource wrote which this state does not know: another " +
			"configuration's, or one that was forgotten (`removed` with `destroy = false`). Without it that is an error of the plan. " +
			"Default `false`.",
	}
}

// foreseen is what a host says of a planned change.
type foreseen struct {
	conflicts, refusals, warnings []*host.Error
	err                           error
}

// report adds what stands against a change to the plan. What an apply is certain to refuse is an error if the resource
// changes, and a warning if it stays as it is. A host that does not answer is no error: the same apply may make it, and
// of a resource that stays as it is there is nothing to foresee. It returns false if nothing is known of the next boot.
//
// In an apply the CLI plans once more, and holds us to what was known. If the host is gone by then, the plan says what
// our own file does, which is all that can have been planned, and the step that follows says why the host cannot be
// reached. Terraform tells us that it applies; for OpenTofu the warning has to do.
func (f foreseen) report(changes, applying bool, name types.String, diags *diag.Diagnostics) (known bool) {
	for _, e := range f.conflicts {
		addError(diags, e)
	}
	if f.err != nil && !applying && !changes {
		return false
	}
	if f.err != nil && !applying {
		warn(diags, "next boot of "+name.ValueString()+" not foreseen", "The host could not be asked at plan, so what its files "+
			"make of this change is only seen at apply. "+f.err.Error()+" If an apply says that the provider produced an "+
			"inconsistent final plan, this is why: apply again when the host can be reached.")
		return false
	}
	for _, e := range f.refusals {
		if changes {
			addError(diags, e)
		} else {
			addWarning(diags, e)
		}
	}
	for _, e := range f.warnings {
		addWarning(diags, e)
	}
	return true
}

// applying reports whether the plan is certainly one within an apply: of the walks of a Terraform without experiments,
// that alone allows deferral. With OpenTofu only what was applied before tells.
func (t *target) applying(req resource.ModifyPlanRequest) bool {
	if t.fleet == nil {
		return req.ClientCapabilities.DeferralAllowed
	}
	if req.ClientCapabilities.DeferralAllowed {
		t.fleet.Applying()
	}
	return t.fleet.Applies()
}

// asPlanned is the boot_source to record: the planned one, as the CLI demands, also where the plan within an apply named our own file for a host that was not there, and
// which then came up with another file that decides.
func asPlanned(planned, is types.String, diags *diag.Diagnostics) types.String {
	if planned.IsUnknown() || planned.Equal(is) || diags.HasError() {
		return is
	}
	decides := "Nothing"
	if !is.IsNull() {
		decides = is.ValueString()
	}
	warn(diags, "boot_source is not as planned", decides+" decides what the next boot leaves, and not "+planned.ValueString()+", which the plan names. "+
		"The next refresh records it.")
	return planned
}

// unread reports at refresh that a host could not be read. With unreachable = "warn" that is a warning where the host was not reached, and the state is kept; an
// import has none to keep.
func (t *target) unread(name types.String, diags *diag.Diagnostics, err error, imported bool) {
	if imported || !t.tolerated(err) {
		addError(diags, err)
		return
	}
	warn(diags, "host "+name.ValueString()+" not reached, its state is kept", err.Error()+
		" What the state says of the host may be out of date. A change of it fails until it can be reached.")
}

// warnUnread says at refresh that the state was not compared with the host.
func warnUnread(diags *diag.Diagnostics) {
	warn(diags, "host not read", "The provider's settings for this host are not known before the apply, so drift on it cannot be seen now. "+
		"The state is kept as it was.")
}

// splitID splits an import id HOST/REST at its first slash.
func splitID(id, form string) (hostName, rest string, err error) {
	hostName, rest, ok := strings.Cut(id, "/")
	if !ok || hostName == "" || rest == "" {
		return "", "", fmt.Errorf("import id %q has not the form %s", id, form)
	}
	return hostName, rest, nil
}

// sameSpelling keeps the prior spelling of an attribute where the new one means the same, and replaces the resource where it does not.
type sameSpelling struct {
	same func(a, b string) bool
}

var _ planmodifier.String = sameSpelling{}

func (m sameSpelling) Description(context.Context) string {
	return "another spelling is no change; a change replaces the resource"
}
func (m sameSpelling) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (m sameSpelling) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	switch {
	case req.State.Raw.IsNull() || req.Plan.Raw.IsNull() || req.StateValue.IsNull():
	case req.PlanValue.IsUnknown() || !m.same(req.StateValue.ValueString(), req.PlanValue.ValueString()):
		resp.RequiresReplace = true
	default:
		resp.PlanValue = req.StateValue
	}
}
