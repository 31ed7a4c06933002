// Package hostkey decides whether a host may show the key that it shows: the pinned one, or one that the known_hosts
// files vouch for. It records new keys there.
package hostkey

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

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
	// certificates count, "@cert-authority TYPE BASE64". If it is empty, the files and the command decide.
	Pin string
	// Checking says what becomes of a key that no file has; Strict when empty.
	Checking Checking
	// Files are paths of known_hosts files. A new key is recorded in the first, its name hashed if Hashed is set.
	Files  []string
	Hashed bool
	// Command prints further lines of known_hosts, if it has Args.
	Command Command
	// Revoked are paths of files that revoke keys, whatever else vouches for them.
	Revoked []string
	// RequiredRSASize is how many bits an RSA key must have, whatever else vouches for it.
	RequiredRSASize int
	// Algorithms are those by which the host may show a key; empty: the usual ones. If InOrder is set the host is asked
	// for keys in their order, whatever is known.
	Algorithms []string
	InOrder    bool
	// Authorities are the algorithms by which an authority may sign.
	Authorities []string
	// Host and Port are those of the host, and Alias the name that it has instead in known_hosts and certificates, if it
	// is not empty. Names are in small letters, as for ssh.
	Host  string
	Port  int
	Alias string
	// CheckAddress says that the key must not contradict what is known of the address either.
	CheckAddress bool
}

// name is the host as known_hosts has it.
func (r Rules) name() string {
	if r.Alias != "" {
		return r.Alias
	}
	return knownName(r.Host, r.Port)
}

// bare is the host without its port, whose keys count if none is known for the port. It is empty if that is its name.
func (r Rules) bare() string {
	if r.Alias != "" || r.name() == r.Host {
		return ""
	}
	return r.Host
}

// principal is the host as certificates have it.
func (r Rules) principal() string { return cmp.Or(r.Alias, r.Host) }

// Verifier decides on the key that one host shows: by the pinned one, or by what known_hosts says.
type Verifier struct {
	rules   Rules
	faults  fault.Maker
	log     func(msg string, fields map[string]any)
	pin     *pin
	allowed []string
	without []string
	revoked []*revocation
	known   []lines
	// unreadable are files that cannot be read, and why.
	unreadable []string

	mu       sync.Mutex // the library checks in a goroutine that may outlive a failed handshake
	accepted bool
	refused  error
	shown    []byte // the key that was accepted
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
	k := &Verifier{rules: r, faults: faults, log: log, allowed: r.Algorithms, without: without}
	for _, file := range r.Revoked {
		revoked, err := readRevocation(file)
		if err != nil {
			return nil, faults.New(fault.Misconfigured, "the file of RevokedHostKeys cannot be used ("+err.Error()+
				"), so that no host key counts", "Correct RevokedHostKeys in ssh_config, or the file", err)
		}
		k.revoked = append(k.revoked, revoked)
	}
	if len(k.allowed) == 0 {
		k.allowed = Preferred()
	}
	if text := r.Pin; text != "" {
		var err error
		if k.pin, err = parsePin(text); err != nil {
			return nil, faults.New(fault.Misconfigured, "host_key is not a public key ("+err.Error()+")", PinForm, err)
		}
		return k, nil
	}
	k.known, k.unreadable = readKnownHosts(r.Files)
	return k, nil
}

// Algorithms returns those to ask the host for, in order. Left to the library's own order, a known host may show a key
// of another type, which would look changed.
func (k *Verifier) Algorithms(ctx context.Context) ([]string, error) {
	switch {
	case k.pin != nil:
		return slices.DeleteFunc(k.pin.algorithms(k.allowed),
			func(a string) bool { return slices.Contains(k.without, keyType(a)) }), nil
	case k.rules.Checking == Insecure || k.rules.InOrder:
		return k.allowed, nil
	}
	printed, err := k.ask(ctx, forOrder, k.rules.name(), nil)
	if err != nil {
		return nil, err
	}
	known, _ := entries(slices.Concat(k.known, printed), k.rules.name())
	if len(known) == 0 && k.rules.bare() != "" { // ssh does not look there, and may ask for another key than the known one
		known, _ = entries(k.known, k.rules.bare())
	}
	return ordered(k.allowed, known), nil
}

// entries returns the lines of all sources for a name, and what cannot be read there.
func entries(all []lines, name string) (found []entry, bad []string) {
	for _, l := range all {
		f, b := l.entries(name)
		found, bad = append(found, f...), append(bad, b...)
	}
	return found, bad
}

