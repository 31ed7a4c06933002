package route

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sshKeyword is how a keyword that counts is read.
type sshKeyword struct {
	// parse reads a line. It returns what to do if the line is the one that counts; nil if the line sets nothing.
	parse func(line *sshConfigLine) (sshAssign, error)
	// accumulates says that every line counts, not the first alone.
	accumulates bool
	// unless says of ProxyJump and ProxyCommand that the other one came first.
	unless func(h *sshHost) bool
}

type sshAssign func(h *sshHost) error

const (
	yes    = "yes"
	no     = "no"
	none   = "none"
	ask    = "ask"
	always = "always"
)

// The words that a setting may have, and what they mean.
var (
	sshFlag      = map[string]string{"yes": yes, "true": yes, "no": no, "false": no}
	sshFlagOrAsk = map[string]string{"yes": yes, "true": yes, "no": no, "false": no, "ask": ask}
	sshStrict    = map[string]string{"yes": yes, "true": yes, "no": no, "false": no, "off": no, "ask": ask,
		"accept-new": "accept-new"}
	sshPubkey = map[string]string{"yes": yes, "true": yes, "no": no, "false": no, "unbound": "unbound",
		"host-bound": "host-bound"}
	sshFamily = map[string]string{"any": "any", "inet": "inet", "inet6": "inet6"}
	sshMaster = map[string]string{"yes": yes, "true": yes, "no": no, "false": no, "ask": ask, "auto": "auto",
		"autoask": "autoask"}
	sshCanonicalize = map[string]string{"yes": yes, "true": yes, "no": no, "false": no, "always": always}
	sshSession      = map[string]string{"none": none, "subsystem": "subsystem", "default": "default"}
)

// sshAliases are other names of keywords.
var sshAliases = map[string]string{
	"identityfile2":                   "identityfile",
	"dsaauthentication":               "pubkeyauthentication",
	"challengeresponseauthentication": "kbdinteractiveauthentication",
	"skeyauthentication":              "kbdinteractiveauthentication",
	"tisauthentication":               "kbdinteractiveauthentication",
	"pubkeyacceptedkeytypes":          "pubkeyacceptedalgorithms",
	"rsaminsize":                      "requiredrsasize",
}

