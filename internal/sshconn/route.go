package sshconn

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// route is how a host is reached, once every source had its say. It is a value that nothing changes.
type route struct {
	// name is the host as whoever asked for it names it.
	name string
	Settings
	// via is the jump host that is passed last; nil for a host that is dialled directly.
	via *route
}

// key is the same for routes that lead to the same host in the same way. No secret can be read from it.
func (r *route) key() string {
	text, err := json.Marshal(r.Settings)
	if err != nil {
		panic(err) // strings, numbers and lists of them
	}
	key := fmt.Sprintf("%s %x", r.target(), sha256.Sum256(text))
	if r.via != nil {
		key += " through " + r.via.key()
	}
	return key
}

// resolve finds how host is reached: a name in Hosts, or [user@]address[:port]. It does no I/O. The error is an *Error of kind Misconfigured.
func (c Config) resolve(host string) (*route, error) { return c.walk(host, nil, nil) }

// walk resolves one host and its jump hosts. own is what is said of a jump host where it is named, nil for the host itself; behind are the hosts that it leads to.
func (c Config) walk(host string, own *Settings, behind []string) (*route, error) {
	malformed := func(why, next string) error {
		return &Error{Kind: Misconfigured, Host: strconv.Quote(host), Why: why, Next: next}
	}
	if slices.Contains(behind, host) {
		return nil, malformed("it is a jump host on the way to itself: "+strings.Join(append(behind, host), " through "),
			"Set bastion = { host = \""+NoBastion+"\" } in the entry of hosts for the host that is dialled directly")
	}
	said, named := c.Hosts[host]
	if !named {
		var err error
		if said, err = parseTarget(host); err != nil {
			return nil, malformed(err.Error(), "A host is a name in the provider's hosts, or [user@]address[:port], with an IPv6 address in brackets where a port follows")
		}
	} else if said.Address == "" {
		said.Address = host
	}
	defaults := c.Defaults
	if own != nil {
		if named {
			said = own.withDefaults(said)
			said.Address, said.Bastion = c.Hosts[host].Address, c.Hosts[host].Bastion
		} else {
			said = said.withDefaults(*own)
			said.Bastion = nil
		}
		if said.Address == "" {
			said.Address = host
		}
		// What holds for the hosts behind it is no way to recognise or pass the jump host itself.
		defaults.HostKey, defaults.Bastion, defaults.Sudo, defaults.SudoPassword = "", nil, nil, ""
		said.Sudo, said.SudoPassword = nil, ""
	}
	r := &route{name: host, Settings: said.withDefaults(defaults)}
	if r.Port == 0 {
		r.Port = 22
	}
	if r.User == "" {
		r.User = "root"
	}
	r.Address = strings.TrimSuffix(strings.TrimPrefix(r.Address, "["), "]")
	if why, next := r.malformed(); why != "" {
		return nil, malformed(why, next)
	}
	bastion := r.Bastion
	r.Bastion = nil
	if bastion == nil || bastion.Host == NoBastion || bastion.Host == host {
		return r, nil
	}
	var err error
	r.via, err = c.walk(bastion.Host, &bastion.Settings, append(behind, host))
	return r, err
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
		return "its sudo_password holds a line break, after which it would be a command", "Where it comes from a file, use chomp(file(...))"
	}
	if s.HostKey != "" {
		if _, err := parseHostKey(s.HostKey); err != nil {
			return "its host_key is not a public key (" + err.Error() + ")", hostKeyForm
		}
	}
	return "", ""
}
