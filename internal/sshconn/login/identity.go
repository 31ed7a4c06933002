package login

// Keys and certificates: as text in the settings, and in the files that ssh_config names.

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/host-provider/terraform-provider-host/internal/sshconn/hostkey"
	"github.com/host-provider/terraform-provider-host/internal/sshconn/route"
)

type keyText struct{ key, passphrase string }

type parsedKey struct {
	signer ssh.Signer
	err    error
}

// Keys are the private keys that were read so far. The zero value has none. It is safe for concurrent use.
type Keys struct {
	mu     sync.Mutex
	parsed map[keyText]func() parsedKey
}

// parse reads a private key once for all hosts: the key derivation of an encrypted one takes a good part of a second.
func (p *Keys) parse(k keyText) parsedKey {
	p.mu.Lock()
	f, ok := p.parsed[k]
	if !ok {
		f = sync.OnceValue(func() parsedKey {
			text := withoutParameters([]byte(k.key))
			signer, err := ssh.ParsePrivateKey(text)
			var encrypted *ssh.PassphraseMissingError
			if errors.As(err, &encrypted) && k.passphrase != "" {
				signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(k.passphrase))
			}
			return parsedKey{signer, err}
		})
		if p.parsed == nil {
			p.parsed = map[keyText]func() parsedKey{}
		}
		p.parsed[k] = f
	}
	p.mu.Unlock()
	return f()
}

// withoutParameters leaves out the curve that OpenSSL writes before a key. It is in the key too.
func withoutParameters(text []byte) []byte {
	if block, rest := pem.Decode(text); block != nil && block.Type == "EC PARAMETERS" {
		return rest
	}
	return text
}

// explainKey says why a private key cannot be used. It quotes nothing of the key.
func explainKey(s route.Settings, err error) (why, next string) {
	var encrypted *ssh.PassphraseMissingError
	key := strings.TrimSpace(s.PrivateKey)
	switch {
	case errors.As(err, &encrypted):
		return "private_key is encrypted and no passphrase is set", "Set private_key_passphrase, or add the key to an agent"
	case errors.Is(err, x509.IncorrectPasswordError):
		return "private_key_passphrase does not decrypt private_key", "Correct the passphrase"
	case strings.HasPrefix(key, "PuTTY-User-Key-File"):
		return "private_key is in PuTTY's own form", "Convert it: puttygen KEY.ppk -O private-openssh-new -o KEY"
	case strings.HasPrefix(key, "ssh-"), strings.HasPrefix(key, "ecdsa-"), strings.HasPrefix(key, "sk-"):
		return "private_key is a public key", "Give the private one, the file without .pub"
	case !strings.Contains(key, "BEGIN"):
		return "private_key is not the text of a private key",
			"Give the key itself, not its path: file(\"~/.ssh/id_ed25519\")"
	default:
		return "private_key cannot be read (" + strings.TrimPrefix(err.Error(), "ssh: ") + ")",
			"Give an unchanged private key in OpenSSH's or PEM form"
	}
}

// readIdentities takes the keys and certificates in files. As with ssh, one that cannot be used is no failure; it is
// noted.
func (l *Attempt) readIdentities(adds route.Added) {
	for _, f := range adds.Identities {
		l.readIdentity(f, &l.keys)
	}
	for _, f := range adds.Usual {
		if _, err := os.Stat(f); err == nil {
			l.readIdentity(f, &l.usual)
		}
	}
	for _, f := range adds.Certificates {
		l.readCertificate(f)
	}
}

// readIdentity adds the key in a file to keys; of an encrypted or a public one the agent may have the private half.
func (l *Attempt) readIdentity(file string, keys *[]ssh.Signer) {
	if _, err := os.Stat(file + "-cert.pub"); err == nil {
		l.readCertificate(file + "-cert.pub")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		if public := readPublicKey(file + ".pub"); public != nil {
			l.agentOnly = append(l.agentOnly, public)
			return
		}
		l.notes = append(l.notes, "the key file "+err.Error())
		return
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		l.agentOnly = append(l.agentOnly, public)
		return
	}
	k := l.parsed.parse(keyText{string(text), l.route.PrivateKeyPassphrase})
	var encrypted *ssh.PassphraseMissingError
	switch {
	case k.err == nil:
		*keys = append(*keys, k.signer)
	case errors.As(k.err, &encrypted), errors.Is(k.err, x509.IncorrectPasswordError):
		public := readPublicKey(file + ".pub")
		if encrypted != nil && encrypted.PublicKey != nil {
			public = encrypted.PublicKey
		}
		if public == nil {
			l.notes = append(l.notes, "the key "+file+" is encrypted")
			return
		}
		l.agentOnly = append(l.agentOnly, public)
	default:
		l.notes = append(l.notes, "the key "+filepath.Clean(file)+" cannot be read ("+strings.TrimPrefix(k.err.Error(),
			"ssh: ")+")")
	}
}

func readPublicKey(file string) ssh.PublicKey {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func (l *Attempt) readCertificate(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		l.notes = append(l.notes, "the certificate "+err.Error())
		return
	}
	cert, err := parseCertificate(string(text))
	if err != nil {
		l.notes = append(l.notes, "the certificate "+file+" cannot be used ("+err.Error()+")")
		return
	}
	if !slices.ContainsFunc(l.certs, func(c *ssh.Certificate) bool { return bytes.Equal(c.Marshal(), cert.Marshal()) }) {
		l.certify(cert, "the certificate "+file)
	}
}

// parseCertificate reads the text of a user's certificate.
func parseCertificate(text string) (*ssh.Certificate, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, errors.New("it is not the text of a certificate")
	}
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok:
		return nil, errors.New("it is a public key without a signature")
	case cert.CertType != ssh.UserCert:
		return nil, errors.New("it is a host's certificate")
	}
	return cert, nil
}

// sameKey compares the keys themselves, also of certificates.
func sameKey(a, b ssh.PublicKey) bool {
	return bytes.Equal(hostkey.Plain(a).Marshal(), hostkey.Plain(b).Marshal())
}
