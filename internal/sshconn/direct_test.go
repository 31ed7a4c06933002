package sshconn

import (
	"net"
	"testing"
)

// Guards that a connection begins at the address that BindAddress or BindInterface names, and goes to one of the family
// that AddressFamily does.
func TestDirectDialer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("localhost", port)
	for _, tc := range []struct {
		family, from, iface, seen string // seen is empty if it cannot connect
	}{
		{"", "", "", "127.0.0.1"}, {"any", "", "", "127.0.0.1"}, {"inet", "", "", "127.0.0.1"}, {"inet6", "", "", ""},
		{"", "127.0.0.2", "", "127.0.0.2"}, {"inet", "127.0.0.3", "", "127.0.0.3"}, {"", "203.0.113.1", "", ""},
		{"", "no.invalid", "", ""}, {"", "", "lo", "127.0.0.1"}, {"inet6", "", "lo", ""}, {"", "", "nosuch0", ""},
		{"", "127.0.0.2", "nosuch0", "127.0.0.2"},
	} {
		c, err := direct{addr, tc.family, tc.from, tc.iface}.dial(t.Context())
		if err != nil {
			if tc.seen != "" {
				t.Errorf("%+v: %v", tc, err)
			}
			continue
		}
		if host, _, _ := net.SplitHostPort(c.LocalAddr().String()); host != tc.seen {
			t.Errorf("%+v: it came from %s", tc, host)
		}
		c.Close()
	}
}
