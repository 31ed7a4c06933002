package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
)

// ErrUnknown is returned for a host in Sources.Unknown, and for one whose way leads through such a host.
var ErrUnknown = errors.New("settings of the host, or of a jump host on the way to it, are not known yet")

// Sources are what is known of hosts before one is asked for. What is said nearest to a host counts: the user and port
// of [user@]address[:port], the entry in Hosts, Defaults, ssh_config, Environment. For a jump host, ssh_config counts
// before Defaults.
type Sources struct {
	// Defaults hold for every host; its Address means nothing.
	Defaults Settings
	// Environment holds for every host of which nothing else says it.
	Environment Settings
	// SSHConfig are files in the form of ssh_config(5), the first of which wins, a missing one is no error. With any,
	// the keys in their usual places are tried where no key is named.
	SSHConfig []string
	// NoCommands says that no command is run which ssh_config names. A host for which one would count is refused.
	NoCommands bool
	// Hosts are the hosts that have a name here.
	Hosts map[string]Settings
	// Unknown are the names of hosts that have settings which are not known yet. No way leads to or through one of
	// them.
	Unknown map[string]bool
}

// Resolver knows all there is to know of how hosts are reached. It asks no host. It is safe for concurrent use.
type Resolver struct {
	Sources
	// ssh is what the files in SSHConfig say; nil where there are none.
	ssh *sshConfig
}

// NewResolver reads the files of ssh_config. The error is what is wrong with them. The end of ctx ends the commands of
// Match exec that Resolve runs.
func NewResolver(ctx context.Context, s Sources) (*Resolver, error) {
	config, err := readSSHConfig(s.SSHConfig)
	if err != nil {
		return nil, err
	}
	if !s.NoCommands {
		config.exec = func(command string) (bool, error) { return s.runMatchExec(ctx, command) }
	}
	return &Resolver{s, config}, nil
}

// Resolve finds how host is reached: a name in Hosts, an alias of ssh_config, or [user@]address[:port]. What is said
// nearest to the host counts: in its name, in its entry of Hosts, in Defaults, in ssh_config, in Environment. The error
// is ErrUnknown, or an *Error of kind Misconfigured.
func (c *Resolver) Resolve(host string) (*Route, error) { return c.walk(host, nil, nil) }

// walk resolves one host and its jump hosts. own is what is said of a jump host where it is named, nil for the host
// itself; behind are the hosts that it leads to.
func (c *Resolver) walk(host string, own *Bastion, behind []string) (*Route, error) {
	if c.Unknown[host] {
		return nil, ErrUnknown // the name is no address to fall back on
	}
	malformed := func(why, next string) error {
		return &fault.Error{Kind: fault.Misconfigured, Host: strconv.Quote(host), Why: why, Next: next}
	}
	if slices.Contains(behind, host) {
		return nil, malformed("it is a jump host on the way to itself: "+strings.Join(append(behind, host), " through "),
			"Set bastion = { host = \""+NoBastion+"\" } in the entry of hosts for the host that is dialled directly, or "+
				"ProxyJump none in ssh_config")
	}
	said, err := c.said(host, own)
	if err != nil {
		return nil, malformed(err.Error(), hostForm)
	}
	alias := strings.TrimSuffix(strings.TrimPrefix(said.Address, "["), "]")
	config, err := c.ssh.host(alias, c.given(said, own != nil))
	if err != nil {
		return nil, malformed(err.Error(), "Correct that line, or set ssh_config_files = [] to do without ssh_config")
	}
	r := &Route{Host: host, Settings: c.merge(said, config, own != nil)}
	r.Port, r.User = cmp.Or(r.Port, 22), cmp.Or(r.User, "root")
	r.Address = config.address
	shared := config.controlPath
	if config.controlMaster == yes || config.controlMaster == ask { // ssh makes a connection of its own then
		shared = ""
	}
	if r.ControlPath != "" || r.HostKey != "" { // a master has checked the key by ssh_config, not by the setting
		shared, config.controlPath = "", "" // which does not count then, be it wrong
	}
	if config, err = r.expand(c.ssh, config, alias); err != nil {
		return nil, malformed("in what ssh_config says of it, "+err.Error(),
			"Write it out, or set ssh_config_files = [] to do without ssh_config")
	}
	tokens := c.ssh.tokens(&config, alias, r.Address, r.Port, r.User)
	if r.Control, err = control(r.ControlPath, shared, tokens); err != nil {
		return nil, malformed("in its control_path, "+err.Error(), "Correct control_path; a % that is none of a token is %%")
	}
	if len(c.SSHConfig) > 0 && r.PrivateKey == "" && !config.said["identityfile"] {
		for _, f := range usualIdentities {
			r.Usual = append(r.Usual, expandHome(f))
		}
	}
	nearer := said.Login
	if own == nil {
		nearer = nearer.withDefaults(c.Defaults.Login)
	}
	r.chooseMethods(&config, nearer)
	if why, next := r.malformed(); why != "" {
		return nil, malformed(why, next)
	}
	if r.User != config.user {
		if err := checkUser(r.User); err != nil {
			return nil, malformed(err.Error(), "Name a plain user, or set the user in ssh_config, where ssh takes any")
		}
	}
	if why, next := c.chooseKnownHostsCommand(r, &config, alias); why != "" {
		return nil, malformed(why, next)
	}
	if why, next := c.choose(r, &config, alias); why != "" {
		return nil, malformed(why, next)
	}
	bastion := r.Bastion
	r.Bastion = nil
	direct := bastion == nil || bastion.Host == NoBastion || bastion.Host == host
	if config.canonicalizes(direct && r.ProxyCommand == "") {
		return nil, malformed("ssh_config has CanonicalizeHostname or CanonicalizePermittedCNAMEs for it, "+
			"and no name is looked up here to replace it",
			"Write out the name with HostName, or set CanonicalizeHostname no for the host")
	}
	if direct {
		return r, nil
	}
	r.Via, err = c.walk(bastion.Host, bastion, append(behind, host))
	return r, err
}

