package provider

// What Terraform keeps in the private state of an object. First, which resource instance this is: its drop-ins name it,
// so that a replaced, deposed or moved object never takes back what its successor holds. Second, what it remembers of the
// boots of its host.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/host-provider/terraform-provider-host/internal/host"
)

// The keys of private state.
const (
	instanceKey = "instance"
	bootsKey    = "boots"
)

// privateState is what the framework hands over of an object's private state.
type privateState interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

// newInstance returns a name that no other instance has.
func newInstance() string { return strings.ToLower(rand.Text()[:16]) }

// instanceOf returns the instance that private state holds; "" for an object of a version that kept none.
func instanceOf(ctx context.Context, private privateState, diags *diag.Diagnostics) string {
	text, d := private.GetKey(ctx, instanceKey)
	diags.Append(d...)
	var instance string
	if text != nil && json.Unmarshal(text, &instance) != nil {
		return ""
	}
	return instance
}

// keepInstance puts an instance into private state.
func keepInstance(ctx context.Context, private privateState, instance string, diags *diag.Diagnostics) {
	text, err := json.Marshal(instance)
	if err == nil {
		diags.Append(private.SetKey(ctx, instanceKey, text)...)
	}
}

// bootsOf returns what private state remembers of boots. It forgets what an unknown version wrote.
func bootsOf(ctx context.Context, private privateState, diags *diag.Diagnostics) *host.Boots {
	text, d := private.GetKey(ctx, bootsKey)
	diags.Append(d...)
	var boots host.Boots
	if text != nil && json.Unmarshal(text, &boots) != nil {
		return &host.Boots{}
	}
	return &boots
}

// keepBoots puts into private state what to remember of boots.
func keepBoots(ctx context.Context, private privateState, boots *host.Boots, diags *diag.Diagnostics) {
	text, err := json.Marshal(boots)
	if err == nil {
		diags.Append(private.SetKey(ctx, bootsKey, text)...)
	}
}

// instanceOrNew is instanceOf with a new one for an object that has none yet.
func instanceOrNew(ctx context.Context, private privateState, diags *diag.Diagnostics) string {
	if instance := instanceOf(ctx, private, diags); instance != "" {
		return instance
	}
	return newInstance()
}

// know notes that an instance belongs to this run, for a destroy plan, which asks nothing else of a host.
func (t *target) know(name types.String, instance, path string, diags *diag.Diagnostics) {
	if h := t.reach(name, diags); h != nil {
		h.Know(instance, path)
	}
}

// writtenBy returns the instance that wrote a file, for an import that goes on with it; a new one if none did.
func writtenBy(ctx context.Context, h *host.Host, path string, diags *diag.Diagnostics) string {
	instance, err := h.WrittenBy(ctx, path)
	if err != nil {
		addError(diags, err)
	}
	if instance == "" {
		return newInstance()
	}
	return instance
}
