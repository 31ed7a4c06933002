package route

import (
	"slices"
	"strings"
)

// The ways to log in, by their names in SSH.
const (
	PublicKey           = "publickey"
	KeyboardInteractive = "keyboard-interactive"
	Password            = "password"
)

// methods are the ways to log in that ssh_config allows, in the order in which ssh tries them, and the line that
// forbids each other one.
func (h *sshHost) methods() (allowed []string, forbidden map[string]string) {
	forbidden = map[string]string{}
	preferred := []string{PublicKey, KeyboardInteractive, Password}
	if h.said["preferredauthentications"] {
		for _, method := range preferred {
			forbidden[method] = h.at["preferredauthentications"] + " has PreferredAuthentications " + h.preferredAuthentications
		}
		preferred = strings.Split(h.preferredAuthentications, ",")
	}
	switches := map[string]struct{ value, keyword string }{
		PublicKey:           {h.pubkey, "PubkeyAuthentication"},
		KeyboardInteractive: {h.keyboardInteractive, "KbdInteractiveAuthentication"},
		Password:            {h.password, "PasswordAuthentication"},
	}
	for _, method := range preferred {
		s, known := switches[method]
		switch {
		case !known || slices.Contains(allowed, method):
		case s.value == no:
			forbidden[method] = h.at[strings.ToLower(s.keyword)] + " has " + s.keyword + " no"
		default:
			delete(forbidden, method)
			allowed = append(allowed, method)
		}
	}
	return allowed, forbidden
}

// chooseMethods finds the ways to log in. What is said nearer to the host than ssh_config, a private key, a password or
// that there is an agent, is tried even if ssh_config forbids its method, behind those that it allows. If keys are
// forbidden, no other key is.
func (r *Route) chooseMethods(h *sshHost, nearer Login) {
	r.Methods, r.Forbidden = h.methods()
	if r.Forbidden[PublicKey] != "" {
		r.PrivateKey, r.PrivateKeyPassphrase = nearer.PrivateKey, nearer.PrivateKeyPassphrase
		r.Identities, r.Certificates, r.Usual = nil, nil, nil
		if r.Agent = nearer.Agent; r.Agent == nil {
			r.Agent = new(bool)
		}
	}
	wanted := map[string]bool{PublicKey: nearer.PrivateKey != "" || nearer.Agent != nil && *nearer.Agent,
		KeyboardInteractive: nearer.Password != "", Password: nearer.Password != ""}
	for _, method := range []string{PublicKey, KeyboardInteractive, Password} {
		if wanted[method] && r.Forbidden[method] != "" {
			r.Methods = append(r.Methods, method)
			delete(r.Forbidden, method)
		}
	}
}