// commandNameForm is what to do about a name that must not be put into a command.
const commandNameForm = "Give the host a plain name in ssh_config, with HostName for its address, and a plain user"

// choose fills in the way to a host that ssh_config names if nothing nearer names one, and replaces the tokens of a
// command. It says what is wrong with the way, and what to do about it.
func (c *Resolver) choose(r *Route, config *sshHost, alias string) (why, next string) {
	named := "its proxy_command cannot be used, "
	if r.Bastion == nil && r.ProxyCommand == "" {
		named = config.at["proxycommand"] + " sets a ProxyCommand for it, "
		switch {
		case config.proxyDoubt != nil:
			return config.proxyDoubt.Error(), "Name the way with bastion; { host = \"" + NoBastion + "\" } for none"
		case config.runsProxy() && c.NoCommands:
			return named + "and ssh_config_commands is false",
				"Name the way with bastion or proxy_command; bastion = { host = \"" + NoBastion + "\" } for none"
		case config.runsProxy() && config.proxyUseFdpass == yes:
			return named + "and ProxyUseFdpass has it pass a socket, which is not done here",
				"Have a command that passes the data itself, with ProxyUseFdpass no, or name the way with bastion"
		case config.runsProxy():
			r.ProxyCommand = config.proxyCommand
		default:
			r.Bastion = jumps(config.proxyJump)
		}
	}
	if r.ProxyCommand == NoCommand {
		r.ProxyCommand = ""
	}
	if r.ProxyCommand == "" {
		return "", ""
	}
	if r.Bastion != nil && r.Bastion.Host != NoBastion {
		return "it has both bastion and proxy_command", "Set one of the two"
	}
	r.Bastion = nil
	var err error
	if r.ProxyCommand, err = c.ssh.proxyCommand(config, alias, r); err != nil {
		return named + err.Error(), commandNameForm
	}
	return "", ""
}

// proxyCommand returns the command with its tokens replaced. As ssh does, it takes only names that no shell could take
// for anything else.
func (c *sshConfig) proxyCommand(h *sshHost, alias string, r *Route) (string, error) {
	for _, name := range []string{alias, r.Address} {
		if strings.HasPrefix(name, "-") || strings.ContainsFunc(name, func(c rune) bool {
			return unicode.IsSpace(c) || unicode.IsControl(c) || strings.ContainsRune("'`\"$\\;&<>|(){},", c)
		}) {
			return "", errors.New("and the host's name holds a character that is none of a name")
		}
	}
	if strings.HasPrefix(r.User, "-") || strings.Contains(r.User, " -") ||
		strings.ContainsAny(r.User, "'`\";&<>|(){}$\\\n\r") {
		return "", errors.New("and the user's name holds a character that is none of a name")
	}
	return c.tokens(h, alias, r.Address, r.Port, r.User).expand(r.ProxyCommand, proxyTokens, false)
}