var sshKeywords = map[string]sshKeyword{
	"hostname":                         word(func(h *sshHost) *string { return &h.hostName }),
	"user":                             word(func(h *sshHost) *string { return &h.user }),
	"port":                             {parse: parsePort},
	"hostkeyalias":                     word(func(h *sshHost) *string { return &h.hostKeyAlias }),
	"tag":                              word(func(h *sshHost) *string { return &h.tag }),
	"identityfile":                     path1(func(h *sshHost) *[]string { return &h.identities }),
	"certificatefile":                  path1(func(h *sshHost) *[]string { return &h.certificates }),
	"identitiesonly":                   choice(func(h *sshHost) *string { return &h.identitiesOnly }, sshFlag),
	"identityagent":                    {parse: parseIdentityAgent},
	"userknownhostsfile":               paths(func(h *sshHost) *[]string { return &h.known }),
	"globalknownhostsfile":             paths(func(h *sshHost) *[]string { return &h.knownGlobal }),
	"knownhostscommand":                command(func(h *sshHost) *string { return &h.knownHostsCommand }),
	"hashknownhosts":                   choice(func(h *sshHost) *string { return &h.hashKnownHosts }, sshFlag),
	"checkhostip":                      choice(func(h *sshHost) *string { return &h.checkHostIP }, sshFlag),
	"revokedhostkeys":                  words(func(h *sshHost) *[]string { return &h.revoked }, filledWord),
	"stricthostkeychecking":            choice(func(h *sshHost) *string { return &h.strictHostKeyChecking }, sshStrict),
	"verifyhostkeydns":                 choice(func(h *sshHost) *string { return &h.verifyHostKeyDNS }, sshFlagOrAsk),
	"nohostauthenticationforlocalhost": choice(func(h *sshHost) *string { return &h.noHostAuthentication }, sshFlag),
	"connecttimeout":                   {parse: parseConnectTimeout},
	"connectionattempts":               number(func(h *sshHost) *int { return &h.connectionAttempts }, 1),
	"addressfamily":                    choice(func(h *sshHost) *string { return &h.addressFamily }, sshFamily),
	"bindaddress":                      word(func(h *sshHost) *string { return &h.bindAddress }),
	"bindinterface":                    word(func(h *sshHost) *string { return &h.bindInterface }),
	"proxyjump":                        proxyJump(),
	"proxycommand":                     proxyCommand(),
	"controlpath":                      word(func(h *sshHost) *string { return &h.controlPath }),
	"controlmaster":                    choice(func(h *sshHost) *string { return &h.controlMaster }, sshMaster),
	"sessiontype":                      choice(func(h *sshHost) *string { return &h.sessionType }, sshSession),
	"pubkeyauthentication":             choice(func(h *sshHost) *string { return &h.pubkey }, sshPubkey),
	"passwordauthentication":           choice(func(h *sshHost) *string { return &h.password }, sshFlag),
	"kbdinteractiveauthentication":     choice(func(h *sshHost) *string { return &h.keyboardInteractive }, sshFlag),
	"preferredauthentications":         word(func(h *sshHost) *string { return &h.preferredAuthentications }),
	"numberofpasswordprompts":          number(func(h *sshHost) *int { return &h.passwordPrompts }, 0),
	"batchmode":                        choice(func(h *sshHost) *string { return &h.batchMode }, sshFlag),
	"hostkeyalgorithms":                word(func(h *sshHost) *string { return &h.hostKeyAlgorithms }),
	"pubkeyacceptedalgorithms":         word(func(h *sshHost) *string { return &h.pubkeyAlgorithms }),
	"requiredrsasize":                  number(func(h *sshHost) *int { return &h.requiredRSASize }, 0),
	"casignaturealgorithms":            word(func(h *sshHost) *string { return &h.caSignatureAlgorithms }),
	"ciphers":                          word(func(h *sshHost) *string { return &h.ciphers }),
	"macs":                             word(func(h *sshHost) *string { return &h.macs }),
	"kexalgorithms":                    word(func(h *sshHost) *string { return &h.kexAlgorithms }),
	"ignoreunknown":                    word(func(h *sshHost) *string { return &h.ignoreUnknown }),
	"refuseconnection":                 {parse: parseRefuseConnection, accumulates: true},
	"proxyusefdpass":                   choice(func(h *sshHost) *string { return &h.proxyUseFdpass }, sshFlag),
	"canonicalizehostname":             choice(func(h *sshHost) *string { return &h.canonicalize }, sshCanonicalize),
	"canonicalizefallbacklocal":        choice(func(h *sshHost) *string { return &h.canonicalizeFallback }, sshFlag),
	"canonicalizemaxdots":              number(func(h *sshHost) *int { return &h.canonicalizeMaxDots }, 0),
	"canonicaldomains":                 words(func(h *sshHost) *[]string { return &h.canonicalDomains }, domain),
	"canonicalizepermittedcnames":      words(func(h *sshHost) *[]string { return &h.permittedCNAMEs }, domainRule),
}

// sshIgnored are the keywords that ssh knows, or has known, and that nothing here depends on: those of OpenSSH, and of
// Debian's, Red Hat's, Apple's, FreeBSD's and the HPN project's editions of it.
var sshIgnored = func() map[string]bool {
	known := map[string]bool{}
	for _, name := range strings.Fields(`
		addkeystoagent channeltimeout clearallforwardings compression controlpersist dynamicforward
		enableescapecommandline enablesshkeysign escapechar exitonforwardfailure fingerprinthash
		forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted gatewayports
		gssapiauthentication gssapidelegatecredentials hostbasedacceptedalgorithms
		hostbasedauthentication hostbasedkeytypes ipqos kbdinteractivedevices keepalive localcommand localforward
		loglevel logverbose obscurekeystroketiming permitlocalcommand permitremoteopen pkcs11provider
		rekeylimit remotecommand remoteforward requesttty
		securitykeyprovider sendenv serveralivecountmax serveraliveinterval setenv smartcarddevice stdinnull
		streamlocalbindmask streamlocalbindunlink syslogfacility tcpkeepalive tunnel tunneldevice updatehostkeys
		versionaddendum visualhostkey warnweakcrypto xauthlocation

		afstokenpassing cipher compressionlevel fallbacktorsh globalknownhostsfile2 kerberosauthentication
		kerberostgtpassing protocol rhostsauthentication rhostsrsaauthentication rsaauthentication
		useprivilegedport userknownhostsfile2 useroaming usersh

		gssapiclientidentity gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey gssapiserveridentity
		gssapitrustdns usekeychain
		
		disablemtaes hpnbuffersize hpndisabled metricsinterval metricspath noneenabled nonemacenabled
		noneswitch tcprcvbuf tcprcvbufpoll`) {
		known[name] = true
	}
	return known
}()

