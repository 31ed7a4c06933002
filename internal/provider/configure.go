package provider

// Configure: from the provider block to connections. The only file where provider and sshconn meet.

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// loginModel is what loginAttributes describe.
type loginModel struct {
	User                 types.String `tfsdk:"user"`
	Port                 types.Int64  `tfsdk:"port"`
	PrivateKey           types.String `tfsdk:"private_key"`
	PrivateKeyPassphrase types.String `tfsdk:"private_key_passphrase"`
	Certificate          types.String `tfsdk:"certificate"`
	Password             types.String `tfsdk:"password"`
	Agent                types.Bool   `tfsdk:"agent"`
	HostKey              types.String `tfsdk:"host_key"`
	HostKeyChecking      types.String `tfsdk:"host_key_checking"`
	KnownHostsFiles      types.List   `tfsdk:"known_hosts_files"`
	ControlPath          types.String `tfsdk:"control_path"`
}

// connectionModel is what connectionAttributes describe.
type connectionModel struct {
	loginModel
	Sudo         types.Bool   `tfsdk:"sudo"`
	SudoPassword types.String `tfsdk:"sudo_password"`
	Doas         types.Bool   `tfsdk:"doas"`
	Bastion      types.Object `tfsdk:"bastion"`
	ProxyCommand types.String `tfsdk:"proxy_command"`
}

// bastionModel is a jump host.
type bastionModel struct {
	loginModel
	Host         types.String `tfsdk:"host"`
	ProxyCommand types.String `tfsdk:"proxy_command"`
}

// hostModel is an entry of hosts.
type hostModel struct {
	connectionModel
	Address types.String `tfsdk:"address"`
}

// providerModel is the provider block.
type providerModel struct {
	connectionModel
	Host           types.String `tfsdk:"host"`
	ConnectTimeout types.String `tfsdk:"connect_timeout"`
	Timeout        types.String `tfsdk:"timeout"`
	SSHConfigFiles types.List   `tfsdk:"ssh_config_files"`
	SSHConfigRuns  types.Bool   `tfsdk:"ssh_config_commands"`
	MaxConnections types.Int64  `tfsdk:"max_connections"`
	SFTP           types.Bool   `tfsdk:"sftp"`
	Unreachable    types.String `tfsdk:"unreachable"`
	Hosts          types.Map    `tfsdk:"hosts"`
}

// configured is what resources get of the provider block.
type configured struct {
	fleet *host.Fleet
	// host is the provider's own host, for resources that name none; null without one.
	host types.String
	// unknown says that a setting which every host needs is not known yet, as when the key is made in the same apply.
	// For a single host, fleet returns errUnknown.
	unknown bool
	// tolerated says that a refresh which failed of err is to keep the state, with a warning.
	tolerated func(err error) bool
}

