package route

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // %C is defined so
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The %-tokens that ssh_config(5) allows, by where they stand.
const (
	hostNameTokens = "h"
	proxyTokens    = "hnpr"
	accountTokens  = "dhijkLlnpu" //nolint:gosec // letters, no secret
	pathTokens     = accountTokens + "Cr"
)

var (
	errPercent = errors.New("a % at the end is not understood here")
	errDollar  = errors.New("a ${ without a name or without its } is not understood here")
)

// noVariable is the name of a variable that the environment lacks.
type noVariable string

func (n noVariable) Error() string { return "the environment has no " + string(n) }

// sshTokens are what the tokens stand for.
type sshTokens struct {
	local sshLocal
	// host is %h, alias %n, keyAlias %k, jump %j.
	host, alias, keyAlias, jump string
	port                        int
	user                        string
	// later are tokens that are left as they are, for somebody else to replace, who then finds any other % doubled.
	later string
	// olderHash has %C as OpenSSH had it before 9.6, without the jump host.
	olderHash bool
}

// tokens are those of a reading that has come as far as this.
func (r *sshReading) tokens() (sshTokens, error) {
	host, err := r.target()
	if err != nil {
		return sshTokens{}, err
	}
	t := r.sshConfig.tokens(&r.h, r.alias, host, cmp.Or(r.given.port, r.h.port, 22), r.user())
	t.keyAlias = cmp.Or(r.h.hostKeyAlias, host)
	return t, nil
}

// tokens are those of a host that is known in full.
func (c *sshConfig) tokens(h *sshHost, alias, host string, port int, user string) sshTokens {
	t := sshTokens{host: host, alias: alias, keyAlias: cmp.Or(strings.ToLower(h.hostKeyAlias), alias), jump: h.jumpHost}
	t.port, t.user = port, user
	if c != nil {
		t.local = c.local
	}
	return t
}

// target is the host's name or address as far as it is known.
func (r *sshReading) target() (string, error) {
	if r.final {
		return r.h.address, nil
	}
	if r.h.hostName == "" {
		return r.alias, nil
	}
	address, err := sshTokens{host: r.alias}.expand(r.h.hostName, hostNameTokens, false)
	if err != nil {
		return "", fmt.Errorf("hostname %s: %w", r.h.hostName, err)
	}
	return address, nil
}

// user is the user as far as it is known.
func (r *sshReading) user() string { return cmp.Or(r.given.user, r.h.user, r.given.otherwise) }

// value is what one token stands for.
func (t *sshTokens) value(token byte) string {
	switch token {
	case 'C':
		text := t.local.hostname + t.host + strconv.Itoa(t.port) + t.user
		if !t.olderHash {
			text += t.jump
		}
		sum := sha1.Sum([]byte(text)) //nolint:gosec // %C is defined so
		return hex.EncodeToString(sum[:])
	case 'd':
		return t.local.home
	case 'h':
		return t.host
	case 'i':
		return t.local.uid
	case 'j':
		return t.jump
	case 'k':
		return t.keyAlias
	case 'L':
		short, _, _ := strings.Cut(t.local.hostname, ".")
		return short
	case 'l':
		return t.local.hostname
	case 'n':
		return t.alias
	case 'p':
		return strconv.Itoa(t.port)
	case 'r':
		return t.user
	case 'u':
		return t.local.user
	}
	return ""
}

// expand replaces the tokens in allowed, where there are any, and ${NAME} if environment is set.
func (t sshTokens) expand(value, allowed string, environment bool) (string, error) {
	var out strings.Builder
	var missing error
	for i := 0; i < len(value); i++ {
		switch {
		case environment && strings.HasPrefix(value[i:], "${"):
			name, _, ok := strings.Cut(value[i+2:], "}")
			if !ok || name == "" {
				return "", errDollar
			}
			text, set := os.LookupEnv(name)
			if !set {
				missing = noVariable(name)
			}
			out.WriteString(t.quoted(text))
			i += len(name) + 2
		case allowed != "" && value[i] == '%':
			if i++; i == len(value) {
				return "", errPercent
			}
			switch {
			case value[i] == '%':
				out.WriteString(t.quoted("%"))
			case strings.IndexByte(t.later, value[i]) >= 0:
				out.WriteString(value[i-1 : i+1])
			case strings.IndexByte(allowed, value[i]) >= 0:
				out.WriteString(t.quoted(t.value(value[i])))
			default:
				return "", fmt.Errorf("the token %%%c is not understood here", value[i])
			}
		default:
			out.WriteByte(value[i])
		}
	}
	return out.String(), missing
}

// quoted is a text in which whoever replaces the tokens in later finds none.
func (t sshTokens) quoted(text string) string {
	if t.later == "" {
		return text
	}
	return strings.ReplaceAll(text, "%", "%%")
}

// expandTilde replaces ~ and ~user at the beginning of a path.
func (l *sshLocal) expandTilde(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok {
		return path, nil
	}
	name, rest, _ := strings.Cut(rest, "/")
	home := l.home
	if name != "" {
		var err error
		if home, err = l.homeOf(name); err != nil {
			return "", err
		}
	}
	return strings.TrimSuffix(home, "/") + "/" + strings.TrimLeft(rest, "/"), nil
}

// path expands a path.
func (t sshTokens) path(value string) (string, error) {
	path, err := t.local.expandTilde(value)
	if err == nil {
		path, err = t.expand(path, pathTokens, true)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", value, err)
	}
	return path, nil
}

// paths expands a list of paths. None stands for no path.
func (t sshTokens) paths(values []string) ([]string, error) {
	list := []string{}
	for _, value := range values {
		if strings.EqualFold(value, none) {
			continue
		}
		path, err := t.path(value)
		if err != nil {
			return nil, err
		}
		list = append(list, path)
	}
	return list, nil
}

// expanded is the host with all tokens replaced, but those of ProxyCommand and KnownHostsCommand, which count only when
// they are run.
func (h sshHost) expanded(t sshTokens) (sshHost, error) {
	var err error
	if h.user != "" && t.user == h.user { // and nothing that comes before ssh_config names a user
		h.user, err = t.expand(h.user, accountTokens, true)
		if err == nil && h.user != t.user { // what stands there as it is meant, ssh takes without a check
			err = checkUser(h.user)
		}
		if err != nil {
			return h, fmt.Errorf("user %s: %w", t.user, err)
		}
		t.user = h.user
	}
	for _, list := range []*[]string{&h.identities, &h.certificates, &h.known, &h.revoked} {
		if *list, err = t.paths(*list); err != nil {
			return h, err
		}
	}
	global := []string{}
	for _, value := range h.knownGlobal {
		if strings.EqualFold(value, none) {
			continue
		}
		path, err := t.local.expandTilde(value)
		if err != nil {
			return h, fmt.Errorf("%s: %w", value, err)
		}
		global = append(global, path)
	}
	h.knownGlobal = global
	if strings.EqualFold(h.controlPath, none) {
		h.controlPath = ""
	}
	for _, path := range []*string{&h.controlPath, &h.identityAgent} {
		if *path, err = t.path(*path); err != nil {
			return h, err
		}
	}
	if strings.EqualFold(h.knownHostsCommand, none) {
		h.knownHostsCommand = ""
	}
	if h.proxyJump, err = t.expand(h.proxyJump, proxyTokens, false); err != nil {
		return h, fmt.Errorf("proxyjump: %w", err)
	}
	return h, nil
}