// oneArgument is the only argument of a line.
func (l *sshConfigLine) oneArgument() (string, error) {
	switch {
	case len(l.args) == 0 || l.args[0] == "":
		return "", errNoArgument
	case len(l.args) > 1:
		return "", errMoreArguments
	}
	return l.args[0], nil
}

func to[T any](at func(*sshHost) *T, value T) sshAssign {
	return func(h *sshHost) error { *at(h) = value; return nil }
}

func proxyJump() sshKeyword {
	return sshKeyword{parse: parseProxyJump, unless: func(h *sshHost) bool { return h.proxyCommand != "" }}
}

// proxyCommand reads ProxyCommand, which counts after ProxyJump none, whatever the manual says.
func proxyCommand() sshKeyword {
	k := command(func(h *sshHost) *string { return &h.proxyCommand })
	k.unless = func(h *sshHost) bool { return h.jumpHost != "" }
	return k
}

func word(at func(*sshHost) *string) sshKeyword {
	return sshKeyword{parse: func(l *sshConfigLine) (sshAssign, error) {
		value, err := l.oneArgument()
		return to(at, value), err
	}}
}

func choice(at func(*sshHost) *string, names map[string]string) sshKeyword {
	return sshKeyword{parse: func(l *sshConfigLine) (sshAssign, error) {
		value, err := l.oneArgument()
		if err != nil {
			return nil, err
		}
		means, ok := names[strings.ToLower(value)]
		if !ok && len(names) == len(sshFlag) {
			return nil, errors.New("which is neither yes nor no")
		}
		if !ok {
			return nil, errors.New("which is no value of this keyword")
		}
		return to(at, means), nil
	}}
}

// number takes a number. One below least is refused by the hosts that it is for.
func number(at func(*sshHost) *int, least int) sshKeyword {
	return sshKeyword{parse: func(l *sshConfigLine) (sshAssign, error) {
		value, err := l.oneArgument()
		if err != nil {
			return nil, err
		}
		n, ok := wholeNumber(value, math.MaxInt32)
		if !ok {
			return nil, errors.New("which is no number")
		}
		if n < least {
			return func(*sshHost) error { return errors.New("which is no number of times") }, nil
		}
		return to(at, n), nil
	}}
}

// wholeNumber reads a number from 0 on, as strtonum(3) does.
func wholeNumber(s string, atMost int64) (int, bool) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, " \t\n\v\f\r"), 10, 64)
	return int(n), err == nil && n >= 0 && n <= atMost
}

// command takes the rest of a line as it stands.
func command(at func(*sshHost) *string) sshKeyword {
	return sshKeyword{parse: func(l *sshConfigLine) (sshAssign, error) {
		return to(at, strings.TrimLeft(l.rest, sshWhiteSpace+"=")), nil
	}}
}

// path1 adds a path to those from other lines.
func path1(at func(*sshHost) *[]string) sshKeyword {
	const atMost = 100
	return sshKeyword{accumulates: true, parse: func(l *sshConfigLine) (sshAssign, error) {
		value, err := l.oneArgument()
		return func(h *sshHost) error {
			list := at(h)
			if len(*list) >= atMost {
				return fmt.Errorf("which has %d before it, and ssh takes no more", atMost)
			}
			if !slices.Contains(*list, value) {
				*list = append(*list, value)
			}
			return nil
		}, err
	}}
}

