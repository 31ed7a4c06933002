// Package route finds how a host is reached: its address, how to log in there, and the jump hosts on the way, by what
// the provider block, ssh_config and the environment have for it.
package route

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

// Route is how a host is reached, once every source had its say. It is a value that nothing changes. Its Bastion is
// nil, and its ProxyCommand has no tokens; that is empty if the host is dialled or reached through Via.
type Route struct {
	// Host is the host as whoever asked for it names it.
	Host string
	Settings
	Added
	// Via is the jump host that is passed last; nil for a host that is dialled directly.
	Via *Route
}

// Added is what ssh_config adds to the settings of a host.
type Added struct {
	// Identities and Certificates are paths of keys and certificates. Usual are paths of keys that are tried last, if
	// they exist: the usual places, if no key is named anywhere.
	Identities, Certificates, Usual []string
	// IdentitiesOnly keeps the agent's other keys back.
	IdentitiesOnly bool
	// IdentityAgent is the socket of the agent: a path, $NAME for what a variable holds, none, or empty for the usual one.
	IdentityAgent string
	// Methods are the ways to log in, in the order in which they are tried. Forbidden has the line of ssh_config for each
	// other one that a line forbids.
	Methods   []string
	Forbidden map[string]string
	// AddressFamily is "inet" or "inet6" if only addresses of that family count, and BindAddress the address of this
	// machine to connect from.
	AddressFamily, BindAddress string
	// BindInterface is the interface of this machine whose address to connect from, if BindAddress names none.
	BindInterface string
	// HostKeyAlias is the name to look for in known_hosts, where it is not the address.
	HostKeyAlias string
	// HashKnownHosts says to hash the names that are recorded in known_hosts, and CheckHostIP to look for the host's
	// address there too.
	HashKnownHosts, CheckHostIP bool
	// KnownHostsCommand is the path of a program that prints lines of known_hosts, and its arguments, as
	// hostkey.Command has them; empty for none.
	KnownHostsCommand []string
	// Control says whether a connection is shared with ssh.
	Control Control
	// RevokedHostKeys are paths of files that revoke host keys.
	RevokedHostKeys []string
	// RequiredRSASize is how many bits an RSA key of the host or of the user must have, 0 if ssh_config says nothing.
	RequiredRSASize int
	// Algorithms are those that may be used.
	Algorithms Algorithms
	// ConnectTimeout is the one for this host, where the pool has none.
	ConnectTimeout time.Duration
}

// Control is where an ssh may live that shares its connection to the host, a master.
type Control struct {
	// Paths are the sockets to look at, in this order.
	Paths []string
	// Required says that the host is reached over a master only. Else one is used if it lives.
	Required bool
}

// Algorithms are lists as in ssh_config: names with commas between them, or with +, - or ^ before them what is
// different from the usual ones. An empty one says nothing. Authorities are those by which a host's certificate may be
// signed, PublicKeys those by which the user's keys may sign.
type Algorithms struct{ HostKeys, Authorities, PublicKeys, Ciphers, MACs, KeyExchanges string }

// usualIdentities are where ssh looks for keys if none is named.
var usualIdentities = []string{"~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519",
	"~/.ssh/id_ed25519_sk"}

// Key is the same for routes that lead to the same host in the same way. No secret can be read from it.
func (r *Route) Key() string {
	text, err := json.Marshal(struct {
		Settings
		SSH Added
	}{r.Settings, r.Added})
	if err != nil {
		panic(err) // strings, numbers and lists of them
	}
	key := fmt.Sprintf("%s %x", r.Addr(), sha256.Sum256(text))
	if r.Via != nil {
		key += " through " + r.Via.Key()
	}
	return key
}
