package provider_test

// Checks on a real plan.

import (
	"context"
	"fmt"
	"maps"
	"slices"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

type terraformState = terraform.State

// planCheck is a plancheck in one function.
type planCheck func(changes []*tfjson.ResourceChange) error

func (f planCheck) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	resp.Error = f(req.Plan.ResourceChanges)
}

func emptyAfter() resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
}

// expectOnlyChange wants this attribute of this resource to change, and nothing else anywhere.
func expectOnlyChange(address, attribute, from, to string) planCheck {
	return func(changes []*tfjson.ResourceChange) error {
		for _, c := range changes {
			got := changed(c)
			switch {
			case c.Address == address:
				if len(got) != 1 || got[attribute] != [2]string{from, to} {
					return fmt.Errorf("%s changes %q", address, got)
				}
			case len(got) > 0:
				return fmt.Errorf("%s changes too: %q", c.Address, got)
			}
		}
		return nil
	}
}

// expectChange wants this attribute to change; "" stands for null.
func expectChange(address, attribute, from, to string) planCheck {
	return func(changes []*tfjson.ResourceChange) error {
		for _, c := range changes {
			if c.Address == address {
				if got, ok := changed(c)[attribute]; ok && got == [2]string{from, to} {
					return nil
				}
				return fmt.Errorf("%s changes %q", address, changed(c))
			}
		}
		return fmt.Errorf("%s is not in the plan", address)
	}
}

func expectNoChange(address, attribute string) planCheck {
	return func(changes []*tfjson.ResourceChange) error {
		for _, c := range changes {
			if _, ok := changed(c)[attribute]; ok && c.Address == address {
				return fmt.Errorf("%s of %s changes", attribute, address)
			}
		}
		return nil
	}
}

// changed is every attribute that a planned change gives another value, from and to, with "" for null and "?" for unknown.
func changed(c *tfjson.ResourceChange) map[string][2]string {
	before, _ := c.Change.Before.(map[string]any)
	after, _ := c.Change.After.(map[string]any)
	unknown, _ := c.Change.AfterUnknown.(map[string]any)
	all := map[string][2]string{}
	names := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)), slices.Collect(maps.Keys(unknown)))
	for _, name := range names {
		from, to := printed(before[name]), printed(after[name])
		if unknown[name] == true {
			to = "?"
		}
		if from != to {
			all[name] = [2]string{from, to}
		}
	}
	return all
}

func printed(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

var hostPath = tfjsonpath.New("host")