// paths takes all paths of a line, or none.
func paths(at func(*sshHost) *[]string) sshKeyword {
	const atMost = 32
	inner := words(at, filledWord)
	return sshKeyword{parse: func(l *sshConfigLine) (sshAssign, error) {
		if len(l.args) == 0 {
			return nil, nil
		}
		assign, err := inner.parse(l)
		if err != nil {
			return nil, err
		}
		return func(h *sshHost) error {
			if len(l.args) > atMost {
				return errMoreArguments
			}
			return assign(h)
		}, nil
	}}
}

// words takes all arguments of a line, each as valid has it. None may stand alone.
func words(at func(*sshHost) *[]string, valid func(string) (string, error)) sshKeyword {
	return sshKeyword{parse: func(l *sshConfigLine) (sshAssign, error) {
		if len(l.args) == 0 {
			return nil, errNoArgument
		}
		var list []string
		for _, arg := range l.args {
			if strings.EqualFold(arg, none) {
				if len(l.args) > 1 {
					return nil, errors.New("which has none beside others")
				}
				return to(at, []string{none}), nil
			}
			arg, err := valid(arg)
			if err != nil {
				return nil, err
			}
			list = append(list, arg)
		}
		return to(at, list), nil
	}}
}

func filledWord(s string) (string, error) {
	if s == "" {
		return "", errEmptyArgument
	}
	return s, nil
}

// domain reads the name of a domain, and writes it in small letters.
func domain(s string) (string, error) {
	alphanumeric := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
	}
	wrong := errors.New("which is no name of a domain")
	if s == "" || !alphanumeric(s[0]) || strings.Contains(s, "..") {
		return "", wrong
	}
	for i := range len(s) {
		if c := s[i]; c != '.' && c != '-' && !alphanumeric(c) {
			return "", wrong
		}
	}
	return strings.TrimSuffix(strings.ToLower(s), "."), nil
}

// domainRule reads a rule of CanonicalizePermittedCNAMEs.
func domainRule(s string) (string, error) {
	if s == "*" {
		return "*:*", nil
	}
	if _, to, ok := strings.Cut(s, ":"); !ok || to == "" {
		return "", errors.New("which is no pair of domains")
	}
	return strings.ToLower(s), nil
}

func parsePort(l *sshConfigLine) (sshAssign, error) {
	value, err := l.oneArgument()
	if err != nil {
		return nil, err
	}
	port, ok := sshPort(value)
	if !ok {
		return nil, errors.New("which is no TCP port")
	}
	return to(func(h *sshHost) *int { return &h.port }, port), nil
}

// sshPort reads a port, by its number or by the name of its service.
func sshPort(s string) (int, bool) {
	if port, ok := wholeNumber(s, math.MaxUint16); ok {
		return port, port > 0
	}
	if s == "" || strings.ContainsAny(s[:1], "+-0123456789 ") {
		return 0, false
	}
	port, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", s)
	return port, err == nil && port > 0
}

// parseRefuseConnection reads why nobody is to connect to a host, which is an error of that host.
func parseRefuseConnection(l *sshConfigLine) (sshAssign, error) {
	if len(l.args) == 0 || l.args[0] == "" {
		return nil, errNoArgument
	}
	return func(*sshHost) error { return errors.New("which refuses the connection") }, nil
}

// parseConnectTimeout reads a time; none leaves it to the lines that follow.
func parseConnectTimeout(l *sshConfigLine) (sshAssign, error) {
	value, err := l.oneArgument()
	if err != nil || value == none {
		return nil, err
	}
	d, ok := sshTime(value)
	if !ok {
		return nil, errors.New("which is no time")
	}
	return to(func(h *sshHost) *time.Duration { return &h.connectTimeout }, d), nil
}

