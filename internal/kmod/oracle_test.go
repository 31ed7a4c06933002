//go:build oracle && linux

package kmod

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/oracletest"
)

// TestParseModprobeOracle guards the rows of TestParseModprobe themselves: modprobe must show the same configuration, and complain of as many lines. It
// needs kmod 30 or later, and root, for chroot(2):
//
//	go test -tags oracle -run Oracle ./internal/kmod
func TestParseModprobeOracle(t *testing.T) {
	root := oracletest.New(t, oracletest.Modprobe)
	always, _ := show(t, root, "")
	for _, tt := range modprobeCases {
		t.Run(tt.name, func(t *testing.T) {
			var want []string
			for _, d := range tt.want {
				want = append(want, strings.TrimSuffix(d.Command+" "+d.Name+" "+d.Text, " "))
			}
			slices.Sort(want)
			got, complaints := show(t, root, tt.text)
			got = slices.DeleteFunc(got, func(line string) bool { return slices.Contains(always, line) })
			// kmod 30 leaves out the space before "post:".
			for i := range got {
				got[i] = strings.Replace(strings.Replace(got[i], " post:", "post:", 1), "post:", " post:", 1)
			}
			if !slices.Equal(got, want) {
				t.Errorf("modprobe shows %q, the case wants %q", got, want)
			}
			for _, line := range tt.bad {
				if !strings.Contains(complaints, "line "+strconv.Itoa(line)+": ") && !strings.Contains(tt.text, "include") {
					t.Errorf("modprobe has no complaint about line %d: %s", line, complaints)
				}
			}
			if n := strings.Count(complaints, "\n"); n != len(tt.bad) {
				t.Errorf("modprobe complains %d times, the case %d times: %s", n, len(tt.bad), complaints)
			}
		})
	}
}

// show returns the configuration that modprobe reads from a file, sorted, and its complaints.
func show(t *testing.T, root oracletest.Root, text string) (lines []string, complaints string) {
	t.Helper()
	if err := root.Put("conf/x.conf", text); err != nil {
		t.Fatal(err)
	}
	ran, err := root.Run(oracletest.Command{Args: []string{oracletest.Modprobe, "-C", "/conf", "-c"}})
	if err != nil {
		t.Fatal(err)
	}
	config, _, _ := strings.Cut(ran.Out, "\n# End of configuration files")
	for line := range strings.SplitSeq(config, "\n") {
		if line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	for line := range strings.Lines(ran.Said) {
		if strings.Contains(line, "x.conf") {
			complaints += line
		}
	}
	return lines, complaints
}
