package boot_test

import (
	"fmt"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/boot"
	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// ofKeys is a host with so many keys, each in a file of its own or all in one.
func ofKeys(b *testing.B, n int, own bool) (*boot.Snapshot, []sysctl.Key) {
	b.Helper()
	s := &boot.Snapshot{Init: "systemd", Kernel: "6.1", Values: map[string]boot.Reading{}}
	var keys []sysctl.Key
	text := ""
	for i := range n {
		k, err := sysctl.ParseKey(fmt.Sprintf("net/ipv4/conf/veth%d/rp_filter", i))
		if err != nil {
			b.Fatal(err)
		}
		keys = append(keys, k)
		s.Values[k.Path()] = boot.Reading{Text: "1"}
		if own {
			s.AddFile(confdir.File{Path: "/etc/sysctl.d/" + k.DropInName(), Text: sysctl.Format(k, "1"), Regular: true})
		}
		text += sysctl.Format(k, "1")
	}
	if !own {
		s.AddFile(confdir.File{Path: "/etc/sysctl.d/90-all.conf", Text: text, Regular: true})
	}
	return s, keys
}

// BenchmarkPredict is a prediction of a host, and of each of its keys.
func BenchmarkPredict(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		for _, own := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d keys, a file each %v", n, own), func(b *testing.B) {
				s, keys := ofKeys(b, n, own)
				b.ReportAllocs()
				for b.Loop() {
					p := boot.Predict(s)
					for _, k := range keys {
						if o := p.Key(k, "1"); !o.Holds {
							b.Fatal(o)
						}
					}
				}
			})
		}
	}
}
