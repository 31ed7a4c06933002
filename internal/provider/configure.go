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

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/host-provider/terraform-provider-host/internal/host"
	"github.com/host-provider/terraform-provider-host/internal/sshconn"
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
}

// connectionModel is what connectionAttributes describe.
type connectionModel struct {
	loginModel
	Sudo         types.Bool   `tfsdk:"sudo"`
	SudoPassword types.String `tfsdk:"sudo_password"`
	Doas         types.Bool   `tfsdk:"doas"`
	Bastion      types.Object `tfsdk:"bastion"`
}

// bastionModel is a jump host.
type bastionModel struct {
	loginModel
	Host types.String `tfsdk:"host"`
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
	// unknown says that a setting which every host needs is not known yet, as when the key is made in the same apply; unknownHosts says it of single hosts.
	unknown      bool
	unknownHosts map[string]bool
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
	c := configured{host: m.Host, unknownHosts: map[string]bool{}, tolerated: func(error) bool { return false }}
	c.unknown = m.unknown()
	if cmp.Or(m.Unreachable.ValueString(), env.oneOf("unreachable", unreachableModes...)) == unreachableWarn {
		c.tolerated = sshconn.NotReached
	}
	config := m.config(ctx, env, &resp.Diagnostics)
	checked := []sshconn.Settings{config.Defaults, config.Environment}
	hosts := map[string]types.Object{}
	if !m.Hosts.IsUnknown() {
		resp.Diagnostics.Append(m.Hosts.ElementsAs(ctx, &hosts, false)...)
	}
	for name, object := range hosts {
		var e hostModel
		if object.IsUnknown() {
			c.unknownHosts[name] = true
			continue
		}
		if object.IsNull() {
			resp.Diagnostics.AddAttributeError(path.Root("hosts").AtMapKey(name), "host without settings", "The entry "+name+" of hosts is null. Write {} for a host "+
				"that differs in nothing.")
			continue
		}
		if diags := object.As(ctx, &e, basetypes.ObjectAsOptions{}); diags.HasError() {
			resp.Diagnostics.Append(diags...)
			continue
		}
		if strings.Contains(name, "/") {
			resp.Diagnostics.AddAttributeError(path.Root("hosts").AtMapKey(name), "malformed host name",
				"A name in hosts may not hold a slash: import ids have the form HOST/KEY. Rename the entry "+name+".")
		}
		c.unknownHosts[name] = e.unknown() || e.Address.IsUnknown()
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
	p.closes = append(p.closes, c.fleet.Close, pool.Close)
	p.mu.Unlock()
	if ahead := c.readable(hosts); len(ahead) <= pool.MaxConnections() {
		c.fleet.Prefetch(ahead, readAtOnce)
	}
	resp.ResourceData, resp.DataSourceData = c, c
}

// readAtOnce is how many hosts are read ahead at once. With 20 hosts behind 50 ms each way, a plan of ten host_sysctl a host took 5.5 s in place of 14.4 s.
const readAtOnce = 20

// readable are the names of those hosts of which all is known that it takes to reach them.
func (c configured) readable(hosts map[string]types.Object) []string {
	if c.unknown {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(hosts)), func(name string) bool { return c.unknownHosts[name] })
}

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
		Hosts:                  map[string]sshconn.Settings{},
		Log:                    func(ctx context.Context, msg string, fields map[string]any) { tflog.Debug(ctx, msg, fields) },
	}
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
func (e environment) settings() sshconn.Settings {
	s := sshconn.Settings{
		User:                 e.text("user"),
		Port:                 e.number("port", 65535),
		PrivateKey:           e.text("private_key"),
		PrivateKeyPassphrase: e.text("private_key_passphrase"),
		Certificate:          e.text("certificate"),
		Password:             e.text("password"),
		Agent:                e.flag("agent"),
		HostKey:              e.text("host_key"),
		HostKeyChecking:      sshconn.HostKeyChecking(e.oneOf("host_key_checking", hostKeyCheckings...)),
		KnownHosts:           e.files("known_hosts_files"),
		Sudo:                 e.flag("sudo"),
		SudoPassword:         e.text("sudo_password"),
		Doas:                 e.flag("doas"),
	}
	if bastion := e.text("bastion"); bastion != "" {
		s.Bastion = &sshconn.Bastion{Host: bastion}
	}
	return s
}

