package sysctl

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkParseFile reads a drop-in of a thousand keys.
func BenchmarkParseFile(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "# Value before Terraform: 0\nnet.ipv4.conf.veth%d.rp_filter = 1\n", i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if all, bad := ParseFile("x.conf", text.String()); len(all) != 1000 || len(bad) > 0 {
			b.Fatal(len(all), bad)
		}
	}
}
