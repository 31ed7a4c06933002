package host

import (
	"fmt"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/shell"
)

// BenchmarkDecode reads what a host of a thousand keys prints, which are the bytes of a session and the snapshot in
// them.
func BenchmarkDecode(b *testing.B) {
	const nonce = "0123456789abcdef"
	rec := func(head, body string) string { return "\n\x1e" + nonce + " + " + head + "\n" + body }
	var file, values strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&file, "net.ipv4.conf.veth%d.rp_filter = 1\n", i)
		fmt.Fprintf(&values, "/proc/sys/net/ipv4/conf/veth%d/rp_filter:1\n", i)
	}
	out := []byte(rec(
		"file",
		"/etc/sysctl.d/90-all.conf") + rec(
		"regular", "") + rec("sizes", fmt.Sprintf("%d x\n", file.Len())) + rec("texts", file.String()) +
		rec("proc", "/proc/sys/kernel/osrelease:6.1\n/proc/modules:nf_conntrack 1 0 - Live 0x0\n") +
		rec("values", values.String()) + "\n\x1e" + nonce + " = 0\n")
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		r, n, err := shell.Decode(nonce, out)
		if err != nil || n != len(out) {
			b.Fatal(n, err)
		}
		if s, torn := decode(r); len(s.Values) != 1000 || torn {
			b.Fatal(len(s.Values), torn)
		}
	}
}
