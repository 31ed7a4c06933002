package sshconn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys decides on the key that one host shows: by the pinned one, or by what the known_hosts files say.
type hostKeys struct {
	conn  *Conn
	pin   *pin
	known *knownHosts
	// algorithms are those to ask the host for. Left to the library's own order, a known host may show a key of another type, which would look changed.
	algorithms []string

	mu       sync.Mutex // the library checks in a goroutine that may outlive a failed handshake
	accepted bool
	fault    error
}

// outcome says that the host's key was good, or why it was not; neither while no key was seen.
func (k *hostKeys) outcome() (accepted bool, fault error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.accepted, k.fault
}

// hostKeys reads the known_hosts files, unless the host's key is pinned. The host is not asked for a key of the types in without.
func (c *Conn) hostKeys(without []string) (*hostKeys, error) {
	k := &hostKeys{conn: c}
	supported := ssh.SupportedAlgorithms().HostKeys
	if text := c.settings.HostKey; text != "" {
		var err error
		if k.pin, err = parsePin(text); err != nil {
			return nil, c.fault(fault.Misconfigured, "host_key is not a public key ("+err.Error()+")", hostKeyForm, err)
		}
		k.algorithms = slices.DeleteFunc(k.pin.algorithms(supported), func(a string) bool { return slices.Contains(without, keyType(a)) })
		return k, nil
	}
	var err error
	if k.known, err = readKnownHosts(c.settings.knownHostsFiles()); err != nil {
		return nil, c.fault(fault.Misconfigured, "the known_hosts files cannot be used ("+err.Error()+")", "Correct them, or set host_key", err)
	}
	// What the files have comes first: where they have an authority, certificates of every type, which need not be that of the authority's key. The rest follows, so that
	// the key of an unknown or changed host can be named, but no certificates: without an authority in the files they prove nothing, and would hide the plain key.
	ask := k.known.algorithms(c.knownAs())
	authority := slices.ContainsFunc(k.known.keys(c.knownAs()), func(p skeema.PublicKey) bool { return p.Cert })
	for _, certificates := range []bool{true, false} {
		for _, a := range supported {
			if strings.Contains(a, "-cert-") == certificates && (authority || !certificates) {
				ask = append(ask, a)
			}
		}
	}
	for _, a := range ask {
		if slices.Contains(supported, a) && !slices.Contains(k.algorithms, a) {
			k.algorithms = append(k.algorithms, a)
		}
	}
	return k, nil
}

// keyType is the type of key that an algorithm wants.
func keyType(algorithm string) string {
	if algorithm == ssh.KeyAlgoRSASHA512 || algorithm == ssh.KeyAlgoRSASHA256 {
		return ssh.KeyAlgoRSA
	}
	return algorithm
}

// check is the ssh.HostKeyCallback.
func (k *hostKeys) check(addr string, remote net.Addr, key ssh.PublicKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fault = k.judge(addr, remote, key)
	k.accepted = k.fault == nil
	return k.fault
}

func (k *hostKeys) judge(addr string, remote net.Addr, key ssh.PublicKey) error {
	if k.pin != nil {
		if err := k.pin.check(addr, remote, key); err != nil {
			return k.pinFault(key, err)
		}
		return nil
	}
	checking := k.conn.settings.HostKeyChecking
	err := k.known.check(addr, remote, key)
	if err == nil || checking == Insecure {
		return nil
	}
	var mismatch *knownhosts.KeyError
	if checking == AcceptNew && errors.As(err, &mismatch) && len(k.plainLines(addr, mismatch.Want)) == 0 {
		return k.record(addr, remote, key)
	}
	return k.explain(addr, key, err)
}

