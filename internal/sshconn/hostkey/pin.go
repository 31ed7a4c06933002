package hostkey

// The host key that the settings name: one key, its fingerprint, or the authority whose certificates count.

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/fault"
)

// pin is what host_key says; one of its fields is set.
type pin struct {
	key, authority ssh.PublicKey
	fingerprint    string
}

// PinForm is what to do about a malformed host_key.
const PinForm = "Give it as the host's /etc/ssh/ssh_host_ed25519_key.pub has it: ssh-ed25519 AAAA...; " +
	"or as ssh-keygen -l prints it: SHA256:...; or give an authority: @cert-authority ssh-ed25519 AAAA..."

// parsePin reads host_key.
func parsePin(text string) (*pin, error) {
	text = strings.TrimSpace(text)
	if sum, ok := strings.CutPrefix(text, "SHA256:"); ok {
		if raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(sum, "=")); err != nil || len(raw) != 32 {
			return nil, errors.New("it is no SHA256 fingerprint")
		}
		return &pin{fingerprint: strings.TrimRight(text, "=")}, nil
	}
	line, authority := strings.CutPrefix(text, "@cert-authority ")
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err == nil && len(rest) > 0 {
		err = errors.New("more than one line")
	}
	if err != nil {
		return nil, err
	}
	if authority {
		return &pin{authority: key}, nil
	}
	return &pin{key: key}, nil
}

// CheckPin reports what is wrong with a host_key.
func CheckPin(text string) error {
	_, err := parsePin(text)
	return err
}

// algorithms are those to ask the host for, among those supported.
func (p *pin) algorithms(supported []string) (ask []string) {
	switch {
	case p.key != nil && p.key.Type() == ssh.KeyAlgoRSA:
		return slices.DeleteFunc([]string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA},
			func(a string) bool { return !slices.Contains(supported, a) })
	case p.key != nil:
		return []string{p.key.Type()}
	}
	for _, a := range supported {
		if strings.Contains(a, "-cert-") == (p.authority != nil) {
			ask = append(ask, a)
		}
	}
	return ask
}

func (p *pin) String() string {
	switch {
	case p.key != nil:
		return Fingerprint(p.key)
	case p.authority != nil:
		return "the authority " + Fingerprint(p.authority)
	default:
		return p.fingerprint
	}
}

// checkPin returns nil if key is the pinned one, or the pinned authority vouches for it.
func (k *Verifier) checkPin(key ssh.PublicKey) error {
	p := k.pin
	same := func(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }
	if p.authority == nil {
		if p.key != nil && same(p.key, key) || p.fingerprint != "" && ssh.FingerprintSHA256(Plain(key)) == p.fingerprint {
			return nil
		}
		return errOtherKey
	}
	cert, certified := key.(*ssh.Certificate)
	switch {
	case !certified:
		return errOtherKey
	case !same(cert.SignatureKey, p.authority):
		return errors.New("it is signed by " + Fingerprint(cert.SignatureKey))
	default:
		return k.rules.checkCertificate(cert, time.Now())
	}
}

// errOtherKey says that the host's key is another than the pinned one.
var errOtherKey = errors.New("another host key")

// pinFault says why the pinned key does not fit.
func (k *Verifier) pinFault(key ssh.PublicKey, err error) *fault.Error {
	switch {
	case k.pin.authority != nil && !errors.Is(err, errOtherKey):
		return k.faults.New(fault.HostKeyUnknown, fmt.Sprintf("the certificate that the host shows for %s does not count "+
			"(%v), and host_key is %s", Fingerprint(key), err, k.pin),
			"Have the host's key certified by that authority for the name or address that is dialled", err)
	case k.pin.fingerprint != "":
		e := k.changed(key, "host_key is "+k.pin.String())
		e.OtherKey = key.Type()
		return e
	default:
		return k.changed(key, "host_key is "+k.pin.String())
	}
}
