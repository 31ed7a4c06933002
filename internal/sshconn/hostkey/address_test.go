package hostkey

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// Guards CheckHostIP: a key that is right for the name is refused if the address has another one, but for the keys of
// this machine and unless the name is the address.
func TestAddressesAreChecked(t *testing.T) {
	hostKey, otherKey := publicKey(t), publicKey(t)
	for _, tc := range []struct {
		name, host, ip, address string // the line for the address
		printed                 bool   // by the command, not in the file
		off                     bool
		kind                    fault.Kind
	}{
		{name: "unknown", host: "web1", ip: "192.0.2.1"},
		{name: "known", host: "web1", ip: "192.0.2.1", address: knownLine("[192.0.2.1]:2222", hostKey, false)},
		{name: "changed", host: "web1", ip: "192.0.2.1", address: knownLine("[192.0.2.1]:2222", otherKey, false),
			kind: fault.HostKeyChanged},
		{name: "changed, hashed", host: "web1", ip: "192.0.2.1", address: knownLine("[192.0.2.1]:2222", otherKey, true),
			kind: fault.HostKeyChanged},
		{name: "changed, by the command", host: "web1", ip: "192.0.2.1", printed: true,
			address: knownLine("[192.0.2.1]:2222", otherKey, false), kind: fault.HostKeyChanged},
		{name: "revoked", host: "web1", ip: "192.0.2.1", address: "@revoked " + knownLine("[192.0.2.*]:*", hostKey, false),
			kind: fault.HostKeyRevoked},
		{name: "changed without the port", host: "web1", ip: "192.0.2.1", address: knownLine("192.0.2.1", otherKey, false)},
		{name: "changed, not checked", host: "web1", ip: "192.0.2.1", off: true,
			address: knownLine("[192.0.2.1]:2222", otherKey, false)},
		{name: "this machine", host: "web1", ip: "127.0.0.1", address: knownLine("[127.0.0.1]:2222", otherKey, false)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known_hosts")
			text, printed := knownLine("[web1]:2222", hostKey, false)+"\n", ""
			if tc.printed {
				printed = tc.address
			} else {
				text += tc.address + "\n"
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var asked []string
			command := Command{Args: []string{"/program", "%I %H"}, Run: func(_ context.Context, args []string) ([]byte, error) {
				asked = append(asked, args[1])
				return []byte(printed), nil
			}}
			k, err := New(Rules{Files: []string{file}, Command: command, Host: tc.host, Port: 2222, Algorithms: Preferred(),
				CheckAddress: !tc.off}, nil, fault.Maker{Host: "web1"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = k.Check(t.Context(), &net.TCPAddr{IP: net.ParseIP(tc.ip), Port: 2222}, hostKey)
			var e *fault.Error
			if errors.As(err, &e) != (tc.kind != 0) || e != nil && e.Kind != tc.kind {
				t.Errorf("got %v", err)
			}
			want := "HOSTNAME [web1]:2222"
			if !tc.off && tc.ip != "127.0.0.1" {
				want += ", ADDRESS [192.0.2.1]:2222"
			}
			if got := strings.Join(asked, ", "); got != want {
				t.Errorf("asked for %s", got)
			}
		})
	}
}
