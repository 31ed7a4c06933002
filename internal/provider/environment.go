package provider

// The environment: what counts for the provider block's attributes that nothing else says, HOST_USER for user and so on.

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
)

// environment reads variables, and says which of them cannot be read.
type environment struct{ diags *diag.Diagnostics }

// variable is the name of the variable for an attribute.
func variable(attribute string) string { return "HOST_" + strings.ToUpper(attribute) }

func (e environment) text(attribute string) string { return os.Getenv(variable(attribute)) }

// refuse reports a variable without its value, which may be a secret.
func (e environment) refuse(attribute, want string) {
	fail(e.diags, "malformed environment variable", fmt.Sprintf("The variable %s, which counts where nothing else sets %s, is not %s. Correct it, or unset it.",
		variable(attribute), attribute, want))
}

func (e environment) number(attribute string, most int) int {
	text := e.text(attribute)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		e.refuse(attribute, fmt.Sprintf("a number from 1 to %d", most))
		return 0
	}
	return n
}

func (e environment) flag(attribute string) *bool {
	text := e.text(attribute)
	if text == "" {
		return nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		e.refuse(attribute, "true or false")
		return nil
	}
	return &b
}

func (e environment) duration(attribute string) time.Duration {
	text := e.text(attribute)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		e.refuse(attribute, "a time above zero, such as 30s")
		return 0
	}
	return d
}

func (e environment) oneOf(attribute string, values ...string) string {
	text := e.text(attribute)
	if text != "" && !slices.Contains(values, text) {
		e.refuse(attribute, "one of "+strings.Join(values, ", "))
		return ""
	}
	return text
}

// files is a list as in PATH; "none" is the empty one.
func (e environment) files(attribute string) []string {
	text := e.text(attribute)
	switch text {
	case "":
		return nil
	case noFiles:
		return []string{}
	}
	return filepath.SplitList(text)
}

// noFiles is what a variable for a list of files holds where the list is empty.
const noFiles = "none"
