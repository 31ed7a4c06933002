// Package provider is Terraform's face: provider, resources, data sources and functions. Each method is one call into host.
package provider

import (
	"context"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Source is the provider's source as a configuration names it, and Address its address in Terraform's registry.
const (
	Source  = "host-provider/host"
	Address = "registry.terraform.io/" + Source
)

// Provider is one configured provider. Close ends its connections.
type Provider struct {
	version string

	mu     sync.Mutex
	closes []func()
}

var _ provider.Provider = (*Provider)(nil)

// New returns a provider that has no connection yet.
func New(version string) *Provider { return &Provider{version: version} }

// Close ends every connection and waits until nothing of them is left. Terraform tells a provider nothing of its end, so main does.
func (p *Provider) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, end := range p.closes {
		end()
	}
	p.closes = nil
}

// Metadata names the provider.
func (p *Provider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "host"
	resp.Version = p.version
}

// Schema describes the provider block.
func (p *Provider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	attributes := connectionAttributes()
	attributes["host"] = schema.StringAttribute{
		Optional: true,
		MarkdownDescription: "Host of the resources that name none: a name in `hosts`, an alias in ssh_config, or `[user@]address[:port]`. When it changes, those " +
			"resources are replaced.",
	}
	attributes["connect_timeout"] = schema.StringAttribute{
		Optional:   true,
		Validators: durationValidators(),
		MarkdownDescription: "How long one connection may take to be made, authentication included, as in `15s`; sudo and doas get a minute at least. " +
			"Default: ssh_config's `ConnectTimeout` for the host, else `15s`.",
	}
	attributes["timeout"] = schema.StringAttribute{
		Optional:            true,
		Validators:          durationValidators(),
		MarkdownDescription: "How long to wait, when a resource is created, for a host that does not answer yet because it is booting, as in `5m`. Default `5m`.",
	}
	attributes["ssh_config_files"] = schema.ListAttribute{
		Optional: true, ElementType: types.StringType,
		MarkdownDescription: "Files in the form of ssh_config, the first of which wins. Default `~/.ssh/config` and `/etc/ssh/ssh_config`; `[]` does without any, and " +
			"without the keys `~/.ssh/id_rsa`, `id_ecdsa` and `id_ed25519`, which are tried where no key is named.",
	}
	attributes["ssh_config_commands"] = schema.BoolAttribute{
		Optional: true,
		MarkdownDescription: "Whether to run commands that ssh_config names, as `ssh` does: `ProxyCommand`, " +
			"`KnownHostsCommand`, and `Match exec`. With `false` a host that one of them concerns is refused, " +
			"for files that you do not trust, as on a shared runner. Default `true`.",
	}
	attributes["max_connections"] = schema.Int64Attribute{
		Optional: true, Validators: []validator.Int64{int64validator.Between(1, maxMaxConnections)},
		MarkdownDescription: "How many hosts may be connected at once; an idle connection ends for one that is needed. Jump hosts do not count, nor do hosts that do not " +
			"answer. Default `100`.",
	}
	attributes["sftp"] = schema.BoolAttribute{
		Optional: true,
		MarkdownDescription: "Write files by SFTP where a host offers it, under sudo too, in place of the shell that runs everything else. The guarantees are the same, but " +
			"a file then takes some nine round trips in place of one. Default `false`.",
	}
	attributes["unreachable"] = schema.StringAttribute{
		Optional: true, Validators: []validator.String{stringvalidator.OneOf(unreachableModes...)},
		MarkdownDescription: "What a refresh makes of a host that does not answer: `error`; or `warn`, which keeps the state of its resources as it was, so that the other " +
			"hosts can be planned and changed. A change of that host itself is an error in apply, and a `host_boot` of it one at plan. A host that answers with " +
			"another host key, or that refuses the login or sudo, is an error in any case. Default `error`.",
	}
	host := connectionAttributes()
	host["address"] = schema.StringAttribute{Optional: true, MarkdownDescription: "Address or DNS name. Default: the entry's name."}
	attributes["hosts"] = schema.MapNestedAttribute{
		Optional:     true,
		NestedObject: schema.NestedAttributeObject{Attributes: host},
		MarkdownDescription: "Hosts that differ from the settings above, by the name that resources use. Only what differs is set. When resources of " +
			"three of them have been asked for, others are read in advance, at most as many as were asked for, because a CLI asks " +
			"for ten resources at a time only; not if there are more of them than `max_connections`.",
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Sets kernel parameters and loads kernel modules on Linux hosts over SSH, now and for the next boot.",
		Attributes:          attributes,
	}
}

