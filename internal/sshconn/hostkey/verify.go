// Package hostkey decides whether a host may show the key that it shows: the pinned one, or one that the known_hosts
// files vouch for. It records new keys there.
package hostkey

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	skeema "github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// Checking is what becomes of a host key that is not pinned.
type Checking string

// The ways to check host keys.
const (
	// Strict refuses a key that no known_hosts file has.
	Strict Checking = "strict"
	// AcceptNew records the first key of a host in the first known_hosts file, and refuses any other from then on.
	AcceptNew Checking = "accept_new"
	// Insecure accepts every key: whoever is in between reads and changes everything.
	Insecure Checking = "insecure"
)

// Rules say which keys a host may show.
type Rules struct {
	// Pin is the one key the host may show, "TYPE BASE64", its fingerprint, "SHA256:BASE64", or the authority whose
	// certificates count, "@cert-authority TYPE BASE64". If it is empty, the files decide.
	Pin string
	// Checking says what becomes of a key that no file has; Strict when empty.
	Checking Checking
	// Files are paths of known_hosts files. A new key is recorded in the first.
	Files []string
	// Revoked are paths of files that revoke keys, whatever else vouches for them.
	Revoked []string
	// Algorithms are those by which the host may show a key; empty: the usual ones.
	Algorithms []string
	// Name is the address that the files are asked for, "host:port", in small letters as for ssh.
	Name string
}

// Verifier decides on the key that one host shows: by the pinned one, or by what the known_hosts files say.
type Verifier struct {
	// Algorithms are those to ask the host for. Left to the library's own order, a known host may show a key of
	// another type, which would look changed.
	Algorithms []string

	rules   Rules
	faults  fault.Maker
	log     func(msg string, fields map[string]any)
	pin     *pin
	known   *knownHosts
	revoked []*revocation

	mu       sync.Mutex // the library checks in a goroutine that may outlive a failed handshake
	accepted bool
	refused  error
}

// Outcome says that the host's key was good, or why it was not; neither while no key was seen.
func (k *Verifier) Outcome() (accepted bool, refused error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.accepted, k.refused
}

// New reads the known_hosts files, unless the host's key is pinned. The host is not asked for a key of the
// types in without. The errors that it and its methods return are made by faults. A key that is recorded is logged.
func New(r Rules, without []string, faults fault.Maker, log func(string, map[string]any)) (*Verifier, error) {
	k := &Verifier{rules: r, faults: faults, log: log}
	for _, file := range r.Revoked {
		revoked, err := readRevocation(file)
		if err != nil {
			return nil, faults.New(fault.Misconfigured, "the file of RevokedHostKeys cannot be used ("+err.Error()+
				"), so that no host key counts", "Correct RevokedHostKeys in ssh_config, or the file", err)
		}
		k.revoked = append(k.revoked, revoked)
	}
	supported := r.Algorithms
	if len(supported) == 0 {
		supported = Preferred()
	}
	if text := r.Pin; text != "" {
		var err error
		if k.pin, err = parsePin(text); err != nil {
			return nil, faults.New(fault.Misconfigured, "host_key is not a public key ("+err.Error()+")", PinForm, err)
		}
		k.Algorithms = slices.DeleteFunc(k.pin.algorithms(supported),
			func(a string) bool { return slices.Contains(without, keyType(a)) })
		return k, nil
	}
	var err error
	if k.known, err = readKnownHosts(r.Files); err != nil {
		return nil, faults.New(fault.Misconfigured, "the known_hosts files cannot be used ("+err.Error()+")",
			"Correct them, or set host_key", err)
	}
	// What the files have comes first: where they have an authority, certificates of every type, which need not be that of
	// the authority's key. The rest follows, so that the key of an unknown or changed host can be named, but no
	// certificates: without an authority in the files they prove nothing, and would hide the plain key.
	known := k.known.algorithms(r.Name)
	ask := slices.DeleteFunc(slices.Clone(supported), func(a string) bool { return !slices.Contains(known, a) })
	authority := slices.ContainsFunc(k.known.keys(r.Name), func(p skeema.PublicKey) bool { return p.Cert })
	for _, certificates := range []bool{true, false} {
		for _, a := range supported {
			if strings.Contains(a, "-cert-") == certificates && (authority || !certificates) {
				ask = append(ask, a)
			}
		}
	}
	for _, a := range ask {
		if !slices.Contains(k.Algorithms, a) {
			k.Algorithms = append(k.Algorithms, a)
		}
	}
	return k, nil
}

// Preferred returns the algorithms for host keys without known weaknesses, in the order in which ssh prefers them: of
// two keys that a host has, the one that counts and is recorded is the one that ssh would ask for.
func Preferred() []string {
	types := []string{"ed25519", "nistp256", "nistp384", "nistp521", "sha2-512", "sha2-256"}
	rank := func(a string) int {
		n := slices.IndexFunc(types, func(name string) bool { return strings.Contains(a, name) })
		if n < 0 {
			n = len(types)
		}
		if !strings.Contains(a, "-cert-") {
			n += len(types) + 1
		}
		return n
	}
	return slices.SortedStableFunc(slices.Values(ssh.SupportedAlgorithms().HostKeys),
		func(a, b string) int { return rank(a) - rank(b) })
}

// keyType is the type of key that an algorithm wants.
func keyType(algorithm string) string {
	if algorithm == ssh.KeyAlgoRSASHA512 || algorithm == ssh.KeyAlgoRSASHA256 {
		return ssh.KeyAlgoRSA
	}
	return algorithm
}