// sshTime reads whole seconds, or a sequence of numbers with the units s, m, h, d and w. Seconds may have a fraction,
// which does not count.
func sshTime(s string) (time.Duration, bool) {
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}
	var total float64
	for seconds := false; s != ""; {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789."))
		n, err := strconv.ParseFloat(s[:digits], 64)
		if err != nil {
			return 0, false
		}
		unit := byte('s')
		if digits < len(s) {
			unit = s[digits] | 0x20
		}
		fraction := strings.Contains(s[:digits], ".")
		if units[unit] == 0 || unit == 's' && seconds || fraction && (unit != 's' || s[digits-1] == '.') {
			return 0, false
		}
		seconds = seconds || unit == 's'
		total += n * float64(units[unit])
		s = s[min(digits+1, len(s)):]
		if s == "" {
			return time.Duration(total) * time.Second, total <= math.MaxInt32
		}
	}
	return 0, false
}

// parseIdentityAgent reads a path, or a variable that holds one: $NAME or ${NAME}, which must be set.
func parseIdentityAgent(l *sshConfigLine) (sshAssign, error) {
	value, err := l.oneArgument()
	if err != nil {
		return nil, err
	}
	if _, err := (sshTokens{}).expand(value, "", true); err != nil {
		return nil, err
	}
	if name, ok := strings.CutPrefix(value, "$"); ok && !strings.HasPrefix(name, "{") {
		if name == "" || strings.ContainsFunc(name, func(c rune) bool {
			return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
		}) {
			return nil, errors.New("which is no name of a variable")
		}
	}
	return to(func(h *sshHost) *string { return &h.identityAgent }, value), nil
}

// parseProxyJump reads the jump hosts: [user@]host[:port] or ssh://[user@]host[:port], with a comma between them.
func parseProxyJump(l *sshConfigLine) (sshAssign, error) {
	value := strings.TrimLeft(l.rest, sshWhiteSpace+"=")
	var hops []string
	var host string
	if strings.EqualFold(value, none) {
		hops = []string{none}
	} else {
		value, _, _ = strings.Cut(value, "#")
		value = strings.TrimRight(value, sshWhiteSpace+"\f\v")
		for hop := range strings.SplitSeq(value, ",") {
			text, name, ok := jumpHost(hop)
			if !ok {
				return nil, errors.New("which is no jump host")
			}
			hops, host = append(hops, text), name
		}
	}
	return func(h *sshHost) error {
		h.proxyJump, h.jumpHost = strings.Join(hops, ","), host
		return nil
	}, nil
}

// jumpHost reads one jump host, and writes it without the scheme.
func jumpHost(hop string) (text, host string, ok bool) {
	rest, uri := strings.CutPrefix(hop, "ssh://")
	at := strings.LastIndexByte(rest, '@')
	if uri {
		at = strings.IndexByte(rest, '@')
	}
	user := ""
	if at >= 0 {
		if user, rest = rest[:at], rest[at+1:]; uri {
			user, _, _ = strings.Cut(user, ";")
			if user, ok = unescapeURI(user); !ok {
				return "", "", false
			}
		}
		if user == "" {
			return "", "", false
		}
	}
	end := strings.IndexAny(rest, ":/")
	if strings.HasPrefix(rest, "[") {
		end = strings.IndexByte(rest, ']') + 1
		if end == 0 {
			return "", "", false
		}
	}
	port := ""
	if host = rest; end >= 0 && end < len(rest) {
		if host = rest[:end]; rest[end] != ':' && rest[end] != '/' {
			return "", "", false
		}
		if port = rest[end+1:]; uri && rest[end] == '/' && port != "" {
			return "", "", false // it has a path
		}
		if uri {
			port = strings.TrimSuffix(port, "/")
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if host == "" {
		return "", "", false
	}
	if uri {
		if _, err := domain(host); err != nil {
			return "", "", false
		}
	}
	text = host
	if strings.Contains(host, ":") {
		text = "[" + host + "]"
	}
	if port != "" {
		n, ok := sshPort(port)
		if !ok {
			return "", "", false
		}
		text += ":" + strconv.Itoa(n)
	}
	if user != "" {
		text = user + "@" + text
	}
	return text, host, true
}

// unescapeURI replaces %xx, and + by a space.
func unescapeURI(s string) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			out.WriteByte(' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || n == 0 {
				return "", false
			}
			out.WriteByte(byte(n))
			i += 2
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String(), true
}