// warnInsecure warns of settings that let anybody be the host.
func warnInsecure(settings []sshconn.Settings, diags *diag.Diagnostics) {
	for _, s := range settings {
		if s.HostKeyChecking == sshconn.Insecure || s.Bastion != nil && s.Bastion.HostKeyChecking == sshconn.Insecure {
			diags.AddWarning("SSH host keys are not checked", "host_key_checking is insecure: whoever stands between this machine and a host can read and change all that "+
				"passes, passwords included. Set host_key, or use accept_new, which records a host's first key and holds to it.")
			return
		}
	}
}

func (m providerModel) unknown() bool {
	return m.connectionModel.unknown() || m.ConnectTimeout.IsUnknown() || m.Timeout.IsUnknown() || m.Hosts.IsUnknown() || unknownList(m.SSHConfigFiles) ||
		m.MaxConnections.IsUnknown() || m.Unreachable.IsUnknown()
}

func (m loginModel) unknown() bool {
	return m.User.IsUnknown() || m.Port.IsUnknown() || m.PrivateKey.IsUnknown() || m.PrivateKeyPassphrase.IsUnknown() || m.Certificate.IsUnknown() ||
		m.Password.IsUnknown() || m.Agent.IsUnknown() || m.HostKey.IsUnknown() || m.HostKeyChecking.IsUnknown() || unknownList(m.KnownHostsFiles)
}

func (m connectionModel) unknown() bool {
	return m.loginModel.unknown() || m.Sudo.IsUnknown() || m.SudoPassword.IsUnknown() || m.Doas.IsUnknown() || m.Bastion.IsUnknown() ||
		slices.ContainsFunc(slices.Collect(maps.Values(m.Bastion.Attributes())), unknownValue)
}

// unknownList reports whether a list or an element of it is unknown.
func unknownList(l types.List) bool {
	return l.IsUnknown() || slices.ContainsFunc(l.Elements(), unknownValue)
}

// unknownValue reports whether a value, or an element of a list, is unknown.
func unknownValue(v attr.Value) bool {
	if l, ok := v.(types.List); ok {
		return unknownList(l)
	}
	return v.IsUnknown()
}

func (m loginModel) settings(ctx context.Context) sshconn.Settings {
	return sshconn.Settings{
		User:                 m.User.ValueString(),
		Port:                 int(m.Port.ValueInt64()),
		PrivateKey:           m.PrivateKey.ValueString(),
		PrivateKeyPassphrase: m.PrivateKeyPassphrase.ValueString(),
		Certificate:          m.Certificate.ValueString(),
		Password:             m.Password.ValueString(),
		HostKey:              m.HostKey.ValueString(),
		HostKeyChecking:      sshconn.HostKeyChecking(m.HostKeyChecking.ValueString()),
		Agent:                m.Agent.ValueBoolPointer(),
		KnownHosts:           fileList(ctx, m.KnownHostsFiles),
	}
}

func (m connectionModel) settings(ctx context.Context, diags *diag.Diagnostics) sshconn.Settings {
	s := m.loginModel.settings(ctx)
	s.Sudo, s.SudoPassword, s.Doas = m.Sudo.ValueBoolPointer(), m.SudoPassword.ValueString(), m.Doas.ValueBoolPointer()
	if m.Bastion.IsNull() || m.Bastion.IsUnknown() {
		return s
	}
	var b bastionModel
	diags.Append(m.Bastion.As(ctx, &b, basetypes.ObjectAsOptions{})...)
	s.Bastion = &sshconn.Bastion{Host: b.Host.ValueString(), Settings: b.loginModel.settings(ctx)}
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
