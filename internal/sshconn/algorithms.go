package sshconn

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/login"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

// libsshCurve is the older name of curve25519-sha256.
const libsshCurve = "curve25519-sha256@libssh.org"

// algorithms returns those that a connection may use, the ones for host keys apart, and those that may sign
// certificates. If ssh_config says nothing of them, they are those without known weaknesses: the library's own choice
// has some.
func (c *Conn) algorithms(said route.Algorithms) (config ssh.Config, hostKeys, authorities []string, err error) {
	usual, insecure := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	usual.KeyExchanges, usual.HostKeys = append(usual.KeyExchanges, libsshCurve), hostkey.Preferred()
	for _, kind := range []struct {
		name, said      string
		usual, insecure []string
		to              *[]string
	}{
		{"Ciphers", said.Ciphers, usual.Ciphers, insecure.Ciphers, &config.Ciphers},
		{"MACs", said.MACs, usual.MACs, insecure.MACs, &config.MACs},
		{"KexAlgorithms", said.KeyExchanges, usual.KeyExchanges, insecure.KeyExchanges, &config.KeyExchanges},
		{"HostKeyAlgorithms", said.HostKeys, usual.HostKeys, insecure.HostKeys, &hostKeys},
	} {
		if kind.said == "" {
			*kind.to = kind.usual
			continue
		}
		if *kind.to = chosen(kind.said, kind.usual, kind.insecure); len(*kind.to) == 0 {
			return config, nil, nil, c.fault(fault.Misconfigured, "ssh_config leaves none of the algorithms that are known "+
				"here: "+kind.name+" "+kind.said, "Allow one of "+strings.Join(kind.usual, ", "), nil)
		}
	}
	authorities = hostkey.UsualAuthorities()
	if said.Authorities != "" {
		authorities = chosen(said.Authorities, authorities, []string{ssh.KeyAlgoRSA})
	}
	return config, hostKeys, authorities, nil
}

// acceptedKeys are the algorithms by which the user's keys may sign, those of certificates included.
func acceptedKeys(said string) []string {
	withCertificates := func(algorithms []string) (all []string) {
		for _, a := range algorithms {
			all = append(all, a, login.CertificateAlgorithm(a))
		}
		return all
	}
	usual := withCertificates(ssh.SupportedAlgorithms().PublicKeyAuths)
	if said == "" {
		return usual
	}
	return chosen(said, usual, withCertificates(ssh.InsecureAlgorithms().PublicKeyAuths))
}

// chosen returns the algorithms that a setting of ssh_config allows: those that it names, or the usual ones with what
// it names behind them (+), before them (^) or taken away (-). Names may have wildcards. An insecure one counts only if
// it is named.
func chosen(said string, usual, insecure []string) []string {
	all := slices.Concat(usual, insecure)
	var named []string
	for pattern := range strings.SplitSeq(strings.TrimLeft(said, "+-^"), ",") {
		for _, a := range all {
			if ok, err := path.Match(pattern, a); (ok && err == nil || a == pattern) && !slices.Contains(named, a) {
				named = append(named, a)
			}
		}
	}
	others := slices.DeleteFunc(slices.Clone(usual), func(a string) bool { return slices.Contains(named, a) })
	switch said[0] {
	case '+':
		return slices.Concat(usual, slices.DeleteFunc(named, func(a string) bool { return slices.Contains(usual, a) }))
	case '^':
		return slices.Concat(named, others)
	case '-':
		return others
	}
	return named
}