// connectionAttributes are those that the provider block and each entry of hosts share; named as in Terraform's connection block where that has them.
func connectionAttributes() map[string]schema.Attribute {
	attributes := loginAttributes()
	bastion := loginAttributes()
	bastion["host"] = schema.StringAttribute{
		Required:            true,
		Validators:          hostValidators(),
		MarkdownDescription: "The jump host: a name in `hosts` or `[user@]address[:port]`; `none` for no jump host where the provider block has one.",
	}
	attributes["bastion"] = schema.SingleNestedAttribute{
		Optional:   true,
		Attributes: bastion,
		MarkdownDescription: "Jump host to go through, itself reached through its own where its entry of `hosts` has one. What is not set here is as in that entry, and " +
			"then as above, the host key apart: each jump host is checked on its own. All hosts behind a jump host share one connection to it.",
	}
	attributes["proxy_command"] = schema.StringAttribute{
		Optional:   true,
		Validators: []validator.String{stringvalidator.ConflictsWith(path.MatchRelative().AtParent().AtName("bastion"))},
		MarkdownDescription: "Command whose standard input and output lead to the host, in place of a connection to its port, as `ProxyCommand` of ssh_config: " +
			"`%h` stands for the address, `%p` for the port, `%r` for the user, `%n` for the host's name. The user's shell runs it, without the provider's " +
			"secrets in its environment. It holds no secret itself, because every user of this machine sees its arguments. `none` for no command where the " +
			"provider block has one. Default: ssh_config's `ProxyCommand`.",
	}
	bastion["proxy_command"] = schema.StringAttribute{
		Optional:            true,
		MarkdownDescription: "Command that leads to the jump host, as `proxy_command` for a host.",
	}
	attributes["sudo"] = schema.BoolAttribute{
		Optional:            true,
		MarkdownDescription: "Whether to become root through sudo: without a password unless `sudo_password` is set. Default `false`.",
	}
	attributes["doas"] = schema.BoolAttribute{
		Optional:            true,
		MarkdownDescription: "Whether to become root through doas, which has to permit it without a password (`permit nopass`). Default `false`.",
	}
	attributes["sudo_password"] = schema.StringAttribute{
		Optional: true, Sensitive: true,
		MarkdownDescription: "Password for sudo, handed over on its standard input.",
	}
	return attributes
}

// loginAttributes are those that a jump host has too.
func loginAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"user":        schema.StringAttribute{Optional: true, MarkdownDescription: "User to log in as. Default `root`."},
		"port":        schema.Int64Attribute{Optional: true, Validators: portValidators(), MarkdownDescription: "SSH port. Default `22`."},
		"private_key": schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Private key in PEM form, as `file(\"~/.ssh/id_ed25519\")` gives it."},
		"private_key_passphrase": schema.StringAttribute{Optional: true, Sensitive: true,
			MarkdownDescription: "Passphrase of `private_key` where that is encrypted."},
		"certificate": schema.StringAttribute{Optional: true,
			MarkdownDescription: "OpenSSH certificate of `private_key`, or of a key in the agent, as `file(\"~/.ssh/id_ed25519-cert.pub\")` gives it."},
		"password": schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Password to log in with."},
		"agent": schema.BoolAttribute{Optional: true,
			MarkdownDescription: "Whether to use the keys of the SSH agent at `SSH_AUTH_SOCK`, or at the `IdentityAgent` of ssh_config, or on Windows of its OpenSSH agent. " +
				"Default: where there is one. The agent is never forwarded."},
		"host_key": schema.StringAttribute{Optional: true,
			MarkdownDescription: "The host's public key, as in `ssh-ed25519 AAAA...`; or its fingerprint, as in `SHA256:...`; or the authority that certifies it, as in " +
				"`@cert-authority ssh-ed25519 AAAA...`. Default: what the known_hosts files say."},
		"host_key_checking": schema.StringAttribute{Optional: true, Validators: []validator.String{stringvalidator.OneOf(hostKeyCheckings...)},
			MarkdownDescription: "What becomes of a host that no known_hosts file knows, where `host_key` is not set: `strict` refuses it; `accept_new` records its key in " +
				"the first of `known_hosts_files` and holds to it from then on; `insecure` accepts every key, also a changed one, and warns. Default `strict`."},
		"known_hosts_files": schema.ListAttribute{Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Files of known host keys. Default `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`."},
		"control_path": schema.StringAttribute{Optional: true,
			MarkdownDescription: "Socket at which an `ssh` of yours shares its connection, as in `ssh -fNM -o ControlPersist=1h -S PATH HOST`, with the tokens of " +
				"ssh_config's `ControlPath`, such as `~/.ssh/%C`. The host is then reached over that connection only, and whatever logged in there, such as a " +
				"second factor, need not be done again; settings of keys, passwords and host keys do not count then. `none` shares no " +
				"connection. Default: ssh_config's `ControlPath`, if an `ssh` answers there and `host_key` is not set; else a connection of its own is made."},
	}
}

// The values of attributes that have a few.
var (
	hostKeyCheckings = []string{"strict", "accept_new", "insecure"}
	unreachableModes = []string{"error", unreachableWarn}
)

const (
	unreachableWarn = "warn"
	// maxMaxConnections is far more than a process may have open.
	maxMaxConnections = 100000
)

// Resources lists the resources.
func (p *Provider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{newKernelModuleResource, newSysctlResource, newSysctlsResource}
}

// DataSources lists the data sources.
func (p *Provider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{newBootDataSource}
}
