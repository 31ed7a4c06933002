package provider

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// Guards that every attribute of the provider block but hosts has its variable, and that each reaches the connections. What host and unreachable come to is not theirs.
func TestEveryAttributeHasAVariable(t *testing.T) {
	values := map[string]string{
		"host": "web1", "unreachable": "warn",
		"user": "u", "port": "23", "private_key": "k", "private_key_passphrase": "p", "certificate": "c", "password": "w", "agent": "false", "host_key": "h",
		"host_key_checking": "accept_new", "known_hosts_files": "/a:/b", "sudo": "true", "sudo_password": "s", "doas": "false", "bastion": "jump", "proxy_command": "nc %h",
		"connect_timeout": "7s", "timeout": "8m", "max_connections": "9", "ssh_config_files": "none", "sftp": "true",
		"ssh_config_commands": "false", "control_path": "/cm",
	}
	var schema provider.SchemaResponse
	New("test").Schema(t.Context(), provider.SchemaRequest{}, &schema)
	attributes := slices.DeleteFunc(slices.Sorted(maps.Keys(schema.Schema.Attributes)), func(name string) bool { return name == "hosts" })
	if names := slices.Sorted(maps.Keys(values)); !slices.Equal(names, attributes) {
		t.Errorf("attributes %q, variables %q", attributes, names)
	}
	for name, value := range values {
		t.Setenv(variable(name), value)
	}
	yes, no := true, false
	want := sshconn.Config{
		Environment: route.Settings{Login: route.Login{User: "u", Port: 23, PrivateKey: "k", PrivateKeyPassphrase: "p", Certificate: "c", Password: "w", Agent: &no, HostKey: "h",
			HostKeyChecking: hostkey.AcceptNew, KnownHosts: []string{"/a", "/b"}, ControlPath: "/cm"}, Root: route.Root{Sudo: &yes, SudoPassword: "s", Doas: &no}, Bastion: &route.Bastion{Host: "jump"}, ProxyCommand: "nc %h"},
		SSHConfig: []string{}, FallbackConnectTimeout: 7 * time.Second, Timeout: 8 * time.Minute, MaxConnections: 9, SFTP: true, NoSSHConfigCommands: true, Hosts: map[string]route.Settings{},
	}
	var diags diag.Diagnostics
	got := providerModel{}.config(t.Context(), environment{&diags}, &diags)
	got.Log = nil
	if diags.HasError() || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v\n%v", got, want, diags)
	}
	// The block goes before them.
	m := providerModel{ConnectTimeout: types.StringValue("1s"), Timeout: types.StringValue("2m"), MaxConnections: types.Int64Value(3), SFTP: types.BoolValue(false),
		SSHConfigRuns: types.BoolValue(true)}
	m.User, m.Port = types.StringValue("x"), types.Int64Value(4)
	want.SFTP, want.NoSSHConfigCommands = false, false
	want.ConnectTimeout, want.Timeout, want.MaxConnections, want.Defaults = time.Second, 2*time.Minute, 3, route.Settings{Login: route.Login{User: "x", Port: 4}}
	got = m.config(t.Context(), environment{&diags}, &diags)
	got.Log = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("with a block: got %+v\nwant %+v", got, want)
	}
	// What cannot be meant is refused, by its name and without its value.
	for _, name := range []string{"port", "agent", "host_key_checking", "sudo", "doas", "connect_timeout", "timeout", "max_connections", "sftp", "ssh_config_commands"} {
		t.Setenv(variable(name), "-nonsense")
		var diags diag.Diagnostics
		providerModel{}.config(t.Context(), environment{&diags}, &diags)
		if diags.ErrorsCount() != 1 {
			t.Errorf("%s: %v", name, diags)
		}
		t.Setenv(variable(name), values[name])
	}
}