// Check is the ssh.HostKeyCallback.
func (k *Verifier) Check(addr string, remote net.Addr, key ssh.PublicKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused = k.verify(addr, remote, key)
	k.accepted = k.refused == nil
	return k.refused
}

func (k *Verifier) verify(addr string, remote net.Addr, key ssh.PublicKey) error {
	for _, r := range k.revoked {
		if r.revokes(key) {
			return k.isRevoked(r.file, key, nil)
		}
	}
	if k.pin != nil {
		if err := k.pin.check(addr, remote, key); err != nil {
			return k.pinFault(key, err)
		}
		return nil
	}
	checking := k.rules.Checking
	if checking == Insecure {
		return nil
	}
	if place, ok := k.known.revoked[string(Plain(key).Marshal())]; ok {
		return k.isRevoked(place, key, nil)
	}
	err := k.known.check(addr, remote, key)
	if err == nil {
		return nil
	}
	var mismatch *knownhosts.KeyError
	if checking == AcceptNew && errors.As(err, &mismatch) && len(k.plainLines(addr, mismatch.Want)) == 0 {
		return k.record(addr, remote, key)
	}
	return k.explain(addr, key, err)
}

// explain tells apart why the known_hosts files do not vouch for key.
func (k *Verifier) explain(addr string, key ssh.PublicKey, err error) error {
	var revoked *knownhosts.RevokedError
	var mismatch *knownhosts.KeyError
	switch {
	case errors.As(err, &revoked):
		return k.isRevoked(k.known.place(revoked.Revoked), key, err)
	case errors.As(err, &mismatch):
		if lines := k.plainLines(addr, mismatch.Want); len(lines) > 0 {
			return k.changed(key, strings.Join(lines, ", "))
		}
		return k.unknown(addr, key, "no known_hosts file has a key for the host", err)
	case saysRevoked(err):
		return k.faults.New(fault.HostKeyRevoked, "a known_hosts file revokes the certificate that the host shows for the "+
			"key "+Fingerprint(key), newKey, err)
	default:
		return k.unknown(addr, key, "the host's certificate does not count ("+strings.TrimPrefix(err.Error(), "ssh: ")+")",
			err)
	}
}

// newKey is what to do about a key that is revoked.
const newKey = "Do not connect before the host has a new key"

// isRevoked is the error for a key that is revoked at this place.
func (k *Verifier) isRevoked(place string, key ssh.PublicKey, err error) error {
	return k.faults.New(fault.HostKeyRevoked, fmt.Sprintf("%s revokes the key that the host shows, %s", place,
		Fingerprint(key)), newKey, err)
}

// saysRevoked reports whether the library refuses a key because a known_hosts file revokes it, or its authority.
func saysRevoked(err error) bool { return strings.Contains(err.Error(), "revoked") }

// plainLines describes the lines for the host itself; a line for an authority only says who may vouch for it.
func (k *Verifier) plainLines(addr string, want []knownhosts.KnownKey) (lines []string) {
	known := k.known.keys(addr)
	for _, w := range want {
		authority := slices.ContainsFunc(known,
			func(p skeema.PublicKey) bool { return p.Cert && bytes.Equal(p.Marshal(), w.Key.Marshal()) })
		if !authority {
			lines = append(lines, k.known.place(w)+" has "+Fingerprint(w.Key))
		}
	}
	return lines
}

func (k *Verifier) changed(key ssh.PublicKey, want string) *fault.Error {
	return k.faults.New(fault.HostKeyChanged, fmt.Sprintf("the host shows %s, but %s", Fingerprint(key), want),
		"Somebody may be listening in. If the host was rebuilt, compare the fingerprint at the host itself and then "+
			"correct what is known of it", nil)
}

func (k *Verifier) unknown(addr string, key ssh.PublicKey, why string, err error) error {
	plain := Plain(key)
	why += "; it shows " + Fingerprint(key)
	if len(k.known.bad) > 0 {
		why += "; left out: " + strings.Join(k.known.bad, ", ")
	}
	next := "Compare the fingerprint at the host itself (ssh-keygen -lf); if it is the same, set host_key = \"%s\", or " +
		"add the line '%s' to %s"
	return k.faults.New(fault.HostKeyUnknown, why,
		fmt.Sprintf(next, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(plain))), skeema.Line([]string{addr}, plain),
			k.known.first), err)
}

// NoAlgorithm is the error for a host that shares no algorithm with us; trying again does not mend it.
func (k *Verifier) NoAlgorithm(err *ssh.AlgorithmNegotiationError) error {
	if k.pin != nil && err.What == "host key" {
		has := "no key of that type"
		if k.pin.authority != nil {
			has = "no certificate"
		}
		return k.faults.New(fault.HostKeyChanged, fmt.Sprintf("host_key is %s, and the host has %s, only %s", k.pin, has,
			strings.Join(err.RequestedAlgorithms, ", ")),
			"If the host was rebuilt, compare the fingerprint at the host itself and correct host_key", err)
	}
	e := k.faults.New(fault.Unreachable, "there is no SSH algorithm in common: "+strings.TrimPrefix(err.Error(),
		"ssh: no common algorithm for "), "Update the host's SSH server, or allow what it has in ssh_config: "+
		"HostKeyAlgorithms, Ciphers, MACs or KexAlgorithms, as in KexAlgorithms +NAME", err)
	e.Final = true
	return e
}
