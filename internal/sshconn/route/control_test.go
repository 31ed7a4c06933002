package route

import (
	"slices"
	"strings"
	"testing"
)

// Guards which control sockets count for a host: its own setting before the provider's, that before ssh_config, and
// that before the environment; none for one that says so; and for a jump host not those of the hosts behind it.
func TestControlPath(t *testing.T) {
	dir := home(t, map[string]string{"config": `
Host shared
 ControlPath ~/cm-%r@%h:%p
Host jumped
 HostName 10.0.0.9
 ProxyJump b
 ControlPath /cm/%C
Host off
 ControlPath none
Host broken
 ControlPath /cm/%Z
Host b
 ControlPath /cm/b
`})
	named := func(path string) Settings { return Settings{Login: Login{ControlPath: path}} }
	for _, tc := range []struct {
		name, host                   string
		entry, defaults, environment string
		want                         []string
		required, pinned             bool
		hop                          []string
		fails                        string
	}{
		{name: "nothing says so", host: "web1"},
		{name: "ssh_config, and the provider pins the host key", host: "shared", pinned: true},
		{name: "both, and the host key is pinned", host: "shared", pinned: true, entry: "/e", want: []string{"/e"},
			required: true},
		{name: "entry", host: "web1", entry: "/e/%n-%p", defaults: "/d", environment: "/v", want: []string{"/e/web1-22"},
			required: true},
		{name: "provider block before ssh_config", host: "ops@shared:2", defaults: "~/d-%r-%p",
			want: []string{dir + "/d-ops-2"}, required: true},
		{name: "ssh_config before the environment", host: "ops@shared:2", environment: "/v",
			want: []string{dir + "/cm-ops@shared:2"}},
		{name: "environment", host: "web1", environment: "/v", want: []string{"/v"}, required: true},
		{name: "none in the entry", host: "shared", entry: "none", defaults: "/d"},
		{name: "none in ssh_config", host: "off", environment: "/v"},
		{name: "a jump host has its own", host: "jumped", defaults: "/d/%h", want: []string{"/d/10.0.0.9"}, required: true,
			hop: []string{"/cm/b"}},
		{name: "broken", host: "broken", fails: "the token %Z is not understood here"},
		{name: "broken and not used", host: "broken", defaults: "none"},
		{name: "broken setting", host: "web1", defaults: "/x/%Z",
			fails: "in its control_path, /x/%Z: the token %Z is not understood here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sources := Sources{Defaults: named(tc.defaults), Environment: named(tc.environment),
				SSHConfig: []string{"~/.ssh/config"}, Hosts: map[string]Settings{}}
			if tc.entry != "" {
				sources.Hosts[tc.host] = named(tc.entry)
			}
			if tc.pinned {
				sources.Defaults.HostKey = strings.TrimSpace(hostKey)
			}
			resolver, err := NewResolver(t.Context(), sources)
			if err != nil {
				t.Fatal(err)
			}
			r, err := resolver.Resolve(tc.host)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.Control.Paths, tc.want) || r.Control.Required != tc.required {
				t.Errorf("got %+v", r.Control)
			}
			if tc.hop != nil && (r.Via == nil || !slices.Equal(r.Via.Control.Paths, tc.hop) || r.Via.Control.Required) {
				t.Errorf("the jump host: %+v", r.Via)
			}
		})
	}
	t.Run("the hash of newer and of older ssh", func(t *testing.T) {
		resolver, err := NewResolver(t.Context(), Sources{SSHConfig: []string{"~/.ssh/config"}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := resolver.Resolve("ops@jumped")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Control.Paths) != 2 || r.Control.Paths[0] == r.Control.Paths[1] {
			t.Errorf("got %q", r.Control.Paths)
		}
	})
}
