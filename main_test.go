package main

import (
	"os"
	"strings"
	"testing"
)

// Guards that nothing is logged that nobody asked for, and that a variable which asks is left as it is.
func TestLogsAreOffUnlessAsked(t *testing.T) {
	for _, asked := range []string{"", "TF_LOG", "TF_LOG_PROVIDER", "TF_LOG_SDK_PROTO"} {
		t.Run(asked, func(t *testing.T) {
			for _, variable := range append(os.Environ(), "TF_LOG_SDK=", "TF_LOG_PROVIDER=") {
				if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "TF_LOG") {
					t.Setenv(name, "") // restores it at the end
					os.Unsetenv(name)
				}
			}
			if asked != "" {
				t.Setenv(asked, "debug")
			}
			logOnlyIfAsked()
			want := map[string]string{"": "off", "TF_LOG_PROVIDER": "debug"}[asked]
			if got := os.Getenv("TF_LOG_PROVIDER"); got != want {
				t.Errorf("TF_LOG_PROVIDER is %q, want %q", got, want)
			}
			if got := os.Getenv("TF_LOG_SDK") == "off"; got != (asked == "") {
				t.Errorf("the SDK's logs are off: %v", got)
			}
		})
	}
}
