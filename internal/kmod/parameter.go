package kmod

// A module's parameters, as the kernel reads and modprobe.d holds them.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ParameterError is what ParseParameter returns.
type ParameterError struct {
	// Name is the parameter's name.
	Name string
	// Problem is what is wrong with the name or the value, such as "its value holds a line break".
	Problem string
}

func (e *ParameterError) Error() string {
	return fmt.Sprintf("Module parameter %q cannot be set: %s. `modinfo -p MODULE` lists a module's parameters.", e.Name, e.Problem)
}

// Parameter is one parameter of a module. A parameter without a value (HasValue false) is a switch that is on.
type Parameter struct {
	Name     string
	Value    string
	HasValue bool
}

// ParseParameter checks a parameter that is to stand in a modprobe.d file. A value may hold spaces, for the kernel knows double quotes, but no double
// quote itself, no tab and no line break. The error is a *ParameterError.
func ParseParameter(name, value string) (Parameter, error) {
	problem := ""
	switch {
	case !isName(name):
		problem = "its name may hold only letters, digits, '_' and '-', and does not begin with '-'"
	case strings.ContainsAny(value, "\n\r"):
		problem = "its value holds a line break, which would add a line to the modprobe.d file"
	case strings.Contains(value, "\x00"):
		problem = "its value holds a NUL byte"
	case strings.Contains(value, "\t"):
		problem = "its value holds a tab, which modprobe turns into a space"
	case strings.Contains(value, `"`):
		problem = "its value holds a double quote, which the kernel takes away"
	case len(name)+len(value) > maxParameter:
		problem = fmt.Sprintf("it has more than %d bytes, all the kernel takes", maxParameter)
	}
	if problem != "" {
		return Parameter{}, &ParameterError{Name: name, Problem: problem}
	}
	return Parameter{Name: name, Value: value, HasValue: true}, nil
}

// maxParameter is below the kernel's limit of a page for a parameter that is a string (STRLEN 1024 in kernel/params.c).
const maxParameter = 1024

// ParseParameters reads the text of an options line as the kernel does (next_arg in lib/cmdline.c): parameters are separated by white space, which double
// quotes protect.
func ParseParameters(text string) []Parameter {
	var parameters []Parameter
	for {
		for text != "" && isSpace(text[0]) {
			text = text[1:]
		}
		if text == "" {
			return parameters
		}
		text, parameters = nextParameter(text, parameters)
	}
}

// isSpace is the kernel's isspace: it takes bytes for Latin-1, whose no-break space, 0xA0, is a part of letters such as "à" in UTF-8 (lib/ctype.c).
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' || c == 0xA0 }

func nextParameter(text string, parameters []Parameter) (string, []Parameter) {
	text, quoted := strings.CutPrefix(text, `"`)
	inQuote, end := quoted, len(text)
	for i := range len(text) {
		if text[i] == '"' {
			inQuote = !inQuote
		} else if !inQuote && isSpace(text[i]) {
			end = i
			break
		}
	}
	arg := text[:end]
	// The kernel looks for the sign from the second byte on.
	name, value, hasValue := arg, "", false
	if len(arg) > 1 {
		if i := strings.IndexByte(arg[1:], '='); i >= 0 {
			name, value, hasValue = arg[:i+1], arg[i+2:], true
		}
	}
	if inner, ok := strings.CutPrefix(value, `"`); ok {
		value = strings.TrimSuffix(inner, `"`)
	} else if quoted && hasValue {
		value = strings.TrimSuffix(value, `"`)
	}
	if quoted && !hasValue {
		name = strings.TrimSuffix(name, `"`)
	}
	return text[end:], append(parameters, Parameter{Name: name, Value: value, HasValue: hasValue})
}

// FormatOptions returns the text of a modprobe.d file that sets a module's parameters, sorted by name: a comment line for each comment, then one options line, or
// none if there are no parameters. The name must come from ParseName, each parameter from ParseParameter.
func FormatOptions(name string, parameters map[string]string, comments ...string) string {
	var b strings.Builder
	b.WriteString(commentLines(comments))
	if len(parameters) == 0 {
		return b.String()
	}
	b.WriteString("options " + name)
	for _, p := range slices.Sorted(maps.Keys(parameters)) {
		// kmod drops a backslash that is not doubled.
		value := strings.ReplaceAll(parameters[p], `\`, `\\`)
		if slices.ContainsFunc([]byte(value), isSpace) {
			value = `"` + value + `"`
		}
		b.WriteString(" " + p + "=" + value)
	}
	b.WriteByte('\n')
	return b.String()
}