// chooseKnownHostsCommand fills in the program that prints known_hosts, unless host keys are not looked up there.
func (c *Resolver) chooseKnownHostsCommand(r *Route, config *sshHost, alias string) (why, next string) {
	named := config.at["knownhostscommand"] + " sets a KnownHostsCommand for it, "
	if config.knownHostsCommand == "" || r.HostKey != "" || r.HostKeyChecking == hostkey.Insecure {
		return "", ""
	}
	if c.NoCommands {
		return named + "and ssh_config_commands is false",
			"Set host_key, or KnownHostsCommand none for the host in ssh_config"
	}
	var err error
	if r.KnownHostsCommand, err = c.ssh.knownHostsCommand(config, alias, r); err != nil {
		return named + err.Error(), "Correct that line, or set host_key"
	}
	return "", ""
}

// knownHostsCommand returns the program and its arguments, in which the tokens that depend on the key are left. As for
// ssh, no shell runs it. What ssh cannot run it does without; but what would have been printed may revoke a key.
func (c *sshConfig) knownHostsCommand(h *sshHost, alias string, r *Route) ([]string, error) {
	args, ok := splitArguments(h.knownHostsCommand, false)
	if !ok {
		return nil, errQuotes
	}
	if len(args) == 0 || !filepath.IsAbs(args[0]) {
		return nil, errors.New("which has no absolute path of a program")
	}
	t := c.tokens(h, alias, r.Address, r.Port, r.User)
	t.later = hostkey.CommandTokens
	for i, arg := range args[1:] {
		var err error
		if args[i+1], err = t.expand(arg, pathTokens, true); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// given is what ssh_config is told of a host, as ssh is told it on its command line.
func (c *Resolver) given(said Settings, hop bool) sshGiven {
	g := sshGiven{user: said.User, port: said.Port, otherwise: cmp.Or(c.Defaults.User, c.Environment.User, "root")}
	if !hop {
		g.user, g.port = cmp.Or(g.user, c.Defaults.User), cmp.Or(g.port, c.Defaults.Port)
	}
	return g
}

// hostForm is what to do about a malformed name of a host.
const hostForm = "A host is a name in the provider's hosts, an alias in ssh_config, or [user@]address[:port], with " +
	"an IPv6 address in brackets where a port follows"

// said is what is said of host itself: where it is named, and in its entry of Hosts.
func (c *Resolver) said(host string, own *Bastion) (Settings, error) {
	entry, named := c.Hosts[host]
	if named {
		if entry.Address == "" {
			entry.Address = host
		}
	} else {
		var err error
		if entry, err = ParseTarget(host); err != nil {
			return entry, err
		}
	}
	if own == nil {
		return entry, nil
	}
	s := Settings{Address: entry.Address, Login: own.Login, Bastion: own.via,
		ProxyCommand: own.ProxyCommand}
	if !named { // the user and port in the name are nearer than those beside it
		s = entry.withDefaults(s)
	}
	s = s.withDefaults(entry)
	s.Root = Root{}
	return s, nil
}

// merge fills what is not said of a host. A jump host takes what ssh_config says of it before the defaults, which are
// for the hosts behind it, and none of what would recognise or pass one of those.
func (c *Resolver) merge(said Settings, config sshHost, hop bool) Settings {
	ssh := Settings{Login: Login{User: config.user, Port: config.port, KnownHosts: config.known}}
	defaults, environment := c.Defaults, c.Environment
	if config.proxyJump != "" || config.proxyCommand != "" {
		environment.Bastion, environment.ProxyCommand = nil, "" // ssh_config says which way, be it none
	}
	if config.said["controlpath"] {
		environment.ControlPath = ""
	}
	if !hop {
		return said.withDefaults(defaults).withDefaults(ssh).withDefaults(environment)
	}
	for _, d := range []*Settings{&defaults, &environment} {
		d.HostKey, d.ControlPath, d.Bastion, d.ProxyCommand, d.Root = "", "", nil, "", Root{}
	}
	return said.withDefaults(ssh).withDefaults(defaults).withDefaults(environment)
}

// expand fills in what ssh_config names, and returns config with its tokens replaced.
func (r *Route) expand(ssh *sshConfig, config sshHost, alias string) (sshHost, error) {
	known, user := config.known, config.user
	config, err := config.expanded(ssh.tokens(&config, alias, r.Address, r.Port, r.User))
	if err != nil {
		return config, err
	}
	if r.User == user && user != "" {
		r.User = config.user
	}
	if len(known) > 0 && slices.Equal(r.KnownHosts, known) { // and they are not set elsewhere
		r.KnownHosts = append(slices.Clone(config.known), config.systemKnownHosts()...)
	} else if r.KnownHosts == nil && config.said["globalknownhostsfile"] {
		r.KnownHosts = append([]string{userKnownHosts}, config.systemKnownHosts()...)
	}
	r.Added = Added{Identities: config.identities, Certificates: config.certificates,
		IdentitiesOnly: config.identitiesOnly == yes, IdentityAgent: config.identityAgent,
		AddressFamily: config.addressFamily, BindAddress: config.bindAddress,
		BindInterface: config.bindInterface, HostKeyAlias: config.hostKeyAlias,
		Algorithms: Algorithms{HostKeys: config.hostKeyAlgorithms, Authorities: config.caSignatureAlgorithms,
			PublicKeys: config.pubkeyAlgorithms,
			Ciphers:    config.ciphers, MACs: config.macs, KeyExchanges: config.kexAlgorithms},
		HashKnownHosts: config.hashKnownHosts == yes, CheckHostIP: config.checkHostIP == yes,
		RevokedHostKeys: config.revoked, RequiredRSASize: config.requiredRSASize,
		ConnectTimeout: config.connectTimeout}
	return config, nil
}

// control says where to look for a master: at the path that the settings name, or at the one in ssh_config.
func control(named, shared string, t sshTokens) (c Control, err error) {
	path := cmp.Or(named, shared)
	if path == "" || strings.EqualFold(path, NoControl) {
		return c, nil
	}
	c.Required = named != ""
	for _, older := range []bool{false, true} {
		t.olderHash = older
		at, err := t.path(path)
		if err != nil {
			return c, err
		}
		if !slices.Contains(c.Paths, at) {
			c.Paths = append(c.Paths, at)
		}
	}
	return c, nil
}

// systemKnownHosts are the known_hosts files for all users.
func (h *sshHost) systemKnownHosts() []string {
	if h.said["globalknownhostsfile"] {
		return h.knownGlobal
	}
	return []string{systemKnownHosts}
}

// jumps makes a chain of ProxyJump's value: the hosts are passed in the order they stand in.
func jumps(proxyJump string) *Bastion {
	var b *Bastion
	if strings.EqualFold(proxyJump, NoBastion) || proxyJump == "" {
		return nil
	}
	for hop := range strings.SplitSeq(proxyJump, ",") {
		b = &Bastion{Host: strings.TrimPrefix(strings.TrimSpace(hop), "ssh://"), via: b}
	}
	return b
}

// malformed says what is wrong with complete settings, and what to do about it.
func (s Settings) malformed() (why, next string) {
	if err := checkAddress(s.Address); err != nil {
		return err.Error(), "An address is a host name or an IP address, without user or port"
	}
	if s.Port < 1 || s.Port > 65535 {
		return fmt.Sprintf("%d is no TCP port", s.Port), "A port is a number from 1 to 65535"
	}
	if strings.ContainsAny(s.SudoPassword, "\r\n\x00") {
		return "its sudo_password holds a line break, after which it would be a command",
			"Where it comes from a file, use chomp(file(...))"
	}
	if strings.ContainsAny(s.ProxyCommand, "\r\n\x00") {
		return "its proxy_command has more than one line", "Write the command in one line, or put it into a script"
	}
	if s.Sudo != nil && s.Doas != nil && *s.Sudo && *s.Doas {
		return "it has both sudo and doas", "Set one of the two"
	}
	if s.HostKey != "" {
		if err := hostkey.CheckPin(s.HostKey); err != nil {
			return "its host_key is not a public key (" + err.Error() + ")", hostkey.PinForm
		}
	}
	return "", ""
}