// Check decides on the key that the host shows. Remote is the address that is connected to, as far as it is known. If
// the connection changes its keys, the host key that was accepted is accepted again.
func (k *Verifier) Check(ctx context.Context, remote net.Addr, key ssh.PublicKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.accepted && bytes.Equal(k.shown, key.Marshal()) {
		return nil
	}
	k.refused = k.verify(ctx, remote, key)
	if k.accepted = k.refused == nil; k.accepted {
		k.shown = key.Marshal()
	}
	return k.refused
}

func (k *Verifier) verify(ctx context.Context, remote net.Addr, key ssh.PublicKey) error {
	cert, certified := key.(*ssh.Certificate)
	if certified {
		if err := checkSignature(cert); err != nil {
			return k.unknown(key, "the host's certificate does not count ("+err.Error()+")", nil, err)
		}
	}
	if bits := RSABits(key); bits < k.rules.RequiredRSASize && bits > 0 {
		return k.faults.New(fault.HostKeyUnknown, fmt.Sprintf("its RSA key is too short for RequiredRSASize of ssh_config: "+
			"it has %d bits, and not %d", bits, k.rules.RequiredRSASize),
			"Give the host a longer key or one of another type, or lower RequiredRSASize", nil)
	}
	for _, r := range k.revoked {
		if r.revokes(key) {
			return k.isRevoked(r.file, key)
		}
	}
	if k.pin != nil {
		if err := k.checkPin(key); err != nil {
			return k.pinFault(key, err)
		}
		return nil
	}
	if k.rules.Checking == Insecure {
		return nil
	}
	printed, err := k.ask(ctx, forHost, k.rules.name(), key)
	if err != nil {
		return err
	}
	f := k.decide(printed, key)
	if f.status == known || f.status == unknown && k.rules.Checking == AcceptNew {
		if err := k.checkAddress(ctx, remote, key); err != nil {
			return err
		}
	}
	if f.status == unknown && k.rules.Checking == AcceptNew && !f.final {
		return k.record(printed, key)
	}
	return k.explain(key, f)
}

// checkAddress refuses a key if the address of the host has another one, for CheckHostIP. As for ssh, certificates are
// not compared, nor the keys of this machine.
func (k *Verifier) checkAddress(ctx context.Context, remote net.Addr, key ssh.PublicKey) error {
	address := addressOf(remote)
	_, certified := key.(*ssh.Certificate)
	if certified || !k.rules.CheckAddress || address == "" || address == k.rules.Host {
		return nil
	}
	name := knownName(address, k.rules.Port)
	printed, err := k.ask(ctx, forAddress, name, key)
	if err != nil {
		return err
	}
	found, _ := entries(slices.Concat(k.known, printed), name)
	if f := compare(found, key); f.status == changed || f.status == revoked {
		return k.explain(key, f)
	}
	return nil
}

// status is what known_hosts makes of a key.
type status int

const (
	unknown status = iota
	known
	changed
	revoked
)

// finding is the status of a key, and why.
type finding struct {
	status status
	// lines are those that decide, and bad what cannot be read.
	lines []entry
	bad   []string
	// certificate is why the certificate that the host shows does not count.
	certificate error
	// final says that an unknown key must not be recorded.
	final bool
}

// decide looks a key up in all that is known, as ssh does: a certificate by its authority, and if it does not count by
// its plain key; under the name without the port if nothing is known for the port.
func (k *Verifier) decide(printed []lines, key ssh.PublicKey) finding {
	found, bad := entries(slices.Concat(k.known, printed), k.rules.name())
	var bare []entry
	if name := k.rules.bare(); name != "" {
		var more []string
		bare, more = entries(k.known, name)
		bad = append(bad, slices.DeleteFunc(more, func(b string) bool { return slices.Contains(bad, b) })...)
	}
	f := k.lookUp(found, key, bare)
	f.bad = slices.Concat(k.unreadable, bad)
	return f
}

// lookUp looks a key up in the lines for the host, and in those for the host without its port.
func (k *Verifier) lookUp(found []entry, key ssh.PublicKey, bare []entry) finding {
	var why error
	final := false
	for {
		f := compare(found, key)
		cert, certified := key.(*ssh.Certificate)
		if f.status == known && certified {
			if err := k.rules.checkCertificate(cert, time.Now()); err != nil {
				f.status, why, final = unknown, err, final || f.lines[0].byCommand
			}
		} else if f.status == unknown && bare != nil {
			// ssh takes a key that is revoked there for a new one.
			b := k.lookUp(bare, key, nil)
			if b.status == known || b.status == revoked {
				return b
			}
			why = cmp.Or(why, b.certificate)
		}
		f.certificate, f.final = why, final
		if !certified || f.status == known || f.status == revoked {
			return f
		}
		if key = cert.Key; !accepts(k.allowed, key) {
			f.final = true
			f.certificate = cmp.Or(why, errors.New("no authority is known for it, and HostKeyAlgorithms allows no plain key"))
			return f
		}
	}
}