// Configure reads the provider block. It opens no connection.
func (p *Provider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	env := environment{&resp.Diagnostics}
	if m.Host.IsNull() && env.text("host") != "" {
		m.Host = types.StringValue(env.text("host"))
	}
	c := configured{host: m.Host, tolerated: func(error) bool { return false }}
	var unknownHosts map[string]bool
	c.unknown, unknownHosts = unknownSettings(req.Config.Raw)
	if cmp.Or(m.Unreachable.ValueString(), env.oneOf("unreachable", unreachableModes...)) == unreachableWarn {
		c.tolerated = fault.NotReached
	}
	config := m.config(ctx, env, &resp.Diagnostics)
	config.Unknown = unknownHosts
	checked := []route.Settings{config.Defaults, config.Environment}
	hosts := map[string]types.Object{}
	if !m.Hosts.IsUnknown() {
		resp.Diagnostics.Append(m.Hosts.ElementsAs(ctx, &hosts, false)...)
	}
	for name, object := range hosts {
		var e hostModel
		if object.IsUnknown() {
			continue
		}
		if object.IsNull() {
			failAt(&resp.Diagnostics, path.Root("hosts").AtMapKey(name), "host without settings", "The entry "+name+" of hosts is null. Write {} for a host "+
				"that differs in nothing.")
			continue
		}
		if diags := object.As(ctx, &e, basetypes.ObjectAsOptions{}); diags.HasError() {
			resp.Diagnostics.Append(diags...)
			continue
		}
		if strings.Contains(name, "/") {
			failAt(&resp.Diagnostics, path.Root("hosts").AtMapKey(name), "malformed host name",
				"A name in hosts may not hold a slash: import ids have the form HOST/KEY. Rename the entry "+name+".")
		}
		s := e.settings(ctx, &resp.Diagnostics)
		s.Address = e.Address.ValueString()
		config.Hosts[name] = s
		checked = append(checked, s)
	}
	warnInsecure(checked, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	pool := sshconn.NewPool(config)
	p.mu.Lock()
	c.fleet = host.NewFleet(func(name string) (host.Conn, error) { return pool.Conn(name) })
	p.closes = append(p.closes, pool.Close, c.fleet.Close) // commands that the fleet waits for end with the pool
	p.mu.Unlock()
	ahead := slices.DeleteFunc(slices.Sorted(maps.Keys(hosts)), func(name string) bool { return unknownHosts[name] })
	if !c.unknown && len(ahead) <= pool.MaxConnections() {
		c.fleet.Prefetch(ahead, readAtOnce)
	}
	resp.ResourceData, resp.DataSourceData = c, c
}

// readAtOnce is how many hosts are read in advance at once. With 20 hosts behind 50 ms each way, a plan of ten host_sysctl a host took 5.5 s in place of 14.4 s.
const readAtOnce = 20

// config is everything but the hosts.
func (m providerModel) config(ctx context.Context, env environment, diags *diag.Diagnostics) sshconn.Config {
	c := sshconn.Config{
		Defaults:               m.settings(ctx, diags),
		Environment:            env.settings(),
		SSHConfig:              fileList(ctx, m.SSHConfigFiles),
		ConnectTimeout:         duration(m.ConnectTimeout),
		FallbackConnectTimeout: env.duration("connect_timeout"),
		Timeout:                cmp.Or(duration(m.Timeout), env.duration("timeout")),
		MaxConnections:         cmp.Or(int(m.MaxConnections.ValueInt64()), env.number("max_connections", maxMaxConnections)),
		SFTP:                   m.SFTP.ValueBool(),
		Hosts:                  map[string]route.Settings{},
		Log: func(ctx context.Context, msg string, fields map[string]any) {
			tflog.Debug(ctx, visible(msg), visibleFields(fields))
		},
	}
	runs := m.SSHConfigRuns.ValueBoolPointer()
	if runs == nil {
		runs = env.flag("ssh_config_commands")
	}
	c.NoSSHConfigCommands = runs != nil && !*runs
	if sftp := env.flag("sftp"); m.SFTP.IsNull() && sftp != nil {
		c.SFTP = *sftp
	}
	if c.SSHConfig == nil {
		c.SSHConfig = env.files("ssh_config_files")
	}
	if c.SSHConfig == nil {
		c.SSHConfig = []string{"~/.ssh/config", "/etc/ssh/ssh_config"}
	}
	return c
}

// settings are the variables for the attributes that a host can have too.
func (e environment) settings() route.Settings {
	s := route.Settings{
		Login: route.Login{
			User:                 e.text("user"),
			Port:                 e.number("port", 65535),
			PrivateKey:           e.text("private_key"),
			PrivateKeyPassphrase: e.text("private_key_passphrase"),
			Certificate:          e.text("certificate"),
			Password:             e.text("password"),
			Agent:                e.flag("agent"),
			HostKey:              e.text("host_key"),
			HostKeyChecking:      hostkey.Checking(e.oneOf("host_key_checking", hostKeyCheckings...)),
			KnownHosts:           e.files("known_hosts_files"),
			ControlPath:          e.text("control_path"),
		},
		Root:         route.Root{Sudo: e.flag("sudo"), SudoPassword: e.text("sudo_password"), Doas: e.flag("doas")},
		ProxyCommand: e.text("proxy_command"),
	}
	if bastion := e.text("bastion"); bastion != "" {
		s.Bastion = &route.Bastion{Host: bastion}
	}
	return s
}

// warnInsecure warns of settings that let anybody be the host.
func warnInsecure(settings []route.Settings, diags *diag.Diagnostics) {
	for _, s := range settings {
		if s.HostKeyChecking == hostkey.Insecure || s.Bastion != nil && s.Bastion.HostKeyChecking == hostkey.Insecure {
			warn(diags, "SSH host keys are not checked", "host_key_checking is insecure: whoever stands between this machine and a host can read and change all that "+
				"passes, passwords included. Set host_key, or use accept_new, which records a host's first key and holds to it.")
			return
		}
	}
}

// errUnknown says that a host cannot be reached before something is known that its settings depend on.
var errUnknown = route.ErrUnknown

// unknownSettings reports whether a setting of the provider block that holds for all hosts is unknown, and the entries of
// hosts in which something is. It looks at the raw block, so that no attribute is forgotten. The attribute host does not
// count, because it is a setting of the resources that name no host.
func unknownSettings(block tftypes.Value) (all bool, hosts map[string]bool) {
	var settings, entries map[string]tftypes.Value
	if block.As(&settings) != nil {
		return true, nil
	}
	for name, value := range settings {
		if name != "host" && name != "hosts" && !value.IsFullyKnown() {
			return true, nil
		}
	}
	if settings["hosts"].As(&entries) != nil {
		return true, nil // unknown as a whole
	}
	hosts = map[string]bool{}
	for name, entry := range entries {
		if !entry.IsFullyKnown() {
			hosts[name] = true
		}
	}
	return false, hosts
}

func (m loginModel) login(ctx context.Context) route.Login {
	return route.Login{
		User:                 m.User.ValueString(),
		Port:                 int(m.Port.ValueInt64()),
		PrivateKey:           m.PrivateKey.ValueString(),
		PrivateKeyPassphrase: m.PrivateKeyPassphrase.ValueString(),
		Certificate:          m.Certificate.ValueString(),
		Password:             m.Password.ValueString(),
		HostKey:              m.HostKey.ValueString(),
		HostKeyChecking:      hostkey.Checking(m.HostKeyChecking.ValueString()),
		Agent:                m.Agent.ValueBoolPointer(),
		KnownHosts:           fileList(ctx, m.KnownHostsFiles),
		ControlPath:          m.ControlPath.ValueString(),
	}
}

func (m connectionModel) settings(ctx context.Context, diags *diag.Diagnostics) route.Settings {
	s := route.Settings{
		Login: m.login(ctx),
		Root: route.Root{Sudo: m.Sudo.ValueBoolPointer(), SudoPassword: m.SudoPassword.ValueString(),
			Doas: m.Doas.ValueBoolPointer()},
		ProxyCommand: m.ProxyCommand.ValueString(),
	}
	if m.Bastion.IsNull() || m.Bastion.IsUnknown() {
		return s
	}
	var b bastionModel
	diags.Append(m.Bastion.As(ctx, &b, basetypes.ObjectAsOptions{})...)
	s.Bastion = &route.Bastion{Host: b.Host.ValueString(), Login: b.login(ctx), ProxyCommand: b.ProxyCommand.ValueString()}
	return s
}

// fileList are the paths in a list; nil where there is no list.
func fileList(ctx context.Context, l types.List) []string {
	if l.IsNull() || l.IsUnknown() {
		return nil
	}
	var files []types.String
	l.ElementsAs(ctx, &files, true)
	paths := []string{}
	for _, f := range files {
		paths = append(paths, filepath.Clean(f.ValueString()))
	}
	return paths
}

func duration(s types.String) time.Duration {
	d, _ := time.ParseDuration(s.ValueString()) // its validator refused all else
	return d
}
