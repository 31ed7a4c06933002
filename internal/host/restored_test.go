package host

import (
	"slices"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// TestRestoreAsTheNextBoot guards that a restored key gets the value of the next boot, by the rule of the prediction:
// the credential sysctl.extra has the last word, whatever the names of the files.
func TestRestoreAsTheNextBoot(t *testing.T) {
	const extra = "/run/credentials/@system/sysctl.extra"
	for _, tt := range []struct {
		name, key string
		files     map[string]string
		want      string
	}{
		{"nothing sets the key", "vm.swappiness", nil, "60"},
		{"a file sets it", "vm.swappiness", map[string]string{"/etc/sysctl.d/zz.conf": "vm.swappiness = 20\n"}, "20"},
		{
			"the credential overrules the file", "vm.swappiness",
			map[string]string{"/etc/sysctl.d/zz.conf": "vm.swappiness = 20\n", extra: "vm.swappiness = 30\n"}, "30",
		},
		{
			"the credential sets the same switch under another name", "net.ipv4.ip_forward",
			map[string]string{
				"/etc/sysctl.d/zz.conf": "net.ipv4.ip_forward = 0\n", extra: "net.ipv4.conf.all.forwarding = 1\n",
			}, "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := sysctl.ParseKey(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			snap := &boot.Snapshot{Init: "systemd", Values: map[string]boot.Reading{
				k.Path(): {Text: "1"}, "/proc/sys/net/ipv4/conf/all/forwarding": {Text: "1"},
			}}
			for path, text := range tt.files {
				snap.AddFile(confdir.File{Path: path, Text: text, Regular: true})
			}
			s := Sysctls{Settings: []Setting{{k, "1"}}}
			got := s.restored(snap, map[sysctl.Key]string{k: "60"}, nil)
			var want []Setting
			if tt.want != "" {
				want = []Setting{{k, tt.want}}
			}
			if !slices.Equal(got, want) {
				t.Errorf("restored %+v, want %+v", got, want)
			}
		})
	}
}
