package route

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Guards which ways to log in are tried, in which order, by what ssh_config says and by what is nearer to the host than
// it: for a host that is the provider block too, for a jump host it is not.
func TestLoginMethods(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	on, off := true, false
	key := Login{PrivateKey: "KEY"}
	password := Login{Password: "secret"}
	for _, tc := range []struct {
		name, config                 string
		host, defaults, environment  Login
		bastion                      *Login // says that it is a jump host, and what stands where it is named
		methods, key, password, file string
		agent                        *bool
	}{
		{name: "nothing said", methods: "publickey keyboard-interactive password", file: "/id"},
		{name: "no keys", config: "PubkeyAuthentication no", methods: "keyboard-interactive password", agent: &off},
		{name: "no keys, one is set", config: "PubkeyAuthentication no", defaults: key, agent: &off, key: "KEY",
			methods: "keyboard-interactive password publickey"},
		{name: "no keys, the agent is set", config: "PubkeyAuthentication no", host: Login{Agent: &on}, environment: key,
			agent: &on, methods: "keyboard-interactive password publickey"},
		{name: "no keys, the agent is not wanted", config: "PubkeyAuthentication no", host: Login{Agent: &off},
			agent: &off, methods: "keyboard-interactive password"},
		{name: "no keys, one in the environment", config: "PubkeyAuthentication no", environment: key, agent: &off,
			methods: "keyboard-interactive password"},
		{name: "no password, one is set", config: "PasswordAuthentication no", host: password, password: "secret",
			methods: "publickey keyboard-interactive password", file: "/id"},
		{name: "no questions, a password is set", config: "KbdInteractiveAuthentication no", host: password,
			password: "secret", methods: "publickey password keyboard-interactive", file: "/id"},
		{name: "no password, one in the environment", config: "PasswordAuthentication no", environment: password,
			password: "secret", methods: "publickey keyboard-interactive", file: "/id"},
		{name: "an order", config: "PreferredAuthentications password,publickey", methods: "password publickey", file: "/id"},
		{name: "an order without its first", config: "PreferredAuthentications password,publickey\nPasswordAuthentication no",
			methods: "publickey", file: "/id"},
		{name: "an order, and what is set", config: "PreferredAuthentications password", defaults: key, key: "KEY",
			methods: "password publickey", agent: &off},
		{name: "none of ours", config: "PreferredAuthentications gssapi-with-mic", agent: &off},
		{name: "a jump host, and keys for the hosts behind it", config: "PubkeyAuthentication no", defaults: key,
			bastion: &Login{}, methods: "keyboard-interactive password", agent: &off},
		{name: "a jump host with a key", config: "PubkeyAuthentication no", bastion: &key, key: "KEY",
			methods: "keyboard-interactive password publickey", agent: &off},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte("IdentityFile /id\n"+tc.config+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s := Sources{Defaults: Settings{Login: tc.defaults}, Environment: Settings{Login: tc.environment},
				Hosts: map[string]Settings{"web1": {Login: tc.host}}, SSHConfig: []string{file}}
			if tc.bastion != nil {
				s.Hosts["behind"] = Settings{Bastion: &Bastion{Host: "web1", Login: *tc.bastion}}
			}
			resolver, err := NewResolver(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			name := "web1"
			if tc.bastion != nil {
				name = "behind"
			}
			r, err := resolver.Resolve(name)
			if err != nil {
				t.Fatal(err)
			}
			if tc.bastion != nil {
				r = r.Via
			}
			if got := strings.Join(r.Methods, " "); got != tc.methods {
				t.Errorf("methods %s, want %s", got, tc.methods)
			}
			if got := strings.Join(r.Identities, " "); r.PrivateKey != tc.key || r.Password != tc.password || got != tc.file {
				t.Errorf("key %q, password %q, files %q", r.PrivateKey, r.Password, got)
			}
			if (r.Agent == nil) != (tc.agent == nil) || r.Agent != nil && *r.Agent != *tc.agent {
				t.Errorf("agent %v, want %v", r.Agent, tc.agent)
			}
			for _, method := range []string{PublicKey, KeyboardInteractive, Password} {
				if tried := strings.Contains(" "+tc.methods+" ", " "+method+" "); tried == (r.Forbidden[method] != "") {
					t.Errorf("%s: tried %v, and forbidden by %q", method, tried, r.Forbidden[method])
				}
			}
		})
	}
}