// compare returns what the lines for a host make of a key. A certificate is known if its authority is.
func compare(found []entry, key ssh.PublicKey) finding {
	is := func(e entry, key ssh.PublicKey) bool { return bytes.Equal(e.key.Marshal(), key.Marshal()) }
	// As for ssh, a line that has a certificate revokes its key.
	revokes := func(e entry, key ssh.PublicKey) bool { return bytes.Equal(Plain(e.key).Marshal(), key.Marshal()) }
	cert, certified := key.(*ssh.Certificate)
	var f finding
	for _, e := range found {
		switch {
		case e.marker == revokedLine && (revokes(e, Plain(key)) || certified && revokes(e, cert.SignatureKey)):
			return finding{status: revoked, lines: []entry{e}}
		case f.status == known:
		case certified && e.marker == authorityLine && is(e, cert.SignatureKey), e.marker == plainLine && is(e, key):
			f = finding{status: known, lines: []entry{e}}
		case !certified && e.marker == plainLine:
			f.status, f.lines = changed, append(f.lines, e)
		}
	}
	return f
}

// explain returns the error for a finding, nil if the key is known.
func (k *Verifier) explain(key ssh.PublicKey, f finding) error {
	switch f.status {
	case known:
		return nil
	case revoked:
		return k.isRevoked(f.lines[0].place, key)
	case changed:
		var lines []string
		for _, e := range f.lines {
			lines = append(lines, e.place+" has "+Fingerprint(e.key))
		}
		text := strings.Join(lines, ", ")
		if f.certificate != nil {
			text += ", and its certificate does not count (" + f.certificate.Error() + ")"
		}
		return k.changed(key, text)
	default:
		if f.certificate != nil {
			return k.unknown(key, "the host's certificate does not count ("+f.certificate.Error()+")", f.bad, f.certificate)
		}
		return k.unknown(key, "no known_hosts file has a key for the host", f.bad, nil)
	}
}

// newKey is what to do about a key that is revoked.
const newKey = "Do not connect before the host has a new key"

// isRevoked is the error for a key, or a certificate, that is revoked at this place.
func (k *Verifier) isRevoked(place string, key ssh.PublicKey) error {
	if _, certified := key.(*ssh.Certificate); certified {
		return k.faults.New(fault.HostKeyRevoked, place+" revokes the certificate that the host shows for the key "+
			Fingerprint(key)+", or its authority", newKey, nil)
	}
	return k.faults.New(fault.HostKeyRevoked, fmt.Sprintf("%s revokes the key that the host shows, %s", place,
		Fingerprint(key)), newKey, nil)
}

func (k *Verifier) changed(key ssh.PublicKey, want string) *fault.Error {
	return k.faults.New(fault.HostKeyChanged, fmt.Sprintf("the host shows %s, but %s", Fingerprint(key), want),
		"Somebody may be listening in. If the host was rebuilt, compare the fingerprint at the host itself and then "+
			"correct what is known of it", nil)
}

func (k *Verifier) unknown(key ssh.PublicKey, why string, bad []string, err error) error {
	plain := Plain(key)
	why += "; it shows " + Fingerprint(key)
	if len(bad) > 0 {
		why += "; left out: " + strings.Join(bad, ", ")
	}
	file := "known_hosts"
	if len(k.rules.Files) > 0 {
		file = k.rules.Files[0]
	}
	next := "Compare the fingerprint at the host itself (ssh-keygen -lf); if it is the same, set host_key = \"%s\", or " +
		"add the line '%s' to %s"
	return k.faults.New(fault.HostKeyUnknown, why,
		fmt.Sprintf(next, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(plain))),
			knownLine(k.rules.name(), plain, false), file), err)
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
	next := "Update the host's SSH server, or allow what it has in ssh_config: HostKeyAlgorithms, Ciphers, MACs or " +
		"KexAlgorithms, as in KexAlgorithms +NAME"
	if !slices.ContainsFunc(err.RequestedAlgorithms, usable) {
		next = "This provider can use none of these. Update the host's SSH server, or log in with " +
			"'ssh -fNM -S PATH USER@HOST' and set control_path to that PATH"
	}
	e := k.faults.New(fault.Unreachable, "there is no SSH algorithm in common: "+strings.TrimPrefix(err.Error(),
		"ssh: no common algorithm for "), next, err)
	e.Final = true
	return e
}

// usable reports whether the library has an algorithm of this name, whatever its kind.
func usable(name string) bool {
	usual, insecure := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	for _, names := range [][]string{usual.KeyExchanges, usual.Ciphers, usual.MACs, usual.HostKeys,
		insecure.KeyExchanges, insecure.Ciphers, insecure.MACs, insecure.HostKeys} {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}