// explain tells apart why the known_hosts files do not vouch for key.
func (k *hostKeys) explain(addr string, key ssh.PublicKey, err error) error {
	var revoked *knownhosts.RevokedError
	var mismatch *knownhosts.KeyError
	const newKey = "Do not connect before the host has a new key"
	switch {
	case errors.As(err, &revoked):
		return k.conn.fault(fault.HostKeyRevoked, fmt.Sprintf("%s revokes the key that the host shows, %s", k.known.place(revoked.Revoked), fingerprint(key)), newKey, err)
	case errors.As(err, &mismatch):
		if lines := k.plainLines(addr, mismatch.Want); len(lines) > 0 {
			return k.changed(key, strings.Join(lines, ", "))
		}
		return k.unknown(addr, key, "no known_hosts file has a key for the host", err)
	case strings.Contains(err.Error(), "revoked"):
		return k.conn.fault(fault.HostKeyRevoked, "a known_hosts file revokes the certificate that the host shows for the key "+fingerprint(key), newKey, err)
	default:
		return k.unknown(addr, key, "the host's certificate does not count ("+strings.TrimPrefix(err.Error(), "ssh: ")+")", err)
	}
}

// plainLines describes the lines for the host itself; a line for an authority only says who may vouch for it.
func (k *hostKeys) plainLines(addr string, want []knownhosts.KnownKey) (lines []string) {
	known := k.known.keys(addr)
	for _, w := range want {
		authority := slices.ContainsFunc(known, func(p skeema.PublicKey) bool { return p.Cert && bytes.Equal(p.Marshal(), w.Key.Marshal()) })
		if !authority {
			lines = append(lines, k.known.place(w)+" has "+fingerprint(w.Key))
		}
	}
	return lines
}

func (k *hostKeys) changed(key ssh.PublicKey, want string) *fault.Error {
	return k.conn.fault(fault.HostKeyChanged, fmt.Sprintf("the host shows %s, but %s", fingerprint(key), want),
		"Somebody may be listening in. If the host was rebuilt, compare the fingerprint at the host itself and then correct what is known of it", nil)
}

func (k *hostKeys) unknown(addr string, key ssh.PublicKey, why string, err error) error {
	plain := plainKey(key)
	why += "; it shows " + fingerprint(key)
	if len(k.known.bad) > 0 {
		why += "; left out: " + strings.Join(k.known.bad, ", ")
	}
	next := "Compare the fingerprint at the host itself (ssh-keygen -lf); if it is the same, set host_key = \"%s\", or add the line '%s' to %s"
	return k.conn.fault(fault.HostKeyUnknown, why,
		fmt.Sprintf(next, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(plain))), skeema.Line([]string{addr}, plain), k.known.first), err)
}

// noAlgorithm is the fault for a host that shares no algorithm with us; trying again does not mend it.
func (c *Conn) noAlgorithm(k *hostKeys, err *ssh.AlgorithmNegotiationError) error {
	if k.pin != nil && err.What == "host key" {
		has := "no key of that type"
		if k.pin.authority != nil {
			has = "no certificate"
		}
		return c.fault(fault.HostKeyChanged, fmt.Sprintf("host_key is %s, and the host has %s, only %s", k.pin, has, strings.Join(err.RequestedAlgorithms, ", ")),
			"If the host was rebuilt, compare the fingerprint at the host itself and correct host_key", err)
	}
	e := c.fault(fault.Unreachable, "there is no SSH algorithm in common: "+strings.TrimPrefix(err.Error(), "ssh: no common algorithm for "), "Update the host's SSH server", err)
	e.Final = true
	return e
}

// plainKey is the key itself, also of a certificate.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := concrete(key).(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// concrete is a key that an agent names as the library's own type.
func concrete(key ssh.PublicKey) ssh.PublicKey {
	if _, ok := key.(*agent.Key); !ok {
		return key
	}
	if parsed, err := ssh.ParsePublicKey(key.Marshal()); err == nil {
		return parsed
	}
	return key
}

// fingerprint names a key as ssh-keygen -l does.
func fingerprint(key ssh.PublicKey) string {
	plain := plainKey(key)
	return plain.Type() + " " + ssh.FingerprintSHA256(plain)
}
